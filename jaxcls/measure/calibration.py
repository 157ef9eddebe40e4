"""Probabilities from logits, and the temperature that makes them honest."""

import numpy as np
from jaxtyping import Float, Int

HOTTEST, COLDEST = 100.0, 0.01  # temperatures beyond are no calibration but a broken model
CHUNK = 2**17  # numbers worked on at once: while they stay in the cache, a large softmax takes a fraction of the time


def probabilities(logits: Float[np.ndarray, "n classes"], temperature: float = 1.0) -> Float[np.ndarray, "n classes"]:
    """softmax(logits / temperature), float64.

    Rows with a NaN are NaN. An infinite logit takes its limit: the classes at +inf share 1.
    """
    logits = np.asarray(logits)
    out = np.empty(logits.shape)
    for rows in _chunks(logits):
        np.exp(_shifted(logits[rows], 1.0 / temperature), out=out[rows])
        out[rows] /= out[rows].sum(axis=1, keepdims=True)
    return out


def nll(logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"], temperature: float = 1.0) -> float:
    """Mean negative log-likelihood in nats. NaN where a logit is, inf where a label has no chance."""
    logits, label = np.asarray(logits), np.asarray(label)
    total = 0.0
    for rows in _chunks(logits):
        shifted = _shifted(logits[rows], 1.0 / temperature)
        right = shifted[np.arange(len(shifted)), label[rows]]
        total += float((np.log(np.exp(shifted).sum(axis=1)) - right).sum())
    return total / len(label)


def fit_temperature(logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"]) -> float:
    """The temperature that minimises the mean negative log-likelihood (Guo et al. 2017, section 4.2).

    One number for all classes: it never changes which class is first. The function is convex in 1 / T; Newton's method
    on it, kept inside a bracket, ends at the minimum. Rows that are not finite are left out.

    Returns:
      T > 0; above 1 the model was too sure of itself. Within [0.01, 100]. 1.0 where there is no minimum to find: no
      row is wrong (any colder one would look better still), all classes tie, or nothing is finite.
    """
    logits, label = np.asarray(logits), np.asarray(label)
    good = np.isfinite(logits).all(axis=1)
    logits, label = (logits, label) if good.all() else (logits[good], label[good])
    if len(label) == 0:
        return 1.0
    right = logits[np.arange(len(label)), label]
    top = logits.max(axis=1)
    if (right == top).all() or (logits.min(axis=1) == top).all():
        return 1.0
    low, high, inverse = 1 / HOTTEST, 1 / COLDEST, 1.0
    for _ in range(100):
        slope, curvature = _slope(logits, label, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else 0.0
        # outside the bracket, where the curve is nearly straight, halve it on the scale of log T
        following = step if low < step < high else float(np.sqrt(low * high))
        if abs(following - inverse) <= 1e-9 * inverse:
            break
        inverse = following
    return 1.0 / following


def _slope(logits, label, inverse):
    """First and second derivative of the mean negative log-likelihood by 1 / T."""
    first = second = 0.0
    for rows in _chunks(logits):
        z = logits[rows].astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        weight = np.exp(z * inverse)
        weight /= weight.sum(axis=1, keepdims=True)
        mean = np.einsum("ij,ij->i", weight, z)
        first += float((mean - z[np.arange(len(z)), label[rows]]).sum())
        second += float((np.einsum("ij,ij,ij->i", weight, z, z) - mean**2).sum())
    return first / len(label), second / len(label)


def _shifted(logits, inverse):
    """(logits - their maximum) * inverse in float64; at an infinite maximum the limit of it."""
    z = logits.astype(np.float64)
    top = z.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        out = z - top
    if np.isinf(top).any():
        out[z == top] = 0.0
    out *= inverse
    return out


def _chunks(logits):
    """Slices of rows."""
    size = max(1, CHUNK // max(1, logits.shape[1]))
    return [slice(start, start + size) for start in range(0, len(logits), size)]
