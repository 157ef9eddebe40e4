"""What a k-fold run has produced: the networks of its folds, and all of them as one."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import jax.numpy as jnp
from jax import Array

from jaxcls.checkpoints import folds
from jaxcls.errors import UserError
from jaxcls.measure.decision import Decision
from jaxcls.tasks import base, networks, tta
from jaxcls.tasks.networks import Network
from jaxcls.types import Batch, PathLike, PyTree


@dataclasses.dataclass(frozen=True)
class FoldsNetwork(Network):
    """As Network, of networks of one model: its answer is logits whose calibrated probabilities are the mean of theirs
    (for arrays of NumPy `predict.pooling.averaged`). `variables`: "fold-1" .. "fold-k" -> those of each."""

    def answer(self, variables: PyTree, image: Array, batch: Batch | None = None) -> Array:
        """The logits of the mean of normalised pictures [n, h, w, c], over all views: float32 [n, d]. For tracing.
        `batch` as of Network."""
        scale, bias = _calibrated(self.calibration, self.output)
        scaled = [super(FoldsNetwork, self).answer(each, image, batch) * scale + bias for each in variables.values()]
        weights = jnp.full((len(scaled), 1, 1), 1 / len(scaled), jnp.float32)
        return (tta.of_mean_probabilities(jnp.stack(scaled), weights, self.output) - bias) / scale

    def features(self, variables: PyTree, image: Array, batch: Batch | None = None) -> NoReturn:
        """Raises UserError: there are none."""
        raise UserError(f"{self.title}: features are of one network; take the folder of a fold.")


def _calibrated(decision, output):
    """(factor, summand) that a calibration gives logits before they become probabilities."""
    if not decision:
        return 1.0, 0.0
    if output == base.SIGMOID:
        return tuple(jnp.asarray([decision[key]], jnp.float32) for key in ("scale", "bias"))
    return 1 / float(decision["temperature"]), 0.0


def together(found: Sequence[Network], decision: Decision | None, where: PathLike = "") -> FoldsNetwork:
    """The networks of folds as one.

    Args:
      found: of `from_folds`.
      decision: the calibration of the whole (`calibration/0.json`), or None. What it says of outliers is left out: an
        energy is of one network's logits.
      where: the workdir, for its title.
    """
    digest = hashlib.sha256(" ".join(network.source["sha256"] for network in found).encode()).hexdigest()
    fields = {field.name: getattr(found[0], field.name) for field in dataclasses.fields(Network)}
    told = {
        "title": f"{found[0].name}, the mean of {len(found)} folds of {where}",
        "variables": {f"fold-{i + 1}": network.variables for i, network in enumerate(found)},
        "calibration": {**decision, "outliers": None} if decision else None,
        "bank": None,
        "step": folds.STEP,
        "source": {"model": found[0].name, "sha256": digest},
    }
    return FoldsNetwork(**{**fields, **told})


def from_folds(
    path: PathLike, step: int | None = None, *, raw: bool = False, dtype: str | None = None
) -> list[Network]:
    """The networks of a k-fold run's folds, each of its best checkpoint; [] for what is no such run.

    Args:
      path: the workdir.
      step: what was asked for; a k-fold run has no steps of its own.
      raw, dtype: as of `networks.from_run`.

    Raises:
      UserError: where folds are not done, can't be read or do not fit together.
    """
    workdirs: list[Path] = folds.finished(path)
    if workdirs and step is not None:
        raise UserError(f"{path} has {len(workdirs)} folds and no step {step}; leave it out, or give {workdirs[0]}.")
    found = [networks.from_run(workdir, raw=raw, dtype=dtype) for workdir in workdirs]
    if found and (beside := getattr(found[0].model, "beside", "")):
        raise UserError(
            f"{path}: its folds take {beside} beside each picture, and each reads them by its own rows, "
            f"so they are no one network; give the folder of a fold, such as {workdirs[0]}."
        )
    for network, workdir in zip(found[1:], workdirs[1:], strict=True):
        alike = ("model", "classes", "preprocessing", "output", "views", "mean")
        if other := [name for name in alike if getattr(network, name) != getattr(found[0], name)]:
            raise UserError(f"{workdir} and {workdirs[0]} have another {other[0]}: they are no folds of one run.")
    return found
