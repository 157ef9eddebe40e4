"""Leaving pictures to a person, so that a stated share of the answers at most is wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

SURENESS = 0.95  # of the promise, over draws of the validation pictures


def upper_bound(mistakes: int, n: int, delta: float) -> float:
    """The share p of mistakes for which so few among n pictures have chance delta: P(Bin(n, p) <= mistakes) = delta.

    The exact one-sided bound of Clopper and Pearson 1934; 1.0 where all n are mistakes, or n is 0.
    """
    from scipy.special import betaincinv

    return 1.0 if mistakes >= n else float(betaincinv(mistakes + 1, n - mistakes, 1 - delta))


def choose(confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], risk: float) -> dict[str, Any]:
    """The lowest confidence to answer from, so that at most a share `risk` of the answers is wrong.

    Selection with guaranteed risk (Geifman and El-Yaniv 2017, algorithm 1): a binary search over the pictures by
    confidence, each of its ceil(log2 n) bounds exact and held with 1 - (1 - SURENESS) / ceil(log2 n), so that all hold
    together with SURENESS. Other than there the last threshold that passed is taken, and it lies midway to the next
    lower confidence, which answers the same pictures.

    Args:
      confidence: of the answers of held-out pictures; NaN is never answered, and counts as a mistake where it would be.
      right: whether the answer is the label.
      risk: in (0, 1).

    Returns:
      dict of risk, sureness, threshold, bound (the risk that is shown), answered and mistakes (numbers of pictures),
      count.

    Raises:
      UserError: where no part of the pictures shows so low a risk, with the lowest that one shows.
    """
    if not 0 < risk < 1:
        raise UserError(f"--risk {risk:g} is no share in (0, 1); give for example 0.02")
    confidence = np.nan_to_num(np.asarray(confidence, np.float64), nan=-1.0)
    ordered, n = np.sort(confidence), len(confidence)
    searches = max(1, math.ceil(math.log2(max(n, 1))))
    low, high = 1, n  # the paper's z: the picture, by rising confidence, from which on all are answered
    passed, tried = None, []
    for _ in range(searches):
        z = math.ceil((low + high) / 2)
        answered = confidence >= ordered[z - 1]
        mistakes, number = int((answered & ~np.asarray(right, bool)).sum()), int(answered.sum())
        bound = upper_bound(mistakes, number, (1 - SURENESS) / searches)
        tried.append((bound, number))
        if bound <= risk:
            high, passed = z, (ordered[z - 1], bound, number, mistakes)
        else:
            low = z
    if passed is None:
        best, number = min(tried)
        raise UserError(
            f"a risk of {risk:.3g} can't be promised from {n:,} pictures of validation: at best {best:.3g}, answering "
            f"the {number:,} surest; give --risk {math.ceil(best * 1000) / 1000:g} or more, or hold out more pictures"
        )
    at, bound, number, mistakes = passed
    below = ordered[ordered < at]
    threshold = max(0.0, float((at + (below[-1] if len(below) else 0.0)) / 2))
    found = {"risk": risk, "sureness": SURENESS, "threshold": threshold, "bound": bound}
    return {**found, "answered": number, "mistakes": mistakes, "count": n}


def abstains(chosen: dict[str, Any], confidence: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Which pictures are left to a person: those below the threshold, and those whose confidence is NaN."""
    return ~(np.asarray(confidence) >= chosen["threshold"])
