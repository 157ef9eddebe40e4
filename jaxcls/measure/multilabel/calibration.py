"""Honest probabilities of each class by itself: a scale and a bias of its logits, fitted on held-out pictures.

Platt scaling (Platt 1999): p = sigmoid(scale * logit + bias) of each class, by Newton's method on the negative
log-likelihood (Lin, Lin and Weng 2007). A class with fewer than FEW positives (or negatives) has too few to tell two
numbers by: ten events for each are the usual least (Peduzzi et al. 1996). Such classes share one temperature, scale =
1 / T, that is fitted on the answers of all classes together. Either is kept only where it is shown to be better.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxcls.measure.multilabel.answers import sigmoid
from jaxcls.metrics import wilson_interval

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

FEW = 20  # positives, or negatives, below which a class gets no scale and bias of its own
OWN, SHARED, NONE = "own", "shared", "none"
EVIDENCE = {OWN: 5.991, SHARED: 3.841}  # twice the gain in log-likelihood: 5 % of chi-square, 2 and 1 degrees
HOTTEST = 100.0  # a temperature beyond it, or below 1 / HOTTEST, is no calibration but a broken model
BINS = 15


class Calibration(NamedTuple):
    """scale and bias of each class; `how` says whether they are its OWN, those SHARED, or NONE (1 and 0);
    `temperature` is the shared one, 1 where no class has it."""

    scale: Float[np.ndarray, " classes"]
    bias: Float[np.ndarray, " classes"]
    how: list[str]
    temperature: float


def fit(logits: Float[np.ndarray, "n classes"], label: UInt8[np.ndarray, "n classes"]) -> Calibration:
    """Fits every class on logits of held-out pictures; answers that are not finite are left out."""
    z, y = np.asarray(logits, np.float64), np.asarray(label) > 0
    k = z.shape[1]
    scale, bias, how = np.ones(k), np.zeros(k), [NONE] * k
    few = [c for c in range(k) if min(_counts(z[:, c], y[:, c])) < FEW]
    for c in sorted(set(range(k)) - set(few)):
        good = np.isfinite(z[:, c])
        found = _platt(z[good, c], y[good, c])
        if found is not None:
            (scale[c], bias[c]), how[c] = found, OWN
    temperature = _shared(z, y, few)
    if temperature != 1:
        for c in few:
            scale[c], how[c] = 1 / temperature, SHARED
    return Calibration(scale, bias, how, temperature)


def _counts(z, y):
    good = np.isfinite(z)
    return int((y & good).sum()), int((~y & good).sum())


def _platt(z, y):
    """(scale, bias) of one class, or None where they are not shown to be better than 1 and 0, or turn the order round.

    The targets are Platt's, (N+ + 1) / (N+ + 2) and 1 / (N- + 2): so there is a least NLL where a class is told apart
    without a mistake, too.
    """
    positives, negatives = int(y.sum()), int((~y).sum())
    target = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    scale, bias = _newton(np.stack([z, np.ones(len(z))], axis=1), target, np.array([1.0, 0.0]))
    gain = 2 * (_loss(z, y) - _loss(scale * z + bias, y))
    return (float(scale), float(bias)) if scale > 0 and gain >= EVIDENCE[OWN] else None


def _shared(z, y, few):
    """The temperature of the classes `few`, fitted on all answers; 1.0 where it is not better for these."""
    if not few:
        return 1.0
    good = np.isfinite(z)
    if not good.any() or ((z > 0) == y)[good].all():  # without a mistake there is nothing to fit it by
        return 1.0
    (inverse,) = _newton(z[good][:, None], y[good].astype(np.float64), np.array([1.0]))
    if not 1 / HOTTEST <= inverse <= HOTTEST:
        return 1.0
    mine, truth, there = z[:, few], y[:, few], good[:, few]
    gain = 2 * (_loss(mine[there], truth[there]) - _loss(inverse * mine[there], truth[there]))
    return float(1 / inverse) if gain >= EVIDENCE[SHARED] else 1.0


def _newton(x, target, start):
    """The coefficients [d] of columns x [n, d] with the least NLL of these targets, halving steps that overshoot."""
    theta, loss = start, _soft(x @ start, target)
    for _ in range(100):
        p = sigmoid(x @ theta)
        slope = x.T @ (p - target)
        curvature = (x * (p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(len(theta))
        step, size = np.linalg.solve(curvature, slope), 1.0
        while size > 1e-10 and not (_soft(x @ (theta - size * step), target) <= loss):
            size /= 2
        moved = theta - size * step
        following = _soft(x @ moved, target)
        if not following <= loss or np.abs(moved - theta).max() <= 1e-10 * (1 + np.abs(theta).max()):
            break
        theta, loss = moved, following
    return theta


def _soft(z, target):
    return float((np.logaddexp(0.0, z) - target * z).sum())


def _loss(z, y):
    return float(np.logaddexp(0.0, np.where(y, -z, z)).sum())


def nll(probability: Float[np.ndarray, "n classes"], label: UInt8[np.ndarray, "n classes"]) -> float:
    """Mean over pictures and classes of the negative log-likelihood in nats; inf where a right answer had no chance,
    or one is not finite."""
    stated = np.where(np.asarray(label) > 0, probability, 1 - probability)
    with np.errstate(divide="ignore"):
        losses = -np.log(stated)
    return float(np.where(np.isnan(losses), np.inf, losses).mean())


class Reliability(NamedTuple):
    """Stated probability and observed share in bins that hold `size` answers each, and their mean distance over all of
    these; `error` is None where no answer is finite."""

    stated: Float[np.ndarray, " bins"]
    observed: Float[np.ndarray, " bins"]
    size: Float[np.ndarray, " bins"]
    interval: Float[np.ndarray, "bins 2"]
    error: float | None


def reliability(
    probability: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], bins: int = BINS
) -> Reliability:
    """How often a class is there, by the probability it was given: `bins` of [0, 1], each (low, high].

    `error` is the expected calibration error of the class against the rest. Unlike that of the first class (Guo et al.
    2017) it counts all pictures, of which most have a low probability of most classes: it is small where classes are
    rare, and comparable only at the same frequency.
    """
    probability, positive = np.asarray(probability), np.asarray(positive, bool)
    good = np.isfinite(probability)
    p, y = probability[good], positive[good]
    where = np.clip(np.ceil(p * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(where, minlength=bins)
    kept = np.flatnonzero(count)
    hits = np.bincount(where, y, minlength=bins)[kept]
    total = np.bincount(where, p, minlength=bins)[kept]
    count = count[kept]
    ends = np.array([wilson_interval(h, n) for h, n in zip(hits, count, strict=True)]).reshape(-1, 2)
    error = float(np.abs(hits - total).sum() / len(p)) if len(p) else None
    return Reliability(total / count, hits / count, count, ends, error)


def errors(
    probability: Float[np.ndarray, "n classes"], label: UInt8[np.ndarray, "n classes"]
) -> Float[np.ndarray, " classes"]:
    """`reliability`'s error of each class; NaN where none of its answers is finite."""
    pairs = zip(np.asarray(probability).T, (np.asarray(label) > 0).T, strict=True)
    found = (reliability(p, y).error for p, y in pairs)
    return np.array([math.nan if error is None else error for error in found])
