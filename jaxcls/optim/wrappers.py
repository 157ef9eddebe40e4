"""Optimisers around optimisers: Lookahead, and sharpness-aware minimisation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcls import pytree
from jaxcls.optim.schedules import Schedule


class LookaheadState(NamedTuple):
    """State of the inner optimiser, the slow weights, and the number of updates done (int32)."""

    fast: Any
    slow: Any
    count: Any


def lookahead(
    tx: optax.GradientTransformation, *, k: int = 5, alpha: float | Schedule = 0.5
) -> optax.GradientTransformationExtraArgs:
    """Every `k` updates the slow weights move by `alpha` towards the fast ones, which go on from there.

    Zhang et al., Lookahead Optimizer: k steps forward, 1 step back, algorithm 1. The slow weights start at the first
    parameters, as in the paper; timm's start at those of the first synchronisation, which then changes nothing. Kept
    here are the fast weights as the parameters, so that nothing else has to know; optax's version wants both in the
    place of the parameters. Evaluate after a multiple of `k` updates to see the slow ones.

    Args:
      tx: the inner optimiser; its state is not reset.
      k: updates between synchronisations.
      alpha: step of the slow weights, or a schedule: number of updates done -> step.
    """
    inner = optax.with_extra_args_support(tx)

    def init(params):
        # copies: a buffer cannot be donated twice
        return LookaheadState(inner.init(params), jax.tree.map(jnp.copy, params), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra):
        updates, fast = inner.update(updates, state.fast, params, **extra)
        meets = (state.count + 1) % k == 0
        share = alpha(state.count + 1) if callable(alpha) else alpha

        def moved(slow, w, u):
            return jnp.where(meets, slow + share * (w + u - slow), slow)

        slow = jax.tree.map(moved, state.slow, params, updates)
        updates = jax.tree.map(lambda s, w, u: jnp.where(meets, s - w, u), slow, params, updates)
        return updates, LookaheadState(fast, slow, state.count + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def sam(
    tx: optax.GradientTransformation, *, rho: float = 0.05, frozen: Sequence[str] = ()
) -> optax.GradientTransformationExtraArgs:
    """Sharpness-aware minimisation: steps by the gradient at w + rho * g / |g| (Foret et al., eq. 2 and 4).

    The step function hands in `grad_fn`; each update costs two gradients. The whole global batch makes the first one
    (the paper's m-sharpness with m = batch). Goes outermost, around `freeze`. optax's `contrib.sam` does the same in
    its opaque mode but hands no other arguments on, so the loop could not scale the rate, and divides by a norm of 0.

    Args:
      tx: the optimiser that makes the step.
      rho: size of the neighbourhood.
      frozen: regular expressions of parameters that do not move, such as frozen ones.

    Raises:
      UserError: from `init`, if a pattern matches no parameter.
    """
    inner = optax.with_extra_args_support(tx)

    def init(params):
        pytree.require_matches(params, frozen, "config.optim.freeze")
        return inner.init(params)

    def update(updates, state, params=None, *, grad_fn, **extra):
        moving = jax.tree.map(lambda g, stays: g * (not stays), updates, pytree.mask(updates, frozen))
        scale = rho / jnp.maximum(optax.tree.norm(moving), 1e-12)
        there = jax.tree.map(lambda w, g: w + scale.astype(w.dtype) * g, params, moving)
        return inner.update(grad_fn(there, 0), state, params, grad_fn=grad_fn, **extra)

    return optax.GradientTransformationExtraArgs(init, update)
