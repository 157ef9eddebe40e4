"""Sources with a further leaf: an array of each row beside its picture."""

import functools
from typing import Any

import numpy as np

from jaxcls.data.base import Around, ArraySource, Leaf, Source, Subset, digest, leaves


def with_leaf(source: Source, name: str, values: np.ndarray) -> Source:
    """The source with a leaf of this name: values [n, ...], a row a picture."""
    if isinstance(source, ArraySource):
        more = {**source.more, name: values}
        return ArraySource(source.images, source.labels, source.classes, source.ids, more=more)
    if isinstance(source, Subset) and not hasattr(source, "arrays"):
        whole = np.zeros((len(source.source), *values.shape[1:]), values.dtype)
        whole[source.indices] = values
        return Subset(Beside(source.source, name, whole), source.indices)
    return Beside(source, name, values)


class Beside(Around):
    """A source with a further leaf; `with_leaf` makes it. Whatever else it has is the source's."""

    def __init__(self, source: Source, name: str, values: np.ndarray):
        self.inner, self.beside, self.values = source, name, values
        self.leaves = {**leaves(source), name: Leaf(values.shape[1:], values.dtype)}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Another one than the source's."""
        return digest(self.inner.fingerprint.encode(), np.ascontiguousarray(self.values))

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {**self.inner[row], self.beside: self.values[row]}
