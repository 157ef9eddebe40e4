"""Metrics as (sum, count) pairs, so that no average depends on how the data was cut; and the figures made of them."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jaxcls.types import Figures


def correct(
    logits: Float[Array, "n classes"], label: Int[Array, " n"] | Float[Array, "n classes"]
) -> Float[Array, " n"]:
    """1.0 where the largest logit is the labelled class; a soft label counts as its most probable class."""
    if label.ndim == 2:
        label = jnp.argmax(label, axis=-1)
    return (jnp.argmax(logits, axis=-1) == label).astype(jnp.float32)


def means(pairs: Mapping[str, tuple[Any, Any]]) -> dict[str, float]:
    """name -> (sum, count) as name -> sum / count (floats). A count of zero gives NaN: nothing was measured."""
    totals = {name: (float(np.sum(s)), float(np.sum(c))) for name, (s, c) in pairs.items()}
    return {name: s / c if c else math.nan for name, (s, c) in totals.items()}


def of_logits(logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"]) -> Figures:
    """Figures of a whole split from its stored logits, in float64 on the host.

    loss (mean cross entropy), accuracy (top-1), balanced_accuracy (mean over the classes that have examples of the
    share that is right), top5 (only for more than 5 classes), correct and count (ints). Of equal logits the lower class
    number goes first, as argmax has it; a NaN is never right.
    """
    logits = np.asarray(logits, np.float64)
    label = np.asarray(label)
    right = logits[np.arange(len(label)), label]
    behind = (logits < right[:, None]) | ((logits == right[:, None]) & (np.arange(logits.shape[1]) >= label[:, None]))
    rank = (~behind).sum(axis=1)  # 0 for the first; a NaN is behind nothing
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1)) + logits.max(axis=1)
    hits = int((rank == 0).sum())
    support, right_of_class = np.bincount(label), np.bincount(label, weights=rank == 0)
    out = {
        "loss": float((log_sum - right).mean()),
        "accuracy": hits / len(label),
        "balanced_accuracy": float((right_of_class[support > 0] / support[support > 0]).mean()),
        "correct": hits,
        "count": len(label),
    }
    if logits.shape[1] > 5:
        out["top5"] = float((rank < 5).mean())
    return out


def wilson_interval(hits: float, n: float, z: float = 1.959964) -> tuple[float, float]:
    """(low, high) of a proportion (Wilson 1927); `z` is the normal quantile, by default of 95 %.

    Unlike the normal approximation it stays inside [0, 1] and holds near 100 %, where accuracies are. (0, 1) for n = 0.
    """
    if n == 0:
        return 0.0, 1.0
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # exactly 0 and 1 at the ends, where rounding would leave a little beside them
    return 0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half


def describe(figures: Figures) -> str:
    """One line for people about figures of `of_logits`: accuracy with its 95 % interval, the number of examples."""
    low, high = wilson_interval(figures["correct"], figures["count"])
    text = f"{figures['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}), {figures['count']} examples"
    if "top5" in figures:
        text += f", top-5 {figures['top5']:.2%}"
    return f"{text}, loss {figures['loss']:.4g}"
