"""What answers come to: recall and precision of the classes that have a threshold, and the mean cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.metrics import wilson_interval

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def of_answers(
    thresholds: Sequence[dict[str, Any]], answer: Int[np.ndarray, " n"], label: Int[np.ndarray, " n"]
) -> list[dict[str, Any]]:
    """Recall and precision of the class of each threshold (of `decision.fit`), given answers.

    Returns:
      One dict for each: class, threshold, positives (pictures of the class), found (those answered as it), flagged
      (answered as it, rightly or not), recall, recall_interval, precision, precision_interval (Wilson, 95 %). Recall
      and its interval are None where there are no positives, precision and its where nothing is flagged.
    """
    answer, label = np.asarray(answer), np.asarray(label)
    rows = []
    for entry in thresholds:
        mine, flagged = label == entry["index"], answer == entry["index"]
        hits, positives, called = int((mine & flagged).sum()), int(mine.sum()), int(flagged.sum())
        row = {"class": entry["class"], "threshold": entry["threshold"]}
        row |= {"positives": positives, "found": hits, "flagged": called}
        for name, n in (("recall", positives), ("precision", called)):
            row[name] = hits / n if n else None
            row[f"{name}_interval"] = list(wilson_interval(hits, n)) if n else None
        rows.append(row)
    return rows


def expected_cost(
    costs: Float[np.ndarray, "classes classes"], answer: Int[np.ndarray, " n"], label: Int[np.ndarray, " n"]
) -> float | None:
    """Mean cost of answers, given costs [true, answered]; rows answered -1 are left out."""
    answer, label = np.asarray(answer), np.asarray(label)
    good = answer >= 0
    return float(np.asarray(costs, np.float64)[label[good], answer[good]].mean()) if good.any() else None


def cost_interval(
    costs: Float[np.ndarray, "classes classes"],
    answer: Int[np.ndarray, " n"],
    label: Int[np.ndarray, " n"],
    draws: int = 1000,
    seed: int = 0,
) -> list[float] | None:
    """95 % percentile bootstrap interval (Efron 1979) of `expected_cost`, over redraws of the pictures."""
    answer, label = np.asarray(answer), np.asarray(label)
    good = answer >= 0
    if not good.any():
        return None
    # costs take few values, so how often each is drawn is multinomial: the same distribution without n draws each
    values, counts = np.unique(np.asarray(costs, np.float64)[label[good], answer[good]], return_counts=True)
    n = counts.sum()
    means = np.random.default_rng(seed).multinomial(n, counts / n, size=draws) @ values / n
    return np.quantile(means, [0.025, 0.975]).tolist()
