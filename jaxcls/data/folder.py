"""Folders of pictures: one sub-folder per class, with or without split folders.

    root/cats/1.jpg                  one tree: `sources.load` splits it
    root/train/cats/1.jpg            split folders: train and val | valid | validation and/or test, in any case
    root/val/cats/2.jpg

Pictures may lie deeper inside a class folder. Hidden files, folders of the system (thumbnails, bins), and files without
a picture's suffix are ignored and counted. Classes are those of train, in natural order (img2 before img10). A split
folder must have the same class folders; one may be empty outside train.
"""

import collections
import difflib
import functools
import hashlib
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.data.base import LEAVES
from jaxcls.errors import UserError

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"]
)
SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


# What systems put beside pictures, in any case: NAS (Synology, QNAP), Windows, Linux, macOS's archives, Python.
SYSTEM = frozenset(
    ["@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin", "recycler"]
    + ["system volume information", "lost+found", "__macosx", "__pycache__"]
)


class FolderSource:
    """Encoded pictures of a folder. `ids` are the paths relative to `root`, with forward slashes.

    `ignored` counts the files that have no picture's suffix or are hidden.
    """

    leaves = LEAVES

    def __init__(self, root: str, ids: Sequence[str], labels: np.ndarray, classes: Sequence[str], ignored: int = 0):
        self.root, self.ids, self.classes, self.ignored = root, tuple(ids), tuple(classes), ignored
        self.labels = np.asarray(labels, np.int32)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> dict[str, Any]:
        with self._open(row) as file:
            return {"image": file.read(), "label": int(self.labels[row]), "id": self.ids[row]}

    def ends(self, row: int, head: int = 65536, tail: int = 2048) -> tuple[bytes, bytes]:
        """The first and the last bytes of a picture's file."""
        with self._open(row) as file:
            start = file.read(head)
            if len(start) == head:
                file.seek(max(0, os.fstat(file.fileno()).st_size - tail))
                return start, file.read(tail)
            return start, start[-tail:]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of relative paths, sizes and the first 4 KiB of every file.

        Not of times, so a copy on another machine has the same one. A change that keeps a file's size and its first
        4 KiB goes unseen; re-encoding, cropping and swapping pictures do not.
        """
        with ThreadPoolExecutor(16) as pool:  # the disk is waited for, not the processor
            sums = list(pool.map(self._sum, range(0, len(self), 256)))
        return hashlib.blake2b(b"".join(sums), digest_size=8).hexdigest()

    def _sum(self, start: int) -> bytes:
        state = hashlib.blake2b(digest_size=16)
        for row in range(start, min(start + 256, len(self))):
            with self._open(row) as file:
                size = os.fstat(file.fileno()).st_size
                state.update(f"{self.ids[row]}\0{size}\0".encode(errors="surrogateescape") + file.read(4096))
        return state.digest()

    def _open(self, row: int):
        try:  # unbuffered: whole files or blocks are read
            return open(os.path.join(self.root, self.ids[row]), "rb", buffering=0)
        except OSError as error:
            raise UserError(f"{self.ids[row]}: cannot be read ({error.strerror}) in {self.root}") from error


def scan(path: str | Path) -> dict[str, FolderSource]:
    """Finds the pictures of a folder: {"train": ..., "validation": ..., "test": ...}, or {"all": ...} for one tree.

    Raises:
      UserError: missing folder, no classes or fewer than two, a class without pictures, pictures outside of class
        folders, class folders that differ between splits.
    """
    root = Path(path)
    if not root.is_dir():
        raise UserError(_missing(root))
    folders, _, _ = _entries(root)
    split_folders: dict[str, str] = {}
    for name in folders:
        if split := SPLITS.get(name.lower()):
            if split in split_folders:
                raise UserError(f"{root} has two folders for {split}, {split_folders[split]!r} and {name!r}; keep one")
            split_folders[split] = name
    if "train" in split_folders and (len(split_folders) > 1 or len(folders) == 1):
        if len(split_folders) == 1:
            return {"all": _tree(root / split_folders["train"])[0]}
        return _scan_splits(root, split_folders)
    if split_folders and len(split_folders) == len(folders):
        raise UserError(f"{root} has {', '.join(sorted(folders))} but no train folder; add one, with the same classes")
    return {"all": _tree(root)[0]}


def _scan_splits(root: Path, split_folders: dict[str, str]) -> dict[str, FolderSource]:
    train, classes = _tree(root, split_folders["train"])
    sources = {"train": train}
    for split in ("validation", "test"):
        if split in split_folders:
            sources[split], _ = _tree(root, split_folders[split], classes)
    return sources


def _tree(root: Path, split: str = "", classes: list[str] | None = None) -> tuple[FolderSource, list[str]]:
    """The class folders in root/split, which must be `classes` if given; ids are relative to root."""
    base = root / split
    folders, pictures, ignored = _entries(base)
    if pictures:
        raise UserError(
            f"{base}: {len(pictures)} picture(s) lie outside of class folders, e.g. {pictures[0]!r}; "
            "move each into the folder of its class"
        )
    if not folders:
        raise UserError(f"{base} has no sub-folders; put the pictures of each class into a sub-folder of its name")
    folders.sort(key=_natural)
    if classes is None and len(folders) == 1:
        raise UserError(
            f"{base} has one sub-folder, {folders[0]!r}, but two classes are the least; if the class folders are "
            f"inside it, use folder/{base / folders[0]}"
        )
    if classes is not None:
        _same_classes(base, folders, classes)
    ids, labels, empty = [], [], []
    prefix = f"{split}/" if split else ""
    for label, name in enumerate(folders):
        paths, skipped = _pictures(base / name)
        if not paths:
            empty.append((str(base / name), skipped))
        ids += [f"{prefix}{name}/{path}" for path in sorted(paths)]
        labels += [label] * len(paths)
        ignored += skipped
    if empty and classes is None:
        raise UserError(_without_pictures(*zip(*empty, strict=True)))
    if not ids:
        raise UserError(f"{base} has no pictures; add some or remove the folder")
    return FolderSource(str(root), ids, np.array(labels, np.int32), folders, ignored), folders


def _without_pictures(folders: Sequence[str], others: Sequence[int]) -> str:
    more = f" and {len(folders) - 5} more" if len(folders) > 5 else ""
    ignored = f" (other files: {sum(others)})" if sum(others) else ""
    return (
        f"{', '.join(folders[:5])}{more}: class folder without pictures{ignored}; add some (.jpg, .png, .webp, .bmp, "
        ".gif, .tif or .ppm) or remove it"
    )


def _same_classes(base: Path, folders: list[str], classes: list[str]) -> None:
    for name in folders:
        if name not in classes:
            near = difflib.get_close_matches(name, classes, 1)
            hint = f"rename it to {near[0]!r} if that is meant" if near else "add it to train or remove it"
            raise UserError(f"{base}: class {name!r} is not in train; {hint}")
    for name in classes:
        if name not in folders:
            raise UserError(
                f"{base}: class {name!r} of train has no folder; make one (empty, if it has no pictures here)"
            )


def _pictures(folder: Path) -> tuple[list[str], int]:
    """Paths of the pictures in a class folder, relative to it, and the number of other files."""
    found, ignored = [], 0
    todo = collections.deque([""])
    while todo:
        prefix = todo.popleft()
        folders, pictures, others = _entries(folder / prefix)
        found += [prefix + name for name in pictures]
        ignored += others
        # A link to a folder could lead back up for ever, so only class folders themselves may be links.
        todo += [f"{prefix}{name}/" for name in folders if not os.path.islink(folder / prefix / name)]
    return found, ignored


def _entries(folder: Path) -> tuple[list[str], list[str], int]:
    """Names of the sub-folders and of the pictures of a folder, and the number of other files."""
    folders, pictures, ignored = [], [], 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                hidden = is_hidden(entry.name)
                if entry.is_dir():
                    folders += [] if hidden else [entry.name]
                elif hidden or os.path.splitext(entry.name)[1].lower() not in SUFFIXES:
                    ignored += 1
                else:
                    pictures.append(entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from error
    return folders, pictures, ignored


def is_hidden(name: str) -> bool:
    """Whether a file or folder is left out by its name: hidden ones, and what systems put there by themselves."""
    return name.startswith(".") or name.lower() in SYSTEM


def _natural(name: str) -> tuple:
    """Sort key with numbers as numbers: img2 before img10."""
    return [(int(x), "") if x.isdecimal() else (-1, x) for x in re.split(r"(\d+)", name.casefold())], name


def _missing(root: Path) -> str:
    """The message for a folder that is not there: the nearest parent that is, and similar names in it."""
    if root.exists():
        return f"{root} is a file, not a folder; unpack it if it is an archive"
    parent, child = root.absolute().parent, root.name
    while not parent.is_dir():
        parent, child = parent.parent, parent.name
    similar = difflib.get_close_matches(child, _entries(parent)[0], 3)
    hint = f"which has {' and '.join(map(repr, similar))}" if similar else f"which has no {child!r}"
    return f"folder {root} does not exist; the nearest that does is {parent}, {hint}"
