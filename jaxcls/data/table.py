"""Tables of pictures: CSV, TSV, Parquet, JSON lines, a row a picture.

    table/pets.csv                                    path,label
    table/pets.csv?label=breed&split=fold             cats/1.jpg,cat
    table/photos.parquet?labels=beach,sea,sky         columns of 0 and 1: sets of labels
    table/photos.jsonl?label=tags&root=/archive       {"path": "1.jpg", "tags": ["beach", "sea"]}

Options name the columns of paths, labels, splits, groups and weights, which are found by their names else
(`table_guess`); all other columns are metadata. Paths count from the table's folder, or from `root`. Labels are single
or sets (`table_labels`). Without a column of labels, or with one that is empty, the pictures have none.
"""

import operator
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data import layout, table_file, table_guess, table_labels, table_paths, table_splits
from jaxcls.data.base import LEAVES, TAKEN
from jaxcls.data.table_columns import Column
from jaxcls.data.table_file import Table
from jaxcls.data.table_guess import Roles
from jaxcls.data.table_labels import NONE, Labels
from jaxcls.data.table_source import TableSource
from jaxcls.errors import UserError
from jaxcls.text import printable

MOST_CELLS = 50_000_000  # of metadata, as metadata.table


def scan(path: Path, options: Mapping[str, str], *, trains: bool = True) -> dict[str, TableSource]:
    """The pictures of a table by its column of splits, {"all": ...} without one; {"train": ...} without labels.

    Args:
      path: the file.
      options: of the name (query.KEYS).
      trains: whether a model is trained on it; to score one, one class is enough and there need be no train.

    Raises:
      UserError: for a table, a column, a path or a label that can't be used; of a kind all are counted.
    """
    table = table_file.read(path)
    root = _root(table, options)
    finder = table_paths.Finder(root)
    roles = table_guess.roles(table, options, finder.has)
    cells, rows = table.columns[roles.path].cells(), len(table)
    ids, problems = finder.find(map(str, cells))
    table_paths.refuse(str(table), roles.path, root, ids, problems)
    notes = [*roles.notes, *table.notes]
    if completed := sum(map(operator.ne, ids, cells)):
        notes.append(f"{completed:,} path(s) of column {roles.path!r} got the suffix, or the form, of the file's name")
    labels = _labels(table, roles, options)
    notes += labels.notes if labels else []
    groups = _groups(table, roles)
    dealt = table_splits.splits(table, roles, groups, trains)
    dealt = table_splits.labelled(table, labels, dealt, notes) if labels else table_splits.bare(dealt, rows, notes)
    if labels and trains:
        table_splits.check_classes(table, roles, labels, dealt)
    weights, columns = _weights(table, roles), _metadata(table, roles, notes)

    def source(split: str, chosen: np.ndarray) -> TableSource:
        whole = len(chosen) == rows
        return TableSource(
            str(root),
            ids if whole else [ids[row] for row in chosen.tolist()],
            labels.labels[chosen] if labels else np.full(len(chosen), NONE, np.int32),
            labels.classes if labels else (),
            notes=notes if split == next(iter(dealt)) else (),
            weights=None if weights is None else weights[chosen],
            groups=None if groups is None else groups.rows(chosen).cells(),
            columns={name: column.rows(chosen) for name, column in columns.items()},
            taken=roles.told,
        )

    return {split: source(split, chosen) for split, chosen in dealt.items()}


def paths(path: Path, options: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """(path of a picture, what is wrong with it or None) of all rows of a table, in its order, labels or not.

    Raises:
      UserError: for a table, or a column, that can't be used.
    """
    table = table_file.read(path)
    root = _root(table, options)
    finder = table_paths.Finder(root)
    roles = table_guess.roles(table, options, finder.has)
    ids, problems = finder.find(map(str, table.columns[roles.path].cells()))
    place = "" if str(root) == "." else root
    for row, name in enumerate(ids):
        yield os.path.join(place, name), problems.get(row)


def cells(path: Path, options: Mapping[str, str]) -> dict[str, list[Any]]:
    """The columns of a table beside those that mean something else: name -> a cell a row, in the order of `paths`.

    Raises:
      UserError: as `paths`.
    """
    table = table_file.read(path)
    roles = table_guess.roles(table, options, table_paths.Finder(_root(table, options)).has)
    return {name: column.cells() for name, column in table.columns.items() if name not in roles.taken}


def _root(table: Table, options: Mapping[str, str]) -> Path:
    """The folder from which paths count: that of the table; `root` from there, or from here."""
    folder = table.path.parent
    if "root" not in options:
        return folder
    given = files.path(options["root"])
    for place in (folder / given, given):
        if place.is_dir():
            return place
    raise UserError(f"{table}: root={printable(given)} is no folder; it counts from the table's folder, {folder}.")


def _labels(table: Table, roles: Roles, options: Mapping[str, str]) -> Labels | None:
    """The labels; None where there is no column of them, or nothing in it."""
    if roles.labels:
        return table_labels.of_columns(table, roles.labels)
    if not roles.label or all(cell == "" for cell in table.columns[roles.label].values):
        return None
    return table_labels.of_column(table, roles.label, options.get("separator", ""))


def _groups(table: Table, roles: Roles) -> Column | None:
    """The column of groups. Raises UserError where a row has none."""
    if not roles.group:
        return None
    groups = table.columns[roles.group].mapped(str)
    if "" in groups.values:
        count = int(groups.counts()[groups.values.index("")])
        raise UserError(f"{table}: {count:,} row(s) have no group in column {roles.group!r}; give each picture one.")
    return groups


def _weights(table: Table, roles: Roles) -> np.ndarray | None:
    """float32 [n]. Raises UserError for cells that are no numbers from 0 on."""
    if not roles.weight:
        return None
    column = table.columns[roles.weight]
    values = np.array([_weight(str(cell)) for cell in column.values], np.float32)
    if bad := np.flatnonzero(~(np.isfinite(values) & (values >= 0))).tolist():
        raise UserError(
            f"{table}: {int(column.counts()[bad].sum()):,} cell(s) of column {roles.weight!r} are no weights, e.g. "
            f"{printable(column.values[bad[0]], 40)!r}; write numbers from 0 on."
        )
    if not values.any():
        raise UserError(f"{table}: all weights in column {roles.weight!r} are 0.")
    return values[column.codes]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _metadata(table: Table, roles: Roles, notes: list[str]) -> dict[str, Column]:
    """The other columns; those whose name means something else in an item are left out."""
    others = {name: column for name, column in table.columns.items() if name not in roles.taken}
    reserved = [name for name in others if name in (*LEAVES, *TAKEN, "weight", "group")]
    if reserved:
        notes.append(f"the column(s) {layout.listed(reserved)} have a name that means something else, and are left out")
    if len(others) * len(table) > MOST_CELLS:
        notes.append(f"the {len(others):,} other columns have more than {MOST_CELLS:,} cells, and are left out")
        return {}
    return {name: column for name, column in others.items() if name not in reserved}
