"""The figures of a split from its stored logits: one dict that JSON takes, and a table by group.

What is undefined (the recall of a class without pictures, the precision of one never predicted) is None and enters no
mean, with one exception that scikit-learn makes too: in the means over classes an undefined precision or F1 of a class
that has pictures counts 0. A row whose logits hold a NaN is predicted as no class: it counts as wrong, `nonfinite` says
how many there are, and what needs probabilities leaves it out.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxcls.measure import calibration, confusion, curves
from jaxcls.metrics import of_logits, wilson_interval
from jaxcls.types import Figures

BOOTSTRAP_UP_TO = 50  # classes: beyond, redraws cost seconds, and what they tell is no more than that n is large
COLUMNS = 8  # classes whose scores are sorted at once
QUARTILES_FROM = 12  # a numeric column with more distinct values than this is cut at its quartiles


def figures(logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"], classes: Sequence[str]) -> Figures:
    """Every figure of a split, whose classes have these names.

    Returns:
      dict that JSON takes. Of all rows: count, nonfinite, correct, accuracy, interval (Wilson, 95 %), top5 (more than
      5 classes), loss (mean negative log-likelihood in nats), brier (sum over classes of squared errors, 0 to 2),
      balanced_accuracy (mean recall of the classes with pictures), kappa (Cohen 1960), mcc (Gorodkin 2004), macro and
      weighted ({precision, recall, f1}: means over the classes with pictures, plain and by their number),
      roc_auc and average_precision (one class against the rest, mean over the classes for which there are positives
      and negatives; with two classes roc_auc is the usual binary one), ece and adaptive_ece (curves.reliability).
      intervals: name -> [low, high] or None, 95 %, up to 50 classes (confusion.bootstrap; with two roc_auc, DeLong's).
      per_class: a list of {name, support, predicted, precision, recall, recall_interval, f1, roc_auc,
      average_precision}. confusion: [[int]], rows are true classes, columns predicted ones.

    Raises:
      ValueError: for shapes or labels that do not fit.
    """
    logits, label = np.asarray(logits), np.asarray(label)
    _check(logits, label, classes)
    out = overall(logits, label)
    predicted = predict(logits)
    table = confusion.count(predicted, label, len(classes))
    probability = calibration.probabilities(logits)
    areas, averages = one_vs_rest(probability, label)
    out |= {"brier": brier(probability, label), **confusion.agreement(table), **confusion.means_over_classes(table)}
    out |= {"roc_auc": _mean(areas), "average_precision": _mean(averages)}
    for name, adaptive in (("ece", False), ("adaptive_ece", True)):
        out[name] = curves.reliability(probability, label, adaptive=adaptive)["error"]
    out["intervals"] = confusion.bootstrap(table) if len(classes) <= BOOTSTRAP_UP_TO else {}
    if len(classes) == 2:
        out["intervals"]["roc_auc"] = curves.roc(probability[:, 1], label == 1)["interval"]
    out["per_class"] = per_class(table, classes, areas, averages)
    out["confusion"] = table[:, :-1].tolist()
    return out


def overall(logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"]) -> Figures:
    """What needs no more than a pass over the logits: those of `metrics.of_logits`, the interval, nonfinite."""
    logits, label = np.asarray(logits), np.asarray(label)
    size = max(1, calibration.CHUNK // logits.shape[1])
    with np.errstate(invalid="ignore"):  # of infinite logits
        parts = [of_logits(logits[i : i + size], label[i : i + size]) for i in range(0, len(label), size)]
    n, hits = len(label), sum(part["correct"] for part in parts)
    out: Figures = {"count": n, "nonfinite": int((predict(logits) < 0).sum()), "correct": hits, "accuracy": hits / n}
    out["interval"] = list(wilson_interval(hits, n))
    for name in ("top5", "loss"):
        if name in parts[0]:
            value = sum(part[name] * part["count"] for part in parts) / n
            out[name] = value if math.isfinite(value) else None
    return out


def predict(logits: Float[np.ndarray, "n classes"]) -> Int[np.ndarray, " n"]:
    """The first class of every row; of equal ones the lower; -1 where a logit is NaN."""
    logits = np.asarray(logits)
    best = logits.argmax(axis=1)  # the first NaN, where there is one
    return np.where(np.isnan(logits[np.arange(len(best)), best]), -1, best)


def per_class(
    table: confusion.Table,
    classes: Sequence[str],
    areas: Float[np.ndarray, " classes"],
    averages: Float[np.ndarray, " classes"],
) -> list[Figures]:
    """One row a class; see `figures`."""
    rates = confusion.rates(table)
    rows = []
    for i, name in enumerate(classes):
        support = int(rates["support"][i])
        rows.append(
            {
                "name": str(name),
                "support": support,
                "predicted": int(rates["predicted"][i]),
                "precision": _or_none(rates["precision"][i]),
                "recall": _or_none(rates["recall"][i]),
                "recall_interval": list(wilson_interval(int(table[i, i]), support)) if support else None,
                "f1": _or_none(rates["f1"][i]),
                "roc_auc": _or_none(areas[i]),
                "average_precision": _or_none(averages[i]),
            }
        )
    return rows


def brier(probability: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"]) -> float | None:
    """Mean over rows of the sum over classes of (probability - truth) squared (Brier 1950); None without finite rows.

    With two classes it is twice the binary form that some libraries give.
    """
    right = probability[np.arange(len(label)), label]
    scores = np.einsum("ij,ij->i", probability, probability) - 2 * right + 1
    return _mean(scores)


def one_vs_rest(
    probability: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " classes"], Float[np.ndarray, " classes"]]:
    """Areas under the ROC curve and average precisions of each class against the rest.

    Equal to those of `curves.roc` and `curves.precision_recall`, ties included: the area is the share of pairs (a
    positive, a negative) in the right order, ties half; the average precision is the mean over positives of the
    precision at their score. Both follow from where a class's positives stand among all its sorted scores, so that one
    sort a class is all that grows with n. NaN where there are no positives, or (area) no negatives. Rows with NaN are
    left out.
    """
    good = ~np.isnan(probability[:, 0])
    probability, label = (probability, label) if good.all() else (probability[good], label[good])
    n, classes = probability.shape
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], np.arange(classes + 1))
    areas, averages = np.full((2, classes), np.nan)

    def block(first):
        for c, column in enumerate(np.ascontiguousarray(probability[:, first : first + COLUMNS].T), start=first):
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
    names, group = _groups(values)
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


def _groups(values):
    """(names, number of the group of every row)."""
    missing = np.array([v is None or v == "" or v != v for v in values], bool)
    there = [v for v, gone in zip(values, missing, strict=True) if not gone]
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


def _check(logits, label, classes):
    if logits.ndim != 2 or label.shape != (len(logits),) or len(label) == 0:
        raise ValueError(f"logits {logits.shape} do not fit labels {label.shape}")
    if logits.shape[1] != len(classes):
        raise ValueError(f"{len(classes)} class names for {logits.shape[1]} columns of logits")
    if label.min() < 0 or label.max() >= len(classes):
        raise ValueError(f"labels from {label.min()} to {label.max()} for {len(classes)} classes")


def _mean(values) -> float | None:
    """Mean of what is not NaN; None where nothing is left."""
    good = values[~np.isnan(values)]
    return float(good.mean()) if len(good) else None


def _or_none(value) -> float | None:
    return None if np.isnan(value) else float(value)
