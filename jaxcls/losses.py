"""Losses of single examples: pure functions `(logits [n, classes], target) -> [n]`, in float32.

The task multiplies by masks and weights and sums; nothing is averaged here.
"""

import jax
import jax.numpy as jnp


def cross_entropy(logits, label, *, label_smoothing=0.0):
    """Cross entropy of softmax(logits) against classes or distributions.

    Args:
      logits: [n, classes].
      label: int [n], or float [n, classes] whose rows sum to one (mixed or smoothed labels).
      label_smoothing: share of the probability that is spread evenly over all classes, the right one included
        (Szegedy et al., Rethinking the Inception Architecture, section 7; PyTorch's `CrossEntropyLoss` does the same).

    Returns:
      float32 [n].
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    if label.ndim == 1:
        picked = jnp.take_along_axis(log_p, label[:, None], axis=-1)[:, 0]
    else:
        picked = jnp.sum(label * log_p, axis=-1)
    if not label_smoothing:
        return -picked
    return -(1 - label_smoothing) * picked - label_smoothing * jnp.mean(log_p, axis=-1)
