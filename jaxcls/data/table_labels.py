"""Labels in the cells of a table: one class each, or sets."""

import ast
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcls.data import layout
from jaxcls.data.table_columns import Cell, Column
from jaxcls.data.table_file import Table
from jaxcls.errors import UserError, listed
from jaxcls.text import printable

MOST_CLASSES, MOST_BYTES = 20_000, 2**32
SETS = ("labels", "classes", "categories", "tags")  # columns with such names hold sets
WORDS = {"comma": ",", "space": " ", "blank": " ", "tab": "\t", "semicolon": ";", "pipe": "|"}
NONE = -1  # of a row without a label, where labels are single


class Labels(NamedTuple):
    """Class names; labels int32 [n] (NONE: a row has none) or uint8 [n, classes]; lines about how they were read."""

    classes: tuple[str, ...]
    labels: np.ndarray
    notes: list[str]


def of_column(table: Table, name: str, separator: str = "") -> Labels:
    """The labels of a column.

    Cells are sets where they are lists (JSON), where a separator is given, where `|` or `;` stands in one, and in a
    column that is called labels, classes, categories or tags also where a comma or else a blank parts them into no more
    different words than there are different cells. An empty cell is then an empty set.

    Args:
      table, name: of the column.
      separator: of a set, or one of the words of `WORDS`; "none": every cell is one class.

    Raises:
      UserError: for separators that are mixed, lists among names, numbers that are no classes, classes that are surely
        meant to be one.
    """
    column, place, notes = table.columns[name], f"{table}: column {name!r}", list[str]()
    lists = [_list(cell) if separator != "none" else None for cell in column.values]
    if any(found is not None for found in lists):
        _refuse_both(column, lists, place)
        sets = [found or () for found in lists]
    elif (mark := _separator(column, name, separator, place, notes)) is not None:
        sets = [tuple(filter(None, map(str.strip, str(cell).split(mark)))) for cell in column.values]
    else:
        return _single(column, place, notes)
    return _sets(column, sets, place, notes)


def of_columns(table: Table, names: Sequence[str]) -> Labels:
    """Sets from several columns of 0 and 1, each a class. Raises UserError for other cells, all of them counted."""
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(
            f"{table}: labels={','.join(names)} must name two columns or more, each once; of one column "
            f"label={names[0]} makes classes."
        )
    parts = []
    for name in names:
        column = table.column(name, "labels")
        value = np.array([_bit(cell) for cell in column.values], np.int64)
        if wrong := int(column.counts()[value < 0].sum()):
            first = column.values[int(np.flatnonzero(value < 0)[0])]
            raise UserError(
                f"{table}: {wrong:,} cell(s) of column {name!r} are neither 0 nor 1, e.g. {_shown(first)}; write 0 "
                "where the picture has not that label."
            )
        parts.append(value.astype(np.uint8)[column.codes])
    layout.refuse_alike(str(table), names)
    return Labels(tuple(names), np.stack(parts, axis=1), [])


def _bit(cell: Cell) -> int:
    return {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}.get(str(cell).lower(), -1)


def _list(cell: Cell) -> tuple[str, ...] | None:
    """A cell that is a list, as ["cat", "dog"] or ['cat', 'dog'] in a text; None for others."""
    if isinstance(cell, tuple):
        return tuple(filter(None, cell))
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list) and not any(isinstance(part, list | dict) for part in found):
            return tuple(filter(None, (str(part).strip() for part in found)))
    return None


def _refuse_both(column, lists, place):
    counts = column.counts()
    plain = [i for i, cell in enumerate(column.values) if lists[i] is None and cell != ""]
    if plain:
        names, rest = int(counts[plain].sum()), int(sum(counts[i] for i, x in enumerate(lists) if x is not None))
        raise UserError(
            f"{place} has {rest:,} list(s) and {names:,} plain name(s), e.g. {_shown(column.values[plain[0]])}; write "
            "all as lists, or none."
        )


