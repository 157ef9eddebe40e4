"""What lies in a folder: sub-folders, pictures, and all that is left out, by the reason why."""

import collections
import dataclasses
import operator
import os
import re
from collections.abc import Collection, Mapping

from jaxcls.data import kinds
from jaxcls.errors import UserError
from jaxcls.text import printable
from jaxcls.types import PathLike

# What systems put beside pictures, in any case: NAS (Synology, QNAP, NetApp), Windows, Linux, macOS with its archives
# and shares, Python. What begins with a dot is hidden anyway.
SYSTEM = frozenset(
    ["@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "#recycle", "#snapshot", "~snapshot"]
    + ["$recycle.bin", "recycler", "system volume information", "lost+found", "__macosx"]
    + ["network trash folder", "temporary items", "__pycache__"]
)
HIDDEN, SYSTEMS = "hidden file(s) or folder(s)", "folder(s) of the system or of a NAS"
LINKS, SPECIAL = "link(s) to folders, which may lead back up", "pipe(s), sockets or devices, or links to them"
PROBES = 4  # files of a suffix that are looked into
SUFFIXES = 64  # suffixes, beyond which files are not looked into
HEAD = 512  # bytes
# Kinds that a file of its own suffix may well have: nothing has to be done.
_NO_PICTURE = ("text", "XML", "HTML", "macOS resource fork", "thumbnail cache or Office document", "NumPy", "HDF5")
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp")
_RAW = (".nef", ".nrw", ".arw", ".sr2", ".srf", ".dng", ".pef", ".srw", ".3fr", ".iiq", ".erf", ".kdc", ".mef", ".dcr")
_RENAME = {"JPEG": ".jpg", "TIFF": ".tif", "DICOM": ".dcm", "NumPy": ".npy"}


@dataclasses.dataclass
class Others:
    """Files and folders that are left out: reason or suffix (which begins with a dot, or is empty) -> (number, paths of
    the first few, relative to the same folder)."""

    found: dict[str, tuple[int, list[str]]] = dataclasses.field(default_factory=dict)

    def add(self, key: str, path: str, number: int = 1) -> None:
        """One more, or several, of a reason or suffix."""
        count, paths = self.found.setdefault(key, (0, []))
        self.found[key] = (count + number, paths if len(paths) >= PROBES else [*paths, path])

    def update(self, others: "Others", prefix: str = "") -> None:
        """Those of a folder inside, whose paths begin with this prefix here."""
        for key, (count, paths) in others.found.items():
            number, known = self.found.get(key, (0, []))
            self.found[key] = (number + count, [*known, *(prefix + path for path in paths)][:PROBES])

    def reasons(self, root: PathLike) -> dict[str, tuple[int, str]]:
        """Reason -> (number, path of the first). Files of other suffixes than those of pictures are named by the first
        bytes of up to four of each."""
        found: dict[str, tuple[int, str]] = {}
        for number, (key, (count, paths)) in enumerate(self.found.items()):
            reason = key
            if key[:1] in ("", "."):
                reason = _reason(key, _kind(root, paths) if number < SUFFIXES else None)
            found[reason] = (found[reason][0] + count, found[reason][1]) if reason in found else (count, paths[0])
        return found


def told(left_out: Mapping[str, tuple[int, str]]) -> list[str]:
    """A line for each reason why files were left out, the most frequent first."""
    ordered = sorted(left_out.items(), key=lambda item: -item[1][0])
    return [f"left out: {count:,} {printable(why)}, e.g. {printable(first)}" for why, (count, first) in ordered]


def _kind(root: PathLike, paths: list[str]) -> str | None:
    """The most frequent kind of some files; "empty" where they are, None where it is unknown."""
    found = []
    for path in paths:
        try:
            with open(os.path.join(root, path), "rb", buffering=0) as file:
                head = file.read(HEAD)
            found.append(kinds.of(head) if head else "empty")
        except OSError:
            found.append(None)
    return collections.Counter(found).most_common(1)[0][0] if found else None


def _reason(suffix: str, kind: str | None) -> str:
    """Why files of a suffix, or without one (""), and of a kind are left out, with a remedy if they may be pictures."""
    if suffix in _RAW and kind in ("TIFF", None):
        kind = "camera raw"
    if kind is None:
        return f"{suffix} file(s)" if suffix else "file(s) without a suffix"
    if kind in kinds.readable():
        has = f"with the suffix {suffix}" if suffix else "without a suffix"
        if suffix in _UNFINISHED:
            return f"{kind} file(s) {has} (probably unfinished downloads; fetch them again)"
        return f"{kind} file(s) {has} (if they are pictures, rename them to {_RENAME.get(kind, f'.{kind.lower()}')})"
    return f"{kind} file(s)" + ("" if kind in (*_NO_PICTURE, "empty") else f" ({kinds.remedy(kind)})")


@dataclasses.dataclass
class Listing:
    """Names of the sub-folders and of the pictures of a folder, and what else is there."""

    folders: list[str] = dataclasses.field(default_factory=list)
    pictures: list[str] = dataclasses.field(default_factory=list)
    others: Others = dataclasses.field(default_factory=Others)


def read(folder: PathLike, suffixes: Collection[str] | None = None) -> Listing:
    """Lists a folder, not what is in its sub-folders. Raises UserError where that is not possible.

    `suffixes`: of what counts as pictures; None for those of pictures that can be read (`kinds.suffixes`).
    """
    found, suffixes = Listing(), kinds.suffixes() if suffixes is None else suffixes
    try:
        with os.scandir(os.fspath(folder)) as entries:
            for entry in sorted(entries, key=operator.attrgetter("name")):
                if why := left_out_by_name(entry.name):
                    found.others.add(why, entry.name)
                elif _is_dir(entry):
                    found.folders.append(entry.name)
                elif _is_special(entry):
                    found.others.add(SPECIAL, entry.name)
                elif os.path.splitext(entry.name)[1].lower() in suffixes:
                    found.pictures.append(entry.name)
                else:
                    found.others.add(suffix_of(entry.name), entry.name)
    except OSError as error:
        raise UserError(f"{printable(folder)}: cannot be read ({error.strerror})") from error
    return found


def walk(folder: PathLike, first: Listing | None = None, suffixes: Collection[str] | None = None) -> Listing:
    """All pictures at any depth, as paths relative to the folder, and all that was left out; `folders` is empty.

    Args:
      folder: where to look.
      first: what `read` gave for it, if that is known.
      suffixes: as of `read`.
    """
    found = Listing()
    todo = collections.deque([""])
    while todo:
        prefix = todo.popleft()
        place = os.path.join(folder, prefix)
        here = first if first and not prefix else read(place, suffixes)
        found.pictures += [prefix + name for name in here.pictures]
        found.others.update(here.others, prefix)
        for name in here.folders:
            # A link to a folder could lead back up for ever, so only class folders themselves may be links.
            if os.path.islink(os.path.join(place, name)):
                found.others.add(LINKS, prefix + name)
            else:
                todo.append(f"{prefix}{name}/")
    return found


def left_out_by_name(name: str) -> str:
    """Why a file or folder is left out by its name, hidden ones and what systems put there; "" for others."""
    if name.lower() in SYSTEM:
        return SYSTEMS
    return HIDDEN if name.startswith(".") else ""


def suffix_of(name: str) -> str:
    """The suffix in lower case, with its dot; "" for none, or one that is a number or very long (cat.0001)."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix if re.fullmatch(r"\.(?=.*[^\W\d])\w{1,10}", suffix) else ""


def _is_dir(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _is_special(entry: os.DirEntry) -> bool:
    """Whether it is a pipe, a socket or a device, or a link to one: reading them may never end."""
    if entry.is_symlink():  # one that leads nowhere may have a picture's name, whose line then says so
        return os.path.exists(entry.path) and not os.path.isfile(entry.path)
    return not entry.is_file()


def added(first: Mapping[str, tuple[int, str]], second: Mapping[str, tuple[int, str]]) -> dict[str, tuple[int, str]]:
    """What was left out in two places: reason -> (number of both, path of the first)."""
    total = dict(first)
    for why, (count, path) in second.items():
        known, example = total.get(why, (0, path))
        total[why] = (known + count, example)
    return total
