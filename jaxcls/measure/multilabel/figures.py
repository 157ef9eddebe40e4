"""The figures of a split whose labels are sets, from its stored logits: one dict that JSON takes, and tables by class
and by group.

Ranks (mAP, AUC) and what becomes of rows that are not finite are those of `set_metrics`. Here a class is named where
its calibrated probability is at least its stored threshold; without a decision that is 0.5, and all figures are those
of `set_metrics`. What is undefined is None; means over classes are over those that have positives, where the precision
of a class never named counts 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls import set_metrics
from jaxcls.measure.figures import grouped
from jaxcls.measure.multilabel import answers, calibration, redraw
from jaxcls.metrics import wilson_interval
from jaxcls.types import Figures

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

Decision = dict[str, Any]


def figures(
    logits: Float[np.ndarray, "n classes"],
    label: UInt8[np.ndarray, "n classes"],
    classes: Sequence[str],
    decision: Decision | None = None,
) -> Figures:
    """Every figure of a split, whose classes have these names, of what a decision answers (None: at 0.5).

    Returns:
      dict that JSON takes: those of `set_metrics.of_sets`; interval (of the mAP, 95 %); macro and micro ({precision,
      recall, f1}); labels and named (mean number of classes a picture that are right, that are named); brier (mean
      squared error over pictures and classes) and ece (mean over the classes with positives of
      `calibration.reliability`), of the answers that are finite.
      intervals: name -> [low, high] or None, 95 %, of mAP (set_metrics.interval) and, bootstrapped over pictures, of
      f1, f1_micro, hamming, exact; those are missing where redraws would take too long (redraw.draws).
      per_class: columns with an entry a class (`of_classes`).

    Raises:
      ValueError: for shapes or labels that do not fit.
    """
    logits, label = np.asarray(logits), np.asarray(label)
    if logits.shape[1] != len(classes):
        raise ValueError(f"{len(classes)} class names for {logits.shape[1]} columns of logits")
    out: Figures = set_metrics.of_sets(logits, label)
    probability, said = answered(logits, label, decision)
    n, ranks = len(label), set_metrics.by_class(logits, label)
    count = redraw.draws(n, len(classes))
    redrawn = redraw.redrawn([said], count)[0] if count else {}
    whole = redraw.figures(said)
    within = set_metrics.interval(out)
    out |= {name: float(whole[name]) for name in ("f1", "f1_micro", "hamming", "exact")}
    out["interval"] = list(within) if within else None
    out["intervals"] = {"mAP": out["interval"]}
    for name in redraw.WHOLE[1:] if redrawn else ():
        out["intervals"][name] = redraw.interval(redrawn[name], float(whole[name]))
    out |= means(said)
    out |= {"labels": float(said.label.sum() / n), "named": float(said.chosen.sum() / n)}
    good = np.isfinite(probability).all(axis=1)
    out["brier"] = float(np.mean((probability[good] - label[good]) ** 2)) if good.any() else math.nan
    apart = calibration.errors(probability, label)
    out["ece"] = _mean(apart[ranks["support"] > 0])
    if decision:
        out["loss"] = calibration.nll(probability, label)
        worst = np.where(said.label, -np.inf, np.inf)
        ranked = np.where(good[:, None], probability, worst)
        out["mAP_micro"] = set_metrics.average_precision(ranked.ravel(), said.label.ravel())
    out["per_class"] = of_classes(said, ranks, classes, redrawn) | {
        "threshold": answers.thresholds(decision, len(classes)).tolist(),
        "ece": _or_none(apart),
    }
    return _plain(out)


def answered(
    logits: Float[np.ndarray, "n classes"], label: UInt8[np.ndarray, "n classes"], decision: Decision | None = None
) -> tuple[Float[np.ndarray, "n classes"], redraw.Answers]:
    """(calibrated probabilities, NaN in rows that are not finite; what is answered, all of those being wrong)."""
    logits, truth = np.asarray(logits), np.asarray(label) > 0
    good = np.isfinite(logits.max(axis=1))[:, None]
    probability = np.where(good, answers.probabilities(logits, decision), np.nan)
    named = np.where(good, answers.chosen(probability, decision), ~truth)
    low = np.where(np.isneginf(logits), np.finfo(np.float64).min, logits.astype(np.float64))
    scores = np.where(good, low, np.where(truth, -np.inf, np.inf))
    return probability, redraw.Answers(scores, named, truth)


def means(said: redraw.Answers) -> dict[str, dict[str, float]]:
    """macro (over the classes with positives) and micro (all answers together) of precision, recall, f1."""
    hits, named, support = _counts(said)
    there = support > 0
    precision, recall, f1 = _rates(hits, named, support)
    macro = {
        name: _mean(np.nan_to_num(x[there])) for name, x in (("precision", precision), ("recall", recall), ("f1", f1))
    }
    whole = _rates(*(np.array([x.sum()]) for x in (hits, named, support)))
    return {
        "macro": macro,
        "micro": {name: float(x[0]) for name, x in zip(("precision", "recall", "f1"), whole, strict=True)},
    }


def of_classes(
    said: redraw.Answers,
    ranks: dict[str, Float[np.ndarray, " classes"]],
    classes: Sequence[str],
    redrawn: dict[str, Float[np.ndarray, "draws classes"]],
) -> dict[str, list]:
    """Columns with an entry a class: name, support (pictures that have it), predicted (that are said to), precision,
    recall and their Wilson intervals, f1, roc_auc, average_precision, and the bootstrapped intervals f1_interval and
    average_precision_interval (None where too few redraws have the class). `measure.figures.by_row` makes rows of them.
    """
    hits, named, support = _counts(said)
    precision, recall, f1 = _rates(hits, named, support)
    columns = {
        "name": [str(name) for name in classes],
        "support": support.tolist(),
        "predicted": named.tolist(),
        "precision": _or_none(precision),
        "precision_interval": _wilson(hits, named),
        "recall": _or_none(recall),
        "recall_interval": _wilson(hits, support),
        "f1": _or_none(f1),
        "roc_auc": _or_none(ranks["auc"]),
        "average_precision": _or_none(ranks["ap"]),
    }
    for name, key, found in (
        ("f1_interval", "class_f1", f1),
        ("average_precision_interval", "average_precision", ranks["ap"]),
    ):
        redraws = redrawn.get(key, np.empty((0, len(classes))))
        columns[name] = [redraw.interval(*pair) for pair in zip(redraws.T, found, strict=True)]
    return columns


def group_table(
    logits: Float[np.ndarray, "n classes"],
    label: UInt8[np.ndarray, "n classes"],
    values: Sequence[object],
    decision: Decision | None = None,
) -> list[Figures]:
    """How good the model is in each group of rows, made of values as `measure.figures.group_table` makes them.

    Returns:
      A list of {value (text), count, labels (mean number a picture), mAP, f1_micro, interval (of f1_micro, bootstrapped
      over the group's pictures; None for one), exact}.
    """
    _, said = answered(logits, label, decision)
    names, group = grouped(values)
    rows = []
    for i, name in enumerate(names):
        mine = redraw.Answers(*(part[group == i] for part in said))
        found = redraw.figures(mine)
        row = {"value": name, "count": int((group == i).sum()), "labels": float(mine.label.sum(axis=1).mean())}
        row |= {key: float(found[key]) for key in ("mAP", "f1_micro", "exact")}
        rows.append(_plain({**row, "interval": _micro_interval(mine, row["f1_micro"])}))
    return rows


def _micro_interval(said, figure, count=1000, seed=0):
    n = len(said.label)
    if n < 2:
        return None
    hits = (said.chosen & said.label).sum(axis=1)
    both = said.chosen.sum(axis=1) + said.label.sum(axis=1)
    rng, values = np.random.default_rng(seed), np.empty(min(count, max(200, 10**7 // n)))
    for i in range(len(values)):
        rows = rng.integers(0, n, n)
        total = both[rows].sum()
        values[i] = 2 * hits[rows].sum() / total if total else np.nan
    return redraw.interval(values, figure)


def _counts(said: redraw.Answers) -> tuple[Int[np.ndarray, " classes"], ...]:
    return tuple(x.sum(axis=0) for x in (said.chosen & said.label, said.chosen, said.label))


def _rates(hits, named, support):
    with np.errstate(invalid="ignore"):
        f1 = np.where(support > 0, 2 * hits / (named + support), np.nan)
        return hits / named, hits / support, f1


def _wilson(hits, of):
    return [list(wilson_interval(h, n)) if n else None for h, n in zip(hits.tolist(), of.tolist(), strict=True)]


def _mean(values):
    good = values[~np.isnan(values)]
    return float(good.mean()) if len(good) else math.nan


def _or_none(values):
    """As JSON has them, NaN as None."""
    return [None if math.isnan(value) else value for value in np.asarray(values, np.float64).tolist()]


def _plain(value):
    """As JSON has it: what is not finite is None."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
