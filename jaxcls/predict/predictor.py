"""A trained model as a function of pictures: everything it needs is in the checkpoint, the training data is not."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import jax
import numpy as np

from jaxcls.errors import UserError
from jaxcls.measure import decision as decisions
from jaxcls.measure import doubt, outliers
from jaxcls.models import explain
from jaxcls.tasks import networks
from jaxcls.tasks.networks import Network
from jaxcls.types import PathLike

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

SIZES = (1, 8, 32)  # of batches that are compiled; what lies between is padded


class Predictor:
    """Predicts as the evaluation of the run does: the same decoding, transforms, averaged weights and views (tta).

    Make one by `Predictor.load`. Called with prepared pictures it answers. `prepare` may be called from several
    threads.

    Attributes:
      network: what the run has produced (tasks.networks.Network), its variables on the device.
      name: of the model; `classes`: the names of its classes; `step`: of the checkpoint.
      output: what an answer means: "softmax" or "sigmoid" (of logits), or "features".
      picture: (height, width, channels) of prepared pictures.
      notes: lines for people about what may surprise: pictures brought to the size of a set of small ones, and whether
        probabilities are calibrated.
    """

    def __init__(self, network: Network, sizes: Sequence[int] = SIZES):
        """`sizes` as of `load`."""
        self.network = network = dataclasses.replace(network, variables=jax.device_put(network.variables))
        self.name, self.classes, self.step, self.output = network.name, network.classes, network.step, network.output
        self.averaged, self.decision = network.averaged, network.calibration
        self.sizes = tuple(sorted({int(size) for size in sizes}))
        self._prepares = preprocessing = network.preprocessing
        given = preprocessing.picture or (64, 64, preprocessing.channels)
        self.picture = self.prepare(np.zeros(given, np.uint8)).shape
        ask = lambda variables, images: network.answer(variables, preprocessing.device(images))  # noqa: E731
        self._ask = jax.jit(ask)  # the variables are an argument: constants would be copied into every program
        self._normalised = jax.jit(lambda images: preprocessing.device(images))
        self.notes = list(self._remarks())

    @classmethod
    def load(cls, path: PathLike, step: int | None = None, sizes: Sequence[int] = SIZES) -> Self:
        """The predictor of a run.

        Args:
          path: its workdir, or the folder of one step.
          step: of a workdir; None for the best one where validation chose one, else the newest.
          sizes: of batches that are compiled, each when it is first needed; the largest one is worked on at a time.

        Raises:
          UserError: where there is no good checkpoint, or it is of no model that this version of jaxcls can build.
        """
        return cls(networks.from_run(path, step), sizes)

    def function(self) -> Callable[[jax.Array], jax.Array]:
        """A pure function of prepared pictures, uint8 [n, H, W, C] -> float32 [n, d]: the logits, or the features.

        For tracing: `jax.jit`, `jax.export`, a function of one's own. The weights are constants in it.
        """
        return self.network.function()

    def prepare(self, image: bytes | UInt8[np.ndarray, "h w c"], name: str = "") -> UInt8[np.ndarray, "H W C"]:
        """A picture as it goes to the device, of shape `picture`.

        Args:
          image: pixels, or the bytes of a file (what `data.decode` reads).
          name: what messages call it.

        Raises:
          UserError: for what is no picture, or a damaged one.
        """
        return self._prepares.prepare(image, name)

    def logits(self, images: UInt8[np.ndarray, "n H W C"]) -> Float[np.ndarray, "n classes"]:
        """Those of prepared pictures, float32, as evaluation stores them.

        Raises:
          UserError: where the model's answer is features.
        """
        if self.network.key != "logits":
            raise UserError(f"{self.network.title}: its answer is features and no classes; `features` gives them.")
        return self._answers(self._ask, images, len(self.classes))

    def features(self, images: UInt8[np.ndarray, "n H W C"]) -> Float[np.ndarray, "n d"]:
        """What the last layer of the model sees of prepared pictures, float32; of one view, whatever the setting.

        Raises:
          UserError: where the model gives none.
        """
        return self._answers(self._features, images, 0)

    @functools.cached_property
    def _features(self):
        network, device = self.network, self._prepares.device
        networks.check_pictures(network, self._seen, "features")
        return jax.jit(lambda variables, images: network.features(variables, device(images)))

    @functools.cached_property
    def _seen(self):
        """The shape of a picture as the model sees it."""
        return jax.eval_shape(self._normalised, jax.ShapeDtypeStruct((1, *self.picture), np.uint8)).shape[1:]

    def _answers(self, ask, images, width):
        """What a compiled function says about pictures, a batch of a compiled size at a time."""
        parts = []
        for start in range(0, len(images), self.sizes[-1]):
            chunk = np.asarray(images[start : start + self.sizes[-1]])
            answer = ask(self.network.variables, _padded(chunk, self._size(len(chunk))))
            parts.append(np.asarray(answer)[: len(chunk)])
        return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)

    def probabilities(self, logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
        """float64, calibrated where a calibration is stored."""
        return decisions.probabilities(self.decision, logits)

    def __call__(self, images: UInt8[np.ndarray, "n H W C"], top: int = 5) -> list[dict[str, Any]]:
        """What to say about prepared pictures, as `answers` has it, distances included where they are stored."""
        bank, logits = self.network.bank, self.logits(images)
        return self.answers(logits, top, None if bank is None else outliers.distance(bank, self.features(images)))

    def answers(
        self, logits: Float[np.ndarray, "n classes"], top: int = 5, distance: Float[np.ndarray, " n"] | None = None
    ) -> list[dict[str, Any]]:
        """What to say about each picture: a list of dicts that JSON takes.

        `class` and `probability` are of the answer: the most probable class, or what stored thresholds or costs decide.
        `top` is the list of the most probable classes with their probabilities, highest first. Where `jaxcls calibrate`
        has stored them there are `abstained`, `set`, `energy`, `distance` and `outlier` (measure.doubt.columns). Where
        the model's output is not finite there is only `error`.

        Args:
          logits: of pictures.
          top: how many classes are listed.
          distance: of their features to those of training; without it an outlier is told by energy alone.
        """
        probability = self.probabilities(logits)
        chosen = decisions.decide(self.decision, probability)
        more = doubt.columns(self.decision, logits, probability, chosen, self.classes, distance)
        order = np.argsort(-probability, axis=1, kind="stable")[:, :top]
        rows: list[dict[str, Any]] = []
        for i, (p, answer, best) in enumerate(zip(probability, chosen, order, strict=True)):
            if not np.isfinite(p).all():
                rows.append({"error": "the model's answer to this picture is not finite"})
                continue
            first = [{"class": self.classes[i], "probability": float(p[i])} for i in best]
            beside = {name: column[i] for name, column in more.items()}
            rows.append({"class": self.classes[answer], "probability": float(p[answer]), "top": first, **beside})
        return rows

    @property
    def decides(self) -> bool:
        """Whether thresholds or costs are stored, so that the answer need not be the most probable class."""
        return bool(self.decision and (self.decision["thresholds"] or self.decision["costs"]))

    @functools.cached_property
    def explains(self) -> str | None:
        """The kind of heat maps: "Grad-CAM", "attention rollout" or None (explain.method)."""
        return explain.method(self.network.model, self._seen)

    def heatmaps(
        self, images: UInt8[np.ndarray, "n H W C"], classes: Sequence[str | int] | None = None
    ) -> tuple[UInt8[np.ndarray, "n h w C"], Float[np.ndarray, "n h w"]]:
        """(prepared pictures as the model sees them, their heat maps, float32).

        `classes`: names or numbers of the classes to explain; None for the one with the highest logit. The weights of
        one view are looked at, whatever the setting of test-time augmentation. Raises UserError as `explain.heatmaps`.
        """
        numbers = None
        if classes is not None:
            numbers = np.array([self.classes.index(c) if isinstance(c, str) else c for c in classes], np.int32)
        pictures, maps = [], []
        for start in range(0, len(images), explain.CHUNK):
            chunk = np.asarray(images[start : start + explain.CHUNK])
            n, size = len(chunk), self._size(len(chunk))
            normal = self._normalised(_padded(chunk, size))
            wanted = None if numbers is None else _padded(numbers[start : start + explain.CHUNK], size)
            maps.append(explain.heatmaps(self.network.model, self.network.variables, normal, wanted)[:n])
            pictures.append(self._prepares.levels(np.asarray(normal)[:n]))
        return np.concatenate(pictures), np.concatenate(maps)

    def _size(self, n):
        """The smallest compiled size that has room for n pictures."""
        return next((size for size in self.sizes if size >= n), n)

    def _remarks(self):
        if self._prepares.picture:
            h, w, c = self._prepares.picture
            place = f"pictures are squeezed to {w}x{h} pixels ({'grey' if c == 1 else 'colour'})"
            yield f"trained on {self.network.data}: {place} and should look like its own"
        if self.decision is None and self.network.key == "logits":
            yield "probabilities are not calibrated; `jaxcls calibrate` does that, and chooses thresholds"
        if self.decision and self.decision["temperature"] == 1:
            count = self.decision.get("count")
            on = f"{count:,} pictures of validation" if count else "validation"
            yield f"probabilities are as the model states them: {on} did not show that others are better"


def _padded(rows, size):
    return rows if len(rows) == size else np.pad(rows, [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1))
