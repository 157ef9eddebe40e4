"""What a calibration changes: figures before and after with intervals, paired over the same pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxcls.measure import calibration, curves
from jaxcls.metrics import chunks, wilson_interval

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

PARTS = 5  # of validation: each is measured with the temperature of the others
WORK = 5 * 10**7  # pictures times redraws; 1,000 redraws of up to 50,000 pictures, fewer of more


class Change(NamedTuple):
    """A figure before and after and the difference, each (value, low, high) with its 95 % interval."""

    name: str
    before: tuple[float, float, float]
    after: tuple[float, float, float]
    difference: tuple[float, float, float]

    @property
    def verdict(self) -> str:
        """ "unchanged", "noise" where the interval of the difference includes 0, else "better" or "worse"."""
        value, low, high = self.difference
        if value == low == high == 0:
            return "unchanged"
        if low <= 0 <= high:
            return "noise"
        return "better" if (value > 0) == (self.name == "accuracy") else "worse"


class Rows(NamedTuple):
    """What each picture adds to the figures: is its answer right, its NLL, its Brier score, and of the first class the
    probability and whether it is right."""

    right: Bool[np.ndarray, " n"]
    loss: Float[np.ndarray, " n"]
    brier: Float[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]
    first: Bool[np.ndarray, " n"]


def rows(
    logits: Float[np.ndarray, "n classes"],
    label: Int[np.ndarray, " n"],
    temperature: Float[np.ndarray, " n"],
    answer: Int[np.ndarray, " n"] | None = None,
) -> Rows:
    """Those of logits that are finite, each row at its own temperature; `answer`: the classes, None for the first."""
    n = len(label)
    loss, brier, confidence, first = np.empty(n), np.empty(n), np.empty(n), np.empty(n, bool)
    for part in chunks(logits.shape):
        p = calibration.probabilities(logits[part].astype(np.float64) / temperature[part, None])
        places = np.arange(len(p))
        stated, best = p[places, label[part]], p.argmax(axis=1)
        with np.errstate(divide="ignore"):
            loss[part] = np.minimum(-np.log(stated), 745.0)  # the largest that float64 knows: one such row is no inf
        brier[part] = (p * p).sum(axis=1) - 2 * stated + 1
        confidence[part], first[part] = p[places, best], best == label[part]
    return Rows(first if answer is None else answer == label, loss, brier, confidence, first)


def cross_fitted(
    logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"], seed: int = 0
) -> Float[np.ndarray, " n"]:
    """A temperature for each row, fitted without it: on the other ones of PARTS parts, drawn by the seed."""
    n, out = len(label), np.ones(len(label))
    part = np.random.default_rng(seed).permutation(n) % PARTS
    for number in range(PARTS):
        mine = part == number
        if mine.any() and not mine.all():
            out[mine] = calibration.fit_temperature(logits[~mine], label[~mine])
    return out


def changes(before: Rows, after: Rows, seed: int = 0) -> list[Change]:
    """Accuracy, NLL, ECE (15 bins) and Brier score of the same pictures before and after.

    Intervals: Wilson's (1927) of an accuracy, else the basic bootstrap (Davison and Hinkley 1997, section 5.2) over
    redraws of the pictures, each redraw taken for both. Percentiles would not do for ECE, which is larger in redraws
    than in the pictures themselves.
    """
    n = len(before.loss)
    columns = np.concatenate([_columns(before), _columns(after)], axis=1)
    rng = np.random.default_rng(seed)
    draws = int(np.clip(WORK // n, 200, 1000))
    redrawn = np.empty((draws, columns.shape[1]))
    for i in range(draws):
        redrawn[i] = np.bincount(rng.integers(0, n, n), minlength=n) @ columns
    width = columns.shape[1] // 2
    found, again = (
        (_figures(sums[..., :width] / n), _figures(sums[..., width:] / n)) for sums in (columns.sum(axis=0), redrawn)
    )
    out = []
    for i, (name, most) in enumerate((("accuracy", 1.0), ("NLL", np.inf), ("ECE", 1.0), ("Brier", 2.0))):
        values = [(found[side][i], again[side][:, i]) for side in (0, 1)]
        values.append((found[1][i] - found[0][i], again[1][:, i] - again[0][:, i]))
        bounds = ((0.0, most), (0.0, most), (-np.inf, np.inf))
        out.append(Change(name, *(_interval(*pair, *ends) for pair, ends in zip(values, bounds, strict=True))))
    # redraws of right answers alone would know no others
    ends = [(k / n, *wilson_interval(k, n)) for k in (int(before.right.sum()), int(after.right.sum()))]
    return [Change("accuracy", ends[0], ends[1], out[0].difference), *out[1:]]


def _columns(rows):
    """float64 [n, 3 + bins]: what sums to the figures; the last ones are right minus stated, by bin of confidence."""
    edges = np.linspace(0, 1, curves.BINS + 1)
    where = np.clip(np.searchsorted(edges, rows.confidence, side="left") - 1, 0, curves.BINS - 1)
    gaps = np.zeros((len(where), curves.BINS))
    gaps[np.arange(len(where)), where] = rows.first - rows.confidence
    return np.concatenate([np.stack([rows.right, rows.loss, rows.brier], axis=1).astype(np.float64), gaps], axis=1)


def _figures(means):
    """accuracy, NLL, ECE, Brier of means [..., columns]."""
    ece = np.abs(means[..., 3:]).sum(axis=-1)
    return np.stack([means[..., 0], means[..., 1], ece, means[..., 2]], axis=-1)


def _interval(value, redrawn, least, most):
    low, high = (2 * value - end for end in np.quantile(redrawn, [0.975, 0.025]))
    ends = min(low, value), max(high, value)  # of a biased figure (ECE) it need not hold the value itself
    return (float(value), *(float(np.clip(end, least, most)) for end in ends))
