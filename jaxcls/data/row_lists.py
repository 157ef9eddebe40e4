"""Lists of training pictures: which of them have labels, one a line."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data import metadata
from jaxcls.data.base import Source, subset
from jaxcls.errors import UserError
from jaxcls.types import PathLike

_TEXT: Any = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}


def write(path: PathLike, names: Sequence[str]) -> None:
    """Writes a list: a CSV file of one column without a header. Raises UserError where it can't be written."""
    with files.replacing(Path(path)) as temporary, open(temporary, "w", **_TEXT) as file:
        csv.writer(file, lineterminator="\n").writerows([name] for name in names)


def read(path: PathLike) -> list[str]:
    """The names of a list; the first column of a table, empty lines left out.

    Raises:
      UserError: for a file that is missing, damaged or empty.
    """
    try:
        with files.open_regular(path, 2**31, mode="r", **_TEXT) as file:
            names = [line[0] for line in csv.reader(files.short_lines(file)) if line and line[0].strip()]
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"the list of pictures {path} can't be read: {reason}") from error
    if not names:
        raise UserError(f"the list of pictures {path} is empty; write the name of a picture in each line")
    return names


def rows(ids: Sequence[str], names: Sequence[str], what: str) -> np.ndarray:
    """The rows of a source with these ids that a list names, in the order of the source.

    A name is an id (of a folder: the path below it), or, as in the lists of SimCLR (imagenet_subsets/1percent.txt), the
    name of a file without its folders, where only one picture has it.

    Raises:
      UserError: for a name that is none of the pictures', or of several; `what` is the list.
    """
    by_id = {id: row for row, id in enumerate(ids)}
    by_file: dict[str, list[int]] = {}
    if any(name not in by_id for name in names):
        for row, id in enumerate(ids):
            by_file.setdefault(os.path.basename(id), []).append(row)
    found = []
    for name in names:
        hits = [by_id[name]] if name in by_id else by_file.get(name, [])
        if len(hits) != 1:
            why = f"{len(hits)} training pictures have" if hits else "no training picture has"
            raise UserError(f"{what}: {why} the name {name!r:.100}; theirs are like {ids[0]!r:.100}")
        found += hits
    return np.unique(np.asarray(found, np.int64))


def restricted(source: Source, path: PathLike) -> Source:
    """The pictures of a source that a list names. Raises UserError as `read` and `rows` do."""
    return subset(source, rows(metadata.ids(source), read(path), str(Path(path))))


def amount(text: str, total: int, what: str = "--labels") -> int:
    """How many of `total` pictures "1%", "10 %" or "500" is; `what` names the setting in messages.

    Raises:
      UserError: for what is no such amount, or is more than there are.
    """
    number, percent = text.strip().removesuffix("%").strip(), text.strip().endswith("%")
    try:
        wanted = round(total * float(number) / 100) if percent else int(number)
    except (ValueError, OverflowError):
        raise UserError(f"{what} is {text!r}; it can be a share such as 1%, or a number of pictures") from None
    if not 1 <= wanted <= total:
        raise UserError(f"{what} {text} is {wanted:,} of {total:,} training pictures; it must be 1 to {total:,}")
    return wanted


def balanced(labels: np.ndarray, wanted: int, seed: int | Sequence[int], what: str = "--labels") -> np.ndarray:
    """Rows [wanted] drawn at random, of each class as many as of any other, within one and as far as it has them.

    Args:
      labels: int [n]; those below 0 are none, and not drawn.
      wanted: how many.
      seed: of the draw.
      what: names the setting in messages.

    Raises:
      UserError: for fewer labels than classes.
    """
    rng = np.random.default_rng(seed)
    by_class = [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels[labels >= 0])]
    if wanted < len(by_class):
        raise UserError(f"{what}: {wanted} label(s) are fewer than the {len(by_class)} classes; ask for more")
    order = rng.permutation(len(by_class))  # which classes get one more
    turns = sorted((turn, order[c], row) for c, rows in enumerate(by_class) for turn, row in enumerate(rows))
    return np.sort(np.asarray([row for _, _, row in turns[:wanted]], np.int64))
