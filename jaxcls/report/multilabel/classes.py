"""How good the model is in each class and in each group of pictures, where labels are sets."""

from jaxcls.measure.multilabel.figures import group_table
from jaxcls.report.classes import FOLDED, SHOWN, by_column, shown_groups, strip
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Section, folded, label, number, paragraph, percent, section, table, tag

KINDS = {"f1": "best F1", "recall": "recall", "precision": "precision"}


def classes(evidence: Evidence) -> Section:
    """The table of classes."""
    rows = evidence.figures_of_sets["per_class"]
    about = paragraph(
        "Average precision says how well the pictures with a class rank before those without, whatever the threshold "
        "(the line is its 95 % interval); by chance it is the share of pictures that have the class. “Found” is the "
        "share of pictures with a class in which it is named (recall), “right” the share of its namings that are right "
        "(precision): it is named where its calibrated probability is at least the threshold."
    )
    shown = [_cells(evidence, c, row) for c, row in enumerate(rows)]
    if len(rows) <= SHOWN:
        return section("classes", "Classes", about, _table(shown))
    there = [c for c, row in enumerate(rows) if row["support"]]
    weak = sorted(there, key=lambda c: (rows[c]["average_precision"], -rows[c]["support"]))
    heading = tag("h3", f"The {SHOWN // 2} weakest")
    every = folded(f"All {len(rows):,} classes", _table(shown))
    if len(rows) > FOLDED:
        every = folded(f"The {FOLDED:,} weakest of {len(rows):,} classes", _table([shown[c] for c in weak[:FOLDED]]))
    return section("classes", "Classes", about, heading, _table([shown[c] for c in weak[: SHOWN // 2]]), every)


def _cells(evidence, c, row):
    return (
        row["name"],
        f"{row['support']:,}",
        percent(row["average_precision"]),
        strip(row["average_precision"], row["average_precision_interval"]),
        number(row["roc_auc"]),
        f"{row['predicted']:,}",
        percent(row["recall"]),
        percent(row["precision"]),
        percent(row["f1"]),
        number(row["threshold"]),
        _why(evidence, c),
    )


def _why(evidence, c):
    """What the threshold was chosen for; "" for 0.5."""
    entries = (evidence.decision or {}).get("thresholds") or ()
    entry = entries[c] if c < len(entries) else {"kind": "half"}
    if entry["kind"] == "half":
        return ""
    wanted = "" if entry["wanted"] is None else f" {percent(entry['wanted'], 0)}"
    return f"{KINDS[entry['kind']]}{wanted}"


def _table(rows):
    head = ("Class", "Pictures", "Average precision", "", "AUC", "Named", "Found", "Right", "F1", "Threshold", "for")
    if not any(row[-1] for row in rows):  # all are 0.5
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table(head, rows, words=(0, 3, 10))


def groups(evidence: Evidence) -> Section | None:
    """A table for each column of the rows; None where there are none."""
    of = evidence.logits, evidence.label
    parts = by_column(evidence, lambda values: _group_rows(group_table(*of, values, evidence.decision)))
    about = paragraph(
        "The same figures in parts of the pictures: F1 of all answers together with its 95 % interval, the share of "
        "pictures that are all right, and mean average precision over the classes that the group has, which differ. "
        "Where intervals overlap, a difference may be chance; among many groups a few always look bad."
    )
    return section("groups", "Groups", about, *parts) if parts else None


def _group_rows(rows):
    def cells(row):
        return (
            label(row["value"]),
            f"{row['count']:,}",
            percent(row["f1_micro"]),
            strip(row["f1_micro"], row["interval"]),
            " to ".join(map(percent, row["interval"] or ())),
            percent(row["exact"]),
            percent(row["mAP"]),
            number(row["labels"], 2),
        )

    head = ("Group", "Pictures", "F1, micro", "", "95 % interval", "All right", "mAP", "Labels a picture")
    return shown_groups(rows, "with the lowest F1", lambda row: row["f1_micro"], head, cells)
