"""Rows of a table by their splits, and what must hold of them."""

from collections.abc import Mapping

import numpy as np

from jaxcls.data import layout
from jaxcls.data.table_columns import Column
from jaxcls.data.table_file import Table
from jaxcls.data.table_guess import Roles
from jaxcls.data.table_labels import NONE, Labels
from jaxcls.errors import UserError
from jaxcls.text import printable

ORDER = ("train", "validation", "test")
SPLITS = "train, val (valid, validation, dev) or test"


def splits(table: Table, roles: Roles, groups: Column | None, trains: bool) -> dict[str, np.ndarray]:
    """Split -> rows, in the order train, validation, test; {"all"} without a column of splits, or with train alone.

    Raises:
      UserError: for cells that are no splits, two names of one, no train to train on, or a group in two of them.
    """
    if not roles.split:
        return {"all": np.arange(len(table))}
    column = table.columns[roles.split].mapped(str)
    meant = [layout.split_of(str(value)) for value in column.values]
    counts = column.counts()
    if wrong := [i for i, split in enumerate(meant) if split is None]:
        raise UserError(
            f"{table}: {int(counts[wrong].sum()):,} row(s) have no split in column {roles.split!r}, e.g. "
            f"{printable(column.values[wrong[0]], 40)!r}; write {SPLITS}, or rename the column if it is none of splits."
        )
    for split in ORDER:
        names = sorted({str(value) for value, other in zip(column.values, meant, strict=True) if other == split})
        if len({name.casefold() for name in names}) > 1:
            raise UserError(
                f"{table}: column {roles.split!r} has {names[0]!r} and {names[1]!r}, both {split}; write one."
            )
    number = np.array([ORDER.index(str(split)) for split in meant])[column.codes]
    if groups is not None:
        _refuse_leaks(table, roles, groups, number)
    dealt = {split: np.flatnonzero(number == i) for i, split in enumerate(ORDER) if (number == i).any()}
    if trains and "train" not in dealt:
        raise UserError(
            f"{table}: column {roles.split!r} has {' and '.join(dealt)} but no train; add rows to train on."
        )
    return {"all": dealt["train"]} if list(dealt) == ["train"] else dealt


def _refuse_leaks(table: Table, roles: Roles, groups: Column, number: np.ndarray) -> None:
    pairs = np.unique(np.stack([groups.codes, number], 1), axis=0)
    inside = np.bincount(pairs[:, 0], minlength=len(groups.values))
    if leaks := np.flatnonzero(inside > 1).tolist():
        where = " and ".join(ORDER[i] for i in pairs[pairs[:, 0] == leaks[0], 1])
        raise UserError(
            f"{table}: {len(leaks):,} group(s) of column {roles.group!r} are in several splits, e.g. "
            f"{printable(groups.values[leaks[0]], 40)!r} in {where}; put each into one, or leave out the column of "
            "splits: rows are dealt by groups then."
        )


def labelled(table: Table, labels: Labels, dealt: dict[str, np.ndarray], notes: list[str]) -> dict[str, np.ndarray]:
    """The splits without rows that have no label, which only test may have. Raises UserError for others."""
    if labels.labels.ndim == 2:
        return dealt
    lack = labels.labels == NONE
    bare = {split: int(lack[rows].sum()) for split, rows in dealt.items()}
    if wrong := {split: count for split, count in bare.items() if count and split != "test"}:
        raise UserError(
            f"{table}: {sum(wrong.values()):,} row(s) have no label, the first is row "
            f"{int(np.flatnonzero(lack)[0]) + 1:,}; remove them, or put them into a table of their own."
        )
    if bare.get("test"):
        notes.append(f"{bare['test']:,} row(s) of test have no label and are left out (jaxcls predict answers them)")
        dealt = {**dealt, "test": dealt["test"][~lack[dealt["test"]]]}
    dealt = {split: rows for split, rows in dealt.items() if len(rows)}
    return {"all": dealt["train"]} if list(dealt) == ["train"] else dealt


def bare(dealt: dict[str, np.ndarray], rows: int, notes: list[str]) -> dict[str, np.ndarray]:
    """Of a table without labels what is trained on: train, or all where there are no splits."""
    chosen = next(iter(dealt.values()))
    if len(chosen) < rows:
        notes.append(f"{rows - len(chosen):,} row(s) of other splits than train have no labels and are left out")
    return {"train": chosen}


def check_classes(table: Table, roles: Roles, labels: Labels, dealt: Mapping[str, np.ndarray]) -> None:
    """Raises UserError for fewer than two classes, and for those that train has not."""
    if len(labels.classes) < 2:
        what = f"all rows have one label, {labels.classes[0]!r}" if labels.classes else "no row has a label"
        raise UserError(f"{table}: {what}, in column {roles.label!r}; two classes are the least.")
    train = labels.labels[next(iter(dealt.values()))]
    here = train.any(axis=0) if train.ndim == 2 else np.bincount(train, minlength=len(labels.classes)) > 0
    if lack := np.flatnonzero(~here).tolist():
        raise UserError(
            f"{table}: {len(lack):,} class(es) have no row in train, e.g. {labels.classes[lack[0]]!r}; add some, or "
            "remove the rows of other splits."
        )
