"""The three formats of a prediction where a picture may have several labels, or none."""

from collections.abc import Sequence
from typing import Any

from jaxcls.predict.output import NAME, Csv, JsonLines, Row
from jaxcls.text import PATH, printable

LABELS = 40  # characters of the column of labels in the table
NONE = "none"  # in the table, of an empty set


class Table:
    """Rows for people: picture, its labels with their probabilities, doubts, other classes."""

    def __init__(self, classes: Sequence[str], top: int, heatmap: bool, beside: Sequence[str] = ()):
        del classes, heatmap
        self.others, self.doubts = top != 1, "outlier" in beside

    def header(self) -> str:
        doubts = f"  {'in doubt':<8}" if self.doubts else ""
        others = "  other classes" if self.others else ""
        return f"{'picture':<40}  {'labels':<{LABELS}}{doubts}{others}".rstrip() + "\n"

    def text(self, row: Row) -> str:
        path = printable(row["path"], PATH)
        if "error" in row:
            return f"{path:<40}  could not be read\n"
        named = zip(row["labels"], row["probabilities"], strict=True)
        labels = ", ".join(_stated(name, probability) for name, probability in named) or NONE
        doubts = f"  {'outlier' if row.get('outlier') else '':<8}" if self.doubts else ""
        top = [each for each in row["top"] if each["class"] not in row["labels"]]
        others = ", ".join(_stated(each["class"], each["probability"]) for each in top) if self.others else ""
        return f"{path:<40}  {labels:<{LABELS}}{doubts}  {others}".rstrip() + "\n"


def _stated(name, probability):
    return f"{printable(name, NAME)} {probability:.1%}"


class SetCsv(Csv):
    """As Csv; in place of class and probability `labels` and `probabilities`, with `|` between, empty for none."""

    answer = ("labels", "probabilities")


FORMATS: dict[str, Any] = {"table": Table, "jsonl": JsonLines, "csv": SetCsv}
