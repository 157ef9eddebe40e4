"""Columns of a table: equal cells once, and their numbers."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

CHUNK = 16384  # rows that are taken apart at a time
Cell = str | tuple[str, ...]  # a tuple of a list in JSON or Parquet


class Column(NamedTuple):
    """Cells by number: row i has values[codes[i]]; codes int32 [n]. An empty cell is ""."""

    values: list[Cell]
    codes: np.ndarray

    def mapped(self, function: Callable[[Cell], Any]) -> "Column":
        """The column of function(cell), computed once for equal cells; what becomes equal is one value."""
        coder = Coder()
        table = np.array([coder[function(value)] for value in self.values] or [0], np.int32)
        return Column(list(coder), table[self.codes])

    def rows(self, chosen: np.ndarray) -> "Column":
        """Some rows, of the same values."""
        return Column(self.values, self.codes[chosen])

    def counts(self) -> np.ndarray:
        """How many rows have each value."""
        return np.bincount(self.codes, minlength=len(self.values))

    def cells(self) -> list[Any]:
        """A cell a row."""
        return [self.values[i] for i in self.codes.tolist()]


class Coder(dict):
    """Numbers values from 0 on, in the order in which they are asked for."""

    def __missing__(self, key: Any) -> int:
        number = self[key] = len(self)
        return number


def encoded(chunks: Iterable[Sequence[Sequence[Cell]]], width: int) -> list[Column]:
    """Columns of lists of rows that have so many cells."""
    coders = [Coder() for _ in range(width)]
    parts: list[list[np.ndarray]] = [[] for _ in range(width)]
    for chunk in chunks:
        for coder, part, cells in zip(coders, parts, zip(*chunk, strict=True), strict=bool(chunk)):
            part.append(np.fromiter(map(coder.__getitem__, cells), np.int32, len(cells)))
    empty = np.empty(0, np.int32)
    return [Column(list(coder), np.concatenate([empty, *part])) for coder, part in zip(coders, parts, strict=True)]


def concatenated(parts: Sequence[Sequence[Column]], i: int) -> Column:
    """Column i of several parts; one that comes late has empty cells in the earlier ones."""
    coder, codes = Coder(), [np.empty(0, np.int32)]
    for part in parts:
        column = part[i] if i < len(part) else Column([""], np.zeros(len(part[0].codes) if part else 0, np.int32))
        codes.append(np.array([coder[value] for value in column.values] or [0], np.int32)[column.codes])
    return Column(list(coder), np.concatenate(codes))


def cell(value: Any) -> Cell:
    """A value of JSON or Parquet as a cell: lists as tuples, None as "", 3.0 as "3"."""
    if isinstance(value, str):
        return value
    if value is None or value != value:  # NaN, of pandas
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, list | tuple):
        return tuple(str(cell(part)) for part in value)
    if isinstance(value, bool):
        return str(value)
    return json.dumps(value) if isinstance(value, dict) else str(value)
