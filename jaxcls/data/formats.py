"""Pictures that Pillow decodes: every kind that is read but the usual JPEG.

By hand instead of Image.open: what a picture costs is judged by the header, before Pillow's process-wide limit raises
without naming it, and no other format (EPS starts Ghostscript) is ever tried on a stranger's bytes.
"""

import ctypes
import functools
import importlib
import io
import logging
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxcls.data import bounds, containers, kinds, samples
from jaxcls.data.samples import conversion, grey, scaled_ppm, tags
from jaxcls.errors import UserError, of_picture

# A corrupt tag or a palette with transparency is no news for a terminal. At the import, since `catch_warnings` changes
# the filters of all threads at once.
warnings.filterwarnings("ignore", module=r"PIL\b")
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)

_READERS = {  # module, class
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "PPM": ("PIL.PpmImagePlugin", "PpmImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIC": ("pillow_heif", "HeifImageFile"),
}
# Bytes a pixel of Pillow's images, 4 for other modes, and what decoders need beside them and the result. Measured:
# tests/data/test_bombs.py.
_EACH = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
_BESIDE = {"WebP": 10.0, "AVIF": 14.0, "HEIC": 12.0}

# How the EXIF orientations 2..8 are undone, as in PIL.ImageOps.exif_transpose.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[:, ::-1].swapaxes(0, 1),
}
_STORED = {**UPRIGHT, 6: UPRIGHT[8], 8: UPRIGHT[6]}  # the inverse: a view, as it is stored, of an upright picture


class Opened(NamedTuple):
    """A picture of which only the header was read.

    Attributes:
      kind: its name in `kinds`.
      picture: Pillow's, not loaded.
      encoded: the bytes that it reads: without what no pixel depends on.
      orientation: that is left to do, 1 to 8.
    """

    kind: str
    picture: Any
    encoded: bytes
    orientation: int


def open_(encoded: bytes, name: str) -> Opened:
    """Reads the header of a picture.

    Raises:
      UserError: for what is no picture, is of a kind that can't be read here, or has a damaged header.
    """
    if not encoded:
        raise UserError(f"{name or 'picture'}: empty file; replace or remove it")
    kind = kinds.of(encoded[:512])
    if kind is None:
        raise UserError(
            f"{name or 'picture'}: not a picture (it starts with {bytes(encoded[:8])!r}; JPEG, PNG, WebP, BMP, GIF, "
            "TIFF and PPM are read); convert or remove it"
        )
    if kind not in kinds.readable():
        raise UserError(f"{name or 'picture'}: not a picture that is read here, but {kind}; {kinds.remedy(kind)}")
    try:
        return _opened(kind, encoded)
    except Exception as error:  # Pillow's readers raise nearly any kind for bytes that make no sense
        raise UserError(
            f"{name or 'picture'}: not a picture, or truncated or damaged in its header ({_reason(error)}); replace or "
            "remove it"
        ) from error


def _opened(kind: str, encoded: bytes) -> Opened:
    exif, xmp = b"", b""
    if kind == "JPEG":
        found = containers.jpeg(encoded)
        exif, xmp, encoded = found.exif, found.xmp, containers.bare_jpeg(encoded, found.start)
    elif kind == "PNG":
        encoded, exif, xmp = containers.png(encoded)
    elif kind in ("TIFF", "AVIF", "HEIC") and not _tags_fit(kind, encoded):
        raise ValueError("its tags would be larger than the file")
    picture = reader(kind)(io.BytesIO(encoded))
    if kind not in ("JPEG", "PNG"):
        exif, xmp = picture.info.get("exif") or b"", picture.info.get("xmp") or b""
    # Pillow turns a TIFF while it loads it
    return Opened(kind, picture, encoded, 1 if kind == "TIFF" else containers.orientation(exif, xmp))


def _tags_fit(kind: str, encoded: bytes) -> bool:
    """Whether the tags of a TIFF, or of EXIF in a container whose reader looks at all of it, describe no gigabytes."""
    starts = [0] if kind == "TIFF" else [match.start() for match in re.finditer(rb"II\*\0|MM\0\*", encoded)]
    return all(containers.tags_fit(encoded, at) for at in starts)


