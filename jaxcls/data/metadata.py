"""What is known of pictures beyond their label: their names, folders, and columns of a table, for figures by group."""

import contextlib
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.data.base import Source, Subset, leaves
from jaxcls.errors import UserError

PATH = "path"  # the column of a table that says which picture a line is about
GROUP = "group"  # the one that says which pictures belong together


def rows(source: Source) -> tuple[list[str], dict[str, list[Any]]]:
    """(ids, columns) of a source: lists with an entry a row. For a folder an id is the path relative to its root.

    Columns are the items of a row beyond its leaves (picture, label, ...) and id, and "folder", the folders below that
    of the class, where there are any.
    """
    names, columns = ids(source), _columns(source)
    folders = sub_folders(names, [source.classes[label] for label in source.labels])
    return names, {**columns, **({"folder": folders} if any(folders) else {})}


def ids(source: Source) -> list[str]:
    """The ids of all pictures of a source; where it does not list them, the pictures are read for it."""
    if isinstance(source, Subset):
        names = ids(source.source)
        return [names[row] for row in source.indices]
    if hasattr(source, "ids"):
        return list(source.ids)
    items = source.items() if hasattr(source, "items") else (source[row] for row in range(len(source)))
    return [item["id"] for item in items]  # records are read in chunks


def _columns(source: Source) -> dict[str, list[Any]]:
    """Name -> values of what the rows hold beyond leaves and id; rows are read only if the first holds more."""
    known = {*leaves(source), "id"}
    first: Mapping[str, Any] = {}
    for row in range(len(source)):
        with contextlib.suppress(UserError):  # of a picture that can't be read nothing is known
            first = source[row]
            break
    columns: dict[str, list[Any]] = {key: [] for key in first if key not in known}
    for row in range(len(source) if columns else 0):
        item: Mapping[str, Any] = {}
        with contextlib.suppress(UserError):
            item = source[row]
        for key, values in columns.items():
            value = item.get(key)
            values.append(value.item() if isinstance(value, np.generic) else value)
    return columns


def sub_folders(names: Sequence[str], classes: Sequence[str]) -> list[str]:
    """The folders between that of the class and the file, "" for none, of ids such as "train/cats/site 1/3.jpg"."""
    paths = [name.split("/")[:-1] for name in names]
    for depth in (1, 0):  # with and without a folder of the split
        if all(len(path) > depth and path[depth] == name for path, name in zip(paths, classes, strict=True)):
            return ["/".join(path[depth + 1 :]) for path in paths]
    return [""] * len(names)


def root(source: Source) -> Path:
    """Where a relative path to a table may start, too: the folder of pictures."""
    return Path(getattr(getattr(source, "source", source), "root", "."))


def table(names: Sequence[str], file: str, root: str | Path = ".") -> dict[str, list[str]]:
    """The columns of a CSV file for pictures of these names; "" for a picture without a line. {} without a file.

    Raises:
      UserError: where the file cannot be used.
    """
    if not file:
        return {}
    lines = read(file, root, "config.data.metadata", (PATH,))
    columns = [name for name in next(iter(lines.values())) if name != PATH]
    return {column: [lines.get(name, {}).get(column) or "" for name in names] for column in columns}


def check(file: str, splits: Mapping[str, Source]) -> None:
    """Raises UserError where a table cannot be used, or has a line for none of the pictures of split -> source."""
    if not file:
        return
    lines = read(file, root(next(iter(splits.values()))), "config.data.metadata", (PATH,))
    names = [name for source in splits.values() for name in ids(source)]
    if not any(name in lines for name in names):
        example = names[0]
        raise UserError(f"config.data.metadata: {file} has no line for any picture; paths must be like {example!r}.")


def read(file: str, root: str | Path, key: str, columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """The lines of a CSV file by their path, of a file relative to here or to `root`; it must have these columns.

    Raises:
      UserError: where it cannot be read, lacks a column or is empty. `key` is the config key that named it.
    """
    path = Path(file).expanduser()
    if not path.is_file() and (Path(root) / path).is_file():
        path = Path(root) / path
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as opened:
            lines = csv.DictReader(opened)
            if not set(columns) <= set(lines.fieldnames or ()):
                raise UserError(f"{key}: {path} lacks the columns {' and '.join(columns)} in its first line.")
            by_path = {line[PATH]: line for line in lines}
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"{key}: {path} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if not by_path:
        raise UserError(f"{key}: {path} has no line below the first.")
    return by_path
