"""How good the model is in each class, and in each group of pictures that a column tells apart."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxcls.measure.figures import group_table
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Markup, Section, folded, join, label, number, paragraph, percent, section, table, tag
from jaxcls.types import Figures

SHOWN = 30  # classes up to which all are shown, else the weakest half as many
FOLDED = 1000  # classes up to which all can be unfolded, else the weakest of them as many
GROUPS = 20


def classes(evidence: Evidence) -> Section:
    """The table of classes."""
    rows = evidence.figures["per_class"]
    about = paragraph(
        "“Found” is the share of the pictures of a class that the model recognised (recall), the line its 95 % "
        "interval; “right” is the share of its answers of that class that were right (precision)."
    )
    if len(rows) <= SHOWN:
        return section("classes", "Classes", about, _table(rows))
    weak = sorted((row for row in rows if row["support"]), key=lambda row: (row["recall"], -row["support"]))
    heading, every = tag("h3", f"The {SHOWN // 2} weakest"), folded(f"All {len(rows):,} classes", _table(rows))
    if len(rows) > FOLDED:
        most = min(FOLDED, len(weak))
        about = join([about, paragraph(_cut(evidence, len(rows), len(weak), most))])
        every = folded(f"The {most:,} weakest of {len(rows):,} classes", _table(weak[:FOLDED]))
    return section("classes", "Classes", about, heading, _table(weak[: SHOWN // 2]), every)


def _cut(evidence, count, there, most):
    """What a table of many classes leaves out."""
    empty = f" {count - there:,} have no pictures here." if there < count else ""
    return (
        f"Of {count:,} classes this page has the {most:,} weakest.{empty} "
        f"eval/{evidence.split}-{evidence.step}.json has all of them."
    )


def _table(rows):
    head = ("Class", "Pictures", "Found", "", "Answered", "Right", "F1", "Area under ROC", "Average precision")
    cells = [
        (
            row["name"],
            f"{row['support']:,}",
            percent(row["recall"]),
            strip(row["recall"], row["recall_interval"]),
            f"{row['predicted']:,}",
            percent(row["precision"]),
            number(row["f1"]),
            number(row["roc_auc"]),
            number(row["average_precision"]),
        )
        for row in rows
    ]
    return table(head, cells, words=(0, 3))


def strip(share: float | None, interval: tuple[float, float] | list[float] | None) -> Markup:
    """A bar of a share with its interval; the numbers stand beside it."""
    if share is None or interval is None:
        return Markup("")
    low, high = (f"{100 * x:.1f}" for x in interval)
    return tag(
        "svg",
        tag("rect", width="100", height="10", class_="ground"),
        tag("rect", width=f"{100 * share:.1f}", height="10", class_="bar"),
        tag("line", x1=low, x2=high, y1="5", y2="5", class_="span"),
        class_="strip",
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def groups(evidence: Evidence) -> Section | None:
    """A table for each column of the rows; None where there are none."""
    parts = by_column(evidence, lambda values: _group_rows(group_table(evidence.logits, evidence.label, values)))
    about = paragraph(
        "The same accuracy in parts of the pictures. Where intervals overlap, a difference may be chance; among many "
        "groups a few always look bad."
    )
    return section("groups", "Groups", about, *parts) if parts else None


def by_column(evidence: Evidence, told: Callable[[list[Any]], Markup]) -> list[Markup]:
    """Each column of the rows with its name above: what is `told` of its values, one for every evaluated picture."""
    columns = (evidence.rows or {}).get("columns") or {}
    parts = []
    for name, values in columns.items():
        if len(values) <= int(np.max(evidence.index)):
            continue  # rows of another state of the data
        parts.append(join([tag("h3", label(name)), told([values[row] for row in evidence.index])]))
    return parts


def shown_groups(
    rows: Sequence[Figures],
    which: str,
    key: Callable[[Figures], float],
    head: Sequence[str],
    cells: Callable[[Figures], tuple],
) -> Markup:
    """The table of the groups of a column, a row of `cells` each; a sentence where they say nothing.

    Of more than GROUPS groups the ones with the lowest `key` are shown, which the sentence above calls `which`.
    """
    count = sum(row["count"] for row in rows)
    if len(rows) == count > 1:
        return paragraph(f"Each of the {count:,} groups has one picture: nothing can be said by group.")
    if len(rows) > max(GROUPS, count // 2):
        return paragraph(f"{len(rows):,} groups of {count:,} pictures: too few in each to say anything.")
    more = ""
    if len(rows) > GROUPS:
        more = paragraph(f"The {GROUPS} {which} of {len(rows):,}.", class_="dim")
        rows = sorted(rows, key=key)[:GROUPS]
    return join([more, table(head, list(map(cells, rows)), words=(0, 3))])


def _group_rows(rows):
    def cells(row):
        return (
            label(row["value"]),
            f"{row['count']:,}",
            percent(row["accuracy"]),
            strip(row["accuracy"], row["interval"]),
            f"{percent(row['interval'][0])} to {percent(row['interval'][1])}",
            percent(row["balanced_accuracy"]),
        )

    head = ("Group", "Pictures", "Accuracy", "", "95 % interval", "Balanced accuracy")
    return shown_groups(rows, "least accurate", lambda row: row["interval"][1], head, cells)
