"""Folders under names that Orbax and TensorStore can take.

Orbax globs its own folder: with `[`, `*` or `?` in a name it finds nothing, or a neighbour's files too. TensorStore
reads a backslash as a slash and takes UTF-8 only, and a part such as `gs:` is a bucket to them. Such a folder is given
to them as an open descriptor, /proc/self/fd/N, which is the folder itself under another name.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from jaxcls.errors import UserError
from jaxcls.text import PATH, printable
from jaxcls.types import PathLike

DESCRIPTORS = Path("/proc/self/fd")
MAGIC = re.compile(r"[\[\]*?\\]|[A-Za-z0-9+.-]+:(/|$)|[\udc80-\udcff]")  # the last: bytes that are no UTF-8
REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
PART, WHOLE = 255, 4096  # bytes, of Linux; other systems allow no more
BELOW = 200  # bytes of the longest path that is written below a workdir


@contextlib.contextmanager
def plain(folder: Path, *, held: bool = False) -> Iterator[Path]:
    """A folder that exists under a name that Orbax takes, until the context is left; most are their own.

    Args:
      folder: any.
      held: whether the name shall mean this very folder, wherever it is moved to, and nothing once it is deleted, so
        that Orbax does not make it again; where the system can't, it is the plain name.

    Raises:
      UserError: where it needs another name and the system gives none.
    """
    odd = bool(MAGIC.search(str(folder.absolute())))
    if not odd and not (held and DESCRIPTORS.is_dir()):
        yield folder.absolute()
        return
    if not DESCRIPTORS.is_dir():
        raise UserError(f"{shown(folder)}: {UNUSABLE}")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield DESCRIPTORS / str(descriptor)
    finally:
        os.close(descriptor)


UNUSABLE = "names with [ ] * ? \\ or a colon are possible under Linux only; choose another"


def check(workdir: PathLike) -> None:
    """Whether checkpoints can be kept in a workdir of this name, which need not exist.

    Raises:
      UserError: for an address of a bucket, a name that is too long, or one that needs what this system lacks.
    """
    text = os.fspath(workdir)
    if "\0" in text:
        raise UserError(f"--workdir={shown(text)} holds a zero byte; choose another.")
    if REMOTE.match(text):
        raise UserError(f"--workdir={shown(text)} is no folder of this machine; mount it and give its path.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"--workdir={shown(text)} is no text in UTF-8; choose another.") from None
    path = Path(text).absolute()
    longest = max(path.parts, key=lambda part: len(os.fsencode(part)))
    if len(os.fsencode(longest)) > PART:
        raise UserError(
            f"--workdir={shown(text)}: {len(os.fsencode(longest))} bytes in one part of the path, and {PART} are "
            "possible; choose a shorter one."
        )
    if len(os.fsencode(path)) > WHOLE - BELOW:
        raise UserError(f"--workdir={shown(text)}: more than {WHOLE - BELOW} bytes; choose a shorter path.")
    if MAGIC.search(str(path)) and not DESCRIPTORS.is_dir():
        raise UserError(f"--workdir={shown(text)}: {UNUSABLE}.")


def shown(path: PathLike) -> str:
    """A path for a message of one line."""
    return printable(path, PATH)
