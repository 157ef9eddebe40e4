"""Sources made of others: with labels that count in other classes, or one after the other."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcls.data.base import Around, ArraySource, Leaf, Source, Subset, clips, digest, leaves
from jaxcls.errors import UserError


def renumbered(source: Source, classes: Sequence[str], names: Sequence[str] | None = None) -> Source:
    """The source with labels that count in `classes`, as it is where they do already; -1: of none of them.

    With no `classes` it has no labels. `names`: what each class of the source is called there, by default its own name.
    Of sets the columns move; a label that is none of `classes` is left out of its set.
    """
    classes = tuple(map(str, classes))
    if names is None and tuple(map(str, source.classes)) == classes:
        return source
    if isinstance(source, Subset):
        return Subset(renumbered(source.source, classes, names), source.indices)
    number = {name: i for i, name in enumerate(classes)}
    table = np.array([number.get(str(name), -1) for name in names or source.classes], np.int32)
    if isinstance(source, ArraySource):
        labels = _counted(source.labels, table, len(classes))
        return ArraySource(source.images, labels, classes, source.ids, more=source.more)
    return Renumbered(source, classes, table)


def _counted(labels: np.ndarray, table: np.ndarray, classes: int) -> np.ndarray:
    """Labels [n], or sets [n, old classes], that count in other classes: `table` has the number of each old one there,
    -1 for none. Sets without any class become -1."""
    if labels.dtype != np.uint8:
        return table[labels]
    if not classes:
        return np.full(labels.shape[:-1], -1, np.int32)
    out = np.zeros((*labels.shape[:-1], classes), np.uint8)
    for old in np.flatnonzero(table >= 0):  # two old ones may be the same new one
        out[..., table[old]] |= labels[..., old]
    return out


class Renumbered(Around):
    """A source with other numbers for its classes; `renumbered` makes it. Whatever else it has is the source's."""

    def __init__(self, source: Source, classes: tuple[str, ...], table: np.ndarray):
        self.inner, self.classes, self.table = source, classes, table
        self.labels = _counted(source.labels, table, len(classes))
        label = Leaf(self.labels.shape[1:], self.labels.dtype)
        self.leaves = {**leaves(source), "label": label}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Another one than the source's: a packed file holds labels."""
        return digest(self.inner.fingerprint.encode(), repr(self.classes).encode(), self.table)

    def __getitem__(self, row: int) -> dict[str, Any]:
        label = self.labels[row]
        return {**self.inner[row], "label": label if label.ndim else int(label)}


def joined(sources: Sequence[Source]) -> Source:
    """One source of the rows of several that have the same classes, one after the other.

    Raises:
      UserError: where some have one label a picture and others sets.
    """
    first = sources[0]
    if len(sources) == 1:
        return first
    if len({source.labels.ndim for source in sources}) > 1:
        raise UserError("some splits have one label a picture and others sets of labels; give all the same kind.")
    if all(isinstance(source, ArraySource) for source in sources):
        arrays: Any = sources
        more = {name: np.concatenate([each.more[name] for each in arrays]) for name in arrays[0].more}
        images, labels = (np.concatenate([getattr(each, name) for each in arrays]) for name in ("images", "labels"))
        return ArraySource(images, labels, first.classes, [id for each in arrays for id in each.ids], more=more)
    return Joined(sources)


class Joined:
    """See `joined`. It has `ids` and, of folders, `root`, as they have."""

    def __init__(self, sources: Sequence[Source]):
        self.sources, self.classes, self.leaves = list(sources), sources[0].classes, leaves(sources[0])
        self.clips = clips(sources[0])
        self.labels = np.concatenate([source.labels for source in sources])
        self.ends_at = np.cumsum([len(source) for source in sources])
        parts: Any = sources
        if all(hasattr(source, "ids") for source in parts):
            self.ids = tuple(id for source in parts for id in source.ids)
            if all(hasattr(source, "root") for source in parts):
                self.root = parts[0].root

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        part = int(np.searchsorted(self.ends_at, row, side="right"))
        return self.sources[part][row - (int(self.ends_at[part - 1]) if part else 0)]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of the fingerprints of all."""
        return digest(*(source.fingerprint.encode() for source in self.sources))
