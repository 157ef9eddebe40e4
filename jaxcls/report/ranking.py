"""How well the probabilities rank pictures: ROC and precision over recall, with points at which one could work."""

import numpy as np
from jaxtyping import Float, Int

from jaxcls.errors import UserError
from jaxcls.measure import curves, decision
from jaxcls.measure.softmax import Probabilities
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Section, join, label, number, paragraph, percent, section, table, tag
from jaxcls.report.svg import Plot

EACH = 5  # classes up to which each has a curve of its own; above, the mean and the worst
WORST = 3
GRID = np.linspace(0, 1, 201)
RECALLS = (0.9, 0.95, 0.99)
MOST = 1000  # classes whose curves enter the mean
BLOCK = 16  # classes whose scores are copied at once: columns of a large array are slow to read one by one


def ranking(evidence: Evidence) -> Section | None:
    """The section; None where no class can be told from the rest."""
    if evidence.figures["roc_auc"] is None:
        return None
    shown = _shown(evidence)
    means = (
        mean_curves(evidence.probability, evidence.label, averaged(evidence))
        if len(evidence.classes) > EACH
        else (None, None)
    )
    plots = tag("div", _roc(evidence, shown, means[0]), _precision(evidence, shown, means[1]), class_="plots")
    return section(
        "ranking", "Finding a class", paragraph(_about(evidence)), plots, _working_points(evidence, shown[0])
    )


def averaged(evidence: Evidence) -> Int[np.ndarray, " some"]:
    """The classes whose curves enter the mean: those with pictures, of many the ones that have most of them."""
    support = np.array([row["support"] for row in evidence.figures["per_class"]])
    order = np.argsort(-support, kind="stable")[:MOST]
    return np.sort(order[support[order] > 0])


def positive(evidence: Evidence) -> int:
    """Of two classes the one that is looked for: the class of the stored threshold, else the second."""
    thresholds = (evidence.decision or {}).get("thresholds") or []
    return int(thresholds[0]["index"]) if thresholds else 1


def _shown(evidence):
    """The classes that have curves of their own."""
    rows = evidence.figures["per_class"]
    if len(rows) == 2:
        return [positive(evidence)]
    able = [i for i, row in enumerate(rows) if row["roc_auc"] is not None]
    return able if len(able) <= EACH else sorted(able, key=lambda i: rows[i]["roc_auc"])[:WORST]


def _about(evidence):
    text = (
        "Each picture gets a probability for a class; where it is at least some threshold, the class is called. A "
        "lower threshold finds more of them (recall), at the price of more false alarms: the curves show which."
    )
    n = len(evidence.classes)
    if n == 2:
        return f"{text} The class that is looked for is “{evidence.shown[positive(evidence)]}”."
    if n <= EACH:
        return text
    of = len(averaged(evidence))
    cut = f" The mean is that of the {of:,} classes with the most pictures." if of == MOST else ""
    return f"{text} Shown are the mean and the {len(_shown(evidence))} worst classes.{cut}"


def _roc(evidence, shown, mean):
    plot = Plot("ROC", "false alarms (1 − specificity)", "found (recall)", (0, 1), (0, 1), percent="xy")
    plot.diagonal()
    if mean is not None:
        plot.line(GRID, mean, "mean of the classes", 0)
    for style, c in enumerate(shown, start=len(plot.series) - 1):
        curve = curves.roc(evidence.probability[:, c], evidence.label == c)
        plot.line(curve["fpr"], curve["tpr"], f"{short(evidence.shown[c])} ({number(curve['auc'])})", style)
    for style, (x, y, _) in enumerate(_points(evidence, shown)):
        plot.dots([x], [y], "" if style else _point_name(evidence), 1)
    plot.say(f"Area {number(evidence.figures['roc_auc'])}.")
    return tag("figure", plot.render())


def _precision(evidence, shown, mean):
    plot = Plot("Precision over recall", "found (recall)", "right (precision)", (0, 1), (0, 1), percent="xy")
    if mean is not None:
        plot.line(GRID[1:], mean, "mean of the classes", 0)
    for style, c in enumerate(shown, start=len(plot.series)):
        curve = curves.precision_recall(evidence.probability[:, c], evidence.label == c)
        name = f"{short(evidence.shown[c])} ({number(curve['average_precision'])})"
        plot.line(curve["recall"], curve["precision"], name, style)
    for style, (_, x, y) in enumerate(_points(evidence, shown)):
        plot.dots([x], [y], "" if style else _point_name(evidence), 1)
    plot.say(f"Average precision {number(evidence.figures['average_precision'])}.")
    return tag("figure", plot.render())


def _point_name(evidence):
    return "stored threshold" if (evidence.decision or {}).get("thresholds") else "most probable class"


def _points(evidence, shown):
    """(false alarms, recall, precision) of the answers that are given, for the first class of each plot with two."""
    for c in shown if len(evidence.classes) == 2 else ():
        called = answers(evidence) == c
        mine = evidence.label == c
        hits, alarms = int((called & mine).sum()), int((called & ~mine).sum())
        if mine.any() and not mine.all():
            yield alarms / int((~mine).sum()), hits / int(mine.sum()), hits / (hits + alarms) if hits else np.nan


