"""Encoded pictures that are pieces of larger files (tar shards, Arrow streams), read at their offsets.

Reading opens the file, reads and closes it (some ten microseconds): nothing is kept open or mapped, so threads and
processes need nothing of one another, and any number of files will do.
"""

import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcls.data.base import LEAVES, Leaf, digest
from jaxcls.errors import UserError
from jaxcls.text import printable
from jaxcls.types import PathLike

HEAD = 4096  # bytes of each file that its stamp is of


class Pieces(NamedTuple):
    """Where n pictures lie: the number of the file int32 [n], the offset int64 [n], how many bytes int64 [n]."""

    file: np.ndarray
    offset: np.ndarray
    size: np.ndarray

    def of(self, rows: np.ndarray) -> "Pieces":
        """Those of some rows (or of a mask of rows)."""
        return Pieces(self.file[rows], self.offset[rows], self.size[rows])


class PieceSource:
    """Pictures of `paths`, at `pieces`. Without classes every label is -1.

    Args:
      paths: of the files.
      pieces: of the pictures, in order.
      ids, labels, classes: as of any source; labels int32 [n], or uint8 [n, classes] of sets.
      stamp: which changes whenever the files do (`stamp`).
      notes: lines about how the set was read.
    """

    def __init__(
        self,
        paths: Sequence[PathLike],
        pieces: Pieces,
        ids: Sequence[str],
        labels: np.ndarray,
        classes: Sequence[str],
        stamp: str,
        notes: Sequence[str] = (),
    ):
        self.left_out: dict[str, tuple[int, str]] = {}  # nothing, as folders have it
        self.notes = tuple(notes)
        self.paths, self.pieces, self.stamp = tuple(map(str, paths)), pieces, stamp
        self.ids, self.labels, self.classes = tuple(ids), labels, tuple(classes)

    @property
    def leaves(self) -> dict[str, Leaf]:
        """Pictures of any size, and a label or a set of them."""
        return {**LEAVES, "label": Leaf(self.labels.shape[1:], self.labels.dtype)}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> dict[str, Any]:
        row = range(len(self))[row]
        label = self.labels[row] if self.labels.ndim == 2 else int(self.labels[row])
        return {"image": self._read(row, 0, self._size(row)), "label": label, "id": self.ids[row]}

    def blocks(self, row: int, block: int) -> tuple[int, bytes, bytes]:
        """(bytes of a picture, its first `block` ones, its last ones behind them, at most as many)."""
        size = self._size(row)
        start = max(min(block, size), size - block)
        return size, self._read(row, 0, min(block, size)), self._read(row, start, size - start)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of the files' stamp, of which pieces of them are pictures, and of ids, labels and classes."""
        names = "\0".join(self.ids).encode(errors="surrogateescape")
        arrays = map(np.ascontiguousarray, (*self.pieces, self.labels))
        return digest(self.stamp.encode(), repr(self.classes).encode(), names, *arrays)

    def _size(self, row):
        return int(self.pieces.size[row])

    def _read(self, row, start, count):
        path = self.paths[int(self.pieces.file[row])]
        try:
            with open(path, "rb", buffering=0) as file:
                data = read_at(file.fileno(), int(self.pieces.offset[row]) + start, count)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(f"{printable(self.ids[row])}: {printable(path)} can't be read ({reason})") from error
        if len(data) < count:
            raise UserError(f"{printable(self.ids[row])}: {printable(path)} has become shorter; copy it again")
        return data


def read_at(descriptor: int, offset: int, count: int) -> bytes:
    """`count` bytes of an open file from an offset on, fewer only at its end."""
    data = os.pread(descriptor, count, offset)
    while len(data) < count and (more := os.pread(descriptor, count - len(data), offset + len(data))):
        data += more
    return data


def stamp(paths: Iterable[PathLike], *others: str) -> str:
    """16 hex digits of the names, sizes and first 4 KiB of files, and of other strings.

    Raises:
      UserError: for a file that can't be read.
    """
    parts = [repr(others).encode()]
    for path in paths:
        try:
            with open(path, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                parts += [f"{os.path.basename(path)}\0{size}\0".encode(errors="surrogateescape"), file.read(HEAD)]
        except OSError as error:
            raise UserError(f"{printable(path)} can't be read ({error.strerror or error})") from error
    return digest(*parts)


def kept(folder: PathLike, name: str, user: Path) -> list[Path]:
    """Where what took long to find out about files may be kept: beside them, else in the user's cache."""
    return [Path(folder) / name, user / "jaxcls" / name]
