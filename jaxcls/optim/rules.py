"""SGD, Adam and their relatives.

All take the keywords of `chain.chain` (`weight_decay`, `decay_mask`, `clip_norm`, ...) as `common`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxcls.optim.chain import DECAYED, chain, masked_by
from jaxcls.optim.schedules import Schedule


def sgd(
    learning_rate: Schedule, *, momentum: float | Schedule = 0.9, nesterov: bool = False, **common: Any
) -> optax.GradientTransformationExtraArgs:
    """SGD with momentum and coupled (L2) decay, the trajectory of PyTorch's `torch.optim.SGD`.

    `nesterov`: Nesterov's form of the momentum, which may be a schedule (one-cycle).
    """
    return chain(learning_rate, _momentum(momentum, nesterov), decay="coupled", **common)


def adam(
    learning_rate: Schedule, *, b1: float | Schedule = 0.9, b2: float = 0.999, eps: float = 1e-8, **common: Any
) -> optax.GradientTransformationExtraArgs:
    """Adam with coupled (L2) decay, the trajectory of `torch.optim.Adam` (Kingma & Ba). `b1` may be a schedule."""
    return chain(learning_rate, _adam(b1, b2, eps), decay="coupled", **common)


def adamw(
    learning_rate: Schedule, *, b1: float | Schedule = 0.9, b2: float = 0.999, eps: float = 1e-8, **common: Any
) -> optax.GradientTransformationExtraArgs:
    """Adam with decoupled decay, the trajectory of `torch.optim.AdamW` (Loshchilov & Hutter, Decoupled Weight Decay
    Regularization). As there the decay is multiplied by the learning rate. `b1` may be a schedule."""
    return chain(learning_rate, _adam(b1, b2, eps), decay="decoupled", **common)


def lion(
    learning_rate: Schedule, *, b1: float = 0.9, b2: float = 0.99, **common: Any
) -> optax.GradientTransformationExtraArgs:
    """Lion with decoupled decay (Chen et al., Symbolic Discovery of Optimization Algorithms): steps of one size.

    Rates a tenth of AdamW's and decays ten times its own are usual.
    """
    return chain(learning_rate, optax.scale_by_lion(b1=b1, b2=b2), decay="decoupled", **common)


def rmsprop_tf(
    learning_rate: Schedule,
    *,
    momentum: float | Schedule = 0.9,
    decay_rate: float = 0.9,
    eps: float = 1e-3,
    **common: Any,
) -> optax.GradientTransformationExtraArgs:
    """RMSProp as TensorFlow 1 had it, with which EfficientNet, MobileNetV3 and MNASNet were trained; coupled decay.

    It differs from PyTorch's and from optax's defaults in three ways, as timm's `RMSpropTF` does: `eps` is inside the
    root, the average of squares starts at 1, and the learning rate is inside the momentum. `decay_rate` is that of the
    average of squares; `eps` was 1e-3 in those recipes (timm's own default: 1e-10).
    """
    rule = optax.scale_by_rms(decay=decay_rate, eps=eps, initial_scale=1.0, eps_in_sqrt=True)
    return chain(learning_rate, rule, decay="coupled", momentum=_momentum(momentum), **common)


def lars(
    learning_rate: Schedule,
    *,
    momentum: float | Schedule = 0.9,
    trust: float = 1e-3,
    eps: float = 1e-9,
    weight_decay: float = 0.0,
    decay_mask: Sequence[str] = DECAYED,
    **common: Any,
) -> optax.GradientTransformationExtraArgs:
    """LARS: each matrix steps in proportion to its norm (You et al., Large Batch Training of Convolutional Networks,
    algorithm 1), the learning rate inside the momentum.

    The local rate is trust * |w| / (|g| + weight_decay * |w| + eps), the paper's sum of norms; optax has the norm of
    the sum. `trust` is the paper's eta, `eps` guards against gradients of zero. What `decay_mask` does not name
    (biases, norms) has neither decay nor a local rate, as in all later work.
    """
    rule = _scale_by_lars(trust, eps, weight_decay, masked_by(decay_mask))
    return chain(learning_rate, rule, decay=None, momentum=_momentum(momentum), **common)


def lamb(
    learning_rate: Schedule,
    *,
    b1: float | Schedule = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    decay_mask: Sequence[str] = DECAYED,
    **common: Any,
) -> optax.GradientTransformationExtraArgs:
    """LAMB: AdamW whose steps have the norm of the weights (You et al., Large Batch Optimization for Deep Learning,
    algorithm 2, with phi the identity).

    timm's and NVIDIA's, besides, clip the gradient to a norm of 1: `clip_norm=1.0`. What `decay_mask` does not name is
    stepped as by AdamW without decay.
    """
    rule, ratio = _adam(b1, b2, eps), optax.masked(optax.scale_by_trust_ratio(), masked_by(decay_mask))
    return chain(learning_rate, rule, decay="decoupled", after_decay=ratio, decay_mask=decay_mask, **common)


def _momentum(momentum, nesterov=False):
    """v = momentum * v + update, and v is the new update; nothing where the momentum is 0."""

    def trace(decay):
        return optax.trace(decay=decay, nesterov=nesterov)

    if callable(momentum):
        return optax.inject_hyperparams(trace)(decay=momentum)
    return trace(momentum) if momentum else optax.identity()


def _adam(b1, b2, eps):
    def rule(b1):
        return optax.scale_by_adam(b1=b1, b2=b2, eps=eps)

    return optax.inject_hyperparams(rule)(b1=b1) if callable(b1) else rule(b1)


def _scale_by_lars(trust, eps, weight_decay, mask):
    def init(params):
        mask(params)  # misspelt names fail here
        return optax.EmptyState()

    def update(updates, state, params=None):
        def scale(g, w, adapted):
            if not adapted:
                return g
            w_norm, g_norm = jnp.linalg.norm(w.ravel()), jnp.linalg.norm(g.ravel())
            local = trust * w_norm / (g_norm + weight_decay * w_norm + eps)
            return jnp.where(w_norm > 0, local, 1.0).astype(g.dtype) * (g + weight_decay * w)

        return jax.tree.map(scale, updates, params, mask(updates)), state

    return optax.GradientTransformation(init, update)
