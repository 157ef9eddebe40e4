"""Which picture a run has in which split: `splits.csv` in its workdir, written when the run begins.

    split,label,class,mark,id
    train,0,cat,6c5a1d0e2b9f4a37,cat/1.jpg

Where labels are sets the columns are `labels` and `classes`: numbers apart by a blank, names by a `|` (`%7C` and `%25`
in a name stand for `|` and `%`). A label of -1, with no class, is that of a picture without one. Where labelled
pictures of another set tell how good a run is (config.monitor.data), their training split is called bank, and train
alone is of the run's own set. Further pictures that are learnt from without labels (config.few.data) are the split
unlabelled.

A split belongs to the run. Whatever opens the run's data later (resuming, evaluation, report, robustness, averages)
finds its pictures by their names here, not by dealing a folder anew that may have changed; and other pictures can be
held against those that were trained on, by name and by content. Sets whose pictures have no names in memory (large ones
of tensorflow-datasets) are not stored: they can't change unnoticed, and are dealt by the config each time.
"""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data import metadata
from jaxcls.data.base import Source
from jaxcls.data.dealing import Placed
from jaxcls.data.marks import can_mark, marks
from jaxcls.errors import UserError
from jaxcls.types import PathLike

FILE = "splits.csv"
HEADER = ["split", "label", "class", "mark", "id"]
SETS = ["split", "labels", "classes", "mark", "id"]
BANK = "bank"
UNLABELLED = "unlabelled"
SPLITS = ("train", BANK, "validation", "test", UNLABELLED)
SHOWN = 3  # pictures named in a message


@dataclasses.dataclass(frozen=True)
class Part:
    """One split: ids, labels (numbers of the run's classes, or tuples of them) and marks (data.marks), in the split's
    order."""

    ids: tuple[str, ...]
    labels: tuple[int, ...] | tuple[tuple[int, ...], ...]
    marks: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Stored:
    """The splits of a run, and its classes in the order of their numbers."""

    classes: tuple[str, ...]
    parts: Mapping[str, Part]

    def only(self, splits: Sequence[str]) -> "Stored | None":
        """Some of the splits; None where there are none of them."""
        parts = {split: part for split, part in self.parts.items() if split in splits}
        return Stored(self.classes, parts) if parts else None


@dataclasses.dataclass(frozen=True)
class Change:
    """How a run's pictures differ from those of its beginning.

    Attributes:
      lost: split -> ids that are there no more.
      altered: split -> ids whose content, or label, is another now.
      new: ids that are in none of the run's splits.
    """

    lost: Mapping[str, tuple[str, ...]]
    altered: Mapping[str, tuple[str, ...]]
    new: tuple[str, ...]

    def __str__(self) -> str:
        """What has changed, with examples; "" where nothing has."""
        return "; ".join(filter(None, (self.of_splits(), self.others())))

    @property
    def differs(self) -> bool:
        """Whether pictures of the splits are gone or changed."""
        return any(self.lost.values()) or any(self.altered.values())

    def of_splits(self) -> str:
        """What is gone or changed, in words: "3 gone from test ('cat/9.jpg', ...)"."""
        groups = [(f"gone from {split}", ids) for split, ids in self.lost.items()]
        groups += [(f"changed in {split}", ids) for split, ids in self.altered.items()]
        return "; ".join(f"{len(ids):,} {what} ({_some(ids)})" for what, ids in groups if ids)

    def others(self) -> str:
        """The new ones in words: "10 new pictures ('cat/9.jpg', ...)"; "" without any."""
        plural = "s" * (len(self.new) > 1)
        return f"{len(self.new):,} new picture{plural} ({_some(self.new)})" if self.new else ""


def _some(ids):
    return ", ".join(map(repr, ids[:SHOWN])) + (", ..." if len(ids) > SHOWN else "")


def store(sources: Mapping[str, Source]) -> Stored | None:
    """What is stored of the splits of a run that begins; None for sources whose pictures can't be told by name.

    Of several sets (see above) what is so of one does not matter to the others.
    """
    own = [split for split in sources if split == "train" or (BANK not in sources and split != UNLABELLED)]
    judging = [split for split in sources if split not in own and split != UNLABELLED]
    parts = {}
    for splits in (own, judging, [split for split in sources if split == UNLABELLED]):
        if not all(can_mark(sources[split]) for split in splits):
            continue
        names = [name for split in splits for name in metadata.ids(sources[split])]
        if len(set(names)) < len(names):
            continue
        for split in splits:
            source = sources[split]
            parts[split] = Part(tuple(metadata.ids(source)), _labels(source.labels), tuple(marks(source)))
    classes = next((source.classes for source in sources.values() if source.classes), ())
    return Stored(tuple(map(str, classes)), parts) if parts else None


