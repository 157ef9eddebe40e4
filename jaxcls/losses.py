"""Losses of single examples: pure functions `(logits [n, classes], label) -> [n]`, in float32.

A label is a class, or a distribution as MixUp makes them; of the binary ones (`binary_cross_entropy`, `asymmetric`) any
numbers from 0 to 1, such as a set of classes. The task multiplies by masks and weights and sums; nothing is averaged
over examples here. `jensen_shannon`, `distillation` and `binary_distillation` compare logits.

`label_smoothing` is the share of the probability that is spread evenly over all classes, the right one included, for
soft labels as well (Szegedy et al., Rethinking the Inception Architecture, section 7; as in PyTorch). Of sets each
class has two answers: `set_targets`.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Num

from jaxcls.hyperparameters import inverse

Logits = Float[Array, "n classes"]
Label = Int[Array, " n"] | Float[Array, "n classes"]
PerExample = Float[Array, " n"]


def cross_entropy(logits: Logits, label: Label, *, label_smoothing: float = 0.0) -> PerExample:
    """Cross entropy of softmax(logits) against classes, or distributions whose rows sum to one."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    if label.ndim == 1:
        picked = jnp.take_along_axis(log_p, label[:, None], axis=-1)[:, 0]
    else:
        picked = jnp.sum(label * log_p, axis=-1)
    if not label_smoothing:
        return -picked
    return -(1 - label_smoothing) * picked - label_smoothing * jnp.mean(log_p, axis=-1)


def targets(label: Label, classes: int, *, label_smoothing: float = 0.0) -> Float[Array, "n classes"]:
    """Labels as float32 distributions: one-hot where they are classes, then (1 - s) * label + s / classes."""
    label = jax.nn.one_hot(label, classes) if label.ndim == 1 else label.astype(jnp.float32)
    return (1 - label_smoothing) * label + label_smoothing / classes if label_smoothing else label


def set_targets(label: Num[Array, "n classes"], *, label_smoothing: float = 0.0) -> Float[Array, "n classes"]:
    """Sets of classes as float32: (1 - s) * label + s / 2, the share s spread over yes and no of every class."""
    label = label.astype(jnp.float32)
    return (1 - label_smoothing) * label + label_smoothing * 0.5 if label_smoothing else label