def answers(evidence: Evidence) -> Int[np.ndarray, " n"]:
    """The classes that the stored decision answers, or the most probable ones."""
    return decision.decide(evidence.decision, decision.probabilities(evidence.decision, evidence.logits))


def _working_points(evidence, c):
    """What thresholds would do: the stored ones, or, with two classes, those for some recalls."""
    if (evidence.decision or {}).get("thresholds"):
        rows = [
            (
                row["class"],
                number(row["threshold"], 4),
                f"{row['found']:,} of {row['positives']:,}",
                _with_interval(row["recall"], row["recall_interval"]),
                _with_interval(row["precision"], row["precision_interval"]),
                f"{row['flagged']:,}",
            )
            for row in decision.measure(evidence.decision, evidence.logits, evidence.label)
        ]
        head = ("Class", "Threshold", "Found", "Recall", "Precision", "Called")
        about = "The thresholds of “jaxcls calibrate”, chosen on the validation split, on these pictures:"
        return join([tag("h3", "Stored thresholds"), paragraph(about), table(head, rows)])
    if len(evidence.classes) != 2:
        return ""
    other = evidence.validation
    source = evidence if other is None else other
    scores = decision.probabilities(None, source.logits)[:, c]
    rows = [row for recall in RECALLS if (row := _working_point(evidence, c, scores, source.label == c, recall))]
    if not rows:
        return ""
    where = "on the validation split, and" if other is not None else "on these very pictures, so it is optimistic;"
    about = (
        f"The highest threshold that finds so many of “{evidence.shown[c]}”, chosen {where} what it does here. "
        f"“jaxcls calibrate {evidence.workdir}” stores one for prediction."
    )
    head = ("Recall wanted", "Threshold", "Found", "False alarms", "Precision")
    return join([tag("h3", "Possible thresholds"), paragraph(about), table(head, rows, words=())])


def _working_point(evidence, c, scores, mine, recall):
    if not mine.any():
        return None
    try:
        threshold = decision.choose(scores, mine, "recall", recall, evidence.classes[c])
    except UserError:  # so many pictures of the class have no score
        return percent(recall, 0), "not reached", "–", "–", "–"
    called, truth = evidence.probability[:, c] >= threshold, evidence.label == c
    hits, alarms = int((called & truth).sum()), int((called & ~truth).sum())
    precision = hits / (hits + alarms) if hits + alarms else None
    counts = (f"{hits:,} of {truth.sum():,}", f"{alarms:,} of {(~truth).sum():,}")
    return percent(recall, 0), number(threshold, 4), *counts, percent(precision)


def _with_interval(value, interval):
    return f"{percent(value)} ({percent(interval[0])} to {percent(interval[1])})" if interval else percent(value)


def short(name: str, letters: int = 22) -> str:
    """A name for a legend."""
    return label(name, letters)


def mean_curves(
    probability: Probabilities, label: Int[np.ndarray, " n"], classes: Int[np.ndarray, " some"] | None = None
) -> tuple[Float[np.ndarray, " grid"], Float[np.ndarray, " grid-1"]]:
    """Means over the classes that have positives and negatives, of all (None) or some classes. Rows of NaN rank last.

    Returns:
      (recall at the false alarm rates of GRID, best precision with at least the recalls of GRID[1:]). Where scores tie,
      a false alarm rate between two that can be had counts as the lower one.
    """
    classes = np.arange(probability.shape[1]) if classes is None else classes
    recall, precision, number_of = np.zeros(len(GRID)), np.zeros(len(GRID) - 1), 0
    for negatives, positives in _split(probability, label, classes):
        n = len(negatives)
        allowed = np.minimum((GRID * n).astype(int), n - 1)
        above = len(positives) - np.searchsorted(positives, negatives[::-1][allowed], "right")
        above[-1] = len(positives)  # all negatives are allowed
        recall += above / len(positives)
        hits = len(positives) - np.searchsorted(positives, positives, "left")
        alarms = n - np.searchsorted(negatives, positives, "left")
        best = np.maximum.accumulate(hits / (hits + alarms))[::-1]  # at this threshold or a lower one
        precision += best[np.ceil(GRID[1:] * len(positives) - 1e-9).astype(int) - 1]
        number_of += 1
    return recall / max(1, number_of), precision / max(1, number_of)


def _split(probability, label, classes):
    """(scores of the negatives, of the positives), each rising, float32, of every class that has both."""
    for start in range(0, len(classes), BLOCK):
        some = classes[start : start + BLOCK]
        scores = np.ascontiguousarray(probability[:, some].T.astype(np.float32))
        scores[np.isnan(scores)] = -1.0
        for c, column in zip(some, scores, strict=True):
            mine = label == c
            if mine.any() and not mine.all():
                yield np.sort(column[~mine]), np.sort(column[mine])
