"""Probabilities that are computed where they are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jaxcls.metrics import chunks

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class Softmax:
    """softmax(logits / temperature), float64 [n, classes], without a second matrix beside the logits.

    It is indexed like that matrix, by rows or by (rows, classes), and computes what is asked for. A row that is not
    finite (see `metrics`) states nothing: it is NaN. `calibration.probabilities` has the same numbers at once.

    Attributes:
      logits, shape: what it is of.
      answer: int [n], the first class of each row, of equal ones the lower; -1 where it is not finite.
      confidence: float64 [n], the probability of that class; NaN where there is none.
    """

    def __init__(self, logits: Float[np.ndarray, "n classes"], temperature: float = 1.0):
        self.logits, self.inverse = np.asarray(logits), 1.0 / temperature
        self.shape = self.logits.shape
        self.answer = answers(self.logits)
        best = self.logits[np.arange(len(self.logits)), np.maximum(self.answer, 0)].astype(np.float64)
        self._top = np.where(self.answer >= 0, best, np.nan)
        self._total = np.empty(len(self.logits))
        for rows in chunks(self.shape):
            self._total[rows] = self._exp(rows).sum(axis=1)
        self.confidence = 1.0 / self._total  # that class has exp(0)

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, key: Any) -> Float[np.ndarray, " ..."]:
        """Rows, or (rows, classes), as NumPy has it; rows without an Ellipsis or a new axis."""
        out = self._exp(key)
        total = self._total[key[0] if isinstance(key, tuple) else key]
        return out / (total[..., None] if np.ndim(out) > np.ndim(total) else total)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """The whole matrix, for whoever needs it."""
        return self[:] if dtype is None else self[:].astype(dtype)

    def _exp(self, key):
        logits = self.logits[key].astype(np.float64)
        top = self._top[key[0] if isinstance(key, tuple) else key]
        return np.exp((logits - (top[..., None] if np.ndim(logits) > np.ndim(top) else top)) * self.inverse)


def answers(logits: Float[np.ndarray, "n classes"]) -> Int[np.ndarray, " n"]:
    """The first class of every row; of equal ones the lower; -1 for a row that is not finite (see `metrics`)."""
    logits = np.asarray(logits)
    out = np.empty(len(logits), np.int64)
    for rows in chunks(logits.shape):
        part = logits[rows]
        best = part.argmax(axis=1)  # the first NaN, where there is one
        out[rows] = np.where(np.isfinite(part[np.arange(len(best)), best].astype(np.float64)), best, -1)
    return out


Probabilities: TypeAlias = 'Softmax | Float[np.ndarray, "n classes"]'
