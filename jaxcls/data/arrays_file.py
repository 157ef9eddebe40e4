"""Files of NumPy arrays, `arrays/FILE.npz`: which arrays are the pictures and which the labels.

    images [n, h, w] or [n, h, w, c] uint8, labels [n]                         one set, which is dealt
    x_train, y_train, x_test, y_test; train_images, train_labels, val_...      splits, by the names of the arrays
    labels [n, k] of 0 and 1                                                   sets of labels; a single 1 a row: a class

Names are those of IMAGES, LABELS and CLASSES, or are given by the options `images`, `labels` and `classes`.
"""

import contextlib
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data import label_values
from jaxcls.data.arrays import from_arrays
from jaxcls.data.base import Source
from jaxcls.data.dealing import ALL
from jaxcls.data.layout import split_of
from jaxcls.errors import UserError, did_you_mean, listed
from jaxcls.text import printable

IMAGES = ("images", "image", "imgs", "img", "x", "data", "pictures", "pixels")
LABELS = ("labels", "label", "y", "targets", "target", "fine_labels")
CLASSES = ("classes", "class_names", "label_names", "names", "categories")


def scan(path: str | Path, options: Mapping[str, str]) -> dict[str, Source]:
    """The sources of a file of arrays: {"all": source}, or {"train": source, ...}.

    Args:
      path: of the file, of `np.savez` or `np.savez_compressed`.
      options: `images`, `labels`: names of arrays, with or without what says the split; `classes`: that of an array of
        names, or a file with a name a line.

    Raises:
      UserError: for a file that can't be read, holds pickled objects or no such arrays, or arrays that don't fit.
    """
    place = f"arrays/{printable(path)}"
    with opened(Path(path), place) as archive:
        chosen = _chosen(list(archive.files), options, place)
        classes = classes_of(archive, options, place)
        content = {
            split: (read(archive, image, place), None if label is None else read(archive, label, place))
            for split, (image, label) in chosen.items()
        }
    return dict(from_arrays(content, classes, place=place))


@contextlib.contextmanager
def opened(path: Path, place: str) -> Iterator[Any]:
    """The archive, in which nothing is larger than the machine's memory."""
    try:
        with files.open_regular(path, None) as file:
            head = file.read(6)
            if head == b"\x93NUMPY":
                raise UserError(f"{place} is a single array; save both with np.savez(FILE, images=..., labels=...).")
            if head[:4] != b"PK\3\4":
                raise UserError(
                    f"{place} is no file of np.savez; make one with np.savez(FILE, images=..., labels=...)."
                )
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                yield archive
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{place} is cut or damaged ({error}); copy or save it again.") from error
    except FileNotFoundError as error:
        raise UserError(f"{place} does not exist{_nearest(path)}") from error
    except OSError as error:
        raise UserError(f"{place} can't be read: {error.strerror or error}.") from error


def _nearest(path):
    try:
        there = [name for name in os.listdir(path.parent) if name.endswith(".npz")]
    except OSError:
        return f"; there is no folder {printable(path.parent)}"
    return did_you_mean(path.name, there)


def read(archive: Any, name: str, place: str) -> np.ndarray:
    """An array of the archive. Its header is looked at first: what it claims must be there, and fit into memory."""
    try:
        member = archive.zip.getinfo(name if name in archive.zip.namelist() else f"{name}.npy")
        with archive.zip.open(member) as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
        if dtype.hasobject:
            raise UserError(
                f"{place}: {name!r} holds pickled objects, which could run code when they are read; save plain arrays: "
                "words with np.array(words, 'U'), pictures of one size as uint8 [n, h, w, c]."
            )
        needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if needed > member.file_size:
            raise UserError(
                f"{place}: {name!r} is cut: {needed:,} bytes are said, {member.file_size:,} there; save it again."
            )
        if needed > _memory():
            raise UserError(
                f"{place}: {name!r} has {needed / 2**30:,.0f} GiB, more than this machine's memory; tar shards are "
                "read piece by piece (shards/FOLDER)."
            )
        return archive[name]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{place}: {name!r} is cut or damaged ({reason}); copy or save it again.") from error


def _memory() -> float:
    """Bytes of the machine's memory; without end where it can't be told."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return np.inf


def parsed(name: str) -> tuple[str | None, str]:
    """(split, the rest) of an array's name: ("test", "image") of test_image, (None, "labels") of labels."""
    words = [word for word in re.split(r"[_\-./ ]+", name) if word]
    if len(words) > 1:
        for at in (0, len(words) - 1):
            if split := split_of(words[at]):
                return split, "_".join(words[:at] + words[at + 1 :]).lower()
    return None, "_".join(words).lower()


def _chosen(names, options, place):
    """Split -> (name of the images, of the labels or None)."""
    found: dict[str, dict[str | None, str]] = {}
    for role, usual in (("images", IMAGES), ("labels", LABELS)):
        found[role] = _of_role(names, role, usual, options.get(role), place)
    images, labels = found["images"], found["labels"]
    if not images:
        raise UserError(
            f"{place}: which array has the pictures? It has {listed(names)}; name one: ?images=NAME&labels=NAME"
        )
    if None in images and len(images) > 1:
        others = listed(name for split, name in images.items() if split)
        raise UserError(
            f"{place}: {images[None]!r} has no split in its name, but {others} has; name one set: ?images=NAME"
        )
    others = [name for name in names if name not in images.values() and name.lower() not in CLASSES]
    if not labels and others and "images" not in options:
        raise UserError(
            f"{place}: which array has the labels? It has {listed(names)}; name it: ?labels=NAME, or, for pictures "
            f"without labels, those alone: ?images={next(iter(images.values()))}"
        )
    if lacking := [split for split in images if split not in labels] if labels or len(images) > 1 else []:
        raise UserError(
            f"{place}: no labels go with {images[lacking[0]]!r}; it has {listed(names)}; name them: ?labels=NAME"
        )
    if len(images) > 1:
        return {str(split): (image, labels[split]) for split, image in images.items()}
    ((split, image),) = images.items()
    alone = ALL if split in (None, "train") else split
    return {alone if labels else "train": (image, labels.get(split))}


def _of_role(names, role, usual, wanted, place):
    """Split or None -> name of the array with this role."""
    if wanted is not None:
        fits = [name for name in names if name == wanted] or [n for n in names if parsed(n)[1] == parsed(wanted)[1]]
        if not fits:
            raise UserError(f"{place} has no array {wanted!r}; it has {listed(names)}{did_you_mean(wanted, names)}")
        return {parsed(name)[0]: name for name in fits}
    for word in usual:  # the first of the usual names that is there
        if fits := {parsed(name)[0]: name for name in names if parsed(name)[1] == word}:
            return fits
    return {}


def classes_of(archive: Any, options: Mapping[str, str], place: str) -> tuple[str, ...] | list[str] | None:
    """Class names of the archive, or of the file that the option names; None without."""
    wanted = options.get("classes")
    if wanted is not None and wanted not in archive.files:
        return label_values.names_of(files.path(wanted))
    name = wanted or next((name for name in archive.files if name.lower() in CLASSES), None)
    if name is None:
        return None
    array = read(archive, name, place)
    if array.ndim != 1 or array.dtype.kind not in "US":
        if wanted is None:  # an array of that name that is something else
            return None
        raise UserError(f"{place}: {name!r} is {array.dtype} {array.shape}; class names are words [n].")
    return [x.decode(errors="replace") if isinstance(x, bytes) else x for x in array.tolist()]
