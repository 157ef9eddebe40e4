"""Tar shards in the manner of WebDataset, `shards/FOLDER`: samples are members of one name, `key.jpg` and `key.cls`.

    FOLDER/a-000.tar ...                                   one set, which is dealt
    FOLDER/train-000.tar, val-000.tar, test-000.tar ...    splits, by the names of the shards
    FOLDER/train/000.tar, FOLDER/test/000.tar ...          or of their folders
    FOLDER/train-{000..041}.tar, FOLDER/*.tar              a pattern in place of a folder

A label is a number or a word in .cls or .txt, or a field of .json, where a list is a set of labels; `classes.txt`
beside the shards, a name a line, says what numbers mean. Pictures are read where they lie. What lies where is found out
once, by the headers, and kept beside the shards or in the user's cache.
"""

import glob
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcls import files
from jaxcls.data import label_values, tar_index
from jaxcls.data.base import Source
from jaxcls.data.dealing import ALL
from jaxcls.data.layout import natural, split_of
from jaxcls.data.pieces import Pieces, PieceSource, kept, stamp
from jaxcls.errors import UserError, did_you_mean, listed
from jaxcls.text import printable

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
CLASSES = "classes.txt"
KEPT = ("number", "offset", "size")  # what Pieces are called where they are kept
EVERY = 5.0  # seconds between two lines of progress
MOST = 100_000  # shards that a pattern may mean


class Index(NamedTuple):
    """What a set of shards holds: where the pictures lie, their ids, and a label for each (None: it has none)."""

    pieces: Pieces
    ids: list[str]
    values: list[Any]


def scan(path: str | Path, options: Mapping[str, str]) -> dict[str, Source]:
    """The sources of a folder or pattern of shards: {"all": source}, or {"train": source, ...}.

    Args:
      path: a folder, a file, or a pattern with `*`, `?` or `{000..041}`.
      options: `label`: the suffix or the field of .json that holds it; `image`: the suffix of the pictures, where there
        are several; `classes`: a file with a class name a line.

    Raises:
      UserError: for shards that are missing, compressed, cut, or whose samples lack a picture or a label.
    """
    place = f"shards/{printable(path)}"
    folder, shards = _found(Path(path), place)
    names = [name for each in shards.values() for name in each]
    index = _index(folder, names, options, place)
    splits = dict(zip(shards, _rows(index.pieces.file, [len(each) for each in shards.values()]), strict=True))
    for split, rows in splits.items():
        if not len(rows):
            raise UserError(f"{place}: the shards of {split} hold no samples; write them anew, or remove them.")
    classes, labels = _labels(index, splits, folder, options, place)
    if not classes and len(splits) == 1:
        splits = {"train": next(iter(splits.values()))}
    paths, mark = [folder / name for name in names], stamp([folder / name for name in names])
    return {
        split: PieceSource(paths, index.pieces.of(rows), [index.ids[i] for i in rows], labels[rows], classes, mark)
        for split, rows in splits.items()
    }


def _rows(file, counts):
    """Rows of each split, whose files stand one after the other."""
    ends = np.cumsum(counts)
    return [np.flatnonzero((file >= end - count) & (file < end)) for end, count in zip(ends, counts, strict=True)]


def _labels(index, splits, folder, options, place):
    """(classes, labels of all rows); () where no sample has a label."""
    lacking = [i for i, value in enumerate(index.values) if value is None]
    if len(lacking) == len(index.values):
        if "label" in options:
            raise UserError(f"{place}: no sample has the label {options['label']!r}; {_example(index)}")
        return (), np.full(len(index.ids), label_values.NONE, np.int32)
    if lacking:
        some = f"{len(lacking):,} samples have" if len(lacking) > 1 else "a sample has"
        raise UserError(f"{place}: {some} no label, {printable(index.ids[lacking[0]])}; write the shards anew.")
    names = None
    if "classes" in options:
        names = label_values.names_of(files.path(options["classes"]))
    elif (folder / CLASSES).is_file():
        names = label_values.names_of(folder / CLASSES)
    return label_values.read(index.values, index.ids, place, names)


def _example(index):
    return f"such as {printable(index.ids[0])}; look into it with tar -tf"


def _found(path: Path, place: str) -> tuple[Path, dict[str, list[str]]]:
    """(folder, split -> shards below it): by their names, or those of their folders."""
    if path.is_dir():
        folder, inside = path, sorted(os.listdir(path), key=natural)
        names = [name for name in inside if name.endswith(".tar") and not name.startswith(".")]
        if not names:
            folders = [name for name in inside if split_of(name) and (path / name).is_dir()]
            names = [
                f"{f}/{n}" for f in folders for n in sorted(os.listdir(path / f), key=natural) if n.endswith(".tar")
            ]
        if packed := [name for name in inside if name.endswith(COMPRESSED)]:
            raise UserError(
                f"{place}: {len(packed):,} shards are compressed, the first is {printable(packed[0])}, so nothing in "
                "them can be found; unpack them (gunzip)."
            )
        if not names:
            raise UserError(f"{place} has no .tar file{_instead(path, inside)}")
        splits = [_split(name.rpartition("/")[0] or name) for name in names]
    else:
        folder, names = _matching(path, place)
        splits = [_split(name) for name in names]
    return folder, _by_split(names, splits, place)


