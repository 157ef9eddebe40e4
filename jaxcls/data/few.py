"""Training pictures of which few have labels: the labels of the others are hidden, and known for figures alone.

    labels   the class of a picture that teaches by its label, UNLABELLED of the others
    truth    a further leaf: the label as the set has it, UNLABELLED where nobody knows it

So whatever reads labels (the loss, samplers, what stands in for a bad picture) can't see those that are hidden.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcls.data import metadata, row_lists
from jaxcls.data.base import Around, ArraySource, Leaf, Source, Subset, digest, leaves, multilabel
from jaxcls.errors import UserError

UNLABELLED = -1
TRUTH = "truth"


def chosen(source: Source, labels: str, seed: Sequence[int]) -> np.ndarray:
    """Rows of a source that teach by their labels, int64, in order.

    Args:
      source: with one label a picture, UNLABELLED of those without.
      labels: "500" or "1%" of those with a label, drawn by class as `jaxcls probe --labels` draws them; or a list
        (row_lists); "" for all that have a label.
      seed: (seed of the run, number of the draw).

    Raises:
      UserError: for sets of labels, an amount that can't be drawn, or a list that can't be read or names pictures
        without a label.
    """
    what, label = "config.few.labels", np.asarray(source.labels)
    if multilabel(source):
        raise UserError(
            "config.few.method is for pictures of one label each, and these have sets of labels; remove it."
        )
    known = np.flatnonzero(label >= 0)
    if not labels:
        return known
    if is_amount(labels):
        wanted = row_lists.amount(labels, len(known), what)
        return row_lists.balanced(label, wanted, seed, what)
    rows = row_lists.rows(metadata.ids(source), row_lists.read(labels), labels)
    if bare := np.flatnonzero(label[rows] < 0).tolist():
        name = metadata.ids(source)[rows[bare[0]]]
        raise UserError(
            f"{what}: {len(bare)} picture(s) of {labels} have no label in the set, the first is {name!r:.100}; remove "
            "them from the list."
        )
    return rows


def is_amount(labels: str) -> bool:
    """Whether it says how many, "500" or "1%", and names no file."""
    return labels.strip().rstrip("%").strip().replace(".", "", 1).lstrip("+-").isdigit()


def hidden(source: Source, rows: np.ndarray) -> Source:
    """The source with the labels of `rows` alone; the others are hidden, and `truth` has all.

    Raises:
      UserError: for a source that has such a leaf.
    """
    if TRUTH in leaves(source):
        raise UserError(f"config.few: the pictures have a leaf {TRUTH!r}, which the labels that are hidden need.")
    if isinstance(source, Subset):
        return Subset(hidden(source.source, source.indices[rows]), source.indices)
    kept = np.full(len(source), UNLABELLED, np.int32)
    kept[rows] = np.asarray(source.labels)[rows]
    if isinstance(source, ArraySource):
        more = {**source.more, TRUTH: source.labels}
        return ArraySource(source.images, kept, source.classes, source.ids, more=more)
    return Hidden(source, kept)


class Hidden(Around):
    """A source whose labels are others, and whose own are `truth`; `hidden` makes it. Whatever else it has is the
    source's."""

    def __init__(self, source: Source, labels: np.ndarray):
        self.inner, self.labels = source, labels
        self.leaves = {**leaves(source), TRUTH: Leaf((), np.dtype(np.int32))}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Another one than the source's."""
        return digest(self.inner.fingerprint.encode(), np.ascontiguousarray(self.labels))

    def __getitem__(self, row: int) -> dict[str, Any]:
        item = self.inner[row]
        return {**item, "label": int(self.labels[row]), TRUTH: item["label"]}


def truth(source: Any) -> np.ndarray:
    """The labels of a source that `hidden` made, int32 [n], those that it hides among them."""
    if isinstance(source, Subset):
        return truth(source.source)[source.indices]
    return np.asarray(source.more[TRUTH] if isinstance(source, ArraySource) else source.inner.labels)


def check_alike(own: Source, other: Source, name: str) -> None:
    """Raises UserError where pictures of two sources can't stand in one batch; `name` is the other's."""
    arrays = [isinstance(source, ArraySource) for source in (own, other)]
    if arrays[0] != arrays[1]:
        kinds = ["a set in memory" if each else "files" for each in arrays]
        raise UserError(
            f"config.few.data={name!r} is {kinds[1]} and the labelled pictures are {kinds[0]}; give both the same way, "
            "for example as folders (folder/PATH, unlabelled/PATH)."
        )
    mine, theirs = (dict(leaves(source)) for source in (own, other))
    if mine["image"].shape != theirs["image"].shape:
        raise UserError(
            f"config.few.data={name!r} has pictures of {shown(theirs['image'].shape)} and the labelled ones are of "
            f"{shown(mine['image'].shape)}; give pictures of one size."
        )
    if different := sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)):
        raise UserError(
            f"config.few.data={name!r} and the labelled pictures differ in {', '.join(different)}, which batches would "
            "have; leave it out of both."
        )


def shown(shape: Sequence[int] | None) -> str:
    """A picture's shape for people."""
    return " x ".join(map(str, shape)) if shape else "any size"


def given(source: Source) -> np.ndarray:
    """The labels of a source without those that are hidden."""
    labels = np.asarray(source.labels)
    return labels[labels >= 0] if TRUTH in leaves(source) else labels


def lines(source: Source) -> list[str]:
    """A line about how many pictures of training teach by their labels; none where none are hidden."""
    if TRUTH not in leaves(source):
        return []
    counts = np.bincount(given(source), minlength=len(source.classes))
    each = f"{counts.min():,}" if counts.min() == counts.max() else f"{counts.min():,} to {counts.max():,}"
    return [
        f"few labels: {counts.sum():,} of {len(source):,} training pictures teach by their labels ({each} of a class), "
        f"{len(source) - counts.sum():,} without"
    ]
