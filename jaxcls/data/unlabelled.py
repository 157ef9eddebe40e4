"""Pictures without labels: a folder whose sub-folders, where there are any, mean nothing.

    root/1.jpg    root/2024/01/7.jpg    root/cats/3.jpg

All pictures below the folder are for training, in the order of their paths. What is left out is as in `data.folder`.
"""

from pathlib import Path

import numpy as np

from jaxcls.data import folder_checks, listing
from jaxcls.data.base import Source
from jaxcls.data.folder_source import FolderSource
from jaxcls.data.layout import listed, split_of
from jaxcls.data.views import renumbered
from jaxcls.errors import UserError
from jaxcls.text import printable

NONE = -1  # the label of a picture that has none


def scan(path: str | Path) -> dict[str, FolderSource]:
    """{"train": all pictures below a folder}, without classes, every label NONE.

    Raises:
      UserError: for a folder that is not there, can't be read or holds no picture.
    """
    root = Path(path)
    if not root.is_dir():
        raise UserError(folder_checks.missing(root))
    first = listing.read(root)
    found = listing.walk(root, first)
    if not found.pictures:
        there = folder_checks.there(root, found.others)
        raise UserError(f"{printable(root)} has no pictures{there}; add some (.jpg, .png, .webp, .bmp, .gif, ...)")
    notes = []
    if splits := [name for name in sorted(first.folders) if split_of(name)]:
        notes.append(
            f"{listed(splits)}: the name of a split, but all pictures below {printable(root)} are for training; "
            f"unlabelled/{printable(root / splits[0])} has those of {splits[0]!r} alone"
        )
    labels = np.full(len(found.pictures), NONE, np.int32)
    ids = sorted(found.pictures)
    return {"train": FolderSource(str(root), ids, labels, (), found.others.reasons(root), notes)}


def without_labels(source: Source) -> Source:
    """The same pictures without classes, every label NONE."""
    return renumbered(source, ())
