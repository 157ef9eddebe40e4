"""What features look like, in NumPy: their nearest neighbours by cosine, and their two principal axes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Projection(NamedTuple):
    """Features on their first two principal axes, and the share of the variance that each has."""

    points: Float[np.ndarray, "n 2"]
    shares: Float[np.ndarray, "2"]


def unit(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows of length 1, float32; a row of zeros stays."""
    features = np.asarray(features, np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def nearest(features: Float[np.ndarray, "n d"], k: int) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """(rows, cosines) of the k rows most similar to each row but itself, the most similar first; of equals the lower.

    All others where there are fewer than k of them.
    """
    z = unit(features)
    cosine = z @ z.T
    np.fill_diagonal(cosine, -np.inf)
    k = max(0, min(k, len(z) - 1))
    rows = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(cosine, rows, axis=1)


def principal(features: Float[np.ndarray, "n d"]) -> Projection:
    """PCA: the centred rows on the two directions in which they vary most, by a singular value decomposition.

    The entry of each direction that is largest in size is positive. Where there is one direction only, or none, the
    rest is 0.
    """
    x = np.asarray(features, np.float64)
    x = x - x.mean(axis=0)
    u, s, v = np.linalg.svd(x, full_matrices=False)
    sign = np.sign(v[np.arange(len(v)), np.abs(v).argmax(axis=1)])
    points, shares = np.zeros((len(x), 2)), np.zeros(2)
    found = min(2, len(s))
    points[:, :found] = (u * (s * sign))[:, :found]
    total = float((s**2).sum())
    if total > 0:
        shares[:found] = s[:found] ** 2 / total
    return Projection(points, shares)
