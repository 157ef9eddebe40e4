"""NumPy's files as pictures: [h, w] or [h, w, c] of numbers. Nothing is unpickled, whatever a header says."""

import io
import math

import numpy as np

from jaxcls.data import bounds
from jaxcls.data.windows import Stored
from jaxcls.errors import UserError

WHAT = "a picture is [h, w] or [h, w, c] of uint8, uint16 or other numbers"


def header(encoded: bytes, name: str) -> tuple[tuple[int, int, int], np.dtype, bool, int]:
    """((h, w, c), dtype, whether columns come first (Fortran's order), where the numbers begin). Raises UserError."""
    file = io.BytesIO(encoded)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # a literal of Python that makes no sense
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{name or 'picture'}: damaged NumPy file ({reason}); save it again") from error
    if dtype.hasobject:
        raise UserError(f"{name or 'picture'}: a NumPy file of Python objects, which are not read; {WHAT}")
    if dtype.kind not in "uif" or len(shape) not in (2, 3) or not all(shape):
        raise UserError(f"{name or 'picture'}: a NumPy file of {dtype} {shape}; {WHAT}")
    return (shape[0], shape[1], shape[2] if len(shape) == 3 else 1), dtype, fortran, file.tell()


def read(encoded: bytes, max_pixels: int, name: str) -> Stored:
    """The numbers. uint8 are levels, uint16 have their whole range, of others no range is known. Raises UserError."""
    shape, dtype, fortran, start = header(encoded, name)
    bounds.check_size(*shape[:2], max_pixels, name)
    if math.prod(shape) * dtype.itemsize > len(encoded) - start:
        raise UserError(f"{name or 'picture'}: truncated NumPy file, its data ends early; save it again")
    values = np.frombuffer(encoded, dtype, math.prod(shape), start)
    values = values.reshape(shape, order="F" if fortran else "C")
    known: dict[str, tuple[float, float]] = {"u1": (0.0, 255.0), "u2": (0.0, 65535.0)}
    return Stored(values, known.get(dtype.str[1:]), takes=dtype.str[1:] != "u1")


def whole(encoded: bytes, length: int) -> bool:
    """Whether a file of this length, of which these are the first bytes, has all its numbers. Raises UserError."""
    shape, dtype, _, start = header(encoded, "")
    return start + math.prod(shape) * dtype.itemsize <= length
