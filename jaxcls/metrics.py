"""Metrics as (sum, count) pairs, so that no average depends on how the data was cut; and the figures made of them.

A row of logits is finite where its largest one is a finite number: no NaN, no +inf, and not all of them -inf (a class
at -inf alone is one that is ruled out). A row that is not finite is an answer of no class: it is wrong, by top-5 too,
and its loss is infinite. `not_finite` says how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.types import Figures

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Float, Int

CHUNK = 2**17  # numbers worked on at once: they stay in the cache, and no second array of all logits is needed


def correct(
    logits: Float[Array, "n classes"], label: Int[Array, " n"] | Float[Array, "n classes"]
) -> Float[Array, " n"]:
    """1.0 where the largest logit is the labelled class, of equal ones the first; 0.0 in rows that are not finite.

    A soft label counts as its most probable class.
    """
    import jax.numpy as jnp  # for what is traced alone: files are run without JAX

    if label.ndim == 2:
        label = jnp.argmax(label, axis=-1)
    right = (jnp.argmax(logits, axis=-1) == label) & jnp.isfinite(jnp.max(logits, axis=-1))
    return right.astype(jnp.float32)


def means(pairs: Mapping[str, tuple[Any, Any]]) -> dict[str, float]:
    """name -> (sum, count) as name -> sum / count (floats). A count of zero gives NaN: nothing was measured."""
    totals = {name: (float(np.sum(s)), float(np.sum(c))) for name, (s, c) in pairs.items()}
    return {name: s / c if c else math.nan for name, (s, c) in totals.items()}


def chunks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of so many rows of an array of this shape as make CHUNK numbers, at least one row."""
    size = max(1, CHUNK // max(1, shape[1]))
    return (slice(start, start + size) for start in range(0, shape[0], size))


def of_logits(logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"]) -> Figures:
    """Figures of a whole split from its stored logits, in float64 on the host, a few rows at a time.

    loss (mean cross entropy), accuracy (top-1), balanced_accuracy (mean over the classes that have examples of the
    share that is right), top5 (only for more than 5 classes), correct, count and not_finite (ints). All are over all
    rows. Of equal logits the lower class number goes first, so a model that says nothing is right as often as that
    class is, not always.

    Raises:
      ValueError: for shapes that do not fit, no rows, or labels that are no column of the logits.
    """
    logits, label = np.asarray(logits), np.asarray(label)
    check(logits, label)
    rank, loss = np.empty(len(label), np.int64), np.empty(len(label))
    not_finite = 0
    for rows in chunks(logits.shape):
        rank[rows], loss[rows], good = _rank_and_loss(logits[rows].astype(np.float64), label[rows])
        not_finite += int((~good).sum())
    hits = int((rank == 0).sum())
    support, right_of_class = np.bincount(label), np.bincount(label, weights=rank == 0)
    out = {
        "loss": float(loss.mean()),
        "accuracy": hits / len(label),
        "balanced_accuracy": float((right_of_class[support > 0] / support[support > 0]).mean()),
        "correct": hits,
        "count": len(label),
        "not_finite": not_finite,
    }
    if logits.shape[1] > 5:
        out["top5"] = float((rank < 5).mean())
    return out


def _rank_and_loss(logits, label):
    """(place of the labelled class, 0 for the first; cross entropy; whether the row is finite) of each row."""
    top = logits.max(axis=1, keepdims=True)
    good = np.isfinite(top[:, 0])
    if not good.all():
        logits, top = np.where(good[:, None], logits, 0.0), np.where(good[:, None], top, 0.0)
    right = logits[np.arange(len(label)), label]
    behind = (logits < right[:, None]) | ((logits == right[:, None]) & (np.arange(logits.shape[1]) >= label[:, None]))
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    rank = np.where(good, (~behind).sum(axis=1), logits.shape[1])
    return rank, np.where(good, log_sum - right, np.inf), good


def check(logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"]) -> None:
    """Raises ValueError for shapes that do not fit, no rows, or labels that are no column of the logits."""
    if logits.ndim != 2 or label.shape != (len(logits),) or len(label) == 0:
        raise ValueError(f"logits {logits.shape} do not fit labels {label.shape}")
    if label.min() < 0 or label.max() >= logits.shape[1]:
        raise ValueError(f"labels from {label.min()} to {label.max()} for {logits.shape[1]} classes")


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
    """One line for people about figures of `of_logits`: accuracy with its 95 % interval, the number of examples, and
    how many of those have logits that are not finite."""
    low, high = wilson_interval(figures["correct"], figures["count"])
    text = f"{figures['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}), {figures['count']} examples"
    if figures.get("not_finite"):
        text += f" ({figures['not_finite']} not finite, counted as wrong)"
    if "top5" in figures:
        text += f", top-5 {figures['top5']:.2%}"
    return f"{text}, loss {figures['loss']:.4g}"
