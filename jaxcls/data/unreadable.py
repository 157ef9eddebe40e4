"""The search for pictures that cannot be read."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from jaxcls.data import clip_files, decode, deep, ends, kinds
from jaxcls.data.base import Source, Subset
from jaxcls.data.windows import Window
from jaxcls.errors import UserError, of_picture
from jaxcls.text import printable

CHUNK = 64  # pictures of a task
SAMPLE = 48  # pictures that are decoded to estimate how long all take


class Checked(NamedTuple):
    """What a check found.

    Attributes:
      problems: (id, problem) of each bad picture, in the order of the rows.
      decoded: pictures that were decoded in full.
      looked_at: of which only the first and last bytes were looked at, since all would have taken too long.
      notes: lines about what can be read but is probably not as it is meant.
    """

    problems: list[tuple[str, str]]
    decoded: int
    looked_at: int
    notes: list[str]


class _Look(NamedTuple):
    problem: tuple[str, str] | None = None
    decoded: bool = False
    most: int | None = None  # the highest level of a picture of 16 bits, of 255
    facts: deep.Facts | None = None


def check(
    source: Source,
    rows: Iterable[int] | None = None,
    *,
    full: bool | None = None,
    seconds: float = 10,
    max_pixels: int = decode.MAX_PIXELS,
    progress: Callable[[int, int], None] | None = None,
    channels: int = 3,
    window: Window = (),
) -> Checked:
    """Finds the unreadable pictures of a source of encoded pictures, with the function by which training reads them.

    The quick way reads 64 KiB of each picture, judges kind, size and length by the header, and decodes only what looks
    unfinished: most truncated files are found without decoding the others, damage inside is not.

    Args:
      source: as from `sources.load`; one whose pictures are in memory already has no problems.
      rows: which rows, all by default.
      full: True decodes every picture, False goes the quick way, None decodes all if that takes less than `seconds`,
        judged by a sample.
      seconds: for None.
      max_pixels: as in `decode.decode`.
      progress: called as progress(done, total) now and then.
      channels, window: as in `decode.decode`.
    """
    if hasattr(source, "images"):
        return Checked([], 0, 0, [])
    rows = list(range(len(source))) if rows is None else [int(row) for row in rows]
    looks: dict[int, _Look] = {}
    # Threads wait for the disk at the same time; libjpeg and zlib let go of the interpreter's lock.
    threads = min(16, 4 * (os.cpu_count() or 1))
    with ThreadPoolExecutor(threads) as pool:

        def look(wanted: Sequence[int], full: bool, size: int) -> None:
            chunks = [wanted[start : start + size] for start in range(0, len(wanted), size)]
            how = (full, max_pixels, channels, window)
            results = pool.map(lambda chunk: [_look(source, row, *how) for row in chunk], chunks)
            for chunk, result in zip(chunks, results, strict=True):
                looks.update(zip(chunk, result, strict=True))
                if progress:
                    progress(len(looks), len(rows))

        if full is None:
            began, sample = time.monotonic(), [rows[i * len(rows) // SAMPLE] for i in range(SAMPLE)] if rows else []
            sample = list(dict.fromkeys(sample))
            while sample and time.monotonic() - began < seconds / 5:
                look(sample[:threads], True, 1)
                sample = sample[threads:]
            full = (time.monotonic() - began) * len(rows) <= seconds * max(1, len(looks))
        look([row for row in rows if row not in looks], full, CHUNK)
    found = [looks[row] for row in rows]
    decoded = sum(x.decoded for x in found)
    return Checked([x.problem for x in found if x.problem], decoded, len(rows) - decoded, _notes(found, window))


def _look(source: Any, row: int, full: bool, max_pixels: int, channels: int, window: Window) -> _Look:
    while isinstance(source, Subset):
        source, row = source.source, int(source.indices[row])
    name = source.ids[row] if hasattr(source, "ids") else f"row {row}"
    try:
        if getattr(source, "clips", False):
            return _look_at_clip(source[row], full, channels)
        if not full and hasattr(source, "ends"):
            length = os.path.getsize(os.path.join(source.root, source.ids[row]))
            head, tail = source.ends(row)
            if ends.look_whole(head, tail, length, max_pixels, channels):
                return _Look(facts=_facts(head))
        item = source[row]
        name, encoded = item["id"], item["image"]
        if isinstance(encoded, np.ndarray):
            return _Look()
        if not full and ends.look_whole(encoded[:65536], encoded[-2048:], len(encoded), max_pixels, channels):
            return _Look(facts=_facts(encoded))
        image = decode.decode(encoded, channels=channels, window=window, max_pixels=max_pixels, name=name)
        facts = _facts(encoded)
        scaled = facts and facts.deep and not window and kinds.of(encoded[:512]) in ("PNG", "TIFF")
        return _Look(decoded=True, most=int(image.max()) if scaled else None, facts=facts)
    except Exception as error:  # of one picture, and no other
        problem = str(of_picture(error, name))
        for shown in (name, printable(name)):  # what is told of a file has it as people see it
            problem = problem.removeprefix(f"{shown}: ")
        return _Look((name, problem), True)


def _look_at_clip(item: Mapping[str, Any], full: bool, channels: int) -> _Look:
    """Decodes all frames of a clip, or the first. Raises UserError."""
    clip = clip_files.opened(item["image"], channels, item["id"])
    frames = clip.read(np.arange(clip.count) if full else np.zeros(1, int))
    for frame in frames.values():
        if isinstance(frame, bytes):
            decode.decode(frame, channels=channels, name=item["id"])
    return _Look(decoded=full)


def _facts(head):
    """Of a picture that is good; None where its first bytes do not say."""
    try:
        return deep.facts(head)
    except UserError:
        return None


def _notes(looks: Sequence[_Look], window: Window) -> list[str]:
    """Lines about what windows do, and what else is probably not as it is meant."""
    facts = [look.facts for look in looks if look.facts]
    shallow, bare, several = (
        sum(map(of, facts)) for of in (lambda x: not x.deep, lambda x: x.windowless, lambda x: x.frames > 1)
    )
    found = _of_bits(looks)
    if window and shallow:
        of = f"{shallow:,} of {len(facts):,} pictures have"
        found.append(
            f"config.data.window is for more than 8 bits, and for grey DICOM: {of} 8 bits and stay as they are"
        )
    if bare and not window:
        found.append(
            f"{bare:,} of {len(facts):,} pictures are DICOM files without a window of their own: all that their stored "
            "bits can hold is shown; set config.data.window=(low, high) to what matters"
        )
    if several:
        found.append(f"{several:,} of {len(facts):,} pictures have several frames, of which the first is used")
    return found


def _of_bits(looks: Sequence[_Look]) -> list[str]:
    """A line where pictures of 16 bits hold 10, 12 or 14: none can say so, and the scale must be one for all."""
    levels = np.array([x.most for x in looks if x.most is not None])
    # The highest level of n bits becomes round((2^n - 1) / 257) of 255
    counts = {bits: int((levels <= round((2**bits - 1) / 257)).sum()) for bits in (10, 12, 14)}
    bits = next((bits for bits, count in counts.items() if count and 2 * count >= len(levels)), 12)
    if not counts[bits]:
        return []
    return [
        f"{counts[bits]:,} of {len(levels):,} pictures of 16 bits use at most {bits} bits of them: they look nearly "
        f"black; if they come from a camera or scanner of {bits} bits, set config.data.window=(0, {2**bits - 1})"
    ]
