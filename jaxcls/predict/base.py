"""What predictors have in common, those of runs and those of files: pictures prepared, and answers made of logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.columns import Column
from jaxcls.measure import decision as decisions
from jaxcls.measure import doubt
from jaxcls.measure.multilabel import answers as of_sets
from jaxcls.predict import given, sets

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

NOT_FINITE = "the model's answer to this picture is not finite"


class BasePredictor:
    """Prepared pictures -> answers; what gives the logits is the subclass's.

    Attributes:
      name: of the model; `classes`: the names of its classes; `step`: of the checkpoint; `averaged`: whether its
        weights are averages.
      output: what an answer means: "softmax" or "sigmoid" (of logits), or "features".
      decision: what is stored about calibration and thresholds (measure.decision), or None.
      data: the name of what it was trained on.
      picture: (height, width, channels) of prepared pictures; of clips with the number of frames before.
      columns: what the model takes beside each picture; () for nothing. Their numbers (`jaxcls.columns.encoded`) are
        `beside` of `logits` and `rows`.
      unexplained: why there are no heat maps where `explains` is None, and what to do; for messages.
      notes: lines for people about what may surprise: pictures brought to the size of a set of small ones, and whether
        probabilities are calibrated.
    """

    name: str
    classes: tuple[str, ...]
    step: int
    averaged: bool
    output: str = "softmax"
    decision: decisions.Decision | None
    data: str
    picture: tuple[int, ...]
    notes: list[str]
    columns: tuple[Column, ...] = ()
    unexplained: str = "they need larger pictures"
    _prepares: Preprocessing
    _calibrate = "`jaxcls calibrate` does that, and chooses thresholds"

    @property
    def clips(self) -> bool:
        """Whether it answers clips [t, h, w, c] in place of pictures."""
        return len(self.picture) == 4

    @property
    def sets(self) -> bool:
        """Whether an answer is a set of classes: several labels a picture, or none."""
        return self.output == "sigmoid"

    @property
    def title(self) -> str:
        """A few words about which weights these are."""
        return f"{self.name}, step {self.step}{', averaged weights' if self.averaged else ''}"

    def prepare(self, image: bytes | UInt8[np.ndarray, "h w c"], name: str = "") -> UInt8[np.ndarray, "H W C"]:
        """A picture as it goes to the device, of shape `picture`.

        Args:
          image: pixels, or the bytes of a file (what `data.decode` reads).
          name: what messages call it.

        Raises:
          UserError: for what is no picture, or a damaged one.
        """
        return self._prepares.prepare(image, name)

    def logits(self, images: UInt8[np.ndarray, "n H W C"], *beside: np.ndarray) -> Float[np.ndarray, "n classes"]:
        """Those of prepared pictures, float32. Raises UserError where the answer is features, or `columns` lack."""
        raise NotImplementedError

    def distances(self, images: UInt8[np.ndarray, "n H W C"], *beside: np.ndarray) -> Float[np.ndarray, " n"] | None:
        """Those of prepared pictures to the training ones (measure.outliers), where they are stored."""
        del images, beside
        return None

    @property
    def explains(self) -> str | None:
        """The kind of heat maps ("Grad-CAM", "attention rollout", "CAM"), or None."""
        return None

    def heatmaps(
        self, images: UInt8[np.ndarray, "n H W C"], classes: Sequence[str | int] | None = None
    ) -> tuple[UInt8[np.ndarray, "n h w C"], Float[np.ndarray, "n h w"]]:
        """(prepared pictures as the model sees them, their heat maps, float32 in 0..1), where there are any.

        `classes`: names or numbers of the classes to explain; None for the one with the highest logit. Raises UserError
        where the model has none.
        """
        raise NotImplementedError

    def _numbers(self, classes):
        """int32 numbers of names or numbers of classes; None for None."""
        if classes is None:
            return None
        return np.array([self.classes.index(c) if isinstance(c, str) else c for c in classes], np.int32)

    def probabilities(self, logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
        """float64, calibrated where a calibration is stored; of sets each class by itself."""
        if self.sets:
            return of_sets.probabilities(logits, self.decision)
        return decisions.probabilities(self.decision, logits)

    def __call__(self, pictures: Any, top: int = 5) -> Any:
        """What to say about pictures, as `answers` has it, distances included where they are stored.

        Args:
          pictures: one, or a list of them: a path, the bytes of a file, pixels (uint8 [h, w] or [h, w, c]) or a picture
            of Pillow. An array uint8 [n, H, W, C], H, W, C being `picture`, holds prepared ones; of another size, not.
          top: how many classes are listed; 0 for all.

        Returns:
          a dict for one picture, a list of dicts for several.

        Raises:
          UserError: for what is no picture, or a damaged one.
        """
        if getattr(pictures, "shape", ())[1:] == tuple(self.picture):
            return self.rows(np.asarray(pictures), top)
        one = given.is_one(pictures, 4 if self.clips else 3)
        of_pillow, window = self.picture[-1], self._window
        several = given.chunks([pictures] if one else pictures, self.prepare, of_pillow, window, clips=self.clips)
        rows = [row for images in several for row in self.rows(images, top)]
        return rows[0] if one else rows

    def rows(self, images: UInt8[np.ndarray, "n H W C"], top: int = 5, *beside: np.ndarray) -> list[dict[str, Any]]:
        """What to say about prepared pictures, a dict each. `beside`: float32 [n, width], where `columns` are taken."""
        return self.answers(self.logits(images, *beside), top, self.distances(images, *beside))

    @property
    def _window(self):
        return getattr(getattr(self, "_prepares", None), "window", ())

    def answers(
        self, logits: Float[np.ndarray, "n classes"], top: int = 5, distance: Float[np.ndarray, " n"] | None = None
    ) -> list[dict[str, Any]]:
        """What to say about each picture: a list of dicts that JSON takes.

        `class` and `probability` are of the answer: the most probable class, or what stored thresholds or costs decide.
        `top` is the list of the most probable classes with their probabilities, highest first. Where `jaxcls calibrate`
        has stored them there are `abstained`, `set`, `energy`, `distance` and `outlier` (measure.doubt.columns). Where
        the model's output is not finite there is only `error`. Where answers are sets, `labels` and `probabilities`
        stand in place of `class` and `probability` (predict.sets.rows).

        Args:
          logits: of pictures.
          top: how many classes are listed; 0 for all.
          distance: of their features to those of training; without it an outlier is told by energy alone.
        """
        probability = self.probabilities(logits)
        if self.sets:
            none = np.full(len(probability), -1)
            beside = doubt.columns(self.decision, logits, probability, none, self.classes, distance)
            return sets.rows(probability, self.decision, self.classes, top, beside, NOT_FINITE)
        chosen = decisions.decide(self.decision, probability)
        more = doubt.columns(self.decision, logits, probability, chosen, self.classes, distance)
        order = np.argsort(-probability, axis=1, kind="stable")[:, : top or None]
        rows: list[dict[str, Any]] = []
        for i, (p, answer, best) in enumerate(zip(probability, chosen, order, strict=True)):
            if not np.isfinite(p).all():
                rows.append({"error": NOT_FINITE})
                continue
            first = [{"class": self.classes[i], "probability": float(p[i])} for i in best]
            beside = {name: column[i] for name, column in more.items()}
            rows.append({"class": self.classes[answer], "probability": float(p[answer]), "top": first, **beside})
        return rows

    @property
    def decides(self) -> bool:
        """Whether thresholds or costs are stored, so that the answer need not be the most probable class, or those
        whose probability is at least 0.5."""
        if self.sets:
            return bool((of_sets.thresholds(self.decision, len(self.classes)) != of_sets.HALF).any())
        return bool(self.decision and (self.decision["thresholds"] or self.decision["costs"]))

    @property
    def calibrates(self) -> bool:
        """Whether a calibration is stored that changes probabilities."""
        if not self.decision:
            return False
        return sets.calibrates(self.decision) if self.sets else self.decision["temperature"] != 1

    def _remarks(self) -> Iterator[str]:
        """Lines for `notes`."""
        if self._prepares.picture:
            *_, h, w, c = self._prepares.picture
            place = f"pictures are squeezed to {w}x{h} pixels ({'grey' if c == 1 else 'colour'})"
            yield f"trained on {self.data}: {place} and should look like its own"
        if self.decision is None and self.output != "features":
            yield f"probabilities are not calibrated; {self._calibrate}"
        if self.decision and not self.calibrates:
            count = self.decision.get("count")
            on = f"{count:,} pictures of validation" if count else "validation"
            yield f"probabilities are as the model states them: {on} did not show that others are better"


def in_pieces(
    ask: Callable[..., Any], images: np.ndarray, sizes: Sequence[int], width: int, *beside: np.ndarray
) -> Float[np.ndarray, "n d"]:
    """Rows of `ask` for pictures, the largest of some sizes at a time; what is less is padded to the next size.

    Without sizes between, those are the only ones that `ask` sees. `width` is that of an answer to no pictures;
    `beside`: further arguments of `ask`, a row a picture.
    """
    parts = []
    for start in range(0, len(images), sizes[-1]):
        chunks = [np.asarray(each[start : start + sizes[-1]]) for each in (images, *beside)]
        n = len(chunks[0])
        parts.append(np.asarray(ask(*(padded(chunk, room(sizes, n)) for chunk in chunks)))[:n])
    return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)


def room(sizes: Sequence[int], n: int) -> int:
    """The smallest of the sizes, ascending, that has room for n."""
    return next((size for size in sizes if size >= n), n)


def padded(rows: np.ndarray, size: int) -> np.ndarray:
    """Rows, with zeros behind them up to this size."""
    return rows if len(rows) == size else np.pad(rows, [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1))
