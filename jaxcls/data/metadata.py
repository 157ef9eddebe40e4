"""What is known of pictures beyond their label: their names, folders, and columns of a table, for figures by group."""

import contextlib
import csv
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data.base import Source, Subset, leaves, multilabel
from jaxcls.errors import UserError

PATH = "path"  # the column of a table that says which picture a line is about
GROUP = "group"  # the one that says which pictures belong together
_MOST_COLUMNS, _MOST_CELLS = 1000, 50_000_000  # of a table, and of what is made of it: a column's entry a picture


def rows(source: Source) -> tuple[list[str], dict[str, list[Any]]]:
    """(ids, columns) of a source: lists with an entry a row. For a folder an id is the path relative to its root.

    Columns are the items of a row beyond its leaves (picture, label, ...) and id, and "folder", the folders below that
    of the class, where there are any.
    """
    names, columns = ids(source), _columns(source)
    single = bool(source.classes) and not multilabel(source)
    folders = sub_folders(names, [source.classes[label] for label in source.labels]) if single else []
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
    """Name -> values of what the rows hold beyond leaves and id; rows are read only if the first holds more, and where
    the source does not say it without (`metadata()`)."""
    if (said := _said(source)) is not None:
        return said
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


def _said(source: Any) -> dict[str, list[Any]] | None:
    """What a source of a table says of its rows; None for others."""
    if isinstance(source, Subset):
        said = _said(source.source)
        return None if said is None else {k: [v[row] for row in source.indices.tolist()] for k, v in said.items()}
    return source.metadata() if hasattr(source, "metadata") else None


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
    header, lines = read(file, root, "config.data.metadata", (PATH,), set(names))
    columns = [name for name in dict.fromkeys(header) if name != PATH]
    if len(columns) * len(names) > _MOST_CELLS:
        raise UserError(
            f"config.data.metadata: {file} has {len(columns):,} columns for {len(names):,} pictures, more than "
            f"{_MOST_CELLS:,} cells; leave out those that no figure is wanted by."
        )
    return {column: [lines.get(name, {}).get(column) or "" for name in names] for column in columns}


def check(file: str, splits: Mapping[str, Source]) -> None:
    """Raises UserError where a table cannot be used, or has a line for none of the pictures of split -> source."""
    if not file:
        return
    names = [name for source in splits.values() for name in ids(source)]
    _, lines = read(file, root(next(iter(splits.values()))), "config.data.metadata", (PATH,), set(names))
    if not lines:
        example = names[0]
        raise UserError(f"config.data.metadata: {file} has no line for any picture; paths must be like {example!r}.")


def read(
    file: str, root: str | Path, key: str, columns: Sequence[str], wanted: Collection[str]
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """(names of the columns, path -> cells by column) of a CSV file, relative to here or to `root`.

    Only lines of `wanted` paths are kept. A line that ends early lacks the columns behind.

    Raises:
      UserError: where it cannot be read, is no regular file, has more than 128 MiB or 1,000 columns, lacks one of
        `columns` or is empty. `key` is the config key that named it.
    """
    try:
        path = Path(file).expanduser()
        if not os.path.isfile(path) and os.path.isfile(Path(root) / path):
            path = Path(root) / path
        with files.open_regular(path, mode="r", newline="", encoding="utf-8", errors="surrogateescape") as opened:
            lines = filter(None, csv.reader(files.short_lines(opened)))
            header = next(lines, [])
            if not set(columns) <= set(header):
                raise UserError(f"{key}: {path} lacks the columns {' and '.join(columns)} in its first line.")
            if len(header) > _MOST_COLUMNS:
                raise UserError(f"{key}: {path} has {len(header):,} columns; at most {_MOST_COLUMNS:,} can be read.")
            at, empty, by_path = header.index(PATH), True, {}
            for line in lines:
                empty = False
                if len(line) > at and line[at] in wanted:
                    by_path[line[at]] = dict(zip(header, line, strict=False))
    except (OSError, ValueError, csv.Error) as error:  # ValueError: of a name with a NUL
        raise UserError(f"{key}: {file} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if empty:
        raise UserError(f"{key}: {path} has no line below the first.")
    return header, by_path
