"""A mark of each picture's content, by which it is known again under another name or in another folder."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from jaxcls.data.base import ArraySource, Source, Subset
from jaxcls.data.views import Joined
from jaxcls.errors import UserError

BLOCK = 4096  # bytes that are read of a file's start, and of its end


def can_mark(source: Source) -> bool:
    """Whether the pictures of a source are told apart by marks: files of a folder, arrays in memory, pieces of larger
    files (sources with `blocks`)."""
    base = getattr(source, "source", source)
    if isinstance(base, Joined):
        return all(map(can_mark, base.sources))
    return isinstance(base, ArraySource) or hasattr(base, "blocks") or (hasattr(base, "root") and hasattr(base, "ids"))


def marks(source: Source, rows: Sequence[int] | None = None) -> list[str]:
    """16 hex digits a picture: of a file its size, its first and its last 4 KiB, of an array all pixels.

    Two files of equal marks hold the same picture but for rare cases (pictures without compression that differ in
    their middle alone). A picture that is re-encoded or resized gets another mark: `jaxcls clean` looks for those.

    Args:
      source: of which `can_mark` holds.
      rows: of the source; None for all.

    Returns:
      One string a row; "" for a file that can't be read.
    """
    chosen = np.arange(len(source)) if rows is None else np.asarray(rows, np.int64)
    base: Any = source
    if isinstance(base, Subset):
        base, chosen = base.source, base.indices[chosen]
    if isinstance(base, ArraySource):
        return [_digest(repr(base.images[row].shape).encode(), base.images[row].tobytes()) for row in chosen]
    if isinstance(base, Joined):
        return _of_joined(base, chosen)
    with ThreadPoolExecutor(16) as pool:  # the disk is waited for, not the processor
        if hasattr(base, "blocks"):
            return list(pool.map(lambda row: _of_blocks(base, int(row)), chosen, chunksize=64))
        paths = [os.path.join(base.root, base.ids[row]) for row in chosen]
        return list(pool.map(of_file, paths, chunksize=64))


def _of_joined(source: Joined, rows: np.ndarray) -> list[str]:
    part = np.searchsorted(source.ends_at, rows, side="right")
    found = np.empty(len(rows), object)
    for i, each in enumerate(source.sources):
        found[part == i] = marks(each, rows[part == i] - (source.ends_at[i] - len(each)))
    return found.tolist()


def _of_blocks(source: Any, row: int) -> str:
    """The mark of a piece of a file, which is that of a file with the same bytes."""
    try:
        size, start, end = source.blocks(row, BLOCK)
    except UserError:
        return ""
    return _digest(str(size).encode(), start, *([end] if size > BLOCK else []))


def of_file(path: str) -> str:
    """The mark of a file, or of a folder of frames by that of each; "" where it can't be read."""
    try:
        if os.path.isdir(path):
            return _digest(*(of_file(os.path.join(path, name)).encode() for name in sorted(os.listdir(path))))
        with open(path, "rb", buffering=0) as file:
            size, parts = os.fstat(file.fileno()).st_size, [file.read(BLOCK)]
            if size > BLOCK:
                file.seek(max(BLOCK, size - BLOCK))
                parts.append(file.read(BLOCK))
    except OSError:
        return ""
    return _digest(str(size).encode(), *parts)


def _digest(*parts):
    return hashlib.blake2b(b"\0".join(parts), digest_size=8).hexdigest()
