"""Probabilities from logits, and the temperature that makes them honest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from jaxcls.metrics import chunks

if TYPE_CHECKING:
    from jaxtyping import Float, Int

HOTTEST = 100.0  # a temperature beyond it, or below 1 / HOTTEST, is no calibration but a broken model
FEW, NARROW = 60, 2.0  # of fewer pictures than this T stays between 1 / NARROW and NARROW, whatever they look like
SPREAD = 0.35  # of log T before anything is seen: two thirds of all models lie between T = 0.7 and 1.4
EVIDENCE = 3.841  # twice the gain in log-likelihood that T = 1 has to be beaten by: 5 % of chi-square, 1 degree


def probabilities(logits: Float[np.ndarray, "n classes"], temperature: float = 1.0) -> Float[np.ndarray, "n classes"]:
    """softmax(logits / temperature), float64; NaN in rows that are not finite (`metrics`)."""
    logits = np.asarray(logits)
    out = np.empty(logits.shape)
    for rows in chunks(logits.shape):
        np.exp(_shifted(logits[rows], 1.0 / temperature), out=out[rows])
        out[rows] /= out[rows].sum(axis=1, keepdims=True)
    return out


def nll(logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"], temperature: float = 1.0) -> float:
    """Mean negative log-likelihood in nats; inf where a label has no chance or a row is not finite."""
    return float(losses(logits, label, temperature).mean())


def losses(
    logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"], temperature: float = 1.0
) -> Float[np.ndarray, " n"]:
    """Negative log-likelihood of each row in nats, as `nll` has it."""
    logits, label = np.asarray(logits), np.asarray(label)
    out = np.empty(len(label))
    for rows in chunks(logits.shape):
        shifted = _shifted(logits[rows], 1.0 / temperature)
        out[rows] = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(shifted)), label[rows]]
    return np.where(np.isnan(out), np.inf, out)


def fit_temperature(logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"]) -> float:
    """The temperature for logits of held-out pictures; 1.0 unless these show that another one is better.

    Guo et al. 2017 (section 4.2) take the T that minimises the mean negative log-likelihood (NLL). Of few pictures that
    is mostly chance: a good model gets worse by it. Three things differ here, none of which matters for many pictures:

    1. T is the maximum a posteriori, min n NLL(T) + (log T)^2 / (2 SPREAD^2): log T is normal around 0 beforehand.
    2. It is kept only where the likelihood ratio to T = 1 is significant, 2 n (NLL(1) - NLL(T)) >= EVIDENCE.
    3. With fewer than FEW pictures it stays between 1 / NARROW and NARROW.

    One number for all classes: it never changes which class is first. Rows that are not finite are left out.

    Returns:
      T > 0; above 1 the model was too sure of itself. Within [1 / HOTTEST, HOTTEST]. 1.0 also where no row is wrong
      (how sure such a model may be can't be seen), all classes tie, or nothing is finite.
    """
    logits, label = np.asarray(logits), np.asarray(label)
    good = np.isfinite(logits).all(axis=1)
    logits, label = (logits, label) if good.all() else (logits[good], label[good])
    n = len(label)
    if n == 0:
        return 1.0
    right = logits[np.arange(n), label]
    top = logits.max(axis=1)
    if (right == top).all() or (logits.min(axis=1) == top).all():
        return 1.0
    temperature = _posterior_mode(logits, label, NARROW if n < FEW else HOTTEST)
    gain = 2 * n * (nll(logits, label) - nll(logits, label, temperature))
    return temperature if gain >= EVIDENCE else 1.0


def _posterior_mode(logits, label, limit):
    """The T of rule 1 of `fit_temperature`, between 1 / limit and limit.

    NLL is convex in 1 / T, so with the prior there is one minimum by u = log T (a second one would need both T > e and
    next to no pictures). Newton's method on the derivative, kept inside a bracket, ends there.
    """
    u, high = 0.0, math.log(limit)
    low = -high
    for _ in range(100):
        inverse = math.exp(-u)
        slope, curvature = _slope(logits, label, inverse)
        first = u / SPREAD**2 - len(label) * slope * inverse
        second = 1 / SPREAD**2 + len(label) * (slope * inverse + curvature * inverse**2)
        low, high = (u, high) if first < 0 else (low, u)
        step = u - first / second if second > 0 else -math.inf
        following = step if low < step < high else (low + high) / 2
        if abs(following - u) <= 1e-9:
            break
        u = following
    return math.exp(following)


def _slope(logits, label, inverse):
    """First and second derivative of the mean negative log-likelihood by 1 / T."""
    first = second = 0.0
    for rows in chunks(logits.shape):
        z = logits[rows].astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        weight = np.exp(z * inverse)
        weight /= weight.sum(axis=1, keepdims=True)
        mean = np.einsum("ij,ij->i", weight, z)
        first += float((mean - z[np.arange(len(z)), label[rows]]).sum())
        second += float((np.einsum("ij,ij,ij->i", weight, z, z) - mean**2).sum())
    return first / len(label), second / len(label)


def _shifted(logits, inverse):
    """(logits - their maximum) * inverse in float64; NaN in rows whose maximum is not finite."""
    z = logits.astype(np.float64)
    top = z.max(axis=1, keepdims=True)
    z -= np.where(np.isfinite(top), top, np.nan)
    z *= inverse
    return z
