"""SGD, Adam and their relatives.

All take the keywords of `chain.chain` (`weight_decay`, `decay_mask`, `clip_norm`, ...) as `common`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcls.errors import UserError
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


class LarsForm(NamedTuple):
    """What a library means by LARS.

    Attributes:
      joint: the norm is that of the gradient with its decay; else the sum of both norms.
      inside: the learning rate is inside the momentum; else outside (PyTorch's momentum).
      clip: a step is at most that of SGD (LARC): the local rate by the learning rate is at most 1.
      eps: usual; added to the norm.
    """

    joint: bool
    inside: bool
    clip: bool = False
    eps: float = 0.0


LARS_FORMS = {
    "paper": LarsForm(joint=False, inside=True, eps=1e-9),  # You et al., algorithm 1
    "simclr": LarsForm(joint=True, inside=True),  # google-research/simclr, lars_optimizer.py, classic_momentum
    "moco_v3": LarsForm(joint=True, inside=False),  # facebookresearch/moco-v3, moco/optimizer.py
    "lightly": LarsForm(joint=False, inside=False, eps=1e-8),  # lightly.utils.lars, of Lightning Bolts
    "solo_learn": LarsForm(joint=False, inside=False, clip=True, eps=1e-8),  # solo.utils.lars with clip_lars_lr
}


def lars(
    learning_rate: Schedule,
    *,
    momentum: float | Schedule = 0.9,
    trust: float = 1e-3,
    form: str = "paper",
    eps: float | None = None,
    weight_decay: float = 0.0,
    decay_mask: Sequence[str] = DECAYED,
    **common: Any,
) -> optax.GradientTransformationExtraArgs:
    """LARS: each matrix steps in proportion to its norm (You et al., Large Batch Training of Convolutional Networks).

    The local rate is trust * |w| / (|g| + weight_decay * |w| + eps), or trust * |w| / (|g + weight_decay * w| + eps),
    times the learning rate, which is inside the momentum or outside: `form`, a name of LARS_FORMS. optax's is
    "simclr". What `decay_mask` does not name (biases, norms) has neither decay nor a local rate, as in all later work.
    We differ: lightly leaves local rates out where there is no decay; here `decay_mask` alone decides.

    Args:
      trust: the paper's eta; solo-learn's recipes have 0.02, all others 0.001.
      form: what is meant. Where it clips, the learning rate that counts is the schedule's, with what the loop makes of
        it (`lr_scale`), without `factors`.
      eps: guards against gradients of zero; None: the form's own.

    Raises:
      UserError: for another form.
    """
    if form not in LARS_FORMS:
        raise UserError(f"config.optim.lars_form is {form!r}; it can be {', '.join(LARS_FORMS)}")
    means = LARS_FORMS[form]
    rate = learning_rate if means.clip else None
    rule = _scale_by_lars(means, trust, means.eps if eps is None else eps, weight_decay, masked_by(decay_mask), rate)
    if means.inside:
        return chain(learning_rate, rule, decay=None, momentum=_momentum(momentum), **common)
    return chain(learning_rate, optax.chain(rule, _momentum(momentum)), decay=None, **common)


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


def _scale_by_lars(form, trust, eps, weight_decay, mask, learning_rate):
    """`learning_rate`: a schedule where the form clips, else None."""

    def init(params):
        mask(params)  # misspelt names fail here
        return optax.EmptyState() if learning_rate is None else optax.ScaleByScheduleState(jnp.zeros([], jnp.int32))

    def update(updates, state, params=None, *, lr_scale=None, **extra):
        del extra
        now = None
        if learning_rate is not None:
            now = learning_rate(state.count) * (1.0 if lr_scale is None else lr_scale)
            state = optax.ScaleByScheduleState(optax.safe_increment(state.count))

        def scale(g, w, adapted):
            if not adapted:
                return g
            full = g + weight_decay * w
            w_norm = _norm(w)
            norm = _norm(full) if form.joint else _norm(g) + weight_decay * w_norm
            local = trust * w_norm / jnp.where(norm > 0, norm + eps, 1.0)
            if form.clip:
                local = jnp.where(local < now, local / jnp.where(now > 0, now, 1.0), 1.0)
            return jnp.where((w_norm > 0) & (norm > 0), local, 1.0).astype(g.dtype) * full

        return jax.tree.map(scale, updates, params, mask(updates)), state

    return optax.GradientTransformationExtraArgs(init, update)


def _norm(x):
    return jnp.linalg.norm(x.ravel())
