"""A wrapper for fine-tuning: what is frozen gets no gradient, and its BatchNorm works as in inference."""

import functools
import math
from collections.abc import Callable, Mapping

import jax
from jax import Array
from jaxtyping import Float

from jaxcls import pytree
from jaxcls.models import batch_norm
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.base import Task, Wrapper
from jaxcls.types import Batch, PyTree


class Frozen(Wrapper):
    """A task of which some parameters are not trained, or not from the start.

    Frozen parameters are constants to differentiation, so no backward pass is computed below the first layer that is
    trained. BatchNorm whose own parameters are all frozen normalises by its running statistics and leaves them as they
    are, until it is trained; one without parameters goes with the module around it. That the parameters themselves stay
    is the optimiser's part (`optim.freeze`, `transfer.gradual`). Goes around all other wrappers.

    Args:
      inner: the task.
      timing: name of a parameter -> the first step that trains it (0: from the start), None for never.
    """

    def __init__(self, inner: Task, timing: Callable[[str], int | None]):
        super().__init__(inner)
        self.timing = timing

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """The inner task's."""
        unfreeze_at = {name: self.timing(name) for name in pytree.flatten_names(params)}
        leaves, structure = jax.tree.flatten(params)
        held = [
            jax.lax.stop_gradient(leaf) if step is None else leaf
            for leaf, step in zip(leaves, unfreeze_at.values(), strict=True)
        ]
        first_step = functools.partial(norm_unfreezes_at, unfreeze_at=unfreeze_at)
        with batch_norm.held(first_step, state.step):
            return self.inner.loss(jax.tree.unflatten(structure, held), state, batch, rng)


def norm_unfreezes_at(path: tuple[str, ...], unfreeze_at: Mapping[str, int | None]) -> float:
    """The first step in which the statistics of a BatchNorm move; infinite for never.

    Args:
      path: of the module.
      unfreeze_at: parameter name -> first step, None for never.
    """
    for length in range(len(path), 0, -1):
        below = "/".join(path[:length]) + "/"
        steps = [math.inf if step is None else step for name, step in unfreeze_at.items() if name.startswith(below)]
        if steps:
            return min(steps)
    return 0
