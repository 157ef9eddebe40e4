"""The figures of a split from its stored logits: one dict that JSON takes, and a table by group.

What is undefined (the recall of a class without pictures, the precision of one never predicted) is None and enters no
mean, with one exception that scikit-learn makes too: in the means over classes an undefined precision or F1 of a class
that has pictures counts 0.

All figures are over all rows, `count`. A row that is not finite (see `metrics`) is an answer of no class, and gives no
class any probability: it is wrong, the loss is infinite (None), its Brier score is 1, and it ranks last for every class
in areas and average precisions. Only the calibration errors speak of the answers that state a probability, of which
there are `count` - `not_finite`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.measure import confusion, curves
from jaxcls.measure.softmax import Probabilities, Softmax, answers
from jaxcls.metrics import check, chunks, of_logits, wilson_interval
from jaxcls.types import Figures

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

BOOTSTRAP_UP_TO = 50  # classes: beyond, redraws cost seconds, and what they tell is no more than that n is large
COLUMNS = 8  # classes whose scores are sorted at once
QUARTILES_FROM = 12  # a numeric column with more distinct values than this is cut at its quartiles


def figures(logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"], classes: Sequence[str]) -> Figures:
    """Every figure of a split, whose classes have these names.

    Returns:
      dict that JSON takes. Of all rows: count, not_finite, correct, accuracy, interval (Wilson, 95 %), top5 (more than
      5 classes), loss (mean negative log-likelihood in nats; None where infinite), brier (sum over classes of squared
      errors, 0 to 2), balanced_accuracy (mean recall of the classes with pictures), kappa (Cohen 1960), mcc (Gorodkin
      2004), macro and weighted ({precision, recall, f1}: means over the classes with pictures, plain and by their
      number), roc_auc and average_precision (one class against the rest, mean over the classes for which there are
      positives and negatives; with two classes roc_auc is the usual binary one), ece and adaptive_ece
      (curves.reliability).
      intervals: name -> [low, high] or None, 95 %, up to 50 classes (confusion.bootstrap; with two roc_auc, DeLong's).
      per_class: columns with an entry a class: name, support, predicted, precision, recall, recall_interval, f1,
      roc_auc, average_precision (`by_row` makes rows of them). confusion: true, predicted (-1: no class) and number of
      the cells that are not empty (confusion.from_json).

    Raises:
      ValueError: for shapes or labels that do not fit.
    """
    logits, label = np.asarray(logits), np.asarray(label)
    check(logits, label)
    if logits.shape[1] != len(classes):
        raise ValueError(f"{len(classes)} class names for {logits.shape[1]} columns of logits")
    probability = Softmax(logits)
    out = overall(logits, label)
    table = confusion.count(probability.answer, label, len(classes))
    areas, averages = one_vs_rest(probability, label)
    out |= {"brier": brier(probability, label), **confusion.agreement(table), **confusion.means_over_classes(table)}
    out |= {"roc_auc": _mean(areas), "average_precision": _mean(averages)}
    for name, adaptive in (("ece", False), ("adaptive_ece", True)):
        out[name] = curves.reliability(probability, label, adaptive=adaptive)["error"]
    out["intervals"] = confusion.bootstrap(table) if len(classes) <= BOOTSTRAP_UP_TO else {}
    if len(classes) == 2:
        out["intervals"]["roc_auc"] = curves.roc(probability[:, 1], label == 1)["interval"]
    out["per_class"] = per_class(table, classes, areas, averages)
    out["confusion"] = table.to_json()
    return out


def overall(logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"]) -> Figures:
    """What needs no more than a pass over the logits: those of `metrics.of_logits` that are of all rows alike, and the
    interval of the accuracy. A loss that is infinite is None."""
    of = of_logits(logits, label)
    out: Figures = {name: of[name] for name in ("count", "not_finite", "correct", "accuracy")}
    out["interval"] = list(wilson_interval(of["correct"], of["count"]))
    out |= {"top5": of["top5"]} if "top5" in of else {}
    return {**out, "loss": of["loss"] if math.isfinite(of["loss"]) else None}


def predict(logits: Float[np.ndarray, "n classes"]) -> Int[np.ndarray, " n"]:
    """The first class of every row; of equal ones the lower; -1 for a row that is not finite (see `metrics`)."""
    return answers(logits)


def per_class(
    table: confusion.Confusion,
    classes: Sequence[str],
    areas: Float[np.ndarray, " classes"],
    averages: Float[np.ndarray, " classes"],
) -> dict[str, list]:
    """Columns with an entry a class; see `figures`."""
    rates = confusion.rates(table)
    hits, support = rates["hits"].tolist(), rates["support"].tolist()
    return {
        "name": [str(name) for name in classes],
        "support": support,
        "predicted": rates["predicted"].tolist(),
        "precision": _or_none(rates["precision"]),
        "recall": _or_none(rates["recall"]),
        "recall_interval": [list(wilson_interval(h, n)) if n else None for h, n in zip(hits, support, strict=True)],
        "f1": _or_none(rates["f1"]),
        "roc_auc": _or_none(areas),
        "average_precision": _or_none(averages),
    }


def by_row(columns: dict[str, list]) -> list[Figures]:
    """A dict a row, of columns of equal length."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def brier(probability: Probabilities, label: Int[np.ndarray, " n"]) -> float | None:
    """Mean over rows of the sum over classes of (probability - truth) squared (Brier 1950); None without rows.

    A row of NaN gives no class any probability, so it counts 1. With two classes it is twice the binary form that some
    libraries give.
    """
    scores = np.empty(len(label))
    for rows in chunks(probability.shape):
        part = probability[rows]
        part = np.where(np.isnan(part), 0.0, part)
        right = part[np.arange(len(part)), label[rows]]
        scores[rows] = np.einsum("ij,ij->i", part, part) - 2 * right + 1
    return _mean(scores)


def one_vs_rest(
    probability: Probabilities, label: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " classes"], Float[np.ndarray, " classes"]]:
    """Areas under the ROC curve and average precisions of each class against the rest.

    Equal to those of `curves.roc` and `curves.precision_recall`, ties included: the area is the share of pairs (a
    positive, a negative) in the right order, ties half; the average precision is the mean over positives of the
    precision at their score. Both follow from where a class's positives stand among all its sorted scores, so that one
    sort a class is all that grows with n. NaN where there are no positives, or (area) no negatives. Rows of NaN rank
    last.
    """
    n, classes = probability.shape
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], np.arange(classes + 1))
    areas, averages = np.full((2, classes), np.nan)

    def block(first):
        last = min(first + COLUMNS, classes)
        if starts[first] == starts[last]:
            return  # classes without pictures
        columns = np.ascontiguousarray(probability[:, first:last].T)
        columns[np.isnan(columns)] = -1.0
        for c, column in enumerate(columns, start=first):
            mine = np.sort(column[order[starts[c] : starts[c + 1]]])
            positives = len(mine)
            if positives == 0:
                continue
            rivals = np.sort(column[column >= mine[0]])  # of a good model few; how many lie below is enough of the rest
            below, upto = (n - len(rivals) + np.searchsorted(rivals, mine, side) for side in ("left", "right"))
            mine_below, mine_upto = (np.searchsorted(mine, mine, side) for side in ("left", "right"))
            averages[c] = ((positives - mine_below) / (n - below)).mean()
            if positives < n:
                lower, ties = below - mine_below, upto - mine_upto - (below - mine_below)
                areas[c] = (lower + 0.5 * ties).sum() / (positives * (n - positives))

    with ThreadPoolExecutor(4) as pool:  # sorting lets go of the interpreter
        list(pool.map(block, range(0, classes, COLUMNS)))
    return areas, averages


