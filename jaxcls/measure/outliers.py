"""How unlike the training pictures a picture is: energy of its logits, distance of its features; higher is stranger.

`calibration/<step>.npz` in the workdir holds the training features that distances are measured to (`Bank`).
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.metrics import chunks
from jaxcls.types import PathLike

if TYPE_CHECKING:
    from jaxtyping import Float, Float16

ACCEPTED = 0.95  # share of validation pictures that are no outliers, by default
MOST = 5000  # training pictures that distances are measured to
BLOCK = 2**24  # similarities computed at once


class Bank(NamedTuple):
    """Features of training pictures, each of length 1, and which of the nearest is asked for."""

    features: Float16[np.ndarray, "n d"]
    k: int


def energy(logits: Float[np.ndarray, "n classes"], temperature: float = 1.0) -> Float[np.ndarray, " n"]:
    """-T logsumexp(logits / T), float64 (Liu et al. 2020, equation 4); NaN where a logit is.

    T is 1, as they recommend: that of a calibration is of no use here.
    """
    logits = np.asarray(logits)
    out = np.empty(len(logits))
    for rows in chunks(logits.shape):
        z = logits[rows].astype(np.float64) / temperature
        top = z.max(axis=1)
        with np.errstate(invalid="ignore"):
            total = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top
        out[rows] = -temperature * np.where(np.isinf(top), top, total)
    return out


def energy_of_sets(logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, " n"]:
    """Minus the sum over classes of log(1 + exp(logit)), float64: joint energy where labels are sets (Wang et al. 2021,
    equation 6); NaN where a logit is."""
    logits = np.asarray(logits)
    out = np.empty(len(logits))
    for rows in chunks(logits.shape):
        out[rows] = -np.logaddexp(0.0, logits[rows].astype(np.float64)).sum(axis=1)
    return out


def limit(scores: Float[np.ndarray, " n"], accepted: float = ACCEPTED) -> float:
    """The threshold at or below which a share `accepted` of these scores lies, midway to the next higher one.

    Raises:
      UserError: where that is no share, or too few scores are finite.
    """
    if not 0 < accepted <= 1:
        raise UserError(f"--accept {accepted:g} is no share in (0, 1]; give for example 0.95")
    ordered = np.sort(np.asarray(scores, np.float64))  # NaN comes last
    place = max(1, math.ceil(accepted * len(ordered) - 1e-9))
    if not len(ordered) or not np.isfinite(ordered[place - 1]):
        raise UserError("too few answers to validation pictures are finite to tell what is an outlier")
    following = ordered[place] if place < len(ordered) and np.isfinite(ordered[place]) else ordered[place - 1]
    return float((ordered[place - 1] + following) / 2)


def bank(features: Float[np.ndarray, "n d"]) -> Bank:
    """The bank of training features; k is a thousandth of them, at least 1, as in Sun et al. 2022 (section 4)."""
    return Bank(_normalised(features).astype(np.float16), max(1, round(len(features) / 1000)))


def distance(bank: Bank, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Distance to the k-th nearest of the bank, of features of length 1: 0 to 2, float64; NaN where a feature is.

    Deep nearest neighbours (Sun et al. 2022): nothing is assumed about how features lie, and few pictures are enough.
    """
    known = bank.features.astype(np.float32)
    features = _normalised(features)
    out = np.empty(len(features))
    size = max(1, BLOCK // max(1, len(known)))
    for start in range(0, len(features), size):
        part = features[start : start + size] @ known.T
        nearest = np.partition(part, -bank.k, axis=1)[:, -bank.k].astype(np.float64)
        out[start : start + size] = np.sqrt(np.maximum(0.0, 2 - 2 * nearest))
    return np.where(np.isnan(features).any(axis=1), np.nan, out)


def _normalised(features):
    features = np.asarray(features, np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def path(workdir: PathLike, step: int) -> Path:
    """Where the bank of a step lies, or would."""
    return Path(workdir) / "calibration" / f"{step}.npz"


def digest(known: Bank) -> str:
    """SHA-256 of a bank, which the calibration names."""
    return hashlib.sha256(np.ascontiguousarray(known.features).data).hexdigest()


def save(workdir: PathLike, step: int, known: Bank) -> None:
    """Writes the bank of a step. Raises UserError where it can't be written."""
    files.write_arrays(path(workdir, step), digest(known), features=known.features)


def read(workdir: PathLike, step: int, decided: dict[str, Any] | None) -> Bank | None:
    """The bank that a step's calibration (`measure.decision`) measures distances to; None where it measures none.

    Raises:
      UserError: where the file is missing, damaged or another.
    """
    wanted = ((decided or {}).get("outliers") or {}).get("distance")
    if not wanted:
        return None
    stored = files.read_arrays(path(workdir, step), wanted["sha256"])
    if stored is None or stored.get("features", np.zeros(0)).ndim != 2:
        raise UserError(
            f"{path(workdir, step)} is missing, damaged or of another calibration; make it anew with "
            f"`jaxcls calibrate {workdir} --outliers --apply`"
        )
    return Bank(stored["features"], wanted["k"])
