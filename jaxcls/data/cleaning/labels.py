"""Labels that are probably wrong, judged by predictions for pictures that the predictor has not been fitted to.

Confident learning: Northcutt, Jiang, Chuang 2021 (Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR
70, sections 3 and 4). The probabilities come from a logistic regression on features, fitted k times.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

METHODS = ("confident_joint", "class_rate", "noise_rate")


def folds(labels: np.ndarray, groups: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """The fold of each picture, int64 [n]: 0 .. count - 1, or -1 for a class too rare to be judged.

    Copies of a picture (the same entry in `groups`) share a fold: a wrong label that stands on both copies would
    confirm itself otherwise. Stratified: the groups of a class, shuffled by Philox(seed, class), take turns. A group
    with several classes counts for that of its first row. A class with fewer than two groups gets -1.
    """
    fold = np.full(len(labels), -1, np.int64)
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    turn = np.full(len(first), -1, np.int64)
    start = 0
    for label in np.unique(labels):
        members = np.flatnonzero(labels[first] == label)
        if len(members) < 2:
            continue
        np.random.Generator(np.random.Philox(key=np.array([seed, label], np.uint64))).shuffle(members)
        turn[members] = (start + np.arange(len(members))) % count
        start += len(members)  # small classes do not all begin with fold 0
    fold[:] = turn[inverse]
    fold[~np.isin(labels, labels[first[turn >= 0]])] = -1
    return fold


def out_of_fold(
    features: np.ndarray,
    labels: np.ndarray,
    fold: np.ndarray,
    *,
    strength: float = 16.0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of classes by logistic regressions that were fitted without the picture's own fold.

    Args:
      features: float [n, d]; standardised here, with the mean and spread of the fitted rows.
      labels: ints [n]; only those with a fold of 0 or more count.
      fold: as from `folds`.
      strength: of the loss against the penalty; scikit-learn's C is strength / m, so that it does not depend on the
        number of pictures m. Low: with wrong labels about, a fit that follows every one of them is worth little.
      progress: called as progress(done, total).

    Returns:
      (probabilities float64 [m, k], classes [k]) of the m rows with a fold, in their order; the columns are `classes`.
    """
    from sklearn.linear_model import LogisticRegression

    rows = np.flatnonzero(fold >= 0)
    classes, given = np.unique(labels[rows], return_inverse=True)
    probabilities = np.zeros((len(rows), len(classes)))
    present = np.unique(fold[rows])
    for done, held_out in enumerate(present, 1):
        test = fold[rows] == held_out
        x, y = features[rows[~test]], given[~test]
        mean, spread = x.mean(0), x.std(0) + 1e-6
        model = LogisticRegression(C=strength / len(y), max_iter=300).fit((x - mean) / spread, y)
        found = model.predict_proba((features[rows[test]] - mean) / spread)
        probabilities[np.ix_(np.flatnonzero(test), model.classes_)] = found
        if progress:
            progress(done, len(present))
    return probabilities, classes


def thresholds(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """t_j, float64 [k]: the mean probability of class j among pictures labelled j (eq. 2); 1 where there are none."""
    k = probabilities.shape[1]
    own = probabilities[np.arange(len(given)), given]
    counts = np.bincount(given, minlength=k)
    return np.where(counts, np.bincount(given, own, k) / np.maximum(counts, 1), 1.0)


def confident_classes(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The class each picture confidently belongs to, int64 [n]: the most probable of those above their threshold
    (eq. 1); -1 where none is.
    """
    above = probabilities >= thresholds(probabilities, given) - 1e-9  # equal but for rounding is above
    best = np.where(above, probabilities, -1.0).argmax(1)
    return np.where(above.any(1), best, -1)


def confident_joint(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Counts, int64 [k, k]: pictures labelled i that confidently belong to class j (eq. 1)."""
    k = probabilities.shape[1]
    best = confident_classes(probabilities, given)
    counts = np.zeros((k, k), np.int64)
    np.add.at(counts, (given[best >= 0], best[best >= 0]), 1)
    return counts


def joint(counts: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The estimated joint distribution of given and true labels, float64 [k, k] with sum 1 (eq. 3): the confident
    joint with each row scaled to the number of pictures with that label. A row without counts is put on the diagonal.
    """
    k = len(counts)
    labelled = np.bincount(given, minlength=k)
    empty = counts.sum(1) == 0
    counts = np.where(empty[:, None], np.eye(k), counts)
    return counts / counts.sum(1, keepdims=True) * labelled[:, None] / max(len(given), 1)


def margins(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Normalised margin, float64 [n] in -1 .. 1: probability of the given class less the best of the others. The
    lowest are the most suspect.
    """
    rows = np.arange(len(given))
    others = probabilities.copy()
    others[rows, given] = -np.inf
    return probabilities[rows, given] - others.max(1)


class Suspects(NamedTuple):
    """rows: the suspects, the worst first; best [n]: the class each picture seems to belong to; estimate: the
    number of wrong labels that the joint distribution implies.
    """

    rows: np.ndarray
    best: np.ndarray
    estimate: float


def suspects(probabilities: np.ndarray, given: np.ndarray, method: str = "class_rate") -> Suspects:
    """Pictures whose label is probably wrong, ranked by the probability of the given class, the lowest first.

    Args:
      probabilities: float [n, k], out of fold.
      given: int [n], the labels as columns.
      method: of section 4.1; `confident_joint`: all that the confident joint counts beside its diagonal; `class_rate`:
        of each class as many as the joint distribution says are wrong, the least probable ones; `noise_rate`: the same
        for each pair of classes i, j, those labelled i with the largest margin of j over i.

    A picture whose given class is the most probable one is never a suspect. The paper has no such rule; without it,
    classes with a high threshold lose pictures that the predictor agrees with. `class_rate` and the order are what did
    best on the human labels of CIFAR-10N (`scripts/bench/cleaning.py`); the paper orders by `margins`, too.
    """
    counts = confident_joint(probabilities, given)
    estimated = joint(counts, given) * len(given)
    wrong = estimated - np.diag(np.diag(estimated))
    best, own = confident_classes(probabilities, given), probabilities[np.arange(len(given)), given]
    chosen = np.zeros(len(given), bool)
    if method == "confident_joint":
        chosen = (best >= 0) & (best != given)
    elif method == "class_rate":
        for i, count in enumerate(np.rint(wrong.sum(1)).astype(int)):
            rows = np.flatnonzero(given == i)
            chosen[rows[np.argsort(own[rows], kind="stable")[:count]]] = True
    elif method == "noise_rate":
        for i, j in np.argwhere(np.rint(wrong) > 0):
            rows = np.flatnonzero(given == i)
            order = np.argsort(own[rows] - probabilities[rows, j], kind="stable")
            chosen[rows[order[: int(np.rint(wrong[i, j]))]]] = True
    else:
        raise ValueError(f"method {method!r} is none of {METHODS}")
    predicted = probabilities.argmax(1)
    rows = np.flatnonzero(chosen & (predicted != given))
    best = np.where((best >= 0) & (best != given), best, predicted)
    return Suspects(rows[np.argsort(own[rows], kind="stable")], best, float(wrong.sum()))
