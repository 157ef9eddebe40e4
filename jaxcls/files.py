"""Files that are whole or not there: atomic writing, JSON that may be missing or damaged, arrays kept beside a key."""

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.errors import UserError

REMEDY = "free some space, or mend what is wrong there"


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


def read_json(path: str | Path, *, strict: bool = False) -> Any:
    """What a JSON file holds; None where it is missing.

    One that is damaged or can't be read is None, too; with `strict` it raises UserError.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        if strict and not isinstance(error, FileNotFoundError):
            raise UserError(f"{path} cannot be read or is damaged; delete it or make it anew") from error
        return None


def read_arrays(path: str | Path, key: str) -> dict[str, np.ndarray] | None:
    """Name -> array of a file that `write_arrays` made with this key; None where it is missing or another."""
    try:
        with np.load(path) as file:
            if str(file["key"]) == key:
                return {name: file[name] for name in file.files if name != "key"}
    except Exception:  # NumPy and zipfile raise a dozen types for damaged files; it is computed again
        pass
    return None


def write_arrays(path: str | Path, key: str, **arrays: np.ndarray) -> None:
    """Writes arrays that took long to compute, beside the key that says what they are of.

    Raises:
      UserError: where it can't be written.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        content: dict[str, Any] = {"key": key, **arrays}
        np.savez(file, **content)
