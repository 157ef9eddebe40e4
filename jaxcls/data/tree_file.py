"""Files of trees of classes: CSV with the columns child and parent.

    child,parent
    cat,animal
    car,vehicle

The first line may lack where there are no other columns. A root needs no line of its own; one whose parent is empty
says so. Lines of classes that the data have not are left alone.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxcls import files
from jaxcls.data import class_tree
from jaxcls.data.class_tree import ClassTree
from jaxcls.errors import UserError
from jaxcls.types import PathLike

FILE = "class_tree.csv"  # the copy in a workdir
HEADER = ("child", "parent")
_LARGEST = 64 * 2**20  # bytes


def read(file: PathLike, classes: Sequence[str], key: str, root: PathLike = ".") -> ClassTree:
    """The tree of a file, relative to here or to `root`.

    Raises:
      UserError: a line for each kind of mistake, all of a kind counted. `key` is the option that named the file.
    """
    path = _place(file, root)
    what = f"{key}: {file}"
    try:
        with files.open_regular(path, _LARGEST, "r", newline="", encoding="utf-8-sig") as opened:
            text = opened.read()
        pairs = list(_pairs(text, set(classes), what))
    except UnicodeError as error:
        raise UserError(f"{what} is no text in UTF-8; save it as CSV in UTF-8.") from error
    except (OSError, ValueError, csv.Error) as error:  # ValueError: of a name with a NUL
        raise UserError(f"{what} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if not pairs:
        raise UserError(f"{what} has no line with a child and a parent.")
    return class_tree.build(_parents(pairs, what), classes, what)


def exists(file: PathLike, root: PathLike = ".") -> bool:
    """Whether there is something of that name, as `read` looks for it."""
    return os.path.exists(_place(file, root))


def _place(file, root):
    path = files.path(str(file))
    below = Path(root) / path
    return below if os.path.isfile(below) and not os.path.isfile(path) else path


def of_workdir(workdir: PathLike, classes: Sequence[str]) -> ClassTree | None:
    """The tree that a run has stored; None without one. Raises UserError where it is damaged or of other classes."""
    path = Path(workdir) / FILE
    return read(path, classes, "the run's class tree") if path.is_file() else None


def write(workdir: PathLike, tree: ClassTree, remedy: str = files.REMEDY) -> Path:
    """Stores a tree in the workdir of a run. Raises UserError where it can't be written."""
    path = Path(workdir) / FILE
    made = {-1} | ({len(tree.nodes) - 1} if tree.roots > 1 else set())  # what stands above the roots is not written
    above = ["" if i in made else tree.nodes[i] for i in tree.parent]
    pairs = [(child, above[i]) for i, child in enumerate(tree.nodes) if i not in made]
    with files.replacing(path, remedy) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *pairs])
    return path


def _pairs(text, classes, what) -> Iterator[tuple[int, str, str]]:
    """(line, child, parent) of each line; a root's parent is ""."""
    first = next(filter(str.strip, io.StringIO(text)), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(first))
    rows = ((reader.line_num, row) for row in reader)
    rows = ((line, [_name(cell, classes) for cell in row]) for line, row in rows if any(map(str.strip, row)))
    top, head = next(rows, (0, []))
    columns = [cell.casefold() for cell in head]
    named = set(HEADER) <= set(columns)
    child, parent = map(columns.index, HEADER) if named else (0, 1)
    wrong = []
    for line, row in rows if named or not head else itertools.chain([(top, head)], rows):
        if len(row) <= max(child, parent) or (len(row) > 2 and not named) or not row[child]:
            wrong.append((line, row))
        else:
            yield line, row[child], row[parent]
    if wrong:
        more = f" ({len(wrong):,} such lines)" if len(wrong) > 1 else ""
        raise UserError(f"{what}: line {wrong[0][0]} has no child and parent{more}; it needs these two columns.")


def _delimiter(line):
    """The one of , ; and a tabulator that makes two columns of a line, else more; else a comma."""
    width = {mark: len(next(csv.reader([line], delimiter=mark), ())) for mark in ",;\t"}
    return next((mark for mark in width if width[mark] == 2), max(width, key=width.__getitem__))


def _name(cell, classes):
    return cell if cell in classes else cell.strip()


def _parents(pairs, what):
    """child -> parent. Raises UserError where a child has two."""
    parents: dict[str, str] = {}
    torn: dict[str, tuple[int, str]] = {}
    for line, child, parent in pairs:
        if parents.setdefault(child, parent) != parent:
            torn.setdefault(child, (line, parent))
    if torn:
        child, (line, parent) = next(iter(torn.items()))
        more = f" ({len(torn):,} such children)" if len(torn) > 1 else ""
        raise UserError(
            f"{what}: {child!r} has the parents {parents[child]!r} and, in line {line}, {parent!r}{more}; a node has "
            "one parent, and the columns are child, parent."
        )
    return parents
