"""Sets of classes that hold the right one with a stated chance: split conformal prediction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.errors import UserError
from jaxcls.measure.softmax import Probabilities

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def choose(probability: Probabilities, label: Int[np.ndarray, " n"], coverage: float) -> dict[str, Any]:
    """The probability from which on a class belongs to the set of a picture.

    Split conformal prediction (Vovk, Gammerman and Shafer 2005; Papadopoulos et al. 2002) with the score 1 - p of the
    right class (LAC: Sadinle, Lei and Wasserman 2019), which has the smallest sets on average. For a picture drawn like
    those of validation the chance that its class is in the set is at least `coverage`: the threshold is the
    ceil((n + 1) coverage)-th smallest score of n pictures. It holds over all pictures, not within each class.

    Args:
      probability: of held-out pictures; a row of NaN scores worst.
      label: their classes.
      coverage: in (0, 1).

    Returns:
      dict of coverage, threshold, count.

    Raises:
      UserError: where there are too few pictures for this coverage, with the highest one that they are enough for.
    """
    if not 0 < coverage < 1:
        raise UserError(f"--coverage {coverage:g} is no share in (0, 1); give for example 0.95")
    n = len(label)
    rank = math.ceil((n + 1) * coverage - 1e-9)
    if rank > n:
        most = math.floor(1000 * n / (n + 1)) / 1000
        needed = math.ceil(coverage / (1 - coverage) - 1e-9)
        raise UserError(
            f"sets with a coverage of {coverage:g} need {needed:,} pictures of validation, and there are {n:,}: give "
            f"--coverage {most:g} or less, or hold out more pictures"
        )
    right = np.nan_to_num(probability[np.arange(n), np.asarray(label)], nan=0.0)
    return {"coverage": coverage, "threshold": float(np.sort(right)[n - rank]), "count": n}


def members(chosen: dict[str, Any], probability: Float[np.ndarray, "n classes"]) -> Bool[np.ndarray, "n classes"]:
    """Which classes are in the set of each picture; no class where a probability is NaN.

    The most probable class always is. Without that rule pictures that the model is unsure of would have empty sets;
    with it the coverage can only be higher.
    """
    inside = np.asarray(probability) >= chosen["threshold"]
    good = ~np.isnan(probability).any(axis=1)
    rows = np.flatnonzero(good)
    inside[rows, probability[rows].argmax(axis=1)] = True
    return inside & good[:, None]