@functools.cache
def reader(kind: str) -> Any:
    """Pillow's class for pictures of a kind, by name of `kinds`."""
    module, name = _READERS[kind]
    if kind == "TIFF":
        _silence_libtiff()
    return getattr(importlib.import_module(module), name)


def _silence_libtiff() -> None:
    """Has libtiff write no lines of its own to the terminal, where Linux says which libtiff Pillow has loaded."""
    try:
        with open("/proc/self/maps") as file:
            loaded = {line.split()[-1] for line in file if "libtiff" in line}
        for path in loaded:
            library = ctypes.CDLL(path)
            library.TIFFSetErrorHandler(None)
            library.TIFFSetWarningHandler(None)
    except (OSError, AttributeError):  # its lines are a nuisance, no fault
        pass


def check(opened: Opened, length: int, max_pixels: int, name: str) -> None:
    """Raises UserError for a picture that is too large, or takes too much for a file of `length` bytes."""
    picture, (width, height) = opened.picture, opened.picture.size
    bounds.check_size(height, width, max_pixels, name)
    each, more = _EACH.get(picture.mode, 4) + _BESIDE.get(opened.kind, 0.0) + 3, 0
    if opened.kind == "TIFF":
        more = _tiff_buffers(picture)
        if picture.size != picture._tile_size or tags(picture, containers.ORIENTATION, 1)[0] != 1:
            each += _EACH.get(picture.mode, 4)  # Pillow turns it
        if tags(picture, 259, 1)[0] in (6, 7):
            bounds.check_scans(opened.encoded.count(b"\xff\xda"), height, width, length, name)
    elif opened.kind == "BMP" and picture.tile and picture.tile[0][0] == "bmp_rle":
        each, more = each + 2, 255 * width  # one code may skip as many rows
    elif opened.kind == "JPEG":
        found = containers.jpeg(opened.encoded)
        if found.buffered:
            each += 2 * len(picture.getbands())
            bounds.check_scans(opened.encoded.count(b"\xff\xda", found.start), height, width, length, name)
    bounds.check_memory(height, width, each, length, name, more=more)


def _tiff_buffers(picture: Any) -> int:
    """Bytes that libtiff needs for a strip or tile.

    Raises:
      ValueError: for a file that has fewer strips than its size asks for.
    """
    width, height = picture._tile_size
    samples, bits = tags(picture, 277, 1)[0], max(tags(picture, 258, 1))
    tile = tags(picture, 322, 0)[0], tags(picture, 323, 0)[0]
    rows = min(tags(picture, 278, height)[0], height)
    if not tile[0] and -(-height // max(1, rows)) > len(tags(picture, 273, 0)):
        raise ValueError("strips of its data are missing")
    across, down = tile if all(tile) else (width, rows)
    return int(across * down * max(4, samples * bits // 8))


def pixels(opened: Opened, channels: int) -> np.ndarray:
    """uint8 [h, w, channels] of a picture, upright. Raises any exception for one that is damaged."""
    picture, (width, height) = opened.picture, opened.picture.size
    shape = (width, height) if opened.orientation > 4 else (height, width)
    out = np.empty((*shape, channels), np.uint8)
    stored = _STORED[opened.orientation](out) if opened.orientation > 1 else out
    if (table := scaled_ppm(opened.kind, picture, opened.encoded)) is not None:
        stored[:] = grey(table) if channels < table.shape[2] else table
        return out
    picture.load()
    convert = conversion(opened.kind, picture, channels)
    across = min(width, samples.BLOCK)
    down = max(1, samples.BLOCK // across)
    for top in range(0, height, down):
        for left in range(0, width, across):
            right, bottom = min(width, left + across), min(height, top + down)
            whole = (right - left, bottom - top) == (width, height)
            part = picture if whole else picture.crop((left, top, right, bottom))
            stored[top:bottom, left:right] = convert(part).reshape(bottom - top, right - left, channels)
    return out


def damaged(opened: Opened, error: Exception, name: str) -> UserError:
    """The error of a picture whose pixels can't be read."""
    if isinstance(error, MemoryError):
        return of_picture(error, name)
    return UserError(f"{name or 'picture'}: damaged {opened.kind} file ({_reason(error)}); replace or remove it")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
