"""Decodes only a box of a JPEG, through TurboJPEG 3 (libjpeg-turbo 3) where that is installed.

No package of Python's does: simplejpeg and Pillow decode the whole. So the library is called by ctypes, which lets go
of the interpreter's lock. Source: libjpeg-turbo, turbojpeg.h (tj3SetCroppingRegion, tj3Decompress8).
"""

import ctypes
import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np

_DECOMPRESS = 1  # TJINIT_DECOMPRESS
_STOP_ON_WARNING, _SUBSAMPLING, _WIDTH, _HEIGHT, _FAST_UPSAMPLE, _FAST_DCT = 0, 4, 5, 6, 9, 10  # TJPARAM_...
_RGB, _GREY = 0, 6  # TJPF_...
# Width of an iMCU, where a box can begin, by TJPARAM_SUBSAMP: 444, 422, 420, grey, 440, 411, 441.
_BLOCK = (8, 16, 16, 8, 8, 32, 8)
_LEAST = 6  # columns below which libjpeg doesn't interpolate (jdsample.c: three of chroma)
_NAMES = ("libturbojpeg.so.0", "libturbojpeg.0.dylib", "libturbojpeg.dylib")


class _Scale(ctypes.Structure):
    _fields_ = [("num", ctypes.c_int), ("denom", ctypes.c_int)]


class _Region(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "w", "h")]


def decode(
    encoded: bytes, box: tuple[int, int, int, int], shrink: int = 1, *, grey: bool = False, fast: bool = False
) -> np.ndarray | None:
    """A box of a JPEG at 1 / shrink of its size: to the bit the same part of the picture decoded in full.

    Rows below the box are not read; neither is what is damaged there noticed.

    Args:
      encoded: the file.
      box: (top, left, bottom, right) in pixels of the picture at that scale, within it.
      shrink: 1, 2, 4 or 8.
      grey: one channel, of a JPEG that has no more; else RGB.
      fast: libjpeg's faster transform and chroma upsampling.

    Returns:
      uint8 [bottom - top, right - left, 1 or 3], maybe not contiguous; None where there is no library, for anything
      that it warns of, and for a JPEG of which it can't decode a part. Decoding the whole says why.
    """
    library = found()
    if library is None:
        return None
    # Anew each time (3 us): before 3.1.2 one that is used again may write to memory that it has freed, where `fast`
    # skips rows, and after a warning some refuse whatever comes next.
    pointer = library.tj3Init(_DECOMPRESS)
    if not pointer:
        raise MemoryError("libturbojpeg")
    try:
        return _decode(library, pointer, encoded, box, shrink, grey, fast)
    finally:
        library.tj3Destroy(pointer)


def _decode(library, pointer, encoded, box, shrink, grey, fast):
    if library.tj3Set(pointer, _STOP_ON_WARNING, 1) or library.tj3DecompressHeader(pointer, encoded, len(encoded)):
        return None
    kind = library.tj3Get(pointer, _SUBSAMPLING)
    if not 0 <= kind < len(_BLOCK):
        return None
    # Chroma is interpolated between neighbours, so a pixel at the border of a region is another one than in the whole.
    height, width = (-(-library.tj3Get(pointer, n) // shrink) for n in (_HEIGHT, _WIDTH))
    y, x, bottom, right = max(0, box[0] - 1), max(0, box[1] - 1), min(height, box[2] + 1), min(width, box[3] + 1)
    x = min(x, max(0, right - _LEAST))
    x -= x % max(1, _BLOCK[kind] // shrink)
    right = min(width, max(right, x + _LEAST))
    out = np.empty((bottom - y, right - x, 1 if grey else 3), np.uint8)
    failed = (
        library.tj3Set(pointer, _FAST_UPSAMPLE, fast)
        or library.tj3Set(pointer, _FAST_DCT, fast)
        or library.tj3SetScalingFactor(pointer, _Scale(1, shrink))
        or library.tj3SetCroppingRegion(pointer, _Region(x, y, right - x, bottom - y))
        or library.tj3Decompress8(pointer, encoded, len(encoded), out.ctypes.data, 0, _GREY if grey else _RGB)
    )
    return None if failed else out[box[0] - y : box[2] - y, box[1] - x : box[3] - x]


@functools.cache
def found() -> Any:
    """libturbojpeg 3: of the environment, of the system, or of the wheel `turbojpeg`; None where there is none."""
    for path in _places():
        try:
            library = ctypes.CDLL(path)
            return _declared(library)
        except (OSError, AttributeError):  # not there; TurboJPEG 2, which has no such functions
            continue
    return None


def _places():
    """Names and paths, those that are kept up to date by somebody first."""
    for name in _NAMES:
        yield str(Path(sys.prefix, "lib", name))
        yield name
    spec = importlib.util.find_spec("turbojpeg")
    if spec is not None and spec.origin:
        yield from map(str, sorted(Path(spec.origin).parent.glob("turbojpeg.libs/libturbojpeg-*")))


def _declared(library):
    """The library with the types of its functions."""
    integer, pointer, size = ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t
    library.tj3Init.restype = pointer
    for function, *arguments in (
        (library.tj3Init, integer),
        (library.tj3Destroy, pointer),
        (library.tj3Set, pointer, integer, integer),
        (library.tj3Get, pointer, integer),
        (library.tj3DecompressHeader, pointer, ctypes.c_char_p, size),
        (library.tj3SetScalingFactor, pointer, _Scale),
        (library.tj3SetCroppingRegion, pointer, _Region),
        (library.tj3Decompress8, pointer, ctypes.c_char_p, size, pointer, integer, integer),
    ):
        function.argtypes = arguments
    library.tj3Destroy.restype = None
    return library
