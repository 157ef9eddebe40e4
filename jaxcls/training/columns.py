"""config.data.columns: what is known of each picture beside it, as a leaf `columns` of every split."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import augment, columns, files
from jaxcls.columns import Column
from jaxcls.data import metadata
from jaxcls.data.base import Source, multilabel
from jaxcls.data.beside import with_leaf
from jaxcls.errors import Problems, UserError
from jaxcls.types import Note, PathLike

KEY = "config.data.columns"
LEAF = "columns"
FILE = "columns.json"  # in a workdir: how its columns are read, by the rows that it began with


@dataclasses.dataclass(frozen=True)
class Told:
    """The splits with their leaf, how the columns are read, and lines about them."""

    sources: dict[str, Source]
    columns: tuple[Column, ...] = ()
    lines: tuple[str, ...] = ()


def sources(config: Any, splits: Mapping[str, Source], workdir: PathLike | None = None) -> Told:
    """The splits of a config, with the leaf where config.data.columns names any.

    Means, deviations and categories are of the training rows alone; those of a run that has begun in `workdir` stay.

    Raises:
      UserError: for columns that can't be used, or settings that can't have them.
    """
    wanted = tuple(config.data.columns)
    if not wanted:
        return Told(dict(splits))
    _check(config, wanted)
    file = config.data.metadata
    first = "train" if "train" in splits else next(iter(splits))
    cells = {split: _cells(source, file) for split, source in splits.items()}
    named = [columns.named(text, list(cells[first]), KEY, _taken(splits[first])) for text in wanted]
    if twice := [name for name, _ in named if [other for other, _ in named].count(name) > 1]:
        raise UserError(f"{KEY}: {twice[0]!r} is named twice; leave one out.")
    stored = read(workdir) if workdir is not None else ()
    if [column.name for column in stored] == [name for name, _ in named]:
        found, lines = stored, []
    elif "train" in splits:
        found, lines = _fitted(named, cells["train"], splits["train"])
    else:
        raise UserError(f"{KEY}: there are no training rows to take means and categories of.")
    made = {split: added(source, found, cells[split], split, lines.append) for split, source in splits.items()}
    return Told(made, found, tuple([*map(_line, found), *lines]))


def added(
    source: Source,
    wanted: Sequence[Column],
    cells: Mapping[str, Sequence[str]] | None = None,
    what: str = "",
    note: Note = print,
) -> Source:
    """A source with the leaf; without `wanted` as it is.

    Args:
      source: whose rows have the columns (`metadata.rows`), or `cells` of them.
      wanted: how they are read.
      cells: name -> a cell a row.
      what: of messages: the split.
      note: where lines about missing and unknown cells go.

    Raises:
      UserError: where a column is not there, or has words in place of numbers.
    """
    if not wanted:
        return source
    cells = _cells(source, "") if cells is None else cells
    said = f"{what}: " if what else ""
    for column in wanted:
        if column.name not in cells:
            columns.named(column.name, list(cells), f"{said}the net takes columns beside the picture", {})
        for line in column.remarks(cells[column.name]):
            note(f"{said}{line}")
    return with_leaf(source, LEAF, columns.encoded(wanted, cells))


def write(workdir: PathLike, found: Sequence[Column], remedy: str) -> None:
    """Leaves in a workdir how columns are read."""
    files.write_json(Path(workdir) / FILE, columns.to_json(found), remedy)


def read(workdir: PathLike) -> tuple[Column, ...]:
    """What `write` has left; () without. Raises UserError where it is damaged."""
    return columns.of_json(files.read_json(Path(workdir) / FILE, strict=True) or ())


def _check(config, wanted):
    if bad := [text for text in wanted if not isinstance(text, str) or not text]:
        raise UserError(f"{KEY} takes names of columns, such as ('age', 'place'), not {bad[0]!r}.")
    lists = (config.data.augment, config.data.augment_second)
    mixing = next(filter(None, map(augment.mixing_in, lists)), "")
    for setting, given in {
        f"config.ssl.method={config.ssl.method!r}": config.ssl.method,
        f"config.few.method={config.few.method!r}": config.few.method,
        f"config.words.method={config.words.method!r}": config.words.method,
        f"config.model.quantize={config.model.quantize!r}": config.model.quantize,
        f"config.data.pack={config.data.pack}, which keeps no columns (config.data.metadata has them),": (
            config.data.pack and not config.data.metadata
        ),
        "config.nas": tuple(config.nas.stages),
        f"config.data.augment: {mixing}, which makes one picture of two,": mixing,
    }.items():
        if given:
            raise UserError(f"{setting} does not go with {KEY}={wanted}; leave one of them out.")


def _cells(source, file):
    """Column -> a cell a row, of the source and of config.data.metadata."""
    names, found = metadata.rows(source)
    beside = metadata.table(names, file, metadata.root(source))
    return {name: list(map(columns.text, values)) for name, values in {**found, **beside}.items()}


def _taken(source: Any) -> Mapping[str, str]:
    while not hasattr(source, "taken"):
        inner = getattr(source, "source", None)
        if inner is None:
            return {}
        source = inner
    return source.taken


def _fitted(named, cells, source):
    problems, found, lines = Problems(), [], []
    for name, kind in named:
        with problems.noted():
            column = columns.fitted(name, kind, cells[name], KEY)
            if not multilabel(source) and source.classes:
                line = columns.check_leak(column, cells[name], np.asarray(source.labels), KEY)
                lines += [f"note: {line}"] if line else []
            found.append(column)
    problems.refuse()
    return tuple(found), lines


def _line(column):
    if column.values:
        return f"column {column.name!r} beside the picture: a category of {len(column.values):,}"
    return (
        f"column {column.name!r} beside the picture: a number, of mean {column.mean:.4g} and deviation {column.std:.4g}"
    )
