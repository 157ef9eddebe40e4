"""Whether two ways to score the same choices order them alike."""

import math
from collections.abc import Sequence

import numpy as np

from jaxcls.errors import UserError

Scores = Sequence[float] | np.ndarray


def kendall(a: Scores, b: Scores) -> float:
    """Kendall's tau-b (1945), in [-1, 1]: pairs ordered alike less pairs ordered otherwise, by those that are no ties.

    Raises:
      UserError: for other than two or more pairs of finite scores, or scores that are all the same.
    """
    x, y = _scores(a, b)
    above = np.triu_indices(len(x), 1)
    signs_x, signs_y = (np.sign(np.subtract.outer(v, v))[above] for v in (x, y))
    untied = np.count_nonzero(signs_x), np.count_nonzero(signs_y)
    if not all(untied):
        raise UserError("scores that are all the same have no order; Kendall's tau needs at least two that differ.")
    return float((signs_x * signs_y).sum() / math.sqrt(untied[0] * untied[1]))


def chance(count: int) -> float:
    """What the size of Kendall's tau of so many choices in random order stays below in 95 % of cases (Kendall 1938)."""
    return 1.959964 * math.sqrt(2 * (2 * count + 5) / (9 * count * (count - 1)))


def kendall_difference(a: Scores, b: Scores, truth: Scores, draws: int = 1000, seed: int = 0) -> list[float]:
    """95 % of tau(a, truth) less tau(b, truth) over choices drawn anew with all their scores (Efron 1979, percentiles).

    Raises:
      UserError: as `kendall`.
    """
    kendall(a, truth), kendall(b, truth)
    x, y, z = map(np.asarray, (a, b, truth))
    rng, found = np.random.default_rng(seed), list[float]()
    while len(found) < draws:
        rows = rng.integers(len(z), size=len(z))
        if min(len(set(values[rows])) for values in (x, y, z)) > 1:  # else there is no order
            found.append(kendall(x[rows], z[rows]) - kendall(y[rows], z[rows]))
    return [float(end) for end in np.quantile(found, [0.025, 0.975])]


def top_recall(found: Scores, truth: Scores, top: int = 10) -> float:
    """The share of the `top` best by `truth` that are among the `top` best by `found`; of ties the first ones count.

    At random it is top / count on average.

    Raises:
      UserError: for fewer scores than `top`, or as `kendall`.
    """
    x, y = _scores(found, truth)
    if not 1 <= top <= len(x):
        raise UserError(f"the best {top} of {len(x)} choices: take at least 1 and at most {len(x)}.")
    best = [set(np.argsort(-v, kind="stable")[:top].tolist()) for v in (x, y)]
    return len(best[0] & best[1]) / top


def _scores(a, b):
    x, y = np.asarray(a, float), np.asarray(b, float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("a comparison of rankings needs two finite scores for each of at least two choices.")
    return x, y
