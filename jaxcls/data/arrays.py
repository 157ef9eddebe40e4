"""Pictures and labels as NumPy arrays in memory, as sources; `arrays_file` reads them from a file."""

import contextlib
import contextvars
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcls.data import label_values
from jaxcls.data.base import ArraySource, Source
from jaxcls.data.dealing import ALL, NAMES
from jaxcls.errors import UserError, did_you_mean

NAME = "arrays"  # config.data.name of a run whose pictures were given in memory
_HELD: contextvars.ContextVar[Mapping[str, Source] | None] = contextvars.ContextVar("held", default=None)
CHANNELS = (1, 3, 4)  # of pictures with the channel first


def from_arrays(
    splits: Mapping[str, Any], classes: Sequence[str] | None = None, *, place: str = NAME
) -> dict[str, ArraySource]:
    """Sources of arrays in memory, for `jaxcls.train(data=...)`.

    Args:
      splits: "train", "validation", "test" -> (images, labels), or "all" alone for a set that is dealt. images: uint8
        [n, h, w], [n, h, w, c], or clips [n, t, h, w, c]. labels: whole numbers or words [n]; sets of labels as 0 and
        1 [n, classes] or as a list for each picture; None where no picture has one. A single 1 in each row of all
        splits is one label a picture, not a set.
      classes: names, in the order of the numbers of labels; None: those labels that there are.
      place: of the arrays, for messages.

    Returns:
      split -> ArraySource; ids are `train_0`, `train_1`, ...

    Raises:
      UserError: for arrays that can't be these, with the remedy.
    """
    _check_splits(splits, place)
    images = {split: _images(pair[0], f"{place}: the images of {split}") for split, pair in splits.items()}
    ids = {split: [f"{split}_{row}" for row in range(len(array))] for split, array in images.items()}
    given = {split: pair[1] for split, pair in splits.items() if pair[1] is not None}
    if given and len(given) < len(splits):
        lacking = next(split for split in splits if split not in given)
        raise UserError(
            f"{place}: {lacking} has no labels, but {next(iter(given))} has; give both labels, or leave it out."
        )
    for split, values in given.items():
        if len(values) != len(images[split]):
            raise UserError(
                f"{place}: {split} has {len(images[split]):,} images and {len(values):,} labels; they must match."
            )
    names: tuple[str, ...] = ()
    labels: Mapping[str, np.ndarray] = {
        split: np.full(len(x), label_values.NONE, np.int32) for split, x in images.items()
    }
    if given:
        known = None if classes is None else label_values.checked_names(tuple(map(str, classes)), place)
        names, labels = _labels(given, ids, known, place)
    return {split: ArraySource(images[split], labels[split], names, ids[split]) for split in splits}


@contextlib.contextmanager
def holding(bases: Mapping[str, Source]) -> Iterator[None]:
    """Within, `sources.find("arrays")` gives these sources, by split or "all", to this thread."""
    _check_names(bases, NAME)
    token = _HELD.set(bases)
    try:
        yield
    finally:
        _HELD.reset(token)


def held() -> dict[str, Source]:
    """The sources of `holding`. Raises UserError outside of it."""
    bases = _HELD.get()
    if bases is None:
        raise UserError(
            f"{NAME}: the pictures were given in memory, to jaxcls.train(data=...), and are gone; save them with "
            "np.savez(FILE, train_images=..., train_labels=..., ...) and add --config.data.name=arrays/FILE.npz"
        )
    return dict(bases)


def _check_splits(splits, place):
    _check_names(splits, place)
    for name, pair in splits.items():
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise UserError(f"{place}: {name} must be (images, labels), or (images, None) for pictures without labels.")


def _check_names(splits, place):
    known = (*NAMES, ALL)
    if wrong := [name for name in splits if name not in known]:
        raise UserError(
            f"{place}: {wrong[0]!r} is no split; name them {', '.join(NAMES)}{did_you_mean(wrong[0], known)}"
        )
    if not splits or (ALL in splits and len(splits) > 1):
        raise UserError(f'{place}: give splits such as "train" and "test", or "{ALL}" alone for a set that is dealt.')


def _images(images, what):
    """uint8 [n, h, w, c] of what a user gave."""
    array = np.asarray(images)
    shape = array.shape
    if array.ndim < 3:
        flat = "; of flat rows images.reshape(len(images), height, width)" if array.ndim == 2 else ""
        raise UserError(f"{what} have the shape {shape}, but must have [n, height, width, channels]{flat}.")
    if array.ndim > 5 or 0 in shape:
        raise UserError(f"{what} have the shape {shape}; they must be [n, height, width, channels], and some.")
    if _channels_first(shape):
        raise UserError(f"{what} have the shape {shape}, channels first; turn them with images.transpose(0, 2, 3, 1).")
    if array.dtype != np.uint8:
        raise UserError(f"{what} are {array.dtype}, but must be uint8, 0 to 255; {_remedy(array)}")
    return array[..., None] if array.ndim == 3 else array


