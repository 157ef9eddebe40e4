"""Pictures in files below one folder, as a source. `folder.scan` finds them."""

import contextlib
import functools
import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from jaxcls.data.base import LEAVES
from jaxcls.errors import UserError
from jaxcls.text import printable

MANY = 100_000  # files from which on a fingerprint opens none


class FolderSource:
    """Encoded pictures of a folder. `ids` are the paths relative to `root`, with forward slashes.

    Without classes every label is -1. `left_out` has what is no picture or not looked at: reason -> (number of files or
    folders, path of the first).
    `notes` are lines about how the folder was read, `places` the class folders in which the pictures lie.
    """

    leaves = LEAVES
    places: tuple[str, ...] = ()

    def __init__(
        self,
        root: str,
        ids: Sequence[str],
        labels: np.ndarray,
        classes: Sequence[str],
        left_out: Mapping[str, tuple[int, str]] | None = None,
        notes: Sequence[str] = (),
    ):
        self.root, self.ids, self.classes = root, tuple(ids), tuple(classes)
        self.labels = np.asarray(labels, np.int32)
        self.left_out, self.notes = dict(left_out or {}), tuple(notes)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> dict[str, Any]:
        with self._open(row) as file:
            return {"image": file.read(), "label": int(self.labels[row]), "id": self.ids[row]}

    def ends(self, row: int, head: int = 65536, tail: int = 2048) -> tuple[bytes, bytes]:
        """The first and the last bytes of a picture's file."""
        with self._open(row) as file:
            start = file.read(head)
            if len(start) == head:
                file.seek(max(0, os.fstat(file.fileno()).st_size - tail))
                return start, file.read(tail)
            return start, start[-tail:]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of relative paths, sizes and the first 4 KiB of every file, and of whether they have labels.

        Not of times, so a copy on another machine has the same one. A change that keeps a file's size and its first
        4 KiB goes unseen; re-encoding, cropping and swapping pictures do not. Of more than `MANY` files, which would
        take minutes to open on a network's disk, paths and sizes count alone.
        """
        with ThreadPoolExecutor(16) as pool:  # the disk is waited for, not the processor
            sums = list(pool.map(self._sum, range(0, len(self), 256)))
        if not self.classes:  # the same files with labels are another set: a packed file holds them
            sums.append(b"unlabelled")
        return hashlib.blake2b(b"".join(sums), digest_size=8).hexdigest()

    def _sum(self, start: int) -> bytes:
        state, many = hashlib.blake2b(digest_size=16), len(self) > MANY
        for row in range(start, min(start + 256, len(self))):
            try:
                if many:
                    size, head = os.stat(os.path.join(self.root, self.ids[row])).st_size, b""
                else:
                    with self._open(row) as file:
                        size, head = os.fstat(file.fileno()).st_size, file.read(4096)
            except (UserError, OSError):  # reading the picture says so, and may skip it
                size, head = -1, b""
            state.update(f"{self.ids[row]}\0{size}\0".encode(errors="surrogateescape") + head)
        return state.digest()

    @contextlib.contextmanager
    def _open(self, row: int) -> Iterator[io.FileIO]:
        """A picture's file. Whatever goes wrong while it is opened or read is its line."""
        try:  # unbuffered: whole files or blocks are read
            with open(os.path.join(self.root, self.ids[row]), "rb", buffering=0) as file:
                yield file
        except OSError as error:
            name, root = printable(self.ids[row]), printable(self.root)
            raise UserError(f"{name}: cannot be read ({error.strerror}) in {root}") from error