def focal(
    logits: Logits,
    label: Label,
    *,
    gamma: float = 2.0,
    alpha: float | Sequence[float] | Float[Array, " classes"] = 1.0,
    label_smoothing: float = 0.0,
) -> PerExample:
    """Focal loss of several classes: sum over k of label_k * alpha_k * (1 - p_k)^gamma * -log p_k, with p the softmax.

    Lin et al., Focal Loss for Dense Object Detection, eq. 5, with softmax in place of their sigmoid; a soft label
    weighs the terms of its classes. With gamma 0 and alpha 1 it is the cross entropy.

    Args:
      gamma: >= 0, how much easy examples are played down.
      alpha: weight of all classes, or one each.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    # 1 - p without cancellation; never quite 0, where the slope of a power below one is infinite
    rest = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(jnp.float32).tiny)
    weight = jnp.asarray(alpha, jnp.float32) * targets(label, logits.shape[-1], label_smoothing=label_smoothing)
    return -jnp.sum(weight * rest**gamma * log_p, axis=-1)


def binary_cross_entropy(
    logits: Logits,
    label: Label,
    *,
    label_smoothing: float = 0.0,
    threshold: float | None = None,
    sum_classes: bool = False,
    positive_weight: Float[Array, " classes"] | None = None,
) -> PerExample:
    """Every class a yes-or-no question of its own: cross entropy of sigmoid(logits), averaged over the classes.

    Wightman et al., ResNet strikes back, use it so that a picture mixed of two classes may show both in full. Equal to
    timm's `BinaryCrossEntropy`, but that smoothing applies to soft labels, too.

    Args:
      label: rows need not sum to one (several labels).
      threshold: labels above it become 1 and the others 0, after the smoothing; None leaves them.
      sum_classes: sum over the classes in place of the mean; larger by the number of classes.
      positive_weight: factor of each class's term of the label, not of that of its absence (PyTorch's `pos_weight`).
    """
    logits = logits.astype(jnp.float32)
    target = targets(label, logits.shape[-1], label_smoothing=label_smoothing)
    if threshold is not None:
        target = (target > threshold).astype(jnp.float32)
    there = -target * jax.nn.log_sigmoid(logits)
    loss = _weighted(there, positive_weight) - (1 - target) * jax.nn.log_sigmoid(-logits)
    return jnp.sum(loss, axis=-1) if sum_classes else jnp.mean(loss, axis=-1)


def asymmetric(
    logits: Logits,
    label: Label,
    *,
    gamma_neg: float = 4.0,
    gamma_pos: float = 1.0,
    clip: float = 0.05,
    label_smoothing: float = 0.0,
    sum_classes: bool = False,
    positive_weight: Float[Array, " classes"] | None = None,
) -> PerExample:
    """Asymmetric loss, averaged over the classes: easy negatives, of which a set has many, are played down the most.

    Ridnik et al., Asymmetric Loss For Multi-Label Classification, eq. 4 to 7: with p = sigmoid(logits) and
    p_m = max(p - clip, 0), -y (1 - p)^gamma_pos log p - (1 - y) p_m^gamma_neg log(1 - p_m); a soft label weighs both
    terms. The paper sums over the classes, its code over the pictures too (a learning rate of theirs goes with
    `sum_classes` and a batch's sum); the code takes gamma_pos 0 and cuts the factors off from differentiation, which
    the formula does not. With gammas and clip 0 it is the binary cross entropy.

    Args:
      gamma_neg, gamma_pos: >= 0, how much easy negatives and positives are played down.
      clip: in [0, 1); negatives with a lower probability count nothing at all (probability shifting).
      label_smoothing, sum_classes, positive_weight: as of `binary_cross_entropy`.
    """
    logits, tiny = logits.astype(jnp.float32), jnp.finfo(jnp.float32).tiny
    target = targets(label, logits.shape[-1], label_smoothing=label_smoothing)
    p, rest = jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)
    log_rest = jnp.log(jnp.minimum(rest + clip, 1.0)) if clip else jax.nn.log_sigmoid(-logits)
    # never quite 0, where the slope of a power below one is infinite
    there = -target * jnp.maximum(rest, tiny) ** gamma_pos * jax.nn.log_sigmoid(logits)
    absent = -(1 - target) * jnp.maximum(p - clip, tiny) ** gamma_neg * log_rest
    loss = _weighted(there, positive_weight) + absent
    return jnp.sum(loss, axis=-1) if sum_classes else jnp.mean(loss, axis=-1)


def _weighted(terms, weight):
    return terms if weight is None else terms * jnp.asarray(weight)[None]


def poly1(logits: Logits, label: Label, *, epsilon: float = 1.0, label_smoothing: float = 0.0) -> PerExample:
    """Poly-1: cross entropy + epsilon * (1 - p of the label), p the softmax (Leng et al., PolyLoss).

    `epsilon` >= -1 is the weight of the first term of the cross entropy's Taylor series at p = 1. For soft and smoothed
    labels, p of the label is the mean of p under the label.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    target = targets(label, logits.shape[-1], label_smoothing=label_smoothing)
    return jnp.sum(target * (epsilon * -jnp.expm1(log_p) - log_p), axis=-1)


def jensen_shannon(*views: Logits) -> PerExample:
    """Jensen-Shannon divergence between the predictions for two or more views: 0 to log(number of views), in nats.

    The mean over the views of KL(p_view || mean of p): Hendrycks et al., AugMix, section 3, there for the clean picture
    and two augmented ones; its factor of 12 belongs to the caller. Their code clips the mean at 1e-7; this one works on
    logarithms and needs no clip.
    """
    log_p = jax.nn.log_softmax(jnp.stack(views).astype(jnp.float32))
    log_mean = jax.nn.logsumexp(log_p, axis=0) - jnp.log(float(len(views)))
    return jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - log_mean[None]), axis=-1), axis=0)


def distillation(student: Logits, teacher: Logits, temperature: float = 1.0) -> PerExample:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), the soft part of distillation.

    Hinton et al., Distilling the Knowledge in a Neural Network, section 2: the factor keeps the size of the gradients
    when T changes. Nothing is cut off from differentiation: hand in constant logits of the teacher.
    """
    log_q = jax.nn.log_softmax(student.astype(jnp.float32) * inverse(temperature))
    log_p = jax.nn.log_softmax(teacher.astype(jnp.float32) * inverse(temperature))
    return temperature**2 * jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def binary_distillation(
    student: Logits, teacher: Logits, temperature: float = 1.0, *, sum_classes: bool = False
) -> PerExample:
    """T^2 * KL of sigmoid(teacher / T) from sigmoid(student / T), each class a distribution over yes and no, averaged
    over the classes or summed. The factor as of `distillation`."""
    x, y = (logits.astype(jnp.float32) * inverse(temperature) for logits in (student, teacher))
    yes = jax.nn.sigmoid(y) * (jax.nn.log_sigmoid(y) - jax.nn.log_sigmoid(x))
    no = jax.nn.sigmoid(-y) * (jax.nn.log_sigmoid(-y) - jax.nn.log_sigmoid(-x))
    return temperature**2 * (jnp.sum if sum_classes else jnp.mean)(yes + no, axis=-1)


def distilled(
    student: Logits,
    teacher: Logits,
    label: Label,
    *,
    alpha: float = 0.5,
    temperature: float = 1.0,
    loss: Callable[[Logits, Label], PerExample] = cross_entropy,
) -> PerExample:
    """alpha * T^2 * KL(teacher || student) + (1 - alpha) * loss(student, label); see `distillation`."""
    soft = distillation(student, teacher, temperature)
    return alpha * soft + (1 - alpha) * loss(student, label)
