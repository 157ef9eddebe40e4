"""Arrays that took long to compute, kept in a file beside the key that says what they are of."""

import os
from pathlib import Path

import numpy as np

from jaxcls.errors import UserError


def read(path, key):
    """Name -> array of a file that `write` made with this key; None where it is missing, damaged or of another key."""
    try:
        with np.load(path) as file:
            if str(file["key"]) == key:
                return {name: file[name] for name in file.files if name != "key"}
    except Exception:  # NumPy and zipfile raise a dozen types for damaged files; it is computed again
        pass
    return None


def write(path, key, **arrays):
    """Writes arrays by name, whole or not at all. Raises UserError where it can't."""
    path = Path(path)
    temporary = path.with_suffix(".tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, key=key, **arrays)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path} can't be written: {error.strerror or error}; free some space.") from error
