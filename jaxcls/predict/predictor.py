"""A trained model as a function of pictures: everything it needs is in the checkpoint, the training data is not."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import jax
import numpy as np

from jaxcls.errors import UserError
from jaxcls.measure import outliers
from jaxcls.models import explain
from jaxcls.predict.base import BasePredictor, in_pieces, padded, room
from jaxcls.tasks import networks
from jaxcls.tasks.networks import Network
from jaxcls.types import PathLike

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

SIZES = (1, 8, 32)  # of batches that are compiled; what lies between is padded


class Predictor(BasePredictor):
    """Predicts as the evaluation of the run does: the same decoding, transforms, averaged weights and views (tta).

    Make one by `Predictor.load`. Called with prepared pictures it answers. `prepare` may be called from several
    threads.

    Attributes: those of BasePredictor, and
      network: what the run has produced (tasks.networks.Network), its variables on the device.
    """

    def __init__(self, network: Network, sizes: Sequence[int] = SIZES):
        """`sizes` as of `load`."""
        self.network = network = dataclasses.replace(network, variables=jax.device_put(network.variables))
        self.name, self.classes, self.step, self.output = network.name, network.classes, network.step, network.output
        self.averaged, self.decision, self.data = network.averaged, network.calibration, network.data
        self.sizes = tuple(sorted({int(size) for size in sizes}))
        self._prepares = preprocessing = network.preprocessing
        self.picture = self.prepare(preprocessing.blank()).shape
        self.columns = getattr(network.model, "columns", ())
        if self.columns:
            self.unexplained = f"its answers rest on {network.model.beside}, too"
        else:
            networks.refuse_columns(network, "a prediction has")
        ask = lambda variables, images, *beside: network.answer(  # noqa: E731
            variables, preprocessing.device(images), networks.batch_of(beside)
        )
        self._ask = jax.jit(ask)  # the variables are an argument: constants would be copied into every program
        self._normalised = jax.jit(lambda images: preprocessing.one_clip(preprocessing.device(images)))
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

    @property
    def variables(self) -> Any:
        """Whatever of the checkpoint its answers depend on."""
        return self.network.variables

    def function(self) -> Callable[[jax.Array], jax.Array]:
        """A pure function of prepared pictures, uint8 [n, H, W, C] -> float32 [n, d]: the logits, or the features.

        For tracing: `jax.jit`, `jax.export`, a function of one's own. The weights are constants in it.
        """
        return self.network.function()

    def logits(self, images: UInt8[np.ndarray, "n H W C"], *beside: np.ndarray) -> Float[np.ndarray, "n classes"]:
        """Those of prepared pictures, float32, as evaluation stores them.

        `beside`: the numbers of their columns, float32 [n, width], where the model takes some (`columns`).

        Raises:
          UserError: where the model's answer is features, or the columns are missing.
        """
        if self.network.key != "logits":
            raise UserError(f"{self.network.title}: its answer is features and no classes; `features` gives them.")
        ask, width = functools.partial(self._ask, self.network.variables), len(self.classes)
        return in_pieces(ask, images, self.sizes, width, *beside)

    def features(self, images: UInt8[np.ndarray, "n H W C"], *beside: np.ndarray) -> Float[np.ndarray, "n d"]:
        """What the last layer of the model sees of prepared pictures, float32; of one view, whatever the setting.

        `beside` as of `logits`.

        Raises:
          UserError: where the model gives none, or the columns are missing.
        """
        return in_pieces(functools.partial(self._features, self.network.variables), images, self.sizes, 0, *beside)

    def distances(self, images: UInt8[np.ndarray, "n H W C"], *beside: np.ndarray) -> Float[np.ndarray, " n"] | None:
        """Those of prepared pictures to the training ones (measure.outliers); None where none are stored."""
        bank = self.network.bank
        return None if bank is None else outliers.distance(bank, self.features(images, *beside))

    @functools.cached_property
    def _features(self):
        network, device = self.network, self._prepares.device
        if not self.columns:
            networks.check_pictures(network, self._seen, "features")
        ask = lambda variables, images, *beside: network.features(  # noqa: E731
            variables, device(images), networks.batch_of(beside)
        )
        return jax.jit(ask)

    @functools.cached_property
    def _seen(self):
        """The shape of a picture, or clip, as the model sees it."""
        return jax.eval_shape(self._normalised, jax.ShapeDtypeStruct((1, *self.picture), np.uint8)).shape[1:]

    @functools.cached_property
    def explains(self) -> str | None:
        """The kind of heat maps: "Grad-CAM", "attention rollout" or None (explain.method)."""
        return explain.method(self.network.model, self._seen)

    def heatmaps(
        self, images: UInt8[np.ndarray, "n H W C"], classes: Sequence[str | int] | None = None
    ) -> tuple[UInt8[np.ndarray, "n h w C"], Float[np.ndarray, "n h w"]]:
        """As BasePredictor, of one view, whatever the setting of test-time augmentation. Raises UserError as
        `explain.heatmaps`."""
        numbers = self._numbers(classes)
        pictures, maps = [], []
        for start in range(0, len(images), explain.CHUNK):
            chunk = np.asarray(images[start : start + explain.CHUNK])
            n, size = len(chunk), room(self.sizes, len(chunk))
            normal = self._normalised(padded(chunk, size))
            wanted = None if numbers is None else padded(numbers[start : start + explain.CHUNK], size)
            maps.append(explain.heatmaps(self.network.model, self.network.variables, normal, wanted)[:n])
            pictures.append(self._prepares.levels(np.asarray(normal)[:n]))
        return np.concatenate(pictures), np.concatenate(maps)
