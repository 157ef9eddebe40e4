"""Which pictures of a set a run has seen before: by content, and by name where it is the same folder."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from jaxcls.data import metadata
from jaxcls.data.base import Source
from jaxcls.data.marks import can_mark, marks
from jaxcls.data.stored_splits import SPLITS, Stored

LEARNT = ("train", "validation")  # what training saw, and what chose among its states


class Overlap(NamedTuple):
    """Rows of a set that a run has seen: `split` has for each of its rows a name of stored_splits.SPLITS or "".

    `renamed` are those that the run had under another name; `altered` are pictures that bear the name of one of the
    run's and are another now (judged only where names mean the same: in the run's own folder).
    """

    split: tuple[str, ...]
    renamed: int
    altered: tuple[str, ...]

    @property
    def unseen(self) -> np.ndarray:
        """bool [n]: the rows that neither trained nor chose anything."""
        return np.array([split not in LEARNT for split in self.split], bool)

    def counts(self) -> dict[str, int]:
        """split -> how many of its pictures are among the rows; without those of which there are none."""
        found = Counter(self.split)
        return {split: found[split] for split in SPLITS if found[split]}

    def lines(self) -> list[str]:
        """What people should know."""
        counts, n, lines = self.counts(), len(self.split), []
        for split, count in counts.items():
            lines.append(f"{count:,} of {n:,} pictures are in the run's {split} split")
        if self.renamed:
            lines.append(f"{self.renamed:,} of them are there under another name")
        if self.altered:
            lines.append(
                f"{len(self.altered):,} bear the name of a picture of the run but are another: {self.altered[0]!r}"
            )
        return lines


def find(source: Source, stored: Stored | None, *, same_folder: bool) -> Overlap | None:
    """The overlap of a set with a run's splits; None where it can't be told (no stored splits, or no contents).

    Args:
      source: the set, with one row a picture.
      stored: the run's splits.
      same_folder: whether its ids are those of the run.
    """
    if stored is None or not can_mark(source):
        return None
    by_mark: dict[str, tuple[str, str]] = {}
    by_name: dict[str, tuple[str, str]] = {}
    for split, part in stored.parts.items():
        for mark, name in zip(part.marks, part.ids, strict=True):
            if mark and by_mark.get(mark, ("",))[0] not in LEARNT:  # what trained it weighs most
                by_mark[mark] = split, name
            by_name[name] = split, mark
    splits, renamed, altered = [], 0, []
    for name, mark in zip(metadata.ids(source), marks(source), strict=True):
        split, known = by_mark.get(mark, ("", name))
        if not split and same_folder and name in by_name:
            altered.append(name)
        splits.append(split)
        renamed += bool(split) and same_folder and known != name and by_name.get(name, ("", ""))[1] != mark
    return Overlap(tuple(splits), renamed, tuple(altered))


def summary(overlap: Overlap | None) -> dict[str, object]:
    """As plain values, for the file of figures."""
    if overlap is None:
        return {"known": False}
    return {"known": True, **overlap.counts(), "renamed": overlap.renamed, "altered": len(overlap.altered)}
