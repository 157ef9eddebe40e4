"""Runs on sets of labels side by side: figures of each, and paired bootstrap intervals of their differences.

Each run names classes by its own stored calibration and thresholds, as `jaxcls predict` does; without one at 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls import set_metrics
from jaxcls.measure.multilabel import figures, redraw
from jaxcls.measure.runs import Run
from jaxcls.types import Figures

if TYPE_CHECKING:
    from jaxtyping import Float


def value(run: Run) -> float:
    """The mAP."""
    return float(set_metrics.of_sets(run.predictions.logits, run.predictions.label)["mAP"])


def row(run: Run) -> Figures:
    """count, not_finite, mAP with its interval, mAP_micro, f1, f1_micro, exact, hamming, loss (None where infinite)."""
    logits, label, _ = run.predictions
    out = set_metrics.of_sets(logits, label)
    out |= {name: float(x) for name, x in redraw.figures(_said(run)).items() if name in redraw.WHOLE[1:]}
    within = set_metrics.interval(out)
    kept = ("count", "not_finite", "mAP", "mAP_micro", "f1", "f1_micro", "exact", "hamming", "loss")
    return {key: _finite(out[key]) for key in kept} | {"interval": list(within) if within else None}


def pair(a: Run, b: Run) -> Figures:
    """How b differs from a on the same pictures.

    Returns:
      difference, interval and p of the mAP, b less a; figures: name -> the same, with the values a and b, of each of
      redraw.WHOLE; classes: a list of {class, support, a, b, difference, interval} of average precisions, for the
      classes that have positives. Intervals are 95 %, of redraws of the pictures, the same for both (redraw.interval);
      p is `chance` of them.
    """
    sides = [_said(run) for run in (a, b)]
    n, classes = sides[0].label.shape
    drawn = redraw.redrawn(sides, max(redraw.draws(n, classes), redraw.LEAST))
    found = [redraw.figures(side) for side in sides]
    out = {name: _difference([float(x[name]) for x in found], [x[name] for x in drawn]) for name in redraw.WHOLE}
    names = a.meta.classes or tuple(map(str, range(classes)))
    support, by_class = sides[0].label.sum(axis=0), []
    for c in np.flatnonzero(support):
        values = [float(x["average_precision"][c]) for x in found]
        change = _difference(values, [x["average_precision"][:, c] for x in drawn])
        del change["p"]  # of many classes some would always look like a difference
        by_class.append({"class": names[c], "support": int(support[c]), **change})
    first = {key: out["mAP"][key] for key in ("difference", "interval", "p")}
    return {**first, "figures": out, "classes": by_class}


def _difference(values, redrawn):
    """{a, b, difference, interval, p}; redraws in which a figure is undefined are left out."""
    change = redrawn[1] - redrawn[0]
    change = change[~np.isnan(change)]
    difference = _finite(values[1] - values[0])
    found = difference or 0.0
    return {
        **{name: _finite(x) for name, x in zip("ab", values, strict=True)},
        "difference": found,
        "interval": redraw.interval(change, found, least=-1.0),
        "p": chance(redraw.reflected(change, found)) if len(change) and difference else 1.0,
    }


def chance(change: Float[np.ndarray, " draws"]) -> float:
    """Two-sided p of no difference, by inverting intervals of redraws (Efron and Tibshirani 1993, section 15.4): twice
    the share of redraws at 0 or on the side of it that has fewer of them, the figure itself counting as one of them."""
    less = min(int((change <= 0).sum()), int((change >= 0).sum()))
    return min(1.0, 2 * (less + 1) / (len(change) + 1))


def notes(runs: Sequence[Run]) -> list[str]:
    """By what the runs name classes, where that is not alike."""
    kinds = {run.name: _named_by(run.decision) for run in runs}
    if len(set(kinds.values())) == 1:
        how = next(iter(kinds.values()))
        return [f"F1, exact match and Hamming loss are of the classes named {how}; mAP is of ranks alone."]
    each = "; ".join(f"{name}: {how}" for name, how in kinds.items())
    return [
        f"Classes are named {each}. So F1, exact match and Hamming loss differ by that, too; mAP is of ranks alone."
    ]


def _named_by(decision: dict[str, Any] | None) -> str:
    if not decision:
        return "at a probability of 0.5, as stated"
    if all(entry["kind"] == "half" for entry in decision["thresholds"]):
        return "at a calibrated probability of 0.5"
    return "by stored thresholds"


def _said(run):
    return figures.answered(run.predictions.logits, run.predictions.label, run.decision)[1]


def _finite(value):
    """As JSON has it: None where it is not finite."""
    return value if np.isfinite(value) else None
