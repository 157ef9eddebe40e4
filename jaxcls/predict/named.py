"""Pictures of a set that is given by its name, such as `table/FILE`, as what is predicted; labels don't matter."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls.columns import text
from jaxcls.data import kinds, metadata, query, sources, table
from jaxcls.data.base import Source
from jaxcls.errors import UserError
from jaxcls.files import path as path_of

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, UInt8

Entry = tuple[str, str | None]


class Told(str):
    """What a picture is called, with the numbers that a net takes beside it: `beside`, float32 [width]."""

    beside: "Float[np.ndarray, ' width'] | None" = None


class Row(Told):
    """What a picture is called that is no file of its own, a row of a source: `image()` has its bytes or pixels."""

    source: Source
    row: int

    @classmethod
    def of(cls, source: Source, row: int, name: str) -> "Row":
        """Row `row` of a source."""
        made = cls(name)
        made.source, made.row = source, row
        return made

    def image(self) -> "bytes | UInt8[np.ndarray, 'h w c']":
        """Encoded bytes or uint8 [h, w, c]. Raises UserError where it can't be read."""
        return self.source[self.row]["image"]


class Pictures:
    """The entries of `reading.paths` of one set, in its order: of a table in that of its rows, else split by split.

    With `beside`, float32 [n, width], each is `Told`.
    """

    beside: "Float[np.ndarray, 'n width'] | None" = None

    def __init__(self, name: str):
        """Opens the set. Raises UserError where that can't be."""
        base, options = query.split(name)
        kind, _, place = base.partition("/")
        self.entries: list[Entry] | None = None
        self._table = (path_of(place), options) if kind == "table" else None
        self.found: Sequence[Source] = ()
        if kind == "table":
            self.entries = list(table.paths(path_of(place), options))
        elif kind in sources.OPENERS:
            self.found = list(sources.OPENERS[kind](place, options, Path("."), False).values())
        else:
            self.found = list(sources.find(name).values())

    def cells(self) -> dict[str, list[str]]:
        """What is known of the entries: name of a column -> a cell each."""
        if self._table is not None:
            return {name: [text(cell) for cell in cells] for name, cells in table.cells(*self._table).items()}
        parts = [metadata.rows(source)[1] for source in self.found]
        names = [name for name in parts[0] if all(name in part for part in parts)] if parts else []
        return {name: [text(cell) for part in parts for cell in part[name]] for name in names}

    def __iter__(self) -> Iterator[Entry]:
        if self.beside is None:
            yield from self._bare()
            return
        for (name, problem), row in zip(self._bare(), self.beside, strict=True):
            told = name if isinstance(name, Row) else Told(name)
            told.beside = row
            yield told, problem

    def _bare(self):
        if self.entries is not None:
            yield from self.entries
        for source in self.found:
            root = getattr(source, "root", None)
            for row in range(len(source)):
                name = str(source.ids[row]) if hasattr(source, "ids") else f"row {row}"
                yield (os.path.join(root, name) if root is not None else Row.of(source, row, name)), None


def name_of(argument: str) -> str:
    """The name of the set that an argument is, "" for a file, a folder or a pattern: what is there under this very name
    is itself, but a bare path to a table is that table."""
    plain = argument.partition("?")[0]
    suffix = os.path.splitext(plain)[1].lower()
    kind, slash, _ = argument.partition("/")
    known = kind in (*query.PATHS, "synthetic", "tfds") if slash else kind in ("digits", "synthetic")
    if known and not os.path.exists(argument):
        return argument
    bare = suffix in query.SUFFIXES and suffix not in kinds.suffixes() and os.path.isfile(plain)
    return query.of_path(argument) if bare else ""


def opened(arguments: Sequence[str]) -> "list[str | Pictures]":
    """The arguments of a command, with the sets among them opened.

    Raises:
      UserError: for a set that can't be used.
    """
    found: list[str | Pictures] = []
    for argument in arguments:
        name = name_of(argument)
        pictures: str | Pictures = argument
        if name.startswith(("folder/", "unlabelled/", "clips/")):  # whatever is below, in the order of its names
            pictures = str(path_of(name.partition("/")[2]))
        elif name:
            pictures = Pictures(name)
        if isinstance(pictures, Pictures) and next(iter(pictures), None) is None:
            raise UserError(f"{name} has no pictures.")
        found.append(pictures)
    return found
