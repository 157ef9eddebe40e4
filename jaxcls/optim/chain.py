"""What all optimisers have in common: clipping, decay by parameter name, learning rate, and what the loop may set."""

from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import optax

from jaxcls import pytree
from jaxcls.optim.clipping import clip_adaptive
from jaxcls.optim.schedules import Schedule
from jaxcls.types import PyTree

# Kernels, and torchvision's `in_proj_weight` of attention: every matrix of every model, and no bias, scale of a norm or
# a layer, embedding, token or table of relative positions.
DECAYED = ("kernel$|_weight$",)


def chain(
    learning_rate: Schedule,
    rule: optax.GradientTransformation,
    *,
    decay: str | None,
    after_decay: optax.GradientTransformation | None = None,
    momentum: optax.GradientTransformation | None = None,
    weight_decay: float = 0.0,
    decay_mask: Sequence[str] = DECAYED,
    clip_norm: float = 0.0,
    clip_adaptive_ratio: float = 0.0,
    clip_adaptive_exclude: Sequence[str] = (),
    factors: Iterable[Callable[[PyTree], PyTree]] = (),
) -> optax.GradientTransformationExtraArgs:
    """Clipping -> [coupled decay] -> rule -> [decoupled decay] -> learning rate, and the scale that the loop sets.

    The arguments up to `momentum` make an optimiser, the others are for whoever uses it and are keywords of all.

    Args:
      learning_rate: schedule, step -> rate.
      rule: optax transformation from gradients to steps of unit rate.
      decay: "coupled" (L2, added to the gradient), "decoupled" (added to the step, so that it is multiplied by the
        learning rate alone) or None where the rule does it.
      after_decay: optax transformation of the steps with their decay (LAMB), or None.
      momentum: optax transformation of the steps times the rate, or None.
      weight_decay: the coefficient; 0 for none.
      decay_mask: regular expressions; a parameter decays if one is found in its name. The default spares biases, norms
        and embeddings.
      clip_norm: largest global norm of the gradient; 0 for no clipping.
      clip_adaptive_ratio: largest ratio of a unit's gradient to its weights (`clip_adaptive`); 0 for no such clipping.
      clip_adaptive_exclude: regular expressions of parameters that are not clipped so (the classifier).
      factors: functions from parameters to a tree of factors of their learning rates, decay included (`by_name`,
        `layerwise`).

    Raises:
      UserError: from the chain's `init`, if a pattern matches no parameter.
    """
    parts = []
    if clip_norm:
        parts.append(optax.clip_by_global_norm(clip_norm))
    if clip_adaptive_ratio:
        parts.append(clip_adaptive(clip_adaptive_ratio, exclude=clip_adaptive_exclude))
    decays = [optax.add_decayed_weights(weight_decay, mask=masked_by(decay_mask))] if weight_decay and decay else []
    parts += [*decays, rule] if decay == "coupled" else [rule, *decays]
    if after_decay is not None:
        parts.append(after_decay)
    parts += [optax.scale_by_learning_rate(learning_rate), scale_by_control("lr_scale")]
    parts += [_scale_by_factors(factor) for factor in factors]
    if momentum is not None:
        parts.append(momentum)
    return optax.chain(*parts)


def scale_by_control(name: str) -> optax.GradientTransformationExtraArgs:
    """Multiplies the updates by the control `name`, which the loop sets between steps; by 1 where there is none."""

    def update(updates, state, params=None, **extra):
        del params
        factor = extra.get(name)
        if factor is None:
            return updates, state
        return optax.tree.scale(jnp.asarray(factor), updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def masked_by(patterns: Sequence[str], what: str = "config.optim.decay_mask") -> Callable[[PyTree], PyTree]:
    """A function from a tree to a tree of bools, True where a pattern is found; UserError if one is found nowhere."""

    def mask(tree):
        pytree.require_matches(tree, patterns, what)
        return pytree.mask(tree, patterns)

    return mask


def _scale_by_factors(factors):
    def init(params):
        factors(params)  # misspelt names fail here
        return optax.EmptyState()

    def update(updates, state, params=None):
        return jax.tree.map(lambda u, f: u * f, updates, factors(params)), state

    return optax.GradientTransformation(init, update)
