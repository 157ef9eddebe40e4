"""Files that are whole or not there: atomic writing, JSON that may be missing or damaged, arrays kept beside a key.

What is read is a regular file and of bounded size: a device may give zeros for ever, a pipe may never give anything.
"""

import contextlib
import errno
import functools
import json
import math
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from jaxcls.errors import UserError
from jaxcls.types import PathLike

if TYPE_CHECKING:
    import numpy as np

REMEDY = "free some space, or mend what is wrong there"
LARGEST = 128 * 2**20  # bytes of a text: a table of two million pictures has less


@contextlib.contextmanager
def replacing(path: str | Path, remedy: str = REMEDY) -> Iterator[Path]:
    """Gives a path to write to, which takes the place of `path` at the end: readers see the old file or the new one.

    Folders that are missing are made. Whatever goes wrong, nothing is left beside the old file.

    Raises:
      UserError: for an OSError; `remedy` ends the message.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"{path} can't be written: {error.strerror or error}; {remedy}.") from error
        raise


def expanded(text: str) -> str:
    """A path as it was given, less `~` and `~user`, which a shell leaves in `--workdir=~/runs` and a config has, too.

    Raises:
      UserError: where there is no such home folder.
    """
    there = os.path.expanduser(text)
    if there.startswith("~") and not os.path.lexists(text):
        home = text.partition("/")[0]
        raise UserError(f"{text}: no home folder {home} is known; write ./{text} for a name that begins with ~")
    return there


def path(text: str | Path) -> Path:
    """`expanded`, as a Path."""
    return Path(expanded(str(text)))


def cache() -> Path:
    """Where what can be made again is kept: XDG_CACHE_HOME, ~/.cache, or where there is no home a temporary folder."""
    home = os.path.expanduser("~")
    fallback = Path(tempfile.gettempdir() if home == "~" else home) / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or fallback)


def free_name(path: Path) -> Path:
    """The path, or where something is there already, the first of `name-2`, `name-3`, ... that is free."""
    names = [path, *(path.with_name(f"{path.stem}-{n}{path.suffix}") for n in range(2, 1000))]
    return next(name for name in names if not name.exists())


def write_json(path: str | Path, value: Any, remedy: str = REMEDY, **options: Any) -> None:
    """Writes a JSON file atomically; `options` are those of json.dumps. Numbers that are not finite, which JSON lacks,
    become null. Raises UserError where it can't be written."""
    with replacing(path, remedy) as temporary:
        temporary.write_text(json.dumps(_finite(value), indent=1, **options) + "\n")


def _finite(value):
    """A value with None for floats that are not finite, within dicts and lists, too."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def open_regular(path: PathLike, limit: int | None = LARGEST, mode: str = "rb", **options: Any) -> IO[Any]:
    """Opens a regular file, or a link to one, to be read; `options` are those of `open`.

    Raises:
      OSError: as `open` does; also, with words in `strerror`, for anything else than a regular file (at once: nothing
        waits for the other end of a pipe) and for one of more than `limit` bytes.
    """
    _require_regular(os.stat(path), limit, path)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _require_regular(os.fstat(descriptor), limit, path)  # it may have been replaced in between
        return os.fdopen(descriptor, mode, **options)
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(found, limit, path):
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or device, not a regular file", str(path))
    if limit is not None and found.st_size > limit:
        raise OSError(errno.EFBIG, f"it has {found.st_size:,} bytes, where at most {limit:,} are read", str(path))


def short_lines(file: IO[str]) -> Iterator[str]:
    """The lines of a text for csv.reader, of at most 2**20 characters: longer ones, of no table, come in parts."""
    return iter(functools.partial(file.readline, 2**20), "")


def read_bytes(path: PathLike, limit: int = LARGEST) -> bytes:
    """What a regular file holds. Raises OSError as `open_regular` does."""
    with open_regular(path, limit) as file:
        content = file.read(limit + 1)
    if len(content) > limit:  # it grew, or is one of those whose size the system does not tell
        raise OSError(errno.EFBIG, f"it has more than the {limit:,} bytes that are read at most", str(path))
    return content


def read_json(path: str | Path, *, strict: bool = False, limit: int = LARGEST) -> Any:
    """What a JSON file of at most `limit` bytes holds; None where it is missing.

    One that is damaged or can't be read is None, too; with `strict` it raises UserError.
    """
    try:
        return json.loads(read_bytes(path, limit))
    except (OSError, ValueError, RecursionError) as error:
        if strict and not isinstance(error, FileNotFoundError):
            raise UserError(f"{path} cannot be read or is damaged; delete it or make it anew") from error
        return None


@contextlib.contextmanager
def open_arrays(path: str | Path) -> Iterator["np.lib.npyio.NpzFile"]:
    """The arrays of a file of `np.savez`, which are read when they are asked for. They can't take more memory than the
    file has bytes: compressed ones, which `np.savez` does not write, are refused.

    Raises:
      OSError, ValueError: or a dozen others for a damaged file, when it is opened as when an array is asked for.
    """
    import numpy as np

    with open_regular(path, None) as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(4) != b"PK\3\4":
            raise ValueError("it is no archive of arrays")
        file.seek(0)
        with np.load(file) as archive:
            members = archive.zip.infolist()
            if any(x.compress_type != zipfile.ZIP_STORED for x in members) or sum(x.file_size for x in members) > size:
                raise ValueError("it is compressed")
            yield archive


def read_arrays(path: str | Path, key: str) -> "dict[str, np.ndarray] | None":
    """Name -> array of a file that `write_arrays` made with this key; None where it is missing or another."""
    try:
        with open_arrays(path) as file:
            if str(file["key"]) == key:
                return {name: file[name] for name in file.files if name != "key"}
    except Exception:  # NumPy and zipfile raise a dozen types for damaged files; it is computed again
        pass
    return None


def write_arrays(path: str | Path, key: str, **arrays: "np.ndarray") -> None:
    """Writes arrays that took long to compute, beside the key that says what they are of.

    Raises:
      UserError: where it can't be written.
    """
    import numpy as np

    with replacing(path) as temporary, open(temporary, "wb") as file:
        content: dict[str, Any] = {"key": key, **arrays}
        np.savez(file, **content)
