"""What a source of labelled pictures is, and the two that others are made of: arrays in memory, views of rows.

A source is a sequence of `{"image": uint8 [h, w, c] or encoded bytes, "label": int, "id": str, ...}` with

    classes      tuple of class names; a label is an index into it. () for pictures without labels: every one is -1
    clips        True where pictures are clips: arrays [t, h, w, c], or what `clip_files.opened` takes
    labels       int32 [n], without decoding a picture; uint8 [n, classes] of 0 and 1 where a picture has a set of them
                 (`multilabel`), which may be empty; an item's label is a row of it then
    leaves       name -> Leaf: what of an item goes into a batch, image and label among it
    fingerprint  16 hex digits that change whenever the data changes

What else an item holds, strings and numbers, is metadata (data/metadata.py) and stays out of the batch. Sources whose
pictures have one size and lie in memory are an `ArraySource` and have `images`, uint8 [n, h, w, c], and `arrays`, too.
All of them can be pickled, for worker processes.
"""

import functools
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxcls.errors import UserError


class Leaf(NamedTuple):
    """An array of one example. Its shape is None for pictures that are encoded or differ in size."""

    shape: tuple[int, ...] | None
    dtype: np.dtype


LEAVES = {"image": Leaf(None, np.dtype(np.uint8)), "label": Leaf((), np.dtype(np.int32))}
# What a batch has beside the source's leaves, and the key of an item that is its name
TAKEN = ("id", "index", "epoch", "draw", "mask", "views")


class Source(Protocol):
    """What every source offers; see the module's docstring."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def leaves(self) -> dict[str, Leaf]: ...

    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> dict[str, Any]: ...


def multilabel(source: Any) -> bool:
    """Whether the labels of a source are sets: [n, classes] of 0 and 1 in place of one class a picture."""
    return getattr(getattr(source, "labels", None), "ndim", 1) == 2


def clips(source: Any) -> bool:
    """Whether the pictures of a source are clips [t, h, w, c]: they say so (`clips`), or by their shape."""
    while isinstance(source, Subset):
        source = source.source
    shape = leaves(source)["image"].shape
    return bool(getattr(source, "clips", False)) or (shape is not None and len(shape) == 4)


def refuse_clips(source: Any, what: str) -> None:
    """Raises UserError where the pictures are clips, for what (a command) takes single pictures alone."""
    if clips(source):
        raise UserError(f"{what} takes single pictures, and these are clips.")


class ArraySource:
    """Pictures of one size in memory: images uint8 [n, h, w, c] (clips: [n, t, h, w, c]), labels [n] or sets of them
    [n, classes], ids [n].

    `more`: further leaves of the batch by name, arrays [n, ...].
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[str],
        ids: Sequence[str],
        *,
        more: Mapping[str, np.ndarray] | None = None,
    ):
        if not (images.ndim >= 4 and images.dtype == np.uint8 and len(images) == len(labels) == len(ids)):
            raise ValueError(
                f"images {images.dtype} {images.shape}, {len(labels)} labels and {len(ids)} ids do not match"
            )
        self.more = {name: np.asarray(array) for name, array in (more or {}).items()}
        _check_names(self.more, (*TAKEN, *LEAVES))
        for name, array in self.more.items():
            if len(array) != len(images) or array.dtype.kind not in "biuf":
                raise ValueError(f"{len(images)} images and {name} {array.dtype} {array.shape} do not match")
        self.images, self.labels = images, _labels(labels, len(classes))
        self.classes, self.ids = tuple(classes), tuple(ids)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> dict[str, Any]:
        label = self.labels[row] if self.labels.ndim == 2 else int(self.labels[row])
        item = {"image": self.images[row], "label": label, "id": self.ids[row]}
        return {**item, **{name: array[row] for name, array in self.more.items()}} if self.more else item

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All leaves of all rows: name -> [n, ...]."""
        return {"image": self.images, "label": self.labels, **self.more}

    @property
    def leaves(self) -> dict[str, Leaf]:
        """The leaves of an item."""
        return {name: Leaf(array.shape[1:], array.dtype) for name, array in self.arrays.items()}

    def with_images(self, images: np.ndarray) -> "ArraySource":
        """The same examples with other pictures [n, ...]."""
        return ArraySource(images, self.labels, self.classes, self.ids, more=self.more)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of pixels, labels and class names, and of the further leaves where there are any."""
        header = repr((self.images.shape, self.classes)).encode()
        parts: list[Any] = [header, np.ascontiguousarray(self.images), np.ascontiguousarray(self.labels)]
        for name, array in sorted(self.more.items()):
            parts += [repr((name, array.shape, array.dtype.str)).encode(), np.ascontiguousarray(array)]
        return digest(*parts)


class Around:
    """A source around a source, `inner`; what a subclass does not say is that one's."""

    inner: Source

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not there yet while it is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __len__(self) -> int:
        return len(self.inner)


