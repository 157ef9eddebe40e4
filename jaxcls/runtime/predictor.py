"""An ONNX or LiteRT file as a function of pictures: what `predict.predictor.Predictor` is for a run, without JAX."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from jaxcls import heatmaps
from jaxcls.errors import UserError
from jaxcls.measure import calibration, outliers
from jaxcls.measure.multilabel import answers as of_sets
from jaxcls.predict.base import BasePredictor, in_pieces, padded, room
from jaxcls.runtime import foreign as foreigners
from jaxcls.runtime import metadata, session
from jaxcls.runtime.foreign import Given
from jaxcls.runtime.session import Session
from jaxcls.types import PathLike

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

BATCH = 32  # pictures that are answered at a time
NO_FEATURES = "they need the model's features, which `jaxcls export --features` puts into a file"


class FilePredictor(BasePredictor):
    """Predicts as the run does that the file is of: the same preprocessing, calibration and decision.

    Make one by `FilePredictor.load`. `prepare` may be called from several threads. Heat maps and distances of features
    are there where the file has the features (`jaxcls export --features`); without them outliers are told by energy
    alone. A file of probabilities tells no outliers.

    Attributes: those of BasePredictor, and
      session: the opened file.
      holds: what the graph's output is: "logits", "probabilities" or "features".
      precision: "float32", "float16", "int8"; "" for a file that jaxcls did not write.
      named: whether the names of the classes are known.
      sizes: of batches that the file is asked for; what lies between is padded.
      checked: what its export found (export.check.compared, with `on`: which pictures), or None.
    """

    _calibrate = "`jaxcls calibrate RUN --apply` before the export does that, and chooses thresholds"

    def __init__(self, opened: Session, foreign: Given | None = None, batch: int = BATCH):
        """`foreign` and `batch` as of `load`."""
        self.session, self._given = opened, foreign or Given()
        self.checked: Mapping[str, Any] | None = None
        self.unexplained = NO_FEATURES
        self._told: Mapping[str, str] = {}  # of metadata: "features"
        self._head: np.ndarray | None = None
        self._bank: outliers.Bank | None = None
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
        """The predictor of an ONNX file, or of one of LiteRT (.tflite).

        Args:
          path: of the file.
          foreign: what has to be told of a file that jaxcls did not write.
          batch: pictures that are answered at a time; a file of a fixed batch has its own.
          threads: that compute one answer; None for one a core (runtime.session.open).
          providers: ONNX Runtime's execution providers, in order.

        Raises:
          UserError: where its runtime isn't installed, or the file can't be used.
        """
        opened = session.open(os.path.expanduser(path), threads=threads, providers=providers)
        return cls(opened, foreign, batch)

    @property
    def title(self) -> str:
        """A few words about which weights these are."""
        step = f", step {self.step}" if self.step >= 0 else ""
        averaged = ", averaged weights" if self.averaged else ""
        return ", ".join(filter(None, (f"{self.name}{step}{averaged}", self.precision, self.session.path)))

    def logits(self, images: UInt8[np.ndarray, "n H W C"], *beside: np.ndarray) -> Float[np.ndarray, "n classes"]:
        """Those of prepared pictures, float32; of a file that holds probabilities their logarithms, of label sets the
        logarithms of their odds.

        Raises:
          UserError: where the file's answer is features, or the runtime can't compute it.
        """
        del beside  # no file takes columns
        if self.holds == "features":
            raise UserError(f"{self.session.path}: its answer is features and no classes; `features` gives them.")
        found = in_pieces(self._ask, images, self.sizes, len(self.classes))
        if self.holds == "logits":
            return found
        if self.sets:
            found = np.clip(found, np.finfo(np.float32).tiny, np.nextafter(np.float32(1), np.float32(0)))
            return np.log(found) - np.log1p(-found)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(found)

    def features(self, images: UInt8[np.ndarray, "n H W C"]) -> Float[np.ndarray, "n d"]:
        """What the last layer of the model sees (or would see) of prepared pictures, float32.

        Raises:
          UserError: where the file gives none.
        """
        if self.holds == "features":
            return in_pieces(self._ask, images, self.sizes, 0)
        if not self._told.get("pre_logits"):
            raise UserError(f"{self.session.path}: its answer is {self.holds} and no features: {NO_FEATURES}.")
        return self._several(images, self._told["pre_logits"])[0] if len(images) else np.zeros((0, 0), np.float32)

    def distances(self, images: UInt8[np.ndarray, "n H W C"], *beside: np.ndarray) -> Float[np.ndarray, " n"] | None:
        """Those of prepared pictures to the training ones (measure.outliers), where the file has them."""
        del beside
        return None if self._bank is None else outliers.distance(self._bank, self.features(images))

    def rows(self, images: UInt8[np.ndarray, "n H W C"], top: int = 5, *beside: np.ndarray) -> list[dict[str, Any]]:
        """As BasePredictor; logits and features in one go."""
        del beside
        if self._bank is None or not len(images):
            return super().rows(images, top)
        logits, features = self._several(images, self.session.outputs[0].name, self._told["pre_logits"])
        return self.answers(self._sound(logits, len(images)), top, outliers.distance(self._bank, features))

    @property
    def explains(self) -> str | None:
        """ "CAM" where the file has the last map and the layer behind its mean, else None."""
        return None if self._head is None else heatmaps.CAM

    def heatmaps(
        self, images: UInt8[np.ndarray, "n H W C"], classes: Sequence[str | int] | None = None
    ) -> tuple[UInt8[np.ndarray, "n h w C"], Float[np.ndarray, "n h w"]]:
        """As BasePredictor, by `heatmaps.cam`; of one view, whatever the setting of test-time augmentation."""
        if self._head is None:
            raise UserError(f"{self.session.path} has no heat maps: {self.unexplained}")
        numbers, found = self._numbers(classes), []
        for start in range(0, len(images), self.sizes[-1]):
            part = images[start : start + self.sizes[-1]]
            answers, maps = self._several(part, self.session.outputs[0].name, self._told["map"])
            wanted = answers.argmax(axis=1) if numbers is None else numbers[start : start + len(part)]
            found.append(heatmaps.cam(maps, self._head, wanted, part.shape[1:3]))
        return np.asarray(images), np.concatenate(found) if found else np.zeros(images.shape[:3], np.float32)

    def _several(self, images, *names):
        """Arrays [n, ...], float32, of these outputs for prepared pictures, at least one."""
        parts = []
        for start in range(0, len(images), self.sizes[-1]):
            chunk = np.asarray(images[start : start + self.sizes[-1]])
            full = self._feed(padded(chunk, room(self.sizes, len(chunk))))
            parts.append([x[: len(chunk)] for x in session.outputs(self.session, full, names)])
        return [np.concatenate(part).astype(np.float32, copy=False) for part in zip(*parts, strict=True)]

    def probabilities(self, logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
        """float64, calibrated where a calibration is stored; a file of probabilities holds calibrated ones."""
        if self.holds == "probabilities" and self.sets:
            return of_sets.probabilities(logits, None)
        if self.holds == "probabilities":
            return calibration.probabilities(logits, 1.0)
        return super().probabilities(logits)

    def _ask(self, images):
        return self._sound(session.run(self.session, self._feed(images)), len(images))

    def _sound(self, answer, n):
        """The answers to n pictures, where they are of the shape that they should be."""
        wanted = None if self.holds == "features" else len(self.classes)
        if answer.ndim != 2 or len(answer) != n or answer.shape[1] != (wanted or answer.shape[1]):
            raise UserError(
                f"{self.session.path}: its output for {n} picture(s) is {list(answer.shape)}, where "
                f"[{n}, {wanted or 'n'}] is wanted; export it again"
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
        self._told, self._head, self._bank, self.checked = told.features or {}, told.head, told.bank, told.check
        self.unexplained = self._told.get("why_no_map", NO_FEATURES)
        self._check_input()
        yield from self._remarks()
        yield from self._without_features()

    def _check_input(self):
        """The input of a file of ours is what its metadata say."""
        inputs, outputs, path = self.session.inputs, self.session.outputs, self.session.path
        named = [name for key in ("map", "pre_logits") if (name := self._told.get(key))]
        beside = f" beside {', '.join(named)}" if named else ""
        wanted = f"one input, uint8 [batch, {', '.join(map(str, self.picture))}], and one output{beside}"
        if len(inputs) != 1 or len(outputs) != 1 + len(named) or {*named} - {x.name for x in outputs[1:]}:
            raise UserError(
                f"{path} has {len(inputs)} inputs and {len(outputs)} outputs, not {wanted}; export it again"
            )
        if inputs[0].dtype != "uint8" or inputs[0].shape is None or inputs[0].shape[1:] != self.picture:
            found = f"{inputs[0].dtype} {list(inputs[0].shape or ())}"
            raise UserError(f"{path}: its input is {found}, not {wanted}; export it again")
        try:
            made = self.prepare(self._prepares.blank(), path).shape
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
        elif strange.get("distance") and self._bank is None:
            kept = {key: value for key, value in strange.items() if key != "distance"}
            self.decision = {**self.decision, "outliers": kept}
            why = "this file has no features to measure distances to" if self._told else NO_FEATURES
            yield f"outliers are told by energy alone, without distances: {why}"

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


def _as_they_are(images: Any) -> Any:
    return images
