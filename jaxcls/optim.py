"""Optimisers as optax chains: clipping, decay by parameter name, momentum, learning rate, and what the loop may set."""

import jax.numpy as jnp
import optax

from jaxcls import pytree


def sgd(
    learning_rate,
    *,
    momentum=0.9,
    nesterov=False,
    weight_decay=0.0,
    decay_mask=("kernel$",),
    clip_norm=0.0,
):
    """SGD with momentum and coupled (L2) decay, the trajectory of PyTorch's `torch.optim.SGD`.

    Args:
      learning_rate: schedule (step -> rate).
      momentum: float, or a schedule (one-cycle).
      nesterov: Nesterov's form of the momentum.
      weight_decay: L2 coefficient, added to the gradient before the momentum.
      decay_mask: regular expressions; a parameter decays if one is found in its name. The default spares biases and
        norms.
      clip_norm: largest global norm of the gradient; 0 for no clipping.

    Raises:
      UserError: from the chain's `init`, if a pattern of `decay_mask` matches no parameter.
    """
    parts = []
    if clip_norm:
        parts.append(optax.clip_by_global_norm(clip_norm))
    if weight_decay:
        parts.append(optax.add_decayed_weights(weight_decay, mask=lambda params: _mask(params, decay_mask)))
    if callable(momentum):
        parts.append(
            optax.inject_hyperparams(optax.trace, static_args=("nesterov",))(decay=momentum, nesterov=nesterov)
        )
    elif momentum:
        parts.append(optax.trace(decay=momentum, nesterov=nesterov))
    return optax.chain(*parts, optax.scale_by_learning_rate(learning_rate), scale_by_control("lr_scale"))


def scale_by_control(name):
    """Multiplies the updates by the control `name`, which the loop sets between steps; by 1 where there is none."""

    def update(updates, state, params=None, **extra):
        del params
        factor = extra.get(name)
        if factor is None:
            return updates, state
        return optax.tree.scale(jnp.asarray(factor), updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def _mask(params, patterns):
    pytree.require_matches(params, patterns, "config.optim.decay_mask")
    return pytree.mask(params, patterns)
