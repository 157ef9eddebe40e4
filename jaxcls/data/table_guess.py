"""Which column of a table is what: as the options say, or guessed by the names of the columns."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence

from jaxcls.data import kinds
from jaxcls.data.table_file import Table
from jaxcls.errors import UserError, listed

# Names by which columns are found, the first that is there; case, blanks and hyphens do not count.
PATHS = (
    "path",
    "file",
    "filename",
    "filepath",
    "image",
    "imagepath",
    "imagefile",
    "imagename",
    "img",
    "picture",
    "photo",
)
IDS = ("id", "imageid", "imgid")  # only where there are files of these names
LABELS = ("label", "class", "category", "target", "labels", "classes", "categories", "tags", "classname", "labelname")
EXACT = ("split", "group", "weight")  # only by these very names


@dataclasses.dataclass(frozen=True)
class Roles:
    """Names of columns: of paths, of labels ("" with `labels`, several columns of 0 and 1, or without any), and of what
    else there is ("": no such column). `notes`: what was guessed."""

    path: str
    label: str
    labels: tuple[str, ...]
    split: str
    group: str
    weight: str
    notes: tuple[str, ...]

    @property
    def taken(self) -> set[str]:
        """All of them."""
        return {*self.labels, self.path, self.label, self.split, self.group, self.weight} - {""}

    @property
    def told(self) -> dict[str, str]:
        """Name -> what it is, for messages."""
        single = {self.path: "paths", self.label: "label", self.split: "splits"}
        more = {self.group: "groups", self.weight: "weights"} | dict.fromkeys(self.labels, "labels")
        return {name: what for name, what in (single | more).items() if name}


def roles(table: Table, options: Mapping[str, str], is_file: Callable[[str], bool]) -> Roles:
    """What the columns are.

    Args:
      table: the file.
      options: of the name (query.KEYS).
      is_file: whether there is a picture of this path.

    Raises:
      UserError: for a column that is not there, label beside labels, two roles for one column, or no column of paths.
    """
    if "label" in options and "labels" in options:
        raise UserError(f"{table}: label={options['label']} and labels={options['labels']}: give one of them.")
    named = {key: options[key] for key in ("path", "label", *EXACT) if key in options}
    for key, column in named.items():
        table.column(column, key)
    labels = tuple(filter(None, map(str.strip, options.get("labels", "").split(","))))
    for column in labels:
        table.column(column, "labels")
    free = [name for name in table.columns if name not in (*named.values(), *labels)]
    guessed = {}
    if "path" not in named:
        guessed["path"] = _path(table, free, is_file)
        free = [name for name in free if name != guessed["path"]]
    for key in EXACT:
        if key not in named and key in free:
            guessed[key] = key
    if not labels and "label" not in named and (label := _named(free, LABELS)):
        guessed["label"] = label
    found = {**named, **guessed}
    used = [*found.values(), *labels]
    if len(set(used)) < len(used):
        twice = next(name for name in used if used.count(name) > 1)
        raise UserError(f"{table}: column {twice!r} is named for two things; give each its own.")
    return Roles(
        path=found["path"],
        label=found.get("label", ""),
        labels=labels,
        split=found.get("split", ""),
        group=found.get("group", ""),
        weight=found.get("weight", ""),
        notes=tuple(_told(guessed, bool(labels or "label" in found))),
    )


def _path(table: Table, free: Sequence[str], is_file: Callable[[str], bool]) -> str:
    """The column of paths: of those with a fitting name the first whose first cell is a file, else the first."""
    first = lambda name: str(table.columns[name].values[0])  # noqa: E731
    pictures = (name for name in table.columns if os.path.splitext(name)[1].lower() in kinds.suffixes())
    if head := next(filter(is_file, pictures), ""):
        raise UserError(f"{table}: the first line has a file, {head!r}; put a line above it: path,label.")
    by_name = sorted((x for x in free if _plain(x) in (*PATHS, *IDS)), key=lambda x: (*PATHS, *IDS).index(_plain(x)))
    if fitting := next((name for name in (*by_name, *free) if first(name) and is_file(first(name))), ""):
        return fitting
    likely = [name for name in by_name if _plain(name) in PATHS] or by_name
    if likely:
        return likely[0]
    raise UserError(
        f"{table}: no column is called path, file, filename, image or id, and none holds files of "
        f"{listed(map(repr, free))}; name it with path=COLUMN."
    )


def _named(free: Sequence[str], names: Sequence[str]) -> str:
    fitting = [name for name in free if _plain(name) in names]
    return min(fitting, key=lambda name: names.index(_plain(name)), default="")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _told(guessed: Mapping[str, str], labelled: bool) -> list[str]:
    lines = []
    if guessed:
        found = ", ".join(f"{key}={column}" for key, column in guessed.items())
        lines.append(f"columns were chosen by their names: {found}; others are named so: table/FILE?label=COLUMN")
    if not labelled:
        lines.append(
            "there is no column of labels (label, class, category, target, labels, tags), so the pictures have none; "
            "name it with label=COLUMN, or columns of 0 and 1 with labels=A,B,C"
        )
    return lines
