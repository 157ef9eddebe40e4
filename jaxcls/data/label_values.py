"""Labels as they stand in files of many pictures (numbers, words, lists of them) as classes and their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcls.data.layout import natural, refuse_alike
from jaxcls.errors import UserError
from jaxcls.files import LARGEST, read_bytes
from jaxcls.text import NAME, printable
from jaxcls.types import PathLike

FEW = 1000  # classes up to which nobody asks whether they are some
NONE = -1  # the label of a picture without one


def read(
    values: Sequence[Any], ids: Sequence[str], place: str, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], np.ndarray]:
    """(classes, labels) of a value a picture: int32 [n], or uint8 [n, classes] where each value is a list (a set).

    Args:
      values: a whole number, a word or a list of either for each picture; all of one kind.
      ids: of the pictures, for messages.
      place: of the set, for messages.
      classes: names, in which numbers count, and which all words must be among. None: the different values, words in
        natural order and numbers by size, so classes "0" to "9" of digits.

    Raises:
      UserError: for values of several kinds, none, or that are no class.
    """
    lists = np.array([isinstance(value, list | tuple) for value in values], bool)
    if lists.any() and not lists.all():
        row = int(np.flatnonzero(lists)[0])
        raise UserError(
            f"{place}: {int(lists.sum()):,} pictures have a list of labels (the first is {printable(ids[row])}) and "
            f"{int((~lists).sum()):,} have one label; write all as lists, or none."
        )
    if not lists.any():
        names, numbers = _numbered(values, ids, place, classes)
        return names, numbers
    sizes = np.array([len(value) for value in values], np.int64)
    owners = np.repeat(np.arange(len(values)), sizes)
    flat = [label for value in values for label in value]
    names, numbers = _numbered(flat, _Owners(ids, owners), place, classes)
    if not names:
        raise UserError(f"{place}: no picture has a label; each one's list is empty.")
    labels = np.zeros((len(values), len(names)), np.uint8)
    labels[owners, numbers] = 1
    return names, labels


class _Owners:
    """ids by the number of a label in the lists of all pictures."""

    def __init__(self, ids: Sequence[str], owners: np.ndarray):
        self.ids, self.owners = ids, owners

    def __getitem__(self, i: int) -> str:
        return self.ids[int(self.owners[i])]


def _numbered(values, ids, place, classes):
    """(classes, int32 of each value)."""
    kinds = np.array([_kind(value) for value in values], "U1")
    for kind, what in (("-", "no label"), ("?", "a label that is neither a whole number nor a word")):
        if (bad := np.flatnonzero(kinds == kind)).size:
            raise UserError(f"{place}: {_those(bad, ids, what)}; give each one, or take them out.")
    if len(set(kinds.tolist())) > 1:
        words = np.flatnonzero(kinds == "w")
        shown = printable(values[int(words[0])], NAME)
        raise UserError(
            f"{place}: {len(words):,} labels are words, such as {shown!r} of {printable(ids[int(words[0])])}, and "
            f"{len(kinds) - len(words):,} are numbers; write all as words, or all as numbers."
        )
    if (kinds == "n").all():
        return _of_numbers(np.array([int(value) for value in values], np.int64), ids, place, classes)
    words = [str(value).strip() for value in values]
    names = tuple(classes) if classes is not None else tuple(sorted(set(words), key=natural))
    refuse_many(len(names) if classes is None else 0, len(values), place)
    if classes is None:
        refuse_alike(place, names)
    number = {name: i for i, name in enumerate(names)}
    found = np.array([number.get(word, NONE) for word in words], np.int32)
    if (bad := np.flatnonzero(found < 0)).size:
        shown = printable(words[int(bad[0])], NAME)
        what = f"a label that is no class, {shown!r}"
        raise UserError(f"{place}: {_those(bad, ids, what)}; add it to the class names.")
    return names, found


def of_numbers(
    numbers: np.ndarray, ids: Sequence[str], place: str, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], np.ndarray]:
    """`read` of an array of whole numbers [n]."""
    return _of_numbers(np.asarray(numbers, np.int64), ids, place, classes)


def _of_numbers(numbers, ids, place, classes):
    most = len(classes) if classes is not None else np.inf
    if (bad := np.flatnonzero((numbers < 0) | (numbers >= most))).size:
        known = "numbers count from 0 on" if classes is None else f"there are {most} class names, for 0 to {most - 1}"
        raise UserError(f"{place}: {_those(bad, ids, f'the label {numbers[bad[0]]}')}; {known}.")
    if classes is not None:
        return tuple(classes), numbers.astype(np.int32)
    different, labels = np.unique(numbers, return_inverse=True)
    refuse_many(len(different), len(numbers), place)
    return tuple(map(str, different.tolist())), labels.reshape(-1).astype(np.int32)


def refuse_many(classes: int, pictures: int, place: str) -> None:
    """Raises UserError for so many classes that they are surely none: a number, a name or a caption a picture."""
    if classes > FEW and 2 * classes > pictures:
        raise UserError(
            f"{place}: the labels of {pictures:,} pictures have {classes:,} different values, which are no classes; "
            "name what holds the class with label=..."
        )


def names_of(path: PathLike) -> tuple[str, ...]:
    """Class names of a text file, one a line. Raises UserError where it can't be read, or names one twice."""
    try:
        text = read_bytes(path, LARGEST).decode("utf-8-sig")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise UserError(f"the class names {printable(path)} can't be read ({reason}); give one name a line.") from error
    names = tuple(name for line in text.splitlines() if (name := line.strip()))
    return checked_names(names, str(path))


def checked_names(names: Sequence[str], place: str) -> tuple[str, ...]:
    """The names. Raises UserError where there are none, or one stands twice."""
    if not names:
        raise UserError(f"{printable(place)} has no class names; give one a line.")
    if twice := [name for name in dict.fromkeys(names) if len(names) != len(set(names)) and names.count(name) > 1]:
        raise UserError(f"{printable(place)}: the class name {printable(twice[0], NAME)!r} stands twice; keep one.")
    return tuple(names)


def over_splits(
    values: Mapping[str, Sequence[Any]],
    ids: Mapping[str, Sequence[str]],
    place: str,
    classes: Sequence[str] | None = None,
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """(classes, split -> labels) of split -> values: `read` of all together, so that all splits count alike."""
    together = [value for each in values.values() for value in each]
    names, labels = read(together, [name for each in ids.values() for name in each], place, classes)
    ends = np.cumsum([len(each) for each in values.values()])[:-1]
    return names, dict(zip(values, np.split(labels, ends), strict=True))


def _kind(value):
    """n: a whole number, w: a word, -: nothing, ?: anything else."""
    if isinstance(value, str):
        return "w" if value.strip() else "-"
    if value is None:
        return "-"
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return "n"
    return "?"


def _those(rows, ids, what):
    first = printable(ids[int(rows[0])])
    if len(rows) == 1:
        return f"{first} has {what}"
    return f"{len(rows):,} pictures have {what.replace('the label', 'labels such as')} (the first is {first})"
