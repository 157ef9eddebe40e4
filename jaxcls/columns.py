"""Columns of a table beside a picture, such as age and place: how the cells of a row become numbers. NumPy alone.

A number is its distance from the mean of the training rows in standard deviations, and a second one that is 1 where
there is none. A category is 1 in the place of its value; the first place is for what is missing or was not in training.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxcls.errors import UserError, did_you_mean, listed

if TYPE_CHECKING:
    from jaxtyping import Float

IMPORTANCE = "importance"  # among the figures of an evaluation: what a net owes to each (training/importance.py)
NUMBER, CATEGORY = "number", "category"
MOST_VALUES = 100  # of a category
FAR = 10.0  # deviations from the mean at which a number is cut off: a slip of the pen must not drown a picture
FEWEST = 20  # rows from which on numbers that count rows are told from others
MISSING = ("", "nan")  # of any column; of numbers also NONE
NONE = ("na", "n/a", "null", "none", "?")


class Column(NamedTuple):
    """How a column is read: a category of `values`, or without any a number with the mean and deviation of training."""

    name: str
    values: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    @property
    def width(self) -> int:
        """How many numbers a cell becomes."""
        return 1 + len(self.values) if self.values else 2

    def encoded(self, cells: Sequence[str]) -> Float[np.ndarray, "n width"]:
        """The numbers of cells. Raises UserError for a number's cell that is none."""
        rows = np.zeros((len(cells), self.width), np.float32)
        if self.values:
            place = {value: i for i, value in enumerate(self.values, 1)}
            rows[np.arange(len(cells)), [place.get(cell, 0) for cell in cells]] = 1
            return rows
        found = _numbers(self.name, cells)
        gone = np.isnan(found)
        rows[:, 0] = np.where(gone, 0, np.clip((found - self.mean) / self.std, -FAR, FAR))
        rows[:, 1] = gone
        return rows

    def remarks(self, cells: Sequence[str]) -> list[str]:
        """Lines about cells that are missing, or have a value that training had not."""
        lines, gone = [], sum(is_missing(cell, number=not self.values) for cell in cells)
        if gone:
            lines.append(f"column {self.name!r} is empty in {gone:,} of {len(cells):,} rows, which the net is told")
        new = Counter(cell for cell in cells if cell not in self.values and not is_missing(cell, number=False))
        if self.values and new:
            value, _ = new.most_common(1)[0]
            lines.append(
                f"column {self.name!r} has {new.total():,} cell(s) that were not in training, such as {value!r:.60}; "
                "they count as missing"
            )
        return lines


def is_missing(cell: str, *, number: bool) -> bool:
    """Whether a cell says nothing."""
    return cell.lower() in MISSING or (number and cell.lower() in NONE)