def write(workdir: PathLike, stored: Stored, remedy: str = files.REMEDY) -> None:
    """Writes the file. Raises UserError where it can't be written."""
    with (
        files.replacing(Path(workdir) / FILE, remedy) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        sets = any(isinstance(label, tuple) for part in stored.parts.values() for label in part.labels[:1])
        writer.writerow(SETS if sets else HEADER)
        for split, part in stored.parts.items():
            labels: tuple[Any, ...] = part.labels
            for label, mark, name in zip(labels, part.marks, part.ids, strict=True):
                writer.writerow([split, *_told(label, stored.classes), mark, name])


def _labels(labels: np.ndarray) -> tuple[Any, ...]:
    """Labels [n] as numbers, sets [n, classes] as tuples of them."""
    if labels.ndim == 1:
        return tuple(labels.tolist())
    return tuple(tuple(np.flatnonzero(row).tolist()) for row in labels)


def _told(label: int | tuple[int, ...], classes: Sequence[str]) -> tuple[int | str, str]:
    """A label, or a set, as the file has it: numbers and names."""
    if not isinstance(label, tuple):
        return label, classes[label] if label >= 0 else ""
    names = (classes[i].replace("%", "%25").replace("|", "%7C") for i in label)
    return " ".join(map(str, label)), "|".join(names)


def _understood(label: str, name: str, sets: bool) -> tuple[Any, dict[int, str]]:
    """(`_told` the other way, number -> name). Raises ValueError for what it does not write."""
    if not sets or label == "-1":  # pictures without labels may stand beside sets
        return int(label), {int(label): name}
    numbers = tuple(map(int, label.split()))
    names = [each.replace("%7C", "|").replace("%25", "%") for each in name.split("|")] if numbers else []
    return numbers, dict(zip(numbers, names, strict=True))


def read(workdir: PathLike) -> Stored | None:
    """What the file of a workdir says; None where there is none (older runs, sets without names).

    Raises:
      UserError: where it is damaged.
    """
    path = Path(workdir) / FILE
    columns: dict[str, tuple[list, list, list]] = {}
    names: dict[int, str] = {}
    try:
        with files.open_regular(path, 2**31, mode="r", newline="", encoding="utf-8", errors="surrogateescape") as file:
            lines = csv.reader(files.short_lines(file))
            if (first := next(lines, None)) not in (HEADER, SETS):
                raise ValueError("its first line is another")
            for split, label, name, mark, id in lines:
                if split not in SPLITS:
                    raise ValueError(f"there is no split {split!r}")
                own, told = _understood(label, name, first == SETS)
                names |= told
                for column, value in zip(columns.setdefault(split, ([], [], [])), (id, own, mark), strict=True):
                    column.append(value)
        names.pop(-1, None)
        if sorted(names) != list(range(len(names))) or not columns.keys() & {"train", BANK}:
            raise ValueError("classes or pictures of train are missing")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path} can't be read ({error}); put it back. Without it the splits are dealt anew from the folder, which "
            "is right only if no picture has changed: then delete it."
        ) from error
    parts = {split: Part(tuple(ids), tuple(labels), tuple(m)) for split, (ids, labels, m) in columns.items()}
    return Stored(tuple(names[i] for i in range(len(names))), parts)


def place(stored: Stored, bases: Mapping[str, Source]) -> tuple[Placed, dict[str, np.ndarray]]:
    """Where the run's pictures are now: (split -> (key, rows), key -> rows that are in none of the run's splits).

    Args:
      stored: from `read`.
      bases: the set as it is found now, by key; all ids are different.

    Raises:
      UserError: where pictures of one split lie in two of them.
    """
    where = {name: (key, row) for key, base in bases.items() for row, name in enumerate(metadata.ids(base))}
    placed: Placed = {}
    for split, part in stored.parts.items():
        found = [where.pop(name) for name in part.ids if name in where]
        keys = sorted({key for key, _ in found})
        if len(keys) > 1:
            raise UserError(f"pictures of the run's {split} split lie in {' and '.join(keys)} now; put them back.")
        if found:
            placed[split] = (keys[0], np.array([row for _, row in found], np.int64))
    rest = list(where.values())
    return placed, {key: np.array([row for k, row in rest if k == key], np.int64) for key in bases}


def check_classes(stored: Stored, bases: Mapping[str, Source]) -> None:
    """Raises UserError where the set has a class that the run does not know: its model has no output for it."""
    for base in bases.values():
        if more := [str(name) for name in base.classes if str(name) not in stored.classes]:
            raise UserError(
                f"the run knows no class {_some(more)}; move its pictures away, or train anew with another --workdir."
            )


def changes(stored: Stored, sources: Mapping[str, Source], new: Sequence[str], splits: Sequence[str]) -> Change:
    """How the pictures of some splits, as they are found now, differ from the stored ones. Files are looked into."""
    lost, altered = {}, {}
    for split in splits:
        part, source = stored.parts.get(split), sources.get(split)
        if part is None:
            continue
        here: dict[str, tuple[str, Any]] = {}  # a table may say another label of the same file
        if source is not None:
            told = zip(marks(source), _labels(source.labels), strict=True)
            here = dict(zip(metadata.ids(source), told, strict=True))
        lost[split] = tuple(name for name in part.ids if name not in here)
        before = zip(part.ids, zip(part.marks, part.labels, strict=True), strict=True)
        altered[split] = tuple(name for name, told in before if name in here and here[name] != told)
    return Change(lost, altered, tuple(new))
