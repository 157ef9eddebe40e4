"""Slow encoders: copies of an encoder and its projector that follow it by a moving average of the parameters alone."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxcls.state import Aux, TrainState
from jaxcls.tasks.ssl.frame import PREDICTOR, Seen, TwoViews
from jaxcls.types import Batch, PyTree

SLOW, SLOW_STATE = "slow", "slow_state"  # entries of TrainState.extra


class WithSlow(TwoViews):
    """The frame with a slow encoder, which begins as a copy and has BatchNorm statistics of its own, as it sees other
    pictures than the fast one (He et al., Momentum Contrast, algorithm 1).

    Args:
      momentum: share of the old parameters that is kept, at the start.
      total: steps over which it grows to 1 along a cosine (Grill et al., Bootstrap Your Own Latent, section 3.2);
        0: it stays.
      **frame: of `TwoViews`.
    """

    def __init__(self, *args: Any, momentum: float = 0.99, total: int = 0, **frame: Any):
        super().__init__(*args, **frame)
        self.momentum, self.total = momentum, total

    def init(self, rng: Array, batch: Batch, weights: PyTree = None) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
        """As the frame's, with the copies in `extra` (copies: a buffer cannot be donated twice)."""
        params, model_state, extra = super().init(rng, batch, weights)
        copied = jax.tree.map(jnp.copy, (_without(params), {c: _without(tree) for c, tree in model_state.items()}))
        return params, model_state, {**extra, SLOW: copied[0], SLOW_STATE: copied[1]}

    def see_slowly(self, slow_state: PyTree, state: TrainState, image: Array, rng: Array) -> Seen:
        """As `see`, of the slow encoder, with no gradient; `slow_state` is extra[SLOW_STATE] or what `see_slowly` has
        left of it."""
        return jax.lax.stop_gradient(self.see({"params": state.extra[SLOW], **slow_state}, image, rng))

    def after_update(self, state: TrainState, aux: Aux) -> TrainState:
        """Moves the slow encoder towards the new parameters. So it is, in the next step, what the papers make at the
        start of that step."""
        del aux
        m = self.momentum_at(state.step)
        slow = jax.tree.map(lambda old, new: m * old + (1 - m) * new, state.extra[SLOW], _without(state.params))
        return state.replace(extra={**state.extra, SLOW: slow})

    def momentum_at(self, step: Array) -> Any:
        """The momentum in step number `step` (from 0)."""
        if not self.total:
            return self.momentum
        share = jnp.minimum(step / self.total, 1.0)
        return 1 - (1 - self.momentum) * 0.5 * (1 + jnp.cos(math.pi * share))


def _without(tree):
    """Without the predictor, which the slow encoder does not have."""
    return {name: value for name, value in tree.items() if name != PREDICTOR}