def text(value: Any) -> str:
    """A value of a row as its cell: None and NaN as "", 3.0 as "3"."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value).strip()


def unknown(columns: Sequence[Column]) -> Float[np.ndarray, " width"]:
    """The numbers of a row of which nothing is known."""
    return encoded(columns, {column.name: [""] for column in columns})[0]


def encoded(columns: Sequence[Column], cells: Mapping[str, Sequence[str]]) -> Float[np.ndarray, "n width"]:
    """The numbers of rows, those of one column behind those of another. Raises UserError as `Column.encoded`."""
    return np.concatenate([column.encoded(cells[column.name]) for column in columns], axis=1)


def places(columns: Sequence[Column]) -> dict[str, slice]:
    """Where the numbers of each column stand in a row of `encoded`."""
    ends = np.cumsum([0, *(column.width for column in columns)]).tolist()
    return {column.name: slice(*ends[i : i + 2]) for i, column in enumerate(columns)}


def to_json(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """What `of_json` reads."""
    return [
        {"name": c.name, "values": list(c.values)} if c.values else {"name": c.name, "mean": c.mean, "std": c.std}
        for c in columns
    ]


def of_json(stored: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """The columns of `to_json`. Raises UserError for what is none."""
    try:
        return tuple(Column(**{**entry, "values": tuple(map(str, entry.get("values", ())))}) for entry in stored)
    except (TypeError, AttributeError, ValueError) as error:
        raise UserError(f"the columns beside the picture can't be read ({error}); train again.") from error


def named(wanted: str, there: Sequence[str], what: str, taken: Mapping[str, str]) -> tuple[str, str]:
    """(name, kind or "") of a column that is written NAME, NAME:number or NAME:category.

    Args:
      wanted: the text.
      there: names of the columns.
      what: the setting, for messages.
      taken: columns that mean something else already: name -> what ("label").

    Raises:
      UserError: where there is no such column, or it is taken.
    """
    name, colon, kind = wanted.rpartition(":")
    if wanted in there or not colon or kind not in (NUMBER, CATEGORY):
        name, kind = wanted, ""
    if name in taken:
        raise UserError(f"{what}: {name!r} is the column of the {taken[name]}, and can't be an input; leave it out.")
    if name not in there:
        hint = did_you_mean(name, list(there), 0.5) or f"; there are {listed(map(repr, there)) or 'none'}"
        raise UserError(f"{what}: the pictures have no column {name!r:.60}{hint}.")
    return name, kind


def fitted(name: str, kind: str, cells: Sequence[str], what: str) -> Column:
    """How a column is read, by its cells in the training rows.

    Args:
      name: of the column.
      kind: "number", "category", or "": a number where all cells are.
      cells: of the training rows.
      what: the setting, for messages.

    Raises:
      UserError: for a column without a cell, with numbers and words, with one value or one for each row, or a category
        with more than MOST_VALUES.
    """
    kind = kind or _guessed(name, cells, what)
    number = kind == NUMBER
    there = [cell for cell in cells if not is_missing(cell, number=number)]
    different = set(there)
    if not there:
        raise UserError(f"{what}: column {name!r} is empty in all {len(cells):,} training rows; leave it out.")
    if len(different) == 1 and len(there) == len(cells):
        raise UserError(f"{what}: column {name!r} is {there[0]!r:.60} in all training rows; leave it out.")
    if number:
        return _number(name, _numbers(name, there), what)
    if len(different) > MOST_VALUES or (len(different) == len(there) > 2):
        raise UserError(
            f"{what}: column {name!r} has {len(different):,} values in {len(there):,} training rows, "
            + ("one for each, as a name has" if len(different) == len(there) else f"more than {MOST_VALUES}")
            + "; leave it out, or group them."
        )
    return Column(name, tuple(sorted(different)))


def check_leak(column: Column, cells: Sequence[str], labels: np.ndarray, what: str) -> str:
    """A line where each cell of a column goes with one class alone in the training rows; "" where not.

    Args:
      column: as `fitted`.
      cells, labels: of the training rows; labels [n].
      what: the setting, for messages.

    Raises:
      UserError: where each class has one cell of its own, too: the column is the label.
    """
    pairs = set(zip(cells, labels.tolist(), strict=True))
    different, classes = {cell for cell, _ in pairs}, {label for _, label in pairs}
    if len(pairs) > len(different) or not 1 < len(classes) <= len(different) <= len(cells) // 2:
        return ""
    if len(different) == len(classes):
        raise UserError(
            f"{what}: column {column.name!r} says the class of every training row: it is the label, in other words; "
            "leave it out."
        )
    return f"column {column.name!r} alone says the class of every training row; is it known before the class is?"


def _guessed(name, cells, what):
    there = [cell for cell in cells if not is_missing(cell, number=True)]
    words = [cell for cell in there if _value(cell) is None]
    if there and not words:
        return NUMBER
    if 2 * len(words) < len(there):
        raise UserError(
            f"{what}: column {name!r} has numbers, and {len(words):,} of {len(there):,} cells are none, such as "
            f"{words[0]!r:.60}; mend or empty those, or write {name}:category."
        )
    return CATEGORY


def _number(name, found, what):
    with np.errstate(all="ignore"):
        mean, std = float(found.mean()), float(found.std())
    if not (math.isfinite(mean) and math.isfinite(std)):
        raise UserError(f"{what}: the numbers of column {name!r} are too large to be averaged; scale them down.")
    whole = bool((found == np.floor(found)).all())
    if whole and len(found) == len(set(found.tolist())) >= FEWEST and np.ptp(found) < 2 * len(found):
        raise UserError(
            f"{what}: column {name!r} counts the rows ({found.min():.0f} to {found.max():.0f}, each once), as an id "
            "does; leave it out."
        )
    return Column(name, mean=mean, std=std or 1.0)


def _numbers(name, cells):
    """float64, NaN for what is missing. Raises UserError."""
    found = [math.nan if is_missing(cell, number=True) else _value(cell) for cell in cells]
    if None in found:
        at = found.index(None)
        raise UserError(
            f"column {name!r} has {cells[at]!r:.60} in row {at + 1:,}, which is no number; mend or empty it."
        )
    return np.array(found, np.float64)


def _value(cell):
    """The finite number that a cell is, or None."""
    try:
        value = float(cell) if "_" not in cell else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
