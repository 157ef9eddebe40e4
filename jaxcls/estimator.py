"""A scikit-learn compatible classifier of pictures: `jaxcls.JaxClassifier`."""

import contextlib
import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from jaxcls.api import flat
from jaxcls.errors import UserError
from jaxcls.types import PathLike

SETS = 0.5  # the probability from which on a label is there


class JaxClassifier(ClassifierMixin, BaseEstimator):
    """A net that is trained by `fit` as `jaxcls train` does it, on pictures in memory.

    Args:
      config: name of a config (jaxcls configs), a file, or a ConfigDict; None: one that is chosen for the pictures
        (docs/recipes.md).
      settings: keys of the config with their values, {"duration": "5 epochs", "optim.momentum": 0.8}.
      workdir: folder in which every fit makes one of its own, fit, fit-1, .., which stays; None: a temporary one.
      random_state: config.seed.
      verbose: whether the lines of the run are printed.

    Attributes after `fit`:
      classes_: of the labels; for sets of labels the numbers of their columns.
      predictor_: the run's (jaxcls.predict.predictor.Predictor).
      workdir_: of the run, a Path.

    Mistakes are UserErrors, as everywhere in jaxcls, where scikit-learn has ValueErrors.
    """

    def __init__(
        self,
        config: Any = None,
        *,
        settings: Mapping[str, Any] | None = None,
        workdir: PathLike | None = None,
        random_state: int | None = 0,
        verbose: bool = False,
    ) -> None:
        self.config = config
        self.settings = settings
        self.workdir = workdir
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any) -> "JaxClassifier":
        """Trains a new net.

        Args:
          X: uint8 [n, height, width] or [n, height, width, channels].
          y: labels [n], of any kind that can be sorted; or 0 and 1 [n, classes], sets of labels.

        Raises:
          UserError: for pictures, labels or settings that can't be.
        """
        from jaxcls.data import arrays
        from jaxcls.predict.predictor import Predictor
        from jaxcls.training import loop

        y = np.asarray(y)
        self.multilabel_ = y.ndim == 2 and y.shape[1] > 1
        found: Any = (np.arange(y.shape[1]), y) if self.multilabel_ else np.unique(y, return_inverse=True)
        self.classes_, codes = found
        if len(self.classes_) < 2:
            raise UserError(f"y has {len(self.classes_)} class(es); a classifier wants two or more.")
        names = [f"class {name}" if isinstance(name, float) else str(name) for name in self.classes_.tolist()]
        sources = arrays.from_arrays({"train": (X, codes)}, names, place="X and y")
        self.shape_ = sources["train"].images.shape[1:]
        self.workdir_ = self._folder()
        quiet = contextlib.nullcontext() if self.verbose else contextlib.redirect_stdout(io.StringIO())
        with arrays.holding(sources), quiet:
            loop.run(self._config(), self.workdir_, final=False)
            self.predictor_ = Predictor.load(self.workdir_)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """float64 [n, classes]: probabilities, of sets of labels each by itself.

        Raises:
          UserError: for pictures of another shape or dtype than those of `fit`.
        """
        logits = self.decision_function(X)
        return self.predictor_.probabilities(logits)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each picture [n], or sets of labels as 0 and 1 [n, classes]."""
        found = self.predict_proba(X)
        best = found.argmax(axis=1)
        if not self.multilabel_:
            return self.classes_[best]
        sets = found >= SETS if self.predictor_.sets else np.eye(len(self.classes_), dtype=bool)[best]
        return sets.astype(np.int64)

    def decision_function(self, X: Any) -> np.ndarray:
        """float32 [n, classes]: the logits. Raises UserError as `predict_proba`."""
        from jaxcls.data import arrays

        check_is_fitted(self, "classes_")
        images = arrays.from_arrays({"test": (X, None)}, place="X")["test"].images
        if images.shape[1:] != self.shape_:
            raise UserError(f"X has pictures of {images.shape[1:]}, but fit had {self.shape_}; make them alike.")
        if not len(images):
            return np.zeros((0, len(self.classes_)), np.float32)
        prepared = np.stack([self.predictor_.prepare(image) for image in images])
        return self.predictor_.logits(prepared)

    def _config(self):
        """The config of the run, with the user's settings."""
        from ml_collections import ConfigDict

        from jaxcls.data import arrays
        from jaxcls.settings import config_file
        from jaxcls.training import chosen

        pairs = [*flat(self.settings or {}), ("seed", str(self.random_state or 0)), ("data.name", arrays.NAME)]
        if self.config is None:
            return chosen.chosen(pairs).config
        known = isinstance(self.config, ConfigDict)
        config = self.config.copy_and_resolve_references() if known else config_file.load(os.fspath(self.config))
        config_file.override(config, pairs)
        return config

    def _folder(self):
        """A new folder for a run."""
        from jaxcls import files

        if self.workdir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="jaxcls-")
            return Path(self._temporary.name) / "run"
        return files.free_name(files.path(self.workdir) / "fit")

    def __getstate__(self):
        state = dict(super().__getstate__())
        if "_temporary" in state:
            raise UserError("a fitted JaxClassifier in a temporary folder can't be pickled; give it workdir=FOLDER.")
        state.pop("predictor_", None)  # it is in the workdir
        return state

    def __getattr__(self, name):
        if name == "predictor_" and "workdir_" in self.__dict__:
            from jaxcls.predict.predictor import Predictor

            self.predictor_ = Predictor.load(self.workdir_)
            return self.predictor_
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
