"""Where the files of a table are: each folder is listed once, no file is opened."""

import os
import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from jaxcls.data import kinds
from jaxcls.errors import UserError
from jaxcls.text import printable

NO_FILE = "there is no such file or folder"
_ADDRESSES = ("http://", "https://", "s3://", "gs://")


class _Folder:
    """The names of the files of one folder, and of its pictures by their names without suffix."""

    def __init__(self, path: str):
        self.files: set[str] = set()
        self._stems: dict[str, list[str]] | None = None
        try:
            with os.scandir(path) as entries:
                self.files = {entry.name for entry in entries if _is_file(entry)}
        except (OSError, ValueError):  # not there; ValueError: of a name with a NUL
            pass

    def completed(self, stem: str) -> list[str]:
        """The pictures that have this name and a suffix."""
        if self._stems is None:
            self._stems, suffixes = {}, kinds.suffixes()
            for name in sorted(self.files):
                base, suffix = os.path.splitext(name)
                if suffix.lower() in suffixes:
                    self._stems.setdefault(base, []).append(name)
        return self._stems.get(stem, [])


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


class Finder:
    """Files below a folder, whose folders are listed when they are first asked for."""

    def __init__(self, root: str | Path):
        self.root = root
        self.folders: dict[str, _Folder] = {}

    def has(self, name: str) -> bool:
        """Whether there is a file of this name, as `find` finds it."""
        return not self.find([name])[1]

    def find(self, names: Iterable[str]) -> tuple[list[str], dict[int, str]]:
        """(paths relative to the root, number of a name -> why it is no file).

        A path is found as it stands, with `/` for a backslash, in another Unicode form, or, where it has no picture's
        suffix, by the one picture of that name with a suffix.
        """
        found: list[str] = []
        problems: dict[int, str] = {}
        for number, name in enumerate(names):
            path = self._path(name)
            if path is None:
                path = _plain(name)
                problems[number] = _why(path, self.folders)
            found.append(path)
        return found, problems

    def _path(self, name: str) -> str | None:
        for way in _WAYS:
            plain = _plain(way(name))
            head, _, tail = plain.rpartition("/")
            folder = self.folders.get(head)
            if folder is None:
                place = os.path.join(self.root, f"{head}/" if head or plain[:1] == "/" else "")
                folder = self.folders[head] = _Folder(place)
            if tail in folder.files:
                return plain
            if len(matches := folder.completed(tail)) == 1:
                return plain[: len(plain) - len(tail)] + matches[0]
        return None


_WAYS: tuple[Callable[[str], str], ...] = (
    str,
    lambda name: name.replace("\\", "/"),
    lambda name: unicodedata.normalize("NFC", name),
    lambda name: unicodedata.normalize("NFD", name),
)


def _plain(name: str) -> str:
    """A path without `./` and the like, so that one file has one name."""
    if name.startswith((".", "//")) or "/." in name or "//" in name:
        return posixpath.normpath(name)
    return name


def _why(name: str, folders: dict[str, _Folder]) -> str:
    if not name or name == ".":
        return "the cell is empty"
    if name.startswith(_ADDRESSES) or name.startswith(tuple(x.replace("//", "/") for x in _ADDRESSES)):
        return "it is an address; download the pictures and name their files"
    head, _, tail = name.rpartition("/")
    matches = folders[head].completed(tail) if head in folders else []
    return f"{' and '.join(map(repr, matches[:2]))} both have this name; write the suffix" if matches else NO_FILE


def refuse(table: str, column: str, root: Path, ids: Sequence[str], problems: dict[int, str]) -> None:
    """Raises UserError where paths are no files, or two rows have the same one; all are counted, the first named."""
    if problems:
        first = next(iter(problems))
        why, count = problems[first], len(problems)
        where = f" in {printable(root)}" if why == NO_FILE else ""
        hint = _elsewhere(root, ids[first]) if why == NO_FILE else ""
        raise UserError(
            f"{table}: {count:,} of {len(ids):,} paths in column {column!r} are no files: "
            f"{printable(ids[first])!r}: {why}{where}{hint or '; add the files, or remove the rows'}."
        )
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        doubled = [name for name in ids if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        raise UserError(
            f"{table}: {len(doubled):,} row(s) name a file that an earlier row names, e.g. {printable(doubled[0])!r}; "
            "keep one row a picture (several labels of it stand in one cell: cat|dog)."
        )


def _elsewhere(root: Path, name: str) -> str:
    """That the file is there if paths count from another folder: one inside of the root, the one above, the current."""
    try:
        inside = sorted(entry.path for entry in os.scandir(root) if entry.is_dir())[:1000]
    except OSError:
        inside = []
    for folder in (*inside, os.path.join(root, ".."), "."):
        if Finder(folder).has(name):
            return (
                f"; it is in {printable(folder)}, from which paths count with root={printable(os.path.abspath(folder))}"
            )
    return ""
