"""Labels that are probably wrong where a picture has several or none: each class is a question of its own, with two
answers, and confident learning (`labels`) is asked about each.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxcls.data.cleaning import labels as single
from jaxcls.data.cleaning.labels import Suspects


class Judged(NamedTuple):
    """What was found about a class.

    Attributes:
      column: of the class.
      rows: pictures that were judged, int64 [m].
      given: int64 [m], whether they have it.
      probabilities: float64 [m, 2], that they have it not and that they have it, out of fold.
      suspects: labels.Suspects among the m.
    """

    column: int
    rows: np.ndarray
    given: np.ndarray
    probabilities: np.ndarray
    suspects: Suspects


def folds(sets: np.ndarray, groups: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """The fold of each picture, int64 [n], as `labels.folds`, stratified by the rarest class of each set.

    Args:
      sets: uint8 [n, classes] of 0 and 1.
      groups: copies of a picture have the same entry.
      count: of folds.
      seed: of the shuffling.
    """
    none, support = sets.shape[1], sets.sum(axis=0)
    rarest = np.where(sets.any(axis=1), np.where(sets > 0, support, np.iinfo(np.int64).max).argmin(axis=1), none)
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    lone = np.flatnonzero(np.bincount(rarest[first], minlength=none + 1) < 2)
    of_group = np.where(np.isin(rarest[first], lone), none, rarest[first])
    return single.folds(of_group[inverse], groups, count, seed)


def out_of_fold(
    features: np.ndarray,
    sets: np.ndarray,
    fold: np.ndarray,
    *,
    strength: float = 16.0,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Probabilities of each class, float64 [n, classes], by logistic regressions, one a class, that were fitted without
    the picture's own fold. NaN for a picture without a fold, and where the other folds don't have both answers.

    Args: as `labels.out_of_fold`.
    """
    from sklearn.linear_model import LogisticRegression

    found = np.full(sets.shape, np.nan)
    present = np.unique(fold[fold >= 0])
    for done, held_out in enumerate(present, 1):
        fitted, test = (fold >= 0) & (fold != held_out), fold == held_out
        mean, spread = features[fitted].mean(0), features[fitted].std(0) + 1e-6
        x, there = (features[fitted] - mean) / spread, (features[test] - mean) / spread
        for column in range(sets.shape[1]):
            y = sets[fitted, column]
            if 0 < y.sum() < len(y):
                model = LogisticRegression(C=strength / len(y), max_iter=300).fit(x, y)
                found[test, column] = model.predict_proba(there)[:, 1]
        if progress:
            progress(done, len(present))
    return found


def judged(probabilities: np.ndarray, sets: np.ndarray, method: str) -> list[Judged]:
    """What confident learning says of each class that some pictures have and some have not.

    Args:
      probabilities: of `out_of_fold`.
      sets: uint8 [n, classes].
      method: one of labels.METHODS; "none": there are no suspects.
    """
    found = []
    for column in range(sets.shape[1]):
        rows = np.flatnonzero(~np.isnan(probabilities[:, column]))
        given = sets[rows, column].astype(np.int64)
        if not 0 < given.sum() < len(given):
            continue
        both = np.stack([1 - probabilities[rows, column], probabilities[rows, column]], axis=1)
        suspects = single.suspects(both, given, single.METHODS[0] if method == "none" else method)
        if method == "none":
            suspects = suspects._replace(rows=suspects.rows[:0])
        found.append(Judged(column, rows, given, both, suspects))
    return found
