"""What a run is about to be given, as lines: classes and counts, sizes of pictures, and all that was left out."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from jaxcls.data import clip_files, decode
from jaxcls.data.balance import counted
from jaxcls.data.base import Source, Subset, clips, leaves, multilabel
from jaxcls.data.listing import added, told
from jaxcls.text import NAME, printable

FIRST, LAST = 20, 5  # rows of a long table
NAMES = 5  # classes in a line
SAMPLE = 200  # pictures of train whose headers are read
UNEVEN = 10  # times more pictures of one class than of another, above which it is told


def lines(sources: Mapping[str, Source], size: int | None = None, frames: int = 0) -> list[str]:
    """The overview of a set: split -> source.

    How many have no labels, or how many labels a picture has where they are sets; a table of classes, with the number
    of pictures in each split (beyond 25 classes the first 20 and the last 5); classes that a split lacks; how uneven
    train is, above 10 : 1; sizes of the pictures of train, of at most 200 spread evenly over it; what was left out, and
    notes about how the folder was read.

    Args:
      sources: as from `sources.load`.
      size: pixels of the side that a run makes pictures; None if that is unknown.
      frames: from the first to the last that a run takes of a clip.
    """
    if not sources:
        return []
    labelled = {split: source for split, source in sources.items() if source.classes}
    bare = {split: len(source) for split, source in sources.items() if split not in labelled}
    found = [f"{split}: {count:,} pictures without labels" for split, count in bare.items()]
    first = "train" if "train" in sources else next(iter(sources))
    if labelled:
        classes = [printable(name, NAME) for name in next(iter(labelled.values())).classes]
        counts = {split: counted(np.asarray(source.labels), len(classes)) for split, source in labelled.items()}
        found += [*_table(classes, counts), *_lacking(classes, counts)]
        found += _uneven(classes, counts[first if first in labelled else next(iter(labelled))])
        found += [_sets(split, source.labels) for split, source in labelled.items() if multilabel(source)]
    return [*found, *_sizes(sources[first], size, first), *_lengths(sources[first], frames), *left_out(sources)]


def left_out(sources: Mapping[str, Source]) -> list[str]:
    """What was left out of the folders that the sources are parts of, by its reason, and notes about how they were
    read; none for other sources."""
    total: dict[str, tuple[int, str]] = {}
    notes: list[str] = []
    folders = [whole for whole in map(_whole, sources.values()) if hasattr(whole, "left_out")]
    for whole in {id(whole.left_out): whole for whole in folders}.values():  # of several parts of one folder once
        total = added(total, whole.left_out)
        notes += whole.notes
    return [*told(total), *(f"note: {printable(note)}" for note in dict.fromkeys(notes))]


def _whole(source: Any) -> Any:
    while isinstance(source, Subset):
        source = source.source
    return source


def _sets(split: str, labels: np.ndarray) -> str:
    """How many labels pictures have."""
    each = labels.sum(axis=1, dtype=np.int64)
    bare = int((each == 0).sum())
    none = f"; {bare:,} pictures have none" if bare else ""
    return f"{split}: sets of labels, {each.mean():.2f} a picture, at most {int(each.max())}{none}"


def _table(classes: Sequence[str], counts: Mapping[str, np.ndarray]) -> list[str]:
    rows = [(name, *(f"{n[i]:,}" for n in counts.values())) for i, name in enumerate(classes)]
    if len(rows) > FIRST + LAST:
        between = f"... {len(rows) - FIRST - LAST:,} more"
        rows = [*rows[:FIRST], (between, *("" for _ in counts)), *rows[-LAST:]]
    total = (f"all {len(classes):,}", *(f"{n.sum():,}" for n in counts.values()))
    rows = [("class", *counts), *rows, total]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(x.rjust(w) for x, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    ]


def _lacking(classes: Sequence[str], counts: Mapping[str, np.ndarray]) -> list[str]:
    found = []
    for split, n in counts.items():
        if names := [classes[i] for i in np.flatnonzero(n == 0).tolist()]:
            more = f" and {len(names) - NAMES:,} more" if len(names) > NAMES else ""
            count = f"{len(names):,} of {len(classes):,} classes"
            found.append(f"note: {split} has no picture of {count}: {', '.join(names[:NAMES])}{more}")
    return found


def _uneven(classes: Sequence[str], counts: np.ndarray) -> list[str]:
    present = np.flatnonzero(counts)
    if not len(present):
        return []
    most, least = int(present[np.argmax(counts[present])]), int(present[np.argmin(counts[present])])
    if counts[most] <= UNEVEN * counts[least]:
        return []
    return [
        f"note: uneven classes, {counts[most]:,} pictures of {classes[most]} and {counts[least]:,} of {classes[least]} "
        f"({counts[most] / counts[least]:,.0f} : 1); configs/unbalanced.py is for such sets"
    ]


def _sizes(source: Source, size: int | None, split: str) -> list[str]:
    """A line about the sizes, and one where pictures of `size` pixels are mostly enlarged ones: their short side is
    shorter."""
    shape = leaves(source)["image"].shape
    if shape is not None and len(shape) >= 3:
        found, of = [shape[-3:-1]], ""
    else:
        rows = np.linspace(0, len(source) - 1, min(SAMPLE, len(source))).astype(int).tolist()
        with ThreadPoolExecutor(16) as pool:  # the disk is waited for
            found = [x for x in pool.map(lambda row: _size(source, row), rows) if x]
        of = f" (of {len(found):,} pictures)" if len(found) < len(source) else ""
    if not found:
        return []
    found.sort(key=lambda x: (x[0] * x[1], x))
    least, median, most = (f"{w} x {h}" for h, w in (found[0], found[len(found) // 2], found[-1]))
    told = f"all {least}" if found[0] == found[-1] else f"from {least} to {most}, median {median}"
    result = [f"sizes of {split}'s pictures: {told} pixels{of}"]
    small = sum(min(x) < size for x in found) if size else 0
    if 2 * small > len(found):
        share = "all" if small == len(found) else f"{100 * small / len(found):.0f} %"
        result.append(f"note: training at {size} pixels enlarges {share} of them; a smaller size is faster")
    return result


def _lengths(source: Source, frames: int) -> list[str]:
    """A line about how many frames clips have, and one where some have fewer than a run takes."""
    if not clips(source) or leaves(source)["image"].shape is not None:
        return []
    rows = np.linspace(0, len(source) - 1, min(SAMPLE, len(source))).astype(int).tolist()
    with ThreadPoolExecutor(16) as pool:
        found = sorted(x for x in pool.map(lambda row: _frames(source, row), rows) if x)
    if not found:
        return []
    of = f" (of {len(found):,} clips)" if len(found) < len(source) else ""
    result = [f"lengths of clips: from {found[0]:,} to {found[-1]:,} frames, median {found[len(found) // 2]:,}{of}"]
    if short := sum(count < frames for count in found):
        share = "all" if short == len(found) else f"{100 * short / len(found):.0f} %"
        result.append(
            f"note: {share} of them are shorter than the {frames} frames of a clip: they begin again at their end"
        )
    return result


def _frames(source: Source, row: int) -> int:
    """The frames of a clip; 0 where that cannot be told."""
    try:
        return clip_files.opened(source[row]["image"], 3, "").count
    except Exception:  # bad clips are told by the check of pictures
        return 0


def _size(source: Any, row: int) -> tuple[int, int] | None:
    """Height and width of a picture as it is trained on; None where that cannot be told."""
    while isinstance(source, Subset):
        source, row = source.source, int(source.indices[row])
    try:
        if getattr(source, "clips", False):
            return clip_files.size(source[row]["image"])
        image = source.ends(row)[0] if hasattr(source, "ends") else source[row]["image"]
        return image.shape[-3:-1] if isinstance(image, np.ndarray) else decode.upright_size(bytes(image))
    except Exception:  # bad pictures are told by the check of pictures
        return None
