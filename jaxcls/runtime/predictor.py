"""An ONNX file as a function of pictures: what `predict.predictor.Predictor` is for a run, without JAX."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from jaxcls.errors import UserError
from jaxcls.measure import calibration
from jaxcls.predict.base import BasePredictor, in_pieces
from jaxcls.runtime import foreign as foreigners
from jaxcls.runtime import metadata, session
from jaxcls.runtime.foreign import Given
from jaxcls.runtime.session import Session
from jaxcls.types import PathLike

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

BATCH = 32  # pictures that are answered at a time


class FilePredictor(BasePredictor):
    """Predicts as the run does that the file is of: the same preprocessing, calibration and decision.

    Make one by `FilePredictor.load`. `prepare` may be called from several threads. There are no heat maps, and no
    distances of features: outliers are told by energy alone, and not at all by a file of probabilities.

    Attributes: those of BasePredictor, and
      session: the opened file.
      holds: what the graph's output is: "logits", "probabilities" or "features".
      precision: "float32", "float16", "int8"; "" for a file that jaxcls did not write.
      named: whether the names of the classes are known.
      sizes: of batches that the file is asked for; what lies between is padded.
    """

    _calibrate = "`jaxcls calibrate RUN --apply` before the export does that, and chooses thresholds"

    def __init__(self, opened: Session, foreign: Given | None = None, batch: int = BATCH):
        """`foreign` and `batch` as of `load`."""
        self.session, self._given = opened, foreign or Given()
        fixed = opened.inputs[0].shape[0] if opened.inputs and opened.inputs[0].shape else None
        self.sizes: Sequence[int] = (fixed,) if isinstance(fixed, int) else range(1, batch + 1)
        if metadata.MARK in opened.metadata:
            self.notes = list(self._own())
        else:
            self.notes = list(self._foreign())

    @classmethod
    def load(
        cls,
        path: PathLike,
        *,
        foreign: Given | None = None,
        batch: int = BATCH,
        threads: int | None = None,
        providers: Sequence[str] = session.CPU,
    ) -> Self:
        """The predictor of an ONNX file.

        Args:
          path: of the file.
          foreign: what has to be told of a file that jaxcls did not write.
          batch: pictures that are answered at a time; a file of a fixed batch has its own.
          threads: that compute one answer; None for one a core (runtime.session.open).
          providers: ONNX Runtime's execution providers, in order.

        Raises:
          UserError: where ONNX Runtime isn't installed, or the file can't be used.
        """
        opened = session.open(os.path.expanduser(path), threads=threads, providers=providers)
        return cls(opened, foreign, batch)

    @property
    def title(self) -> str:
        """A few words about which weights these are."""
        step = f", step {self.step}" if self.step >= 0 else ""
        averaged = ", averaged weights" if self.averaged else ""
        return ", ".join(filter(None, (f"{self.name}{step}{averaged}", self.precision, self.session.path)))

    def logits(self, images: UInt8[np.ndarray, "n H W C"]) -> Float[np.ndarray, "n classes"]:
        """Those of prepared pictures, float32; of a file that holds probabilities their logarithms.

        Raises:
          UserError: where the file's answer is features, or ONNX Runtime can't compute it.
        """
        if self.holds == "features":
            raise UserError(f"{self.session.path}: its answer is features and no classes; `features` gives them.")
        found = in_pieces(self._ask, images, self.sizes, len(self.classes))
        if self.holds == "logits":
            return found
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(found)

    def features(self, images: UInt8[np.ndarray, "n H W C"]) -> Float[np.ndarray, "n d"]:
        """What the last layer of the model would see of prepared pictures, float32.

        Raises:
          UserError: where the file's answer is classes.
        """
        if self.holds != "features":
            raise UserError(f"{self.session.path}: its answer is {self.holds} and no features.")
        return in_pieces(self._ask, images, self.sizes, 0)

    def probabilities(self, logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
        """float64, calibrated where a calibration is stored; a file of probabilities holds calibrated ones."""
        if self.holds == "probabilities":
            return calibration.probabilities(logits, 1.0)
        return super().probabilities(logits)

    def _ask(self, images):
        answer = session.run(self.session, self._feed(images))
        wanted = None if self.holds == "features" else len(self.classes)
        if answer.ndim != 2 or len(answer) != len(images) or answer.shape[1] != (wanted or answer.shape[1]):
            raise UserError(
                f"{self.session.path}: its output for {len(images)} picture(s) is {list(answer.shape)}, where "
                f"[{len(images)}, {wanted or 'n'}] is wanted; export it again"
            )
        return answer.astype(np.float32, copy=False)

    def _own(self) -> Iterator[str]:
        """Takes what a file of ours says about itself; gives notes."""
        path = self.session.path
        if options := self._given.options():
            raise UserError(f"{options[0]} is for files that jaxcls did not write; {path} says itself: leave it out.")
        told = metadata.read(self.session.metadata, path)
        self.name, self.classes, self.step, self.averaged = told.model, told.classes, told.step, told.averaged
        self.output, self.decision, self.data, self.picture = told.answer, told.decision, told.data, told.picture
        self.holds, self.precision, self.named, self._prepares = told.output, told.precision, True, told.preprocessing
        self._feed: Callable[[np.ndarray], np.ndarray] = _as_they_are
        self._check_input()
        yield from self._remarks()
        yield from self._without_features()

    def _check_input(self):
        """The input of a file of ours is what its metadata say."""
        inputs, outputs, path = self.session.inputs, self.session.outputs, self.session.path
        wanted = f"one input, uint8 [batch, {', '.join(map(str, self.picture))}], and one output"
        if len(inputs) != 1 or len(outputs) != 1:
            raise UserError(
                f"{path} has {len(inputs)} inputs and {len(outputs)} outputs, not {wanted}; export it again"
            )
        if inputs[0].dtype != "uint8" or inputs[0].shape is None or inputs[0].shape[1:] != self.picture:
            found = f"{inputs[0].dtype} {list(inputs[0].shape or ())}"
            raise UserError(f"{path}: its input is {found}, not {wanted}; export it again")
        try:
            made = self.prepare(np.zeros(self._prepares.picture or (64, 64, self.picture[2]), np.uint8), path).shape
        except UserError as error:
            raise UserError(f"{path}: its preprocessing can't be done here: {error}") from error
        if made != self.picture:
            raise UserError(f"{path}: its preprocessing makes pictures of {list(made)}, not {wanted}; export it again")
        shape = outputs[0].shape
        width = shape[-1] if shape else None
        if self.holds != "features" and isinstance(width, int) and width != len(self.classes):
            raise UserError(f"{path} has {width:,} outputs for {len(self.classes):,} class names; export it again")

    def _without_features(self):
        """Drops from the decision what needs features or logits that the file doesn't give."""
        strange = (self.decision or {}).get("outliers")
        if not strange:
            return
        if self.holds == "probabilities":
            self.decision = {**self.decision, "outliers": None}
            yield "outliers are not told: their energy needs logits, and this file gives probabilities"
        elif strange.get("distance"):
            kept = {key: value for key, value in strange.items() if key != "distance"}
            self.decision = {**self.decision, "outliers": kept}
            yield "outliers are told by energy alone: distances need the model's features, which files do not give"

    def _foreign(self) -> Iterator[str]:
        """Takes what a file from elsewhere shows, and what was told of it; gives notes."""
        found = foreigners.understand(self.session, self._given, self.sizes[0])
        self.name, self.step, self.averaged, self.data = os.path.basename(self.session.path), -1, False, ""
        self.output, self.decision, self.precision = "softmax", None, ""
        self.classes, self.picture, self.holds, self.named = found.classes, found.picture, found.output, found.named
        self._prepares, self._feed = found.preprocessing, found.feed
        yield from found.notes
        if not found.named:
            yield f"its {len(found.classes):,} classes have no names: --classes=FILE gives them"

    @functools.cached_property
    def explains(self) -> None:
        """No kind of heat maps: they need the model's features, and JAX."""
        return None


def _as_they_are(images: Any) -> Any:
    return images
