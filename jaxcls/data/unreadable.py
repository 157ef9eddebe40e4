"""The search for pictures that cannot be read."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from jaxcls.data import decode
from jaxcls.data.base import Source, Subset
from jaxcls.errors import UserError, of_picture


def check(
    source: Source,
    rows: Iterable[int] | None = None,
    *,
    full: bool = False,
    max_pixels: int = decode.MAX_PIXELS,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[str, str]]:
    """Finds the unreadable pictures of a source of encoded pictures.

    The quick way reads 64 KiB of each picture, judges kind and size by the header, and decodes only what looks
    unfinished (a JPEG or PNG without its end mark): truncated files are found without decoding the others.

    Args:
      source: as from `sources.load`; one whose pictures are in memory already has no problems.
      rows: which rows, all by default.
      full: decode every picture.
      max_pixels: as in `decode.decode`.
      progress: called as progress(done, total) now and then.

    Returns:
      (id, problem) of each bad picture, in the order of the rows.
    """
    if hasattr(source, "images"):
        return []
    rows = range(len(source)) if rows is None else [int(row) for row in rows]
    problems = []
    chunks = [rows[start : start + 64] for start in range(0, len(rows), 64)]
    done = 0
    # Threads wait for the disk at the same time; libjpeg and zlib let go of the interpreter's lock.
    with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:
        results = pool.map(lambda chunk: [_problem(source, row, full, max_pixels) for row in chunk], chunks)
        for chunk, bad in zip(chunks, results, strict=True):
            problems += [problem for problem in bad if problem]
            done += len(chunk)
            if progress:
                progress(done, len(rows))
    return problems


def _problem(source: Any, row: int, full: bool, max_pixels: int) -> tuple[str, str] | None:
    while isinstance(source, Subset):
        source, row = source.source, int(source.indices[row])
    name = source.ids[row] if hasattr(source, "ids") else f"row {row}"
    try:
        if not full and hasattr(source, "ends"):
            head, tail = source.ends(row)
            if _looks_whole(head, tail, max_pixels):
                return None
        item = source[row]
        name, encoded = item["id"], item["image"]
        if not isinstance(encoded, np.ndarray) and (full or not _looks_whole(encoded, encoded[-2048:], max_pixels)):
            decode.decode(encoded, max_pixels=max_pixels, name=name)
    except Exception as error:  # of one picture, and no other
        return name, str(of_picture(error, name)).removeprefix(f"{name}: ")
    return None


def _looks_whole(head: bytes, tail: bytes, max_pixels: int) -> bool:
    """Whether a picture's first and last bytes leave no doubt about it; if they do, it has to be decoded."""
    try:
        decode.check_size(*decode.size(head), max_pixels, "")
    except UserError:
        return False
    end = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}.get(head[:2], b"")
    return end in tail
