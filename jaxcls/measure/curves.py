"""Points of the usual curves: ROC, precision and recall, reliability, selective prediction. Nothing is drawn here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.measure.softmax import Probabilities, Softmax
from jaxcls.metrics import wilson_interval

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

BINS = 15  # Guo et al. 2017
Curve = dict[str, Any]  # name -> array with an entry a point, or a figure of the whole curve


def roc(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> Curve:
    """Receiver operating characteristic, one point for each distinct score and the corner (0, 0) first.

    Args:
      scores: higher for what is more likely positive; rows with NaN rank last.
      positive: what is.

    Returns:
      dict of fpr, tpr, threshold (float arrays; a point is reached by calling positive what is >= its threshold, inf
      for the first), auc, the area by trapezoids, and interval, its 95 % interval by `delong`. Where one kind is
      missing its rate is NaN, and auc and interval are None.
    """
    threshold, hits, alarms = _cumulated(scores, positive)
    with np.errstate(invalid="ignore", divide="ignore"):
        tpr, fpr = (np.r_[0, counts] / np.float64(counts[-1] if len(counts) else 0) for counts in (hits, alarms))
    area = float(np.trapezoid(tpr, fpr))
    figures = {"auc": None if np.isnan(area) else area, "interval": delong(hits, alarms)}
    return {"fpr": fpr, "tpr": tpr, "threshold": np.r_[np.inf, threshold], **figures}


def delong(hits: Int[np.ndarray, " k"], alarms: Int[np.ndarray, " k"]) -> list[float] | None:
    """95 % interval of an area under a ROC curve (DeLong, DeLong and Clarke-Pearson 1988), on the scale of its logit.

    The area is the mean, over pairs of a positive and a negative, of 1 where the positive scores higher and 1/2 where
    they tie. The variance is that of the means over each side, as in the paper; the logit keeps the interval in [0, 1].

    Args:
      hits, alarms: how many positives and negatives have at least each of the distinct scores, falling.

    Returns:
      [low, high]; None with fewer than two positives or negatives, or where they are told apart without a mistake (or
      all the wrong way round): then it has no spread to go by.
    """
    if len(hits) == 0 or min(hits[-1], alarms[-1]) < 2:
        return None
    positives, negatives = hits[-1], alarms[-1]
    here = [np.diff(counts, prepend=0) for counts in (hits, alarms)]  # at each score
    of_positives = (negatives - alarms + here[1] / 2) / negatives  # share of negatives a positive there is ahead of
    of_negatives = (hits - here[0] / 2) / positives
    auc = float(here[0] @ of_positives / positives)
    if not 0 < auc < 1:
        return None
    spread = [
        n @ (x - auc) ** 2 / (n.sum() - 1) / n.sum() for n, x in zip(here, (of_positives, of_negatives), strict=True)
    ]
    half = 1.959964 * np.sqrt(sum(spread)) / (auc * (1 - auc))
    middle = np.log(auc / (1 - auc))
    return [float(1 / (1 + np.exp(-middle - side * half))) for side in (-1, 1)]


def precision_recall(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> Curve:
    """Precision over recall, one point for each distinct score in the order of falling thresholds.

    Returns:
      dict of recall, precision, threshold (float arrays) and average_precision: the sum of precision times the gain in
      recall, without interpolation. Without positives recall is NaN and average_precision None.
    """
    threshold, hits, alarms = _cumulated(scores, positive)
    precision = hits / (hits + alarms)
    if len(hits) == 0 or hits[-1] == 0:
        nothing = np.full(len(hits), np.nan)
        return {"recall": nothing, "precision": precision, "threshold": threshold, "average_precision": None}
    recall = hits / hits[-1]
    average = float((np.diff(recall, prepend=0.0) * precision).sum())
    return {"recall": recall, "precision": precision, "threshold": threshold, "average_precision": average}


def reliability(
    probabilities: Probabilities,
    label: Int[np.ndarray, " n"],
    bins: int = BINS,
    adaptive: bool = False,
) -> Curve:
    """How often the first class is right, by the probability it was given.

    Args:
      probabilities: rows with NaN are left out.
      label: the classes.
      bins: number of bins of [0, 1], each (low, high].
      adaptive: bins of equally many rows instead (fewer, where equal confidences must stay together).

    Returns:
      dict of arrays, one entry a bin that holds something: low, high, count, confidence (mean), accuracy, interval
      [bins, 2] (Wilson); and error, the calibration error: the mean of |accuracy - confidence| weighted by count (ECE
      of Guo et al. 2017; with `adaptive` its form with equal masses). error is None without rows.
    """
    confidence, right = first(probabilities, label)
    edges = np.linspace(0, 1, bins + 1)
    if adaptive:
        edges = np.unique(np.quantile(confidence, edges, method="lower")) if len(right) else np.array([])
        edges = np.r_[0.0, edges[1:] if len(edges) > 1 else edges]
    where = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, max(0, len(edges) - 2))
    count = np.bincount(where, minlength=max(1, len(edges) - 1))
    kept = np.flatnonzero(count)
    hits = np.bincount(where, right, minlength=len(count))[kept]
    total = np.bincount(where, confidence, minlength=len(count))[kept]
    count = count[kept]
    intervals = [wilson_interval(int(h), int(n)) for h, n in zip(hits, count, strict=True)]
    return {
        "low": edges[kept],
        "high": edges[kept + 1] if len(kept) else np.array([]),
        "count": count,
        "confidence": total / count,
        "accuracy": hits / count,
        "interval": np.array(intervals).reshape(-1, 2),
        "error": float(np.abs(hits - total).sum() / count.sum()) if len(kept) else None,
    }


def selective(probabilities: Probabilities, label: Int[np.ndarray, " n"]) -> Curve:
    """Accuracy on the rows that the model is surest of, the others left to a person (El-Yaniv and Wiener 2010).

    Returns:
      dict of arrays, one entry for each distinct confidence in falling order: coverage (share of rows whose confidence
      is at least threshold), accuracy on them, threshold; and aurc, the mean over coverage of the share of mistakes
      (Geifman et al. 2019; 0 is best; None without rows). Rows with NaN are never covered.
    """
    confidence, right = first(probabilities, label)
    threshold, hits, misses = _cumulated(confidence, right)
    covered = hits + misses
    risk = misses / covered
    # equal confidences come in no order of their own: each of them counts with the risk at their end
    aurc = float((np.diff(covered, prepend=0) * risk).sum() / covered[-1]) if len(covered) else None
    return {"coverage": covered / len(label), "accuracy": hits / covered, "threshold": threshold, "aurc": aurc}


def first(
    probabilities: Probabilities, label: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """(probability of the first class, whether it is the labelled one) of the rows without NaN; ties: the lower one."""
    label = np.asarray(label)
    if isinstance(probabilities, Softmax):
        best, confidence = probabilities.answer, probabilities.confidence
    else:
        probabilities = np.asarray(probabilities)
        best = probabilities.argmax(axis=1)  # that of a NaN, where there is one
        confidence = probabilities[np.arange(len(best)), best]
    good = ~np.isnan(confidence)
    return confidence[good], (best == label)[good]


def thin(curve: Curve, points: int, along: str) -> Curve:
    """A curve with at most `points` of its points, spread evenly along the named array, the ends kept.

    What is no array of the curve's length (auc, ..) stays as it is.
    """
    n = len(curve[along])
    if n <= points:
        return curve
    values = np.asarray(curve[along], np.float64)
    rising = values if values[-1] >= values[0] else values[::-1]
    picked = np.searchsorted(rising, np.linspace(rising[0], rising[-1], points))
    picked[0], picked[-1] = 0, n - 1  # an end may be one of several equal values
    kept = np.unique(picked if rising is values else n - 1 - picked)
    return {name: x[kept] if isinstance(x, np.ndarray) and len(x) == n else x for name, x in curve.items()}


def _cumulated(scores, positive):
    """Distinct scores falling, and how many positives and negatives have at least each of them; NaN is below all."""
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    scores = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], positive[order]
    last = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True]) if len(scores) else np.array([], int)
    hits = np.cumsum(positive)[last]
    return scores[last], hits, last + 1 - hits
