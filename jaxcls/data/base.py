"""What a source of labelled pictures is, and the two that others are made of: arrays in memory, views of rows.

A source is a sequence of `{"image": uint8 [h, w, c] or encoded bytes, "label": int, "id": str}` with

    classes      tuple of class names; a label is an index into it
    labels       int32 [n], without decoding a picture
    fingerprint  16 hex digits that change whenever the data changes

Sources whose pictures have one size and lie in memory are an `ArraySource` and have `images`, uint8 [n, h, w, c], too.
All of them can be pickled, for worker processes.
"""

import functools
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Source(Protocol):
    """What every source offers; see the module's docstring."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> dict[str, Any]: ...


class ArraySource:
    """Pictures of one size in memory: images uint8 [n, h, w, c], labels [n], ids [n]."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, classes: Sequence[str], ids: Sequence[str]):
        if not (images.ndim == 4 and images.dtype == np.uint8 and len(images) == len(labels) == len(ids)):
            raise ValueError(
                f"images {images.dtype} {images.shape}, {len(labels)} labels and {len(ids)} ids do not match"
            )
        self.images, self.labels = images, np.asarray(labels, np.int32)
        self.classes, self.ids = tuple(classes), tuple(ids)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"image": self.images[row], "label": int(self.labels[row]), "id": self.ids[row]}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of pixels, labels and class names."""
        header = repr((self.images.shape, self.classes)).encode()
        return digest(header, np.ascontiguousarray(self.images), self.labels)


class Subset:
    """A view of some rows of a source, in the given order. `subset` makes it."""

    def __init__(self, source: Source, indices: np.ndarray):
        self.source, self.indices = source, np.asarray(indices, np.int64)
        self.classes = source.classes

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.source[int(self.indices[row])]

    @functools.cached_property
    def labels(self) -> np.ndarray:
        return self.source.labels[self.indices]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of the whole source's fingerprint and the rows."""
        return digest(self.source.fingerprint.encode(), self.indices)


def subset(source: Source, indices: np.ndarray) -> Source:
    """Some rows of a source, in the given order: an ArraySource again if it is one, a view otherwise."""
    indices = np.asarray(indices, np.int64)
    if isinstance(source, ArraySource):
        ids = [source.ids[row] for row in indices]
        return ArraySource(source.images[indices], source.labels[indices], source.classes, ids)
    if isinstance(source, Subset):
        return Subset(source.source, source.indices[indices])
    return Subset(source, indices)


def digest(*parts: Any) -> str:
    """16 hex digits of the BLAKE2b hash of some buffers."""
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        state.update(part)
    return state.hexdigest()