def group_table(
    logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"], values: Sequence[object]
) -> list[Figures]:
    """How good the model is in each group of rows.

    `values` are the rows' groups, text or numbers. None, "" and NaN are one group, "(none)". More than 12 distinct
    numbers are cut at their quartiles.

    Returns:
      A list of {value (text), count, correct, accuracy, interval (Wilson), loss, balanced_accuracy}, in the order of
      the values, "(none)" last. Intervals that overlap are no proof that groups are alike, nor are few that do not one
      of a difference, where there are many groups.
    """
    logits, label = np.asarray(logits), np.asarray(label)
    if len(values) != len(label):
        raise ValueError(f"{len(values)} values for {len(label)} rows")
    names, group = grouped(values)
    rows = []
    for i, name in enumerate(names):
        mine = group == i
        whole = overall(logits[mine], label[mine])
        table = confusion.count(predict(logits[mine]), label[mine], logits.shape[1])
        kept = {key: whole[key] for key in ("count", "correct", "accuracy", "interval", "loss")}
        balanced = confusion.means_over_classes(table)["balanced_accuracy"]
        rows.append({"value": name, **kept, "balanced_accuracy": balanced})
    return rows


def clustered_interval(right: Bool[np.ndarray, " n"], groups: Sequence[object]) -> list[float] | None:
    """95 % interval of an accuracy where pictures of a group are alike, so that n of them tell less than n do.

    Wilson's, for the number of independent pictures that would vary as much as the groups do: n over the design effect
    (Kish 1965), whose variance is that of a ratio of sums over groups. Dean and Pagano 2015 compare it with others. A
    design effect below 1 counts as 1.

    `groups` are equal for pictures that belong together. None with fewer than two.
    """
    right, number = np.asarray(right, bool), np.unique(np.asarray(groups), return_inverse=True)[1]
    size, hits = np.bincount(number), np.bincount(number, weights=right)
    n, clusters, share = len(right), len(size), float(right.mean())
    if clusters < 2:
        return None
    spread = clusters / (clusters - 1) * float(((hits - share * size) ** 2).sum()) / n  # n times the share's variance
    effect = max(1.0, spread / (share * (1 - share))) if 0 < share < 1 else n / clusters
    return list(wilson_interval(share * n / effect, n / effect))


