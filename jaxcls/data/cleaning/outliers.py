"""Pictures that are unlike all others of their class: the noise of DBSCAN (Ester et al. 1996) on features."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

NEIGHBOURS = 5  # a picture with so many within eps, itself included, is a core point: DBSCAN's min_samples
COMPONENTS = 32  # of the principal component analysis before it: distances in hundreds of dimensions are all alike
LARGEST = 4000  # pictures of a class compared with each other; DBSCAN's memory grows with the square
SMALLEST = 4 * NEIGHBOURS  # a class with fewer has no shape that a picture could be outside of


class Outliers(NamedTuple):
    """rows: the outliers, the worst first; scores [n]: distance to the 4th neighbour over eps, 0 where the class was
    too small; eps: class -> the radius, the mean over its parts.
    """

    rows: np.ndarray
    scores: np.ndarray
    eps: dict[int, float]


def outliers(
    features: np.ndarray, labels: np.ndarray, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Outliers:
    """DBSCAN in each class on the first principal components of the standardised features of all pictures.

    The radius eps is read from each class's own curve of distances to the 4th neighbour: see `radius`. A class with
    more than LARGEST pictures is cut at random into equal parts, each of which is searched alone.

    Where labels are sets, a picture is an outlier if it is one in each class that it has, by its least score there;
    pictures without a label are a class of their own, of the last number.

    Args:
      features: float [n, d].
      labels: ints [n], or sets of them, uint8 [n, classes].
      seed: of the cutting.
      progress: called as progress(done, total), in classes.
    """
    points, radii = components(features), dict[int, float]()
    scores, noise = np.full(len(labels), np.inf), np.ones(len(labels), bool)
    members = _members(labels)
    for done, (label, rows) in enumerate(members.items(), 1):
        np.random.Generator(np.random.Philox(key=np.array([seed, label % 2**64], np.uint64))).shuffle(rows)
        own, alone, eps = _of_class(points, rows)
        scores[rows], noise[rows] = np.minimum(scores[rows], own), noise[rows] & alone
        if eps:
            radii[label] = float(np.mean(eps))
        if progress:
            progress(done, len(members))
    rows = np.flatnonzero(noise)
    return Outliers(rows[np.argsort(-scores[rows], kind="stable")], scores, radii)


def _members(labels):
    """Number of a class -> its rows."""
    if labels.ndim == 1:
        return {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
    found = {j: np.flatnonzero(labels[:, j]) for j in range(labels.shape[1])}
    found[labels.shape[1]] = np.flatnonzero(~labels.any(axis=1))
    return {label: rows for label, rows in found.items() if len(rows)}


def _of_class(points, rows):
    """(scores, whether they are noise) of the rows of a class, and eps of its parts."""
    from sklearn.cluster import DBSCAN

    scores, noise, eps, start = np.zeros(len(rows)), np.zeros(len(rows), bool), [], 0
    for part in np.array_split(rows, max(1, -(-len(rows) // LARGEST))):
        place, start = slice(start, start + len(part)), start + len(part)
        if len(part) < SMALLEST:
            continue
        distances = to_neighbour(points[part])
        eps.append(radius(distances))
        scores[place] = distances / eps[-1]
        noise[place] = DBSCAN(eps=eps[-1], min_samples=NEIGHBOURS).fit(points[part]).labels_ == -1
    return scores, noise, eps


def components(features: np.ndarray, count: int = COMPONENTS) -> np.ndarray:
    """The first principal components of standardised features: float64 [n, min(count, n, d)]."""
    from sklearn.decomposition import PCA

    spread = features.std(0)
    scaled = (features - features.mean(0)) / np.where(spread > 0, spread, 1)
    return PCA(min(count, *scaled.shape), svd_solver="randomized", random_state=0).fit_transform(scaled)


def to_neighbour(points: np.ndarray) -> np.ndarray:
    """Distance of each point to its 4th neighbour, float64 [n]: what has to be below eps for a core point."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(points)  # of which one is the point itself
    return found.kneighbors(points)[0][:, -1]


def radius(distances: np.ndarray) -> float:
    """DBSCAN's eps from the sorted curve of distances to the 4th neighbour.

    The curve's knee, as Ester et al. (section 4.2) choose it by eye: here the point farthest below the straight line
    from the first to the last. A curve without a tail has a knee, too, so eps is at least the upper quartile plus 1.5
    times the range between the quartiles (Tukey's fence): in a class without outliers, few or none are found.
    """
    curve = np.sort(distances)
    line = np.linspace(curve[0], curve[-1], len(curve))
    knee = curve[np.argmax(line - curve)]
    low, high = np.percentile(curve, [25, 75])
    return float(max(knee, high + 1.5 * (high - low), np.finfo(float).tiny))