def _channels_first(shape):
    """Whether pictures [n, c, h, w] were given: few channels there and none behind, or two equal sides behind."""
    if len(shape) != 4 or shape[3] <= max(CHANNELS):
        return False
    return shape[1] in CHANNELS or (shape[1] < shape[2] == shape[3])


def _remedy(array):
    """What makes uint8 of numbers of another kind."""
    if array.dtype.kind == "b":
        return "make them with images.astype('uint8') * 255."
    if array.dtype.kind not in "iuf":
        return "they hold no numbers."
    sample = array[:: max(1, len(array) // 256)]  # the range is told by some: the remedy is a guess
    if array.dtype.kind == "f" and not np.isfinite(sample).all():
        return "some numbers are not finite (NaN), which no picture has; mend them first."
    least, most = float(sample.min()), float(sample.max())
    if least >= 0 and most <= 1 and array.dtype.kind == "f":
        return "they lie between 0 and 1, so make them with (images * 255).round().astype('uint8')."
    if least >= 0 and most <= 255:
        return "they lie between 0 and 255, so make them with images.round().astype('uint8')."
    return (
        f"they lie between {least:g} and {most:g}: scale them to 0..255, all by the same factor, then .astype('uint8')."
    )


def _labels(given, ids, classes, place):
    """(classes, split -> labels) of split -> what a user gave."""
    if any(isinstance(label, list | tuple) for values in given.values() for label in _some(values)):
        return label_values.over_splits({k: [_plain(x) for x in v] for k, v in given.items()}, ids, place, classes)
    arrays = {split: _array(values, f"{place}: the labels of {split}") for split, values in given.items()}
    shapes = {split: array.shape[1:] for split, array in arrays.items()}
    first = next(iter(shapes))
    for split, shape in shapes.items():
        if shape != shapes[first]:
            raise UserError(
                f"{place}: labels of {first} are [n, {shapes[first]}] and of {split} [n, {shape}]; make them alike."
            )
    if shapes[first]:
        return _of_columns(arrays, ids, classes, place)
    if next(iter(arrays.values())).dtype.kind == "U":
        return label_values.over_splits({k: v.tolist() for k, v in arrays.items()}, ids, place, classes)
    together = np.concatenate(list(arrays.values()))
    names, labels = label_values.of_numbers(together, _joined(ids), place, classes)
    return names, _parts(labels, arrays)


def _some(values):
    return values if isinstance(values, list | tuple) else ()


def _plain(value):
    """A list of labels, or a label, without NumPy's own scalars."""
    return [_plain(x) for x in value] if isinstance(value, list | tuple) else getattr(value, "item", lambda: value)()


def _array(values, what):
    """Whole numbers int64 [n] or [n, k], or words [n]."""
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind in "SO" and array.ndim == 1:
        return np.array([x.decode(errors="replace") if isinstance(x, bytes) else str(x) for x in array.tolist()], "U")
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array)
        if bad.any():
            raise UserError(
                f"{what}: {int(bad.sum()):,} are NaN or infinite, the first in row {np.argwhere(bad)[0][0]}; mend them."
            )
        if (bad := array != np.round(array)).any():
            raise UserError(f"{what} have fractions, such as {array[bad][0]:g}; classes are whole numbers or words.")
    if array.ndim not in (1, 2) or array.dtype.kind not in "biufU":
        raise UserError(
            f"{what} are {array.dtype} {array.shape}; they must be whole numbers or words [n], or 0 and 1 [n, classes]."
        )
    return array if array.dtype.kind == "U" else array.astype(np.int64)


def _of_columns(arrays, ids, classes, place):
    """(classes, split -> labels) of split -> 0 and 1 [n, k]."""
    together = np.concatenate(list(arrays.values()))
    if (bad := np.argwhere((together != 0) & (together != 1))).size:
        row, column = map(int, bad[0])
        raise UserError(
            f"{place}: labels with {together.shape[1]} columns are sets of 0 and 1, but {_joined(ids)[row]} has "
            f"{together[row, column]}; give [n] for one label a picture."
        )
    columns = together.shape[1]
    names = classes if classes is not None else tuple(map(str, range(columns)))
    if len(names) != columns:
        raise UserError(f"{place}: labels have {columns} columns, but there are {len(names)} class names.")
    if not together.any():
        raise UserError(f"{place}: no picture has a label; all of them are 0.")
    single = bool((together.sum(axis=1) == 1).all())
    return names, _parts(together.argmax(axis=1).astype(np.int32) if single else together.astype(np.uint8), arrays)


def _joined(ids):
    return [name for each in ids.values() for name in each]


def _parts(labels, arrays):
    ends = np.cumsum([len(array) for array in arrays.values()])[:-1]
    return dict(zip(arrays, np.split(labels, ends), strict=True))
