"""Whether two runs differ by more than noise: paired tests on the same pictures, and tests over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool

LEVEL = 0.05


def mcnemar(right_a: Bool[np.ndarray, " n"], right_b: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """McNemar's test (1947) that two models are right equally often, exact, two-sided.

    Only pictures on which one is right and the other wrong tell anything; if the models are alike each of these is a
    toss of a coin, so their number is binomial. Other than the usual chi-square it holds for any number of them.

    Args:
      right_a, right_b: whether each was right, on the same pictures in the same order.

    Returns:
      dict of only_a, only_b (ints) and p.
    """
    only_a, only_b = _discordant(right_a, right_b)
    from scipy.special import bdtr

    tail = float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)) if only_a + only_b else 1.0
    return {"only_a": only_a, "only_b": only_b, "p": min(1.0, 2 * tail)}


def bootstrap_difference(
    right_a: Bool[np.ndarray, " n"], right_b: Bool[np.ndarray, " n"], draws: int = 10_000, seed: int = 0
) -> dict[str, Any]:
    """The difference in accuracy, b less a, with a paired percentile bootstrap interval of 95 % (Efron 1979).

    Pictures are drawn anew with what both models said of them. As only three kinds of pictures matter (a alone right,
    b alone, neither or both), their numbers in a redraw of n are multinomial, and are drawn as such: the same
    distribution, without n draws each.

    Returns:
      dict of difference and interval [low, high], fractions of 1.
    """
    only_a, only_b = _discordant(right_a, right_b)
    n = len(right_a)
    shares = np.array([only_a, only_b, n - only_a - only_b]) / n
    counts = np.random.default_rng(seed).multinomial(n, shares, size=draws)
    low, high = np.quantile((counts[:, 1] - counts[:, 0]) / n, [0.025, 0.975])
    return {"difference": (only_b - only_a) / n, "interval": [float(low), float(high)]}


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several (Holm 1979): the k-th smallest of m times m - k + 1, never falling, up to 1.

    Calling those below 5 % differences is wrong about any of them in at most 5 % of cases.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def welch(a: Sequence[float], b: Sequence[float]) -> dict[str, Any] | None:
    """Welch's t-test (1947) that two settings are alike on average over seeds; None with fewer than two runs of either.

    Args:
      a, b: a figure of each run. Their numbers and spreads may differ.

    Returns:
      dict of difference (mean of b less that of a), interval (95 %), p, degrees (of freedom).
    """
    if min(len(a), len(b)) < 2:
        return None
    difference = float(np.mean(b, dtype=np.float64) - np.mean(a, dtype=np.float64))
    parts = np.array([np.var(x, ddof=1, dtype=np.float64) / len(x) for x in (a, b)])
    if parts.sum() == 0:  # every run of either came out the same
        return {"difference": difference, "interval": [difference] * 2, "p": float(difference == 0), "degrees": None}
    from scipy.special import stdtr, stdtrit

    degrees = float(parts.sum() ** 2 / (parts**2 / np.array([len(a) - 1, len(b) - 1])).sum())
    error = math.sqrt(parts.sum())
    half = float(stdtrit(degrees, 0.975)) * error
    p = 2 * float(stdtr(degrees, -abs(difference) / error))
    return {"difference": difference, "interval": [difference - half, difference + half], "p": p, "degrees": degrees}


def verdict(
    p: float,
    difference: float,
    name_a: str = "the first",
    name_b: str = "the second",
    test: str = "McNemar",
    alike: str = "accurate",
) -> str:
    """One plain sentence on a paired comparison: which is better, or that the difference is noise.

    Args:
      p: of the test, corrected if several were made.
      difference: accuracy (or another share) of b less that of a.
      name_a, name_b: what they are called.
      test: whose p it is.
      alike: what they are where there is no difference.
    """
    points, chance = f"{abs(difference) * 100:.2f} points", f"{test}, p {p_text(p)}"
    if p < LEVEL:
        way = "better" if difference > 0 else "worse"
        return f"{name_b} is {way} than {name_a} by {points}: more than noise ({chance})."
    if difference == 0:
        return f"{name_b} and {name_a} are equally {alike} here."
    way = "above" if difference > 0 else "below"
    return f"{name_b} is {points} {way} {name_a}, which may well be noise ({chance})."


def p_text(p: float) -> str:
    """A p-value as "= 0.012" or "< 0.0001"."""
    return f"= {p:.2g}" if p >= 1e-4 else "< 0.0001"


def _discordant(right_a, right_b):
    """(pictures that only a has right, those that only b has)."""
    a, b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(f"{a.shape} and {b.shape} are not the same pictures")
    return int((a & ~b).sum()), int((b & ~a).sum())
