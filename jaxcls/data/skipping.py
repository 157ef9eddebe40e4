"""Pictures that can't be read and are skipped: what stands in for them, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int

SHOWN = 5  # skipped pictures that are told at once


def stand_ins(labels: Int[np.ndarray, " n *classes"], row: int, *, any_class: bool = False) -> Iterator[int]:
    """The row and, in the order in which they stand in for it, the others of its class (of sets [n, classes]: with the
    same set), or of any: those behind it, then those before it, from the first on."""
    yield row
    alike = labels == labels[row]
    same = np.arange(len(labels)) if any_class else np.flatnonzero(alike if labels.ndim == 1 else alike.all(axis=1))
    place = int(np.searchsorted(same, row))
    yield from (int(other) for other in np.roll(same, -place)[1:])


class Skipped:
    """Notes pictures that are skipped: `skipped(line)`. `lines` has each once; the first few are shown at once."""

    def __init__(self, note: Callable[[str], None] = print):
        self.note = note
        self.lines: dict[str, None] = {}

    def __call__(self, line: str) -> None:
        """See the class."""
        if line in self.lines:
            return
        self.lines[line] = None
        if len(self.lines) <= SHOWN:
            self.note(f"skipped: {line}")
        elif len(self.lines) == SHOWN + 1:
            self.note("skipped: more pictures, which are listed at the end")
