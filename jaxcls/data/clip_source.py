"""Folders of clips, `clips/PATH`: class folders as `data.folder` has them, with or without split folders.

    root/left/1.gif           a file that moves is a clip: GIF, animated WebP and PNG, .npy, .npz, videos
    root/left/deeper/2.mp4
    root/right/3/001.jpg      still pictures in a folder below that of the class are the frames of one clip
    root/right/3/002.jpg

Still pictures right in a class folder are refused: `folder/PATH` is for these.
"""

import functools
import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.data import clip_files, folder, layout
from jaxcls.data.folder_source import FolderSource
from jaxcls.errors import UserError
from jaxcls.text import printable


class ClipSource(FolderSource):
    """Clips of a folder: an item's `image` is the bytes of a file, or `clip_files.FrameFiles`.

    `ids` are paths of files and of folders of frames, relative to `root`.
    """

    clips = True

    def __init__(self, files: FolderSource, ids: Sequence[str], labels: np.ndarray, frames: Mapping[str, list[str]]):
        """`files`: all that belong to clips; `frames`: id of a folder of frames -> the names of these."""
        super().__init__(files.root, ids, labels, files.classes, files.left_out, files.notes)
        self.files, self.frames = files, dict(frames)

    def __getitem__(self, row: int) -> dict[str, Any]:
        name = self.ids[row]
        if name not in self.frames:
            return super().__getitem__(row)
        image = clip_files.of_folder(os.path.join(self.root, name), self.frames[name])
        return {"image": image, "label": int(self.labels[row]), "id": name}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of all files of all clips (FolderSource)."""
        return self.files.fingerprint


def scan(path: str | Path, *, trains: bool = True) -> dict[str, ClipSource]:
    """The clips of a folder, by split, as `folder.scan` has pictures.

    Raises:
      UserError: as there; for still pictures right in a class folder, and for videos where PyAV is missing.
    """
    found = folder.scan(path, trains=trains, suffixes=clip_files.suffixes())
    return {split: of_files(source) for split, source in found.items()}


def of_files(files: FolderSource) -> ClipSource:
    """The clips that some files are, by class and name. Raises UserError as `scan`."""
    folders: dict[str, list[str]] = {}
    label_of: dict[str, int] = {}
    for name, label in zip(files.ids, files.labels.tolist(), strict=True):
        parent, _, base = name.rpartition("/")
        folders.setdefault(parent, []).append(base)
        label_of[parent] = label
    labels: dict[str, int] = {}
    frames: dict[str, list[str]] = {}
    still: list[str] = []
    for parent, names in folders.items():
        alone, pictures = clip_files.divided(os.path.join(files.root, parent), names)
        labels |= {f"{parent}/{name}": label_of[parent] for name in alone}
        if pictures and parent in files.places:
            still += [f"{parent}/{name}" for name in pictures]
        elif pictures:
            labels[parent], frames[parent] = label_of[parent], pictures
    _refuse(files.root, still, labels)
    ids = sorted(labels, key=lambda name: (labels[name], layout.natural(name)))
    return ClipSource(files, ids, np.array([labels[name] for name in ids], np.int32), frames)


def _refuse(root: str, still: Sequence[str], names: Iterable[str]) -> None:
    """Raises UserError for still pictures that are no frames, and for videos that can't be read."""
    place = printable(root)
    if still:
        raise UserError(
            f"{place}: {len(still):,} still picture(s) right in class folders, e.g. {printable(still[0])!r}; frames of "
            "a clip lie in a folder of their own below it, and folder/PATH is for still pictures"
        )
    videos = [name for name in names if os.path.splitext(name)[1].lower() in clip_files.VIDEOS]
    if videos and importlib.util.find_spec("av") is None:
        raise UserError(f"{place}: {len(videos):,} video(s), e.g. {printable(videos[0])!r}; {clip_files.NO_PYAV}")