def lone(groups: Sequence[object]) -> bool:
    """Whether no two pictures share a group: then intervals over groups are those over pictures, and the pattern that
    made the groups is probably not the one that was meant."""
    return len(groups) > 1 and len(set(groups)) == len(groups)


def grouped(values: Sequence[object]) -> tuple[list[str], Int[np.ndarray, " n"]]:
    """(names, number of the group of every row), as `group_table` makes groups of values."""
    missing = np.array([v is None or v == "" or v != v for v in values], bool)
    there = [v for v, gone in zip(values, missing, strict=True) if not gone]
    names: Any
    where: Any
    numeric = bool(there) and all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in there)
    if numeric:
        numbers = np.array(there, np.float64)
        distinct = np.unique(numbers)
        if len(distinct) > QUARTILES_FROM:
            edges = np.unique(np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]))
            where = np.clip(np.searchsorted(edges, numbers, side="left") - 1, 0, len(edges) - 2)
            names = [f"{a:g} to {b:g}" for a, b in zip(edges[:-1], edges[1:], strict=True)]
        else:
            names, where = [f"{v:g}" for v in distinct], np.searchsorted(distinct, numbers)
    else:
        names, where = np.unique([str(v) for v in there], return_inverse=True) if there else ([], [])
    group = np.full(len(values), len(names))
    group[~missing] = where
    return [*map(str, names), *(["(none)"] if missing.any() else [])], group


def _mean(values) -> float | None:
    """Mean of what is not NaN; None where nothing is left."""
    good = values[~np.isnan(values)]
    return float(good.mean()) if len(good) else None


def _or_none(values) -> list[float | None]:
    """As JSON has them, NaN as None."""
    return [None if math.isnan(value) else value for value in values.tolist()]