class Subset:
    """A view of some rows of a source, in the given order. `subset` makes it."""

    def __init__(self, source: Source, indices: np.ndarray):
        self.source, self.indices = source, np.asarray(indices, np.int64)
        self.classes = source.classes

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.source[int(self.indices[row])]

    @property
    def leaves(self) -> dict[str, Leaf]:
        """Those of the whole source."""
        return leaves(self.source)

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
        more = {name: array[indices] for name, array in source.more.items()}
        return ArraySource(source.images[indices], source.labels[indices], source.classes, ids, more=more)
    if isinstance(source, Subset):
        return Subset(source.source, source.indices[indices])
    return Subset(source, indices)


def leaves(source: Any) -> dict[str, Leaf]:
    """What of an item of a source goes into a batch; image and label, if the source says nothing.

    Raises:
      UserError: for a leaf with a name that a batch uses otherwise, or without a shape (which only pictures may lack).
    """
    declared = {name: Leaf(shape, np.dtype(dtype)) for name, (shape, dtype) in getattr(source, "leaves", {}).items()}
    if "label" not in declared and multilabel(source):
        declared["label"] = Leaf((source.labels.shape[1],), np.dtype(np.uint8))
    _check_names(declared, TAKEN)
    for name, leaf in declared.items():
        if leaf.shape is None and name != "image":
            raise UserError(f"the leaf {name!r} of {type(source).__name__} has no shape, which only 'image' may lack.")
    return {**LEAVES, **declared}


def fitted(value: Any, id: str, name: str, leaf: Leaf) -> Any:
    """A value of a leaf (other than the picture) as what can be put into an array of its shape and dtype.

    Args:
      value: of an item; None where it has none.
      id, name: of the item and the leaf, for messages.
      leaf: what its source declares.

    Raises:
      UserError: where it is missing, has another shape, or its numbers are not of the kind.
    """
    if isinstance(value, np.ndarray) and value.shape == leaf.shape and value.dtype == leaf.dtype:
        return value
    if value is None:
        raise UserError(f"{id}: {name!r} is missing, which the source declares in its `leaves`.")
    try:
        array = np.asarray(value)
        same = array.shape == leaf.shape and array.dtype.kind in "biuf"
        cast = array.astype(leaf.dtype) if same else array
        same = same and (leaf.dtype.kind == "f" or np.array_equal(cast, array))
    except (ValueError, TypeError, OverflowError):  # a ragged list, or one of words
        raise UserError(f"{id}: {name!r} is no array {leaf.dtype} {leaf.shape}, as declared.") from None
    if not same:
        raise UserError(
            f"{id}: {name!r} is {array.dtype} {array.shape}, but the source declares {leaf.dtype} {leaf.shape} "
            "in its `leaves`."
        )
    return cast


def stacked(values: Sequence[Any], ids: Sequence[str], name: str, leaf: Leaf) -> np.ndarray:
    """The values of a leaf of several items as one array [n, ...] of its dtype. Raises UserError as `fitted`."""
    if leaf.shape == () and leaf.dtype.kind == "i" and set(map(type, values)) == {int}:
        array = np.array(values)  # labels: all at once
        cast = array.astype(leaf.dtype)
        if (cast == array).all():
            return cast
    out = np.empty((len(values), *(leaf.shape or ())), leaf.dtype)
    for i, (value, id) in enumerate(zip(values, ids, strict=True)):
        out[i] = fitted(value, id, name, leaf)
    return out


def check_metadata(item: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raises UserError where something of an item that is no leaf is an array: it would be left out of the batch."""
    for name in names:
        if getattr(item[name], "ndim", 0) > 0:
            raise UserError(
                f"{item['id']}: the source's {name!r} is an array {tuple(item[name].shape)} that no batch would have; "
                "declare it in the source's `leaves`, or leave it out."
            )


def _labels(labels: Any, classes: int) -> np.ndarray:
    """Labels int32 [n]; sets uint8 [n, classes]. Raises ValueError for sets of another width or other numbers."""
    labels = np.asarray(labels)
    if labels.ndim < 2:
        return labels.astype(np.int32, copy=False)
    if labels.shape[1:] != (classes,) or not ((labels == 0) | (labels == 1)).all():
        raise ValueError(f"labels {labels.dtype} {labels.shape} are no 0 and 1 for each of {classes} classes")
    return labels.astype(np.uint8, copy=False)


def _check_names(names: Iterable[str], taken: Collection[str]) -> None:
    for name in names:
        if name in taken:
            raise UserError(f"a further leaf can't be called {name!r}, which means something else in a batch.")


def digest(*parts: Any) -> str:
    """16 hex digits of the BLAKE2b hash of some buffers."""
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        state.update(part)
    return state.hexdigest()