def _split(name):
    """The split that the name of a shard or folder means: all of it, or its first word that is one."""
    stem = name.removesuffix(".tar")
    return split_of(stem) or next(filter(None, map(split_of, re.split(r"[\W_]+", stem))), None)


def _by_split(names, splits, place):
    if all(split is None for split in splits) or set(splits) == {"train"}:
        return {ALL: names}
    if None in splits:
        bare = [name for name, split in zip(names, splits, strict=True) if split is None]
        raise UserError(
            f"{place}: {len(bare):,} shards have no split in their names, the first is {printable(bare[0])}, but "
            "others have; rename them, or give a pattern (train-*.tar)."
        )
    return {split: [n for n, s in zip(names, splits, strict=True) if s == split] for split in dict.fromkeys(splits)}


def _matching(path, place):
    """(folder, shards) of a file, or a pattern."""
    patterns, found = _braces(str(path), place), []
    for pattern in patterns:
        here = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern), key=natural)
        found += [name for name in here if os.path.isfile(name)]
        if not here and len(patterns) > 1:
            raise UserError(
                f"{place}: {printable(pattern)} is missing; put it back, or give the shards that are there."
            )
    if not found:
        raise UserError(f"{place} does not exist{_instead(path.parent, None, path.name)}")
    folder = Path(os.path.commonpath([os.path.dirname(name) or "." for name in found]))
    return folder, [os.path.relpath(name, folder) for name in dict.fromkeys(found)]


def _braces(pattern, place):
    """The names that `{000..041}` and `{a,b}` in a pattern mean."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    if span := re.fullmatch(r"(\d+)\.\.(\d+)", match[1]):
        first, last = int(span[1]), int(span[2])
        if not first <= last < first + MOST:
            raise UserError(f"{place}: {{{match[1]}}} is no range of at most {MOST:,} shards.")
        parts = [str(number).zfill(len(span[1])) for number in range(first, last + 1)]
    else:
        parts = match[1].split(",")
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [name for part in parts for name in _braces(f"{head}{part}{tail}", place)]


def _instead(folder, inside=None, name=""):
    """The end of a message: what is there."""
    if not os.path.isdir(folder):
        return f"; there is no folder {printable(folder)}"
    inside = sorted(os.listdir(folder)) if inside is None else inside
    hint = did_you_mean(name, inside) if name else ""
    return hint or (f"; it has {listed(map(printable, inside))}" if inside and not name else "")


def _index(folder: Path, names: Sequence[str], options: Mapping[str, str], place: str) -> Index:
    """What the shards hold, from the file where that is kept, or from their headers."""
    told = [f"{key}={options[key]}" for key in ("image", "label") if key in options]
    mark = stamp([folder / name for name in names], *names, *told)
    places = kept(folder, f"jaxcls-index-{mark}.npz", files.cache())
    for path in places:
        if (stored := files.read_arrays(path, mark)) is not None:
            return _unpacked(stored)
    index = _build(folder, names, options, place)
    texts = {
        "ids": np.frombuffer(json.dumps(index.ids).encode(), np.uint8),
        "values": np.frombuffer(json.dumps(index.values).encode(), np.uint8),
    }
    for path in places:
        try:
            files.write_arrays(path, mark, **dict(zip(KEPT, index.pieces, strict=True)), **texts)
            break
        except UserError:
            continue  # without it only time is lost
    return index


def _unpacked(stored):
    pieces = Pieces(*(stored[name] for name in KEPT))
    return Index(pieces, json.loads(stored["ids"].tobytes()), json.loads(stored["values"].tobytes()))


def _build(folder, names, options, place):
    """The Index of shards, by their headers."""
    where: list[tuple[int, int, int]] = []
    ids: list[str] = []
    values: list[Any] = []
    bare: list[str] = []
    labels = None
    last = time.monotonic()
    for number, name in enumerate(names):
        path = folder / name
        found, stem = tar_index.samples(path), name.removesuffix(".tar")
        with open(path, "rb", buffering=0) as file:
            for key, parts in found.items():
                picture = tar_index.picture(parts, options.get("image"), f"{name}: {key}")
                if picture is None:
                    bare.append(f"{name}: {key}.{next(iter(parts))}")
                    continue
                if labels is None or labels.suffix is None:
                    labels = tar_index.Labels(file.fileno(), parts, options.get("label"), f"{name}: {key}")
                where.append((number, *picture))
                ids.append(f"{stem}/{key}")
                values.append(labels.read(file.fileno(), parts, f"{name}: {key}"))
        if time.monotonic() - last > EVERY:
            last = time.monotonic()
            print(f"{place}: {number + 1:,} of {len(names):,} shards are looked through", flush=True)
    if bare:
        what = f"{len(bare):,} samples have no picture, the first is" if len(bare) > 1 else "a sample has no picture,"
        remedy = "name their suffix with ?image=SUFFIX, or write the shards anew (a key ends at its first dot)"
        raise UserError(f"{place}: {what} {printable(bare[0])}; {remedy}.")
    if not ids:
        raise UserError(f"{place} has no samples: no members such as 000.jpg and 000.cls; look into one with tar -tf")
    table = np.array(where, np.int64).reshape(-1, 3)
    return Index(Pieces(table[:, 0].astype(np.int32), table[:, 1].copy(), table[:, 2].copy()), ids, values)
