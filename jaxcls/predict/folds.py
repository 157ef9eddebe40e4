"""A k-fold run as a function of pictures: the probabilities of its folds' networks, averaged."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import jax
import numpy as np

from jaxcls.checkpoints import folds
from jaxcls.errors import UserError
from jaxcls.measure import decision as decisions
from jaxcls.predict.base import in_pieces
from jaxcls.predict.pooling import averaged
from jaxcls.predict.predictor import SIZES, Predictor
from jaxcls.tasks import fold_networks
from jaxcls.tasks.networks import Network
from jaxcls.types import PathLike

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8


class FoldsPredictor(Predictor):
    """As Predictor, of a k-fold run. One program answers for all folds; their weights are arguments.

    The probabilities of each are calibrated by what is stored for the whole (`calibration/0.json` of the workdir), then
    averaged. Features, heat maps and distances are of one network: those of a fold's folder.
    """

    unexplained = "they are of one network; take the folder of a fold, such as its fold-1"

    def __init__(self, networks: Sequence[Network], decision: decisions.Decision | None, sizes: Sequence[int] = SIZES):
        whole = fold_networks.together(networks, decision)
        told = {name: getattr(whole, name) for name in ("calibration", "bank", "step", "source")}
        super().__init__(dataclasses.replace(networks[0], **told), sizes)
        self._others = [jax.device_put(network.variables) for network in networks[1:]]

    @property
    def variables(self) -> Any:
        """Those of all folds."""
        return [self.network.variables, *self._others]

    @property
    def title(self) -> str:
        """A few words about which weights these are."""
        return f"{self.name}, mean of {len(self.variables)} folds"

    def logits(self, images: UInt8[np.ndarray, "n H W C"], *beside: np.ndarray) -> Float[np.ndarray, "n classes"]:
        """Those of the averaged probabilities (`pooling.averaged`)."""
        del beside  # such folds are no network (fold_networks.from_folds)
        width = len(self.classes)
        found = [in_pieces(functools.partial(self._ask, each), images, self.sizes, width) for each in self.variables]
        return averaged(found, self.decision, sets=self.sets)

    def features(self, images: UInt8[np.ndarray, "n H W C"], *beside: np.ndarray) -> NoReturn:
        """Raises UserError: there are none."""
        raise UserError("features are of one network; load the folder of a fold.")

    def function(self) -> Callable[[jax.Array], jax.Array]:
        """As of Predictor: all folds are in it."""
        parts = [dataclasses.replace(self.network, variables=each) for each in self.variables]
        return fold_networks.together(parts, self.decision).function()

    @functools.cached_property
    def explains(self) -> str | None:
        """None: heat maps are of one network."""
        return None


def load(path: PathLike, step: int | None = None, sizes: Sequence[int] = SIZES) -> Predictor:
    """The predictor of a run (`Predictor.load`), or of a k-fold run.

    Raises:
      UserError: as `Predictor.load`; for a k-fold run that is not done.
    """
    networks = fold_networks.from_folds(path, step)
    if not networks:
        return Predictor.load(path, step, sizes)
    return FoldsPredictor(networks, decisions.read(path, folds.STEP), sizes)
