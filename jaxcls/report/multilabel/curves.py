"""How well classes are found where labels are sets: precision over recall, and average precision by frequency."""

import numpy as np

from jaxcls.measure import curves
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Section, number, paragraph, percent, section, tag
from jaxcls.report.ranking import short
from jaxcls.report.svg import Plot

EACH = 5  # classes up to which each has a curve of its own
WEAK, BEST = 3, 1  # of more classes, as many as these have one


def ranking(evidence: Evidence) -> Section | None:
    """The section; None where no picture has a label."""
    rows = evidence.figures_of_sets["per_class"]
    there = [c for c, row in enumerate(rows) if row["support"]]
    if not there:
        return None
    shown = chosen(rows, there)
    about = (
        "How right the namings of a class are (precision) where so much of it is found (recall), as its threshold "
        "falls from left to right; the dot is the threshold in use. "
    )
    if len(there) > EACH:
        about += f"Shown are the best class and the {WEAK} weakest of at least {least(rows, there):,} pictures. "
    about += "To the right, every class: rare ones have a lower average precision by chance, too (dotted)."
    plots = tag("div", _precision(evidence, shown), _by_frequency(evidence, there), class_="plots")
    return section("ranking", "Finding a class", paragraph(about), plots)


def least(rows: list, there: list[int]) -> int:
    """How many pictures a class needs for a curve, of many classes: 10, or as many as the most frequent one has."""
    return min(10, max(rows[c]["support"] for c in there))


def chosen(rows: list, there: list[int]) -> list[int]:
    """The classes that have a curve: all of a few, else the best and the weakest of those with enough pictures."""
    if len(there) <= EACH:
        return there
    enough = [c for c in there if rows[c]["support"] >= least(rows, there)]
    order = sorted(enough, key=lambda c: -rows[c]["average_precision"])
    return [*order[:BEST], *order[BEST:][-WEAK:]]


def _precision(evidence, shown):
    probability, said = evidence.said_of_sets
    rows = evidence.figures_of_sets["per_class"]
    plot = Plot("Precision over recall", "found (recall)", "right (precision)", (0, 1), (0, 1), percent="xy")
    for style, c in enumerate(shown):
        curve = curves.precision_recall(probability[:, c], said.label[:, c])
        name = f"{short(evidence.shown[c])} ({number(curve['average_precision'], 2)})"
        plot.line(curve["recall"], curve["precision"], name, style)
        row = rows[c]
        if row["precision"] is not None:
            plot.dots([row["recall"]], [row["precision"]], "", style)
    plot.say(f"Mean average precision of all classes {percent(evidence.figures_of_sets['mAP'])}.")
    return tag("figure", plot.render())


def _by_frequency(evidence, there):
    f = evidence.figures_of_sets
    support = np.array([f["per_class"][c]["support"] for c in there], float)
    average = np.array([f["per_class"][c]["average_precision"] for c in there], float)
    low, high = float(support.min()), float(support.max())
    ends = (low / 1.3, high * 1.3)
    plot = Plot(
        "Classes by frequency", "pictures with the class", "average precision", ends, (0, 1), percent="y", log=True
    )
    grid = np.geomspace(*ends, 50)
    plot.line(grid, np.minimum(1, grid / f["count"]), "by chance", reference=True)
    order = np.argsort(support, kind="stable")
    if len(there) <= 60:
        plot.dots(support[order], average[order], "a class", 0)
    else:
        plot.cloud(support[order], average[order], "a class", 0)
    for i in (int(average.argmin()), int(average.argmax())) if len(there) > 1 else ():
        plot.note(support[i], average[i], short(evidence.shown[there[i]], 18))
    plot.say(f"From {percent(float(average.min()))} to {percent(float(average.max()))}.")
    return tag("figure", plot.render())