def _separator(column: Column, name: str, given: str, place: str, notes: list[str]) -> str | None:
    """What parts the labels of a cell; None where each is one class."""
    if given:
        return None if given == "none" else WORDS.get(given, given)
    texts = [str(cell) for cell in column.values]
    here = [mark for mark in "|;" if any(mark in text for text in texts)]
    if len(here) > 1:
        shown = [next(text for text in texts if mark in text) for mark in here]
        raise UserError(
            f"{place} has {' and '.join(map(repr, here))} between labels, e.g. {_shown(shown[0])}, "
            f"{_shown(shown[1])}; write one of them, or name it: separator=pipe, semicolon or none."
        )
    if here:
        notes.append(f"cells of {name!r} are sets, parted by {here[0]!r} (separator=none: each is one class)")
        return here[0]
    texts = list(filter(None, texts))
    for mark, word in ((",", "comma"), (" ", "space")):
        if any(mark in text for text in texts):
            surplus = len({part.strip() for text in texts for part in text.split(mark)} - {""}) - len(texts)
            if surplus <= 0 and name.casefold() in SETS:
                notes.append(f"cells of {name!r} are sets, parted by {mark!r} (separator=none: each is one class)")
                return mark
            if surplus < 0:
                notes.append(f"each cell of {name!r} is one class; if they are sets, add separator={word}")
            return None
    return None


def _single(column: Column, place: str, notes: list[str]) -> Labels:
    values = [str(cell) for cell in column.values]
    if any(x.endswith(".0") for x in values) and all(x.removesuffix(".0").lstrip("-").isdigit() for x in values if x):
        column = column.mapped(lambda cell: str(cell).removesuffix(".0"))  # pandas makes 1.0 of 1 beside empty cells
        values = [str(cell) for cell in column.values]
    counts = column.counts()
    here = [i for i, value in enumerate(values) if value and counts[i]]
    classes = ordered([values[i] for i in here])
    refuse_numbers(classes, int(counts[here].sum()), place)
    layout.refuse_alike(place, classes)
    number = {name: i for i, name in enumerate(classes)}
    table = np.array([number.get(value, NONE) for value in values], np.int32)
    return Labels(tuple(classes), table[column.codes], [*notes, *layout.alike(classes)])


def _sets(column: Column, sets: Sequence[Sequence[str]], place: str, notes: list[str]) -> Labels:
    classes = ordered(list(dict.fromkeys(name for found in sets for name in found)))
    refuse_numbers(classes, 0, place)
    if len(column.codes) * len(classes) > MOST_BYTES:
        raise UserError(
            f"{place} has {len(classes):,} labels for {len(column.codes):,} rows, which would take more than "
            f"{MOST_BYTES:,} bytes; leave out rare ones."
        )
    layout.refuse_alike(place, classes)
    number = {name: i for i, name in enumerate(classes)}
    table = np.zeros((len(sets), len(classes)), np.uint8)
    for row, found in zip(table, sets, strict=True):
        row[[number[name] for name in found]] = 1
    return Labels(tuple(classes), table[column.codes], [*notes, *layout.alike(classes)])


def ordered(names: list[str]) -> list[str]:
    """Numbers as numbers, else in natural order."""
    numbers = [_number(name) for name in names]
    if None not in numbers:
        return sorted(names, key=lambda name: (_number(name), name))
    return sorted(names, key=layout.natural)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def refuse_numbers(classes: Sequence[str], rows: int, place: str) -> None:
    """Raises UserError for values that are no classes. `rows`: that have one, 0 for sets."""
    most = f"{place} has {len(classes):,} different values"
    remedy = "name the column of classes with label=COLUMN, or put numbers into ranges"
    if len(classes) > MOST_CLASSES:
        raise UserError(
            f"{most}, more than {MOST_CLASSES:,}: they look like ids or numbers to be regressed, not classes; {remedy}."
        )
    parts = [_number(name) for name in classes]
    broken = None not in parts and any(x != int(x) for x in parts if x is not None)
    if rows >= (10 if broken else 50) and len(classes) > rows * (0.5 if broken else 0.9):
        what = "numbers to be regressed" if broken else "ids"
        raise UserError(f"{most} in {rows:,} rows: they look like {what}, not classes; {remedy}.")


def _shown(cell: Cell) -> str:
    return repr(printable(cell if isinstance(cell, str) else json.dumps(cell), 60)) if cell != "" else "an empty one"


def told(labels: Labels) -> str:
    """How many classes, in words."""
    what = "labels, sets of them" if labels.labels.ndim == 2 else "classes"
    return f"{len(labels.classes):,} {what} ({listed(labels.classes, 5)})"
