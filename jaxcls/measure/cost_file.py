"""What each mistake costs, from a CSV file."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.types import PathLike

if TYPE_CHECKING:
    from jaxtyping import Float

_LARGEST = 64 * 2**20  # bytes; a thousand classes have a million costs


def read(path: PathLike, classes: Sequence[str]) -> Float[np.ndarray, "classes classes"]:
    """The matrix of a CSV file, in the order of the classes.

    Numbers, a line for each true class in the order of the classes; or with a first line and a first column of class
    names, in any order.

    Raises:
      UserError: where it can't be read or is no such matrix.
    """
    try:
        with files.open_regular(path, _LARGEST, "r", newline="", encoding="utf-8-sig") as file:
            rows = _rows(file, len(classes) + 2)  # a line too many, and a cell too many, are seen below
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"--costs: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    named = bool(rows) and set(rows[0][1:]) == set(classes) and len(rows[0]) == len(classes) + 1
    if named:
        columns, lines = rows[0][1:], {row[0]: row[1:] for row in rows[1:]}
        if set(lines) != set(classes) or len(rows) != len(classes) + 1:
            raise UserError(f"--costs: the first column of {path} has to name every class once")
        if any(len(line) != len(classes) for line in lines.values()):
            raise UserError(f"--costs: {path} needs {len(classes)} numbers in every line")
        order = {name: i for i, name in enumerate(columns)}
        rows = [[lines[true][order[answer]] for answer in classes] for true in classes]
    try:
        return check(np.array([[float(cell) for cell in row] for row in rows]), classes)
    except ValueError as error:
        n = len(classes)
        raise UserError(
            f"--costs: {path} has to hold a number for each pair of classes, {n} lines of {n} ({error})"
        ) from error


def _rows(file, limit):
    """The cells of a CSV file without its empty lines: of so many lines and in each so many cells at most."""
    lines = ([cell.strip() for cell in row[:limit]] for row in csv.reader(files.short_lines(file)))
    return list(itertools.islice(filter(any, lines), limit))


def check(costs: Float[np.ndarray, "classes classes"], classes: Sequence[str]) -> Float[np.ndarray, "classes classes"]:
    """Costs as float64. Raises UserError where the shape or a number is not possible."""
    matrix = np.asarray(costs, np.float64)
    if matrix.shape != (len(classes),) * 2:
        shape, n = " x ".join(map(str, matrix.shape)), len(classes)
        raise UserError(f"the costs are {shape} numbers; {n} classes need {n} x {n}: a row for each true class")
    if not np.isfinite(matrix).all():
        raise UserError("the costs hold something that is no finite number")
    if (matrix < np.diagonal(matrix)[:, None]).any():
        row, column = np.argwhere(matrix < np.diagonal(matrix)[:, None])[0]
        raise UserError(
            f"costs: calling {classes[row]!r} {classes[column]!r} costs less than calling it rightly; "
            "rows are true classes, columns answers"
        )
    return matrix
