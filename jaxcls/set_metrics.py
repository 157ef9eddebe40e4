"""Figures of answers about sets of labels: logits [n, classes] whose sigmoid is the probability of each class, against
sets uint8 [n, classes] of 0 and 1. NumPy alone, in float64, equal to scikit-learn's of the same name.

A row of logits is finite as in `metrics`. A row that is not is wrong about every class: ranked behind all others where
it has the class and before all where it has not, counted as a miss or a false alarm, and its loss is infinite. So it
makes each figure as bad as any answer could, and `not_finite` says how many there are.

A class without any picture has no average precision, and no F1; it is left out of the means over classes (`mAP`, `f1`),
and counts in what is pooled over classes (`mAP_micro`, `f1_micro`, `hamming`, `exact`). A class is answered where its
probability is at least 0.5, that is, where its logit is not negative.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from jaxcls.metrics import chunks
from jaxcls.types import Figures

if TYPE_CHECKING:
    from jaxtyping import Float, Num

    Sets = Num[np.ndarray, "n classes"]

NORMAL = 1.959964  # the normal quantile of 95 %


def average_precision(scores: Num[np.ndarray, " n"], positive: Num[np.ndarray, " n"]) -> float:
    """Mean over the positives of the share of positives among all that score as high or higher; NaN without any.

    That is the step-wise area below precision against recall, equal scores being one step, as scikit-learn's
    `average_precision_score`.
    """
    positive = np.asarray(positive, bool)
    if not positive.any():
        return math.nan
    everybody, mine = np.sort(scores), np.sort(np.asarray(scores)[positive])
    above = len(everybody) - np.searchsorted(everybody, mine, side="left")
    hits = len(mine) - np.searchsorted(mine, mine, side="left")
    return float(np.mean(hits / above))


def auc(scores: Num[np.ndarray, " n"], positive: Num[np.ndarray, " n"]) -> float:
    """Area below the ROC curve: how often a positive scores higher than a negative, equal ones being half a time.

    NaN without any positive, or without any negative. As scikit-learn's `roc_auc_score`.
    """
    positive = np.asarray(positive, bool)
    if positive.all() or not positive.any():
        return math.nan
    mine, others = np.asarray(scores)[positive], np.sort(np.asarray(scores)[~positive])
    below = np.searchsorted(others, mine, side="left") + np.searchsorted(others, mine, side="right")
    return float(np.mean(below) / 2 / len(others))


def of_sets(logits: Float[np.ndarray, "n classes"], label: Sets) -> Figures:
    """Figures of a whole split from its logits.

    mAP (mean over classes of the average precision; NaN where no picture has a label) and mAP_error, its standard error
    over pictures (`interval`); mAP_micro (average precision of all pairs of picture and class together); auc (mean over
    classes; left out where no class has both kinds); f1 (mean over classes) and f1_micro; hamming (share of the pairs
    answered wrongly), exact (share of the pictures whose whole set is right), loss (mean binary cross entropy over
    pairs), count and not_finite (pictures).

    Raises:
      ValueError: for shapes that do not fit, no rows or classes, or labels other than 0 and 1.
    """
    logits, label = np.asarray(logits), np.asarray(label)
    check(logits, label)
    found = by_class(logits, label)
    seen = found["support"] > 0
    counts = {name: found[name].sum() for name in ("hits", "alarms", "misses")}
    exact, loss, good = _of_rows(logits, label)
    out = {
        "mAP": _mean(found["ap"][seen]),
        "mAP_error": _map_error(logits, label),
        "mAP_micro": average_precision(_scores(logits, label, good).ravel(), label.ravel()),
        "auc": _mean(found["auc"][~np.isnan(found["auc"])]),
        "f1": _mean(found["f1"][seen]),
        "f1_micro": float(_f1(**counts)),
        "hamming": float((counts["alarms"] + counts["misses"]) / label.size),
        "exact": float(exact.mean()),
        "loss": float(loss.mean()),
        "count": len(label),
        "not_finite": int((~good).sum()),
    }
    return out if not math.isnan(out["auc"]) else {name: value for name, value in out.items() if name != "auc"}


def by_class(logits: Float[np.ndarray, "n classes"], label: Sets) -> dict[str, Num[np.ndarray, " classes"]]:
    """Of each class: support (pictures that have it), ap, auc, f1, precision and recall at probability 0.5, hits,
    alarms and misses. NaN where there is none (see the module). Raises ValueError as `of_sets`."""
    logits, label = np.asarray(logits), np.asarray(label)
    check(logits, label)
    good, positive = _finite(logits), label.astype(bool)
    classes = logits.shape[1]
    out: dict[str, np.ndarray] = {name: np.empty(classes) for name in ("ap", "auc")}
    for j in range(classes):
        scores = _scores(logits[:, j : j + 1], label[:, j : j + 1], good)[:, 0]
        out["ap"][j], out["auc"][j] = average_precision(scores, positive[:, j]), auc(scores, positive[:, j])
    hits, alarms, support = (np.zeros(classes, np.int64) for _ in range(3))
    for rows in chunks(logits.shape):
        said = _answered(logits[rows], positive[rows], good[rows])
        hits += (said & positive[rows]).sum(axis=0)
        alarms += (said & ~positive[rows]).sum(axis=0)
        support += positive[rows].sum(axis=0)
    out |= {"support": support, "hits": hits, "alarms": alarms, "misses": support - hits}
    with np.errstate(invalid="ignore"):
        out |= {"precision": hits / (hits + alarms), "recall": hits / support}
    out["f1"] = np.where(support > 0, _f1(hits, alarms, support - hits), math.nan)
    return out


def interval(figures: Figures) -> tuple[float, float] | None:
    """The 95 % interval of the mAP over pictures like these, from its standard error; None where there is none."""
    value, error = figures.get("mAP", math.nan), figures.get("mAP_error", math.nan)
    if math.isnan(value) or math.isnan(error):
        return None
    return max(0.0, value - NORMAL * error), min(1.0, value + NORMAL * error)


def describe(figures: Figures) -> str:
    """One line for people about figures of `of_sets`: mAP with its interval, the number of examples, and the rest."""
    if math.isnan(figures["mAP"]):
        return f"none, since no picture of {figures['count']} has a label, loss {figures['loss']:.4g}"
    within = interval(figures)
    shown = f" (95 % interval {within[0]:.2%} to {within[1]:.2%})" if within else ""
    text = f"{figures['mAP']:.2%}{shown}, {figures['count']} examples"
    if figures.get("not_finite"):
        text += f" ({figures['not_finite']} not finite, counted as wrong)"
    return f"{text}, F1 {figures['f1']:.2%}, whole set right {figures['exact']:.2%}, loss {figures['loss']:.4g}"


def check(logits: Float[np.ndarray, "n classes"], label: Sets) -> None:
    """Raises ValueError for shapes that do not fit, no rows or classes, or labels other than 0 and 1."""
    if logits.ndim != 2 or label.shape != logits.shape or not logits.size:
        raise ValueError(f"logits {logits.shape} do not fit sets of labels {label.shape}")
    if not ((label == 0) | (label == 1)).all():
        raise ValueError(f"sets of labels have 0 and 1 alone, not {np.unique(label)[:4]}")


def _finite(logits):
    """bool [n]: rows whose largest logit is a finite number."""
    return np.isfinite(logits.max(axis=1))


def _scores(logits, label, good):
    """Logits to rank by, of their dtype: rows that are not `good` come last where they are right, and first elsewhere.

    -inf of a good row is the lowest number, so that it stays before those.
    """
    lowest = np.finfo(logits.dtype).min if logits.dtype.kind == "f" else -math.inf
    scores = np.where(np.isneginf(logits), lowest, logits)
    return np.where(good[:, None], scores, np.where(label > 0, -math.inf, math.inf).astype(scores.dtype))


def _answered(logits, positive, good):
    """bool [n, classes]: the classes that are said to be there; of rows that are not good, the wrong ones."""
    return np.where(good[:, None], logits >= 0, ~positive)


def _f1(hits, alarms, misses):
    """2 hits / (2 hits + alarms + misses), 0 where nothing is there or said."""
    return 2 * hits / np.maximum(2 * hits + alarms + misses, 1)


def _mean(values):
    return float(values.mean()) if len(values) else math.nan


def _of_rows(logits, label):
    """(whether the whole set is right, mean binary cross entropy, whether it is finite) of each row."""
    good, positive = _finite(logits), label.astype(bool)
    exact, loss = np.empty(len(label), bool), np.full(len(label), math.inf)
    for rows in chunks(logits.shape):
        exact[rows] = (_answered(logits[rows], positive[rows], good[rows]) == positive[rows]).all(axis=1)
        here = np.where(good[rows, None], logits[rows], 0).astype(np.float64)
        each = np.logaddexp(0, np.where(positive[rows], -here, here))
        loss[rows] = np.where(good[rows], each.mean(axis=1), math.inf)
    return exact, loss, good


def _map_error(logits, label):
    """Standard error of the mAP over pictures, NaN without any: root of the summed squares of how much the mAP moves
    with the weight of each picture (the infinitesimal jackknife; Efron 1982, chapter 6).

    With A and B the positives and all that score as high as picture i or higher, AP is the mean of p = A / B over the P
    positives; its derivative by the weight of picture k is
    (y_k (p_k - AP) + sum over positives i not above k of (y_k - p_i) / B_i) / P.
    """
    good, moved, classes = _finite(logits), np.zeros(len(label)), 0
    for j in range(logits.shape[1]):
        positive = label[:, j] > 0
        if not positive.any():
            continue
        classes += 1
        scores, place, sizes = np.unique(
            _scores(logits[:, j : j + 1], label[:, j : j + 1], good)[:, 0], return_inverse=True, return_counts=True
        )
        own = np.bincount(place, weights=positive, minlength=len(scores))
        above, hits = (np.cumsum(counts[::-1])[::-1] for counts in (sizes, own))
        precision, total = hits / above, own.sum()
        below = np.stack([np.cumsum(own / above), np.cumsum(own * precision / above)])[:, place]
        ap = (own * precision).sum() / total
        moved += (positive * (precision[place] - ap + below[0]) - below[1]) / total
    return float(np.sqrt((moved**2).sum())) / classes if classes else math.nan
