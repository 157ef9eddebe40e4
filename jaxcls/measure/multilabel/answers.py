"""What logits of label sets say: a calibrated probability of each class by itself, and the classes that are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

HALF = 0.5  # the threshold of a class that has no other


def probabilities(
    logits: Float[np.ndarray, "n classes"], decision: dict[str, Any] | None
) -> Float[np.ndarray, "n classes"]:
    """sigmoid(scale * logits + bias), float64, of the stored calibration; without a decision (None) the plain sigmoid.
    What is NaN stays it."""
    z = np.asarray(logits, np.float64)
    if decision:
        z = z * np.asarray(decision["scale"], np.float64) + np.asarray(decision["bias"], np.float64)
    return sigmoid(z)


def sigmoid(z: Float[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    """1 / (1 + exp(-z)), without overflow."""
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, small) / (1.0 + small)


def thresholds(decision: dict[str, Any] | None, count: int) -> Float[np.ndarray, " classes"]:
    """That of each of `count` classes on its calibrated probability, float64: the stored one, else 0.5."""
    limit = np.full(count, HALF)
    for entry in decision["thresholds"] if decision else ():
        limit[entry["index"]] = entry["threshold"]
    return limit


def chosen(
    probability: Float[np.ndarray, "n classes"], decision: dict[str, Any] | None
) -> Bool[np.ndarray, "n classes"]:
    """Which classes are named: those whose calibrated probability is at least their stored threshold, or 0.5 without
    one. A row may name none; what is NaN is not named."""
    probability = np.asarray(probability)
    return probability >= thresholds(decision, probability.shape[1])
