"""Whether the net that a search has chosen is better than random nets of its space."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

RULE = (
    "The 95 % interval is Welch's on the difference of the choice's mean accuracy and the mean of the random nets, "
    "each trained alike with the same seeds: the variance of the first is that of seeds (pooled over all nets), of "
    "the second that of the random nets' means. Where it does not lie above 0, the choice is no better than random "
    "(Li and Talwalkar 2019, arXiv 1902.07638). It is about other seeds and other random nets with the same pictures."
)
BETTER, NOT_BETTER, NONE = "better than random", "no better than random", "no verdict"


def against_random(found: Sequence[float], nets: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The choice's accuracies by seed against those of random nets, by net and seed.

    Returns:
      "difference" of the means; "interval" [low, high], None with one seed or less than two nets; "verdict"; "best":
      how many of the random nets have a higher mean than the choice.
    """
    means = np.array([np.mean(net) for net in nets if len(net)])
    if not len(found) or not len(means):
        return {"difference": None, "interval": None, "verdict": NONE, "best": None}
    difference = float(np.mean(found) - means.mean())
    interval = _interval(difference, found, [net for net in nets if len(net)], means)
    verdict = NONE if interval is None else BETTER if interval[0] > 0 else NOT_BETTER
    better = int((means > np.mean(found)).sum())
    return {"difference": difference, "interval": interval, "verdict": verdict, "best": better}


def _interval(difference, found, nets, means):
    """Welch-Satterthwaite; None where a variance is unknown."""
    several = [np.asarray(values) for values in (found, *nets) if len(values) > 1]
    degrees = sum(len(values) - 1 for values in several)
    if not degrees or len(means) < 2:
        return None
    within = sum(((values - values.mean()) ** 2).sum() for values in several) / degrees
    parts = [(within / len(found), degrees), (means.var(ddof=1) / len(means), len(means) - 1)]
    error = sum(part for part, _ in parts)
    if not error:
        return None  # equal values say nothing about how far seeds lie apart
    from scipy.special import stdtrit

    freedom = error**2 / sum(part**2 / n for part, n in parts)
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(error)
    return [difference - half, difference + half]


def line(verdict: dict[str, Any], number: int) -> str:
    """A verdict in a line; `number`: of random nets."""
    if verdict["difference"] is None:
        return "nothing to compare yet"
    shown = f"{100 * verdict['difference']:+.2f} points to the mean of {number} random nets of no more multiply-adds"
    if verdict["interval"] is None:
        return f"{shown}; no verdict with one seed"
    low, high = (f"{100 * end:+.2f}" for end in verdict["interval"])
    beaten = f"{verdict['best']} of them are better" if verdict["best"] else "none of them is better"
    return f"{verdict['verdict']}: {shown} (95 % interval {low} to {high}; {beaten})"
