"""A wrapper for sparsity in training: penalties that make weights small, and masks that hold some of them at zero."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import Array
from jaxtyping import Float

from jaxcls import pytree
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.base import Predictions, Task, Wrapper
from jaxcls.tasks.sparse_masks import Magnitude, TwoOfFour
from jaxcls.types import Batch, Figures, PyTree

MASKS = "masks"  # in state.extra: of the kernels that are masked, nested as the parameters are
ZEROS = "zeros"  # the share of the kernels' weights that are zero: a metric of training, and a figure
Penalty = Callable[[Mapping[str, Array]], Float[Array, ""]]  # of parameters by name


class Slice(NamedTuple):
    """What units have in one parameter.

    Attributes:
      name: of the parameter.
      axis: of it.
      places: int `[units, n]`, the n indices along the axis that each unit has there.
    """

    name: str
    axis: int
    places: np.ndarray


class Sparse(Wrapper):
    """A task with penalties on its parameters, or with masks on its kernels, or both.

    The mean loss of a step grows by each penalty times its weight, whatever the batch, micro-batches and devices are:
    what is added to the summed loss is that times the count by which it is divided. Masks are applied after each
    update, to the parameters and to their average (so this goes around `Ema`): whatever answers is an ordinary model
    with zeros among its weights. Momenta go on beneath a mask and have no effect.

    Args:
      inner: the task.
      penalties: (weight, penalty) pairs.
      masks: which weights are zero, and when; None for none.
      about: what is told beside the share of zeros; "" for nothing.
    """

    def __init__(
        self,
        inner: Task,
        penalties: Sequence[tuple[float, Penalty]] = (),
        masks: Magnitude | TwoOfFour | None = None,
        about: str = "",
    ):
        super().__init__(inner)
        self.penalties, self.masks, self.about = tuple(penalties), masks, about
        if masks is not None:
            self.scratch = (*inner.scratch, ZEROS)

    def init(self, rng: Array, batch: Batch, weights: PyTree = None) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
        """The inner task's, with masks that hold nothing."""
        params, model_state, extra = self.inner.init(rng, batch, weights)
        if self.masks is not None:
            named = pytree.flatten_names(params)
            extra = {**extra, MASKS: _nested({name: jnp.ones(named[name].shape, bool) for name in self.masks.names})}
        return params, model_state, extra

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """The inner task's with the penalties; metrics: their weighted sum as "penalty", with masks also "zeros"."""
        loss, aux = self.inner.loss(params, state, batch, rng)
        named, more = pytree.flatten_names(params), {}
        if self.penalties:
            penalty = sum((weight * penalty(named) for weight, penalty in self.penalties), jnp.float32(0))
            loss += penalty * aux.count
            more["penalty"] = penalty
        if self.masks is not None:
            more[ZEROS] = share_of_zeros([named[name] for name in self.masks.sizes])
        more = {name: (value * aux.count, aux.count) for name, value in more.items()}
        return loss, aux.replace(metrics={**aux.metrics, **more})

    def after_update(self, state: TrainState, aux: Aux) -> TrainState:
        """The inner task's, with zeros where the masks are."""
        state = self.inner.after_update(state, aux)
        if self.masks is None:
            return state
        own, step, old = self.masks, state.step, pytree.flatten_names(state.extra[MASKS])
        kernels = pytree.flatten_names(state.params)
        masks = jax.lax.cond(own.due(step), lambda: own.make(kernels, old, step), lambda: dict(old))
        extra = {**state.extra, MASKS: _nested(masks)}
        if "ema" in extra:
            extra["ema"] = {**extra["ema"], "params": masked(extra["ema"]["params"], masks)}
        return state.replace(params=masked(state.params, masks), extra=extra)

    def predict(self, state: TrainState, batch: Batch) -> dict[str, Array]:
        """The inner task's; with masks also "zeros" [n], the share in what answers, for `figures`."""
        out = self.inner.predict(state, batch)
        if self.masks is None:
            return out
        named = pytree.flatten_names(self.answering(state)["params"])
        share = share_of_zeros([named[name] for name in self.masks.sizes])
        return {**out, ZEROS: jnp.broadcast_to(share, batch["image"].shape[:1])}

    def figures(self, predictions: Predictions, others: Mapping[str, Predictions]) -> Figures:
        """The inner task's, and the share of zeros."""
        rest = {name: value for name, value in predictions.items() if name != ZEROS}
        figures = self.inner.figures(rest, others)
        return {**figures, ZEROS: float(predictions[ZEROS][0])} if ZEROS in predictions else figures

    def ranked(self, figures: Figures) -> bool:
        """The inner task's, once what answers has the zeros that were asked: before, it would be better with fewer."""
        short = self.masks is not None and figures.get(ZEROS, 1.0) < self.masks.target - 1e-6  # of float32
        return not short and self.inner.ranked(figures)

    def describe(self, figures: Figures) -> str:
        """The inner task's, and the share of zeros."""
        line = self.inner.describe(figures)
        if self.masks is None or ZEROS not in figures:
            return line
        kernels = len(self.masks.sizes)
        each = f"{kernels} kernels" if kernels > 1 else "one kernel"
        return f"{line}; {figures[ZEROS]:.2%} of the weights of {each} are zero{self.about}"


def masked(params: PyTree, masks: Mapping[str, Array]) -> PyTree:
    """Parameters with zeros where the mask of their name is False."""
    named = pytree.flatten_names(params)
    held = [jnp.where(masks[name], leaf, 0) if name in masks else leaf for name, leaf in named.items()]
    return jax.tree.unflatten(jax.tree.structure(params), held)


def share_of_zeros(arrays: Sequence[Array]) -> Float[Array, ""]:
    """Of all entries together."""
    zeros = sum((jnp.sum(array == 0) for array in arrays), jnp.int32(0))
    return zeros / jnp.float32(sum(array.size for array in arrays))


def l1(names: Sequence[str]) -> Penalty:
    """The sum of |w| over parameters: of the scales of BatchNorms network slimming (Liu et al. 2017, arXiv 1708.06519,
    equation 1), of kernels the lasso. At 0 the gradient is 0 (that of `jnp.abs` is 1)."""

    def penalty(named):
        arrays = [named[name].astype(jnp.float32) for name in names]
        return sum((jnp.sum(array * jnp.sign(array)) for array in arrays), jnp.float32(0))

    return penalty


def group_lasso(groups: Sequence[Sequence[Slice]]) -> Penalty:
    """The sum over units of sqrt(size) times the norm of all entries that the unit has (Yuan and Lin 2006, section 2;
    Wen et al. 2016, arXiv 1608.03665, without sqrt(size)). At a norm of 0 the gradient is 0.

    Args:
      groups: of units; each the slices in which its units lie, of different parameters or axes.
    """

    def penalty(named):
        return sum((_norms(group, named) for group in groups), jnp.float32(0))

    return penalty


def _norms(group, named):
    squares, size = jnp.float32(0), 0
    for name, axis, places in group:
        array = named[name].astype(jnp.float32)
        each = jnp.sum(jnp.square(array), axis=[i for i in range(array.ndim) if i != axis])
        squares += jnp.sum(each[places], axis=1)
        size += array.size // array.shape[axis] * places.shape[1]
    some = squares > 0
    return np.sqrt(np.float32(size)) * jnp.sum(jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1.0)), 0.0))


def _nested(named):
    return traverse_util.unflatten_dict(dict(named), sep="/")
