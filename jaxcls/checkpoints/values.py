"""Arrays of checkpoints in figures: what one is like, and how far two are apart."""

import math
from typing import NamedTuple

import numpy as np


class Difference(NamedTuple):
    """How far apart two tensors of one name are: max |a - b|, and |a - b| / |a| in the L2 norm (0 if equal)."""

    equal: bool
    max_abs: float
    relative_l2: float


def statistics(array: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation, minimum, maximum and L2 norm of the finite values, in float64, and the count of others.

    An array without finite values has NaN for all but the count; its norm is 0.
    """
    values = np.asarray(array, np.float64).ravel()
    finite = values[np.isfinite(values)]
    result = dict.fromkeys(("mean", "std", "min", "max"), math.nan)
    if finite.size:
        result = {name: float(getattr(finite, name)()) for name in result}
    return {**result, "norm": float(np.linalg.norm(finite)), "nonfinite": int(values.size - finite.size)}


def difference(a: np.ndarray, b: np.ndarray) -> Difference:
    """Compares two arrays of one shape in float64. NaN equals NaN; what is not finite is infinitely far off."""
    if a.dtype == b.dtype and a.tobytes() == b.tobytes():
        return Difference(True, 0.0, 0.0)
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b))
    apart = np.where(np.isnan(apart), np.inf, apart)
    distance, norm = np.linalg.norm(apart), np.linalg.norm(a[np.isfinite(a)])
    relative = 0.0 if distance == 0 else math.inf if norm == 0 else float(distance / norm)
    return Difference(bool(same.all()), float(apart.max(initial=0.0)), relative)
