"""JPEG through libjpeg-turbo: the whole by simplejpeg, a box of it by `turbo`, with the same pixels."""

import re
from typing import NamedTuple

import numpy as np
import simplejpeg

from jaxcls.data import bounds, containers, formats, turbo
from jaxcls.data.samples import grey
from jaxcls.errors import UserError

# How much smaller than it is stored a JPEG may be decoded. libjpeg-turbo has fast code (SIMD) for these alone: 12
# megapixels take 24 ms in full, 14, 11 and 9 ms at 1/2, 1/4 and 1/8, but 19 ms at 3/8 and 36 at 5/8.
_SHRINKS = (8, 4, 2)
# libjpeg's warnings after which pixels are missing or wrong. Others (stray bytes before a marker, an odd JFIF version)
# are harmless and frequent in pictures from the web.
_LOSSES = ("remature end", "Huffman", "instead of RST")
_UNUSED = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_HOLE = 1 / 64  # of a file: data that belongs to no pixel is padding below, what a hole has put out of step above
# Bytes a pixel of the coefficients that are kept of a progressive JPEG, by chroma subsampling.
_COEFFICIENTS = {"444": 6, "422": 4, "440": 4, "Gray": 2}
_COUNTED = 2**24  # pixels of a truncated JPEG, at most, that is decoded once more to say where it ends
_END = b"\xff\xd9"  # can't stand within a scan
# Which sides of a picture are exchanged, of (rows, columns) as stored, by EXIF orientation: `formats.UPRIGHT`.
_TURNED = ((3, 4, 6, 7), (2, 3, 7, 8))
Size = tuple[int, int]
Span = tuple[int, int]


class Header(NamedTuple):
    """What decoding needs to know; `shape` is (height, width) as stored, `orientation` EXIF's."""

    shape: Size
    colours: str
    subsampling: str
    found: containers.Jpeg
    orientation: int

    @property
    def upright(self) -> Size:
        """(height, width) when orientation is applied."""
        return self.shape[::-1] if self.orientation > 4 else self.shape


def is_jpeg(encoded: bytes) -> bool:
    """Whether these are the bytes of a JPEG, by their first two."""
    return encoded[:2] == b"\xff\xd8"


def header(encoded: bytes) -> Header | None:
    """None for what simplejpeg doesn't read: no JPEG, rare kinds of it, damage."""
    if not is_jpeg(encoded):
        return None
    try:
        height, width, colours, subsampling = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        return None
    found = containers.jpeg(encoded)
    orientation = containers.orientation(found.exif, found.xmp) if found.exif or found.xmp else 1
    return Header((height, width), colours, subsampling, found, orientation)


def shrunk(shape: Size, shrink: int) -> Size:
    """Height and width of a JPEG of this shape that is decoded at 1 / shrink of its size."""
    return -(-shape[0] // shrink), -(-shape[1] // shrink)


def shrink_for(head: Header, wanted: Size) -> int:
    """How many times smaller a JPEG may be decoded that at least the wanted upright height and width are left."""
    fits = (n for n in _SHRINKS if all(a >= b for a, b in zip(shrunk(head.upright, n), wanted, strict=True)))
    return next(fits, 1)


def box(
    encoded: bytes, head: Header, spans: tuple[Span, Span], shrink: int, channels: int, fast: bool, name: str
) -> np.ndarray | None:
    """A box alone, upright, maybe not contiguous; None where that can't be, and the whole has to be decoded.

    `spans`: first row and the one behind the last, and columns, of the upright picture at 1 / shrink of its size.
    Others as in `whole`.
    """
    # Rows below the box are never looked at, so that a file that is cut there has to be told by its last marker.
    if _by_pillow(head) or turbo.found() is None or encoded.rfind(_END, head.found.start) < 0:
        return None
    _check(encoded, head, name)
    ordered = spans[::-1] if head.orientation > 4 else spans
    (top, bottom), (left, right) = (
        (n - stop, n - start) if head.orientation in turned else (start, stop)
        for (start, stop), n, turned in zip(ordered, shrunk(head.shape, shrink), _TURNED, strict=True)
    )
    image = turbo.decode(
        encoded, (top, left, bottom, right), shrink, grey=channels == 1 and head.colours == "Gray", fast=fast
    )
    return None if image is None else _finished(image, head, channels)


def whole(encoded: bytes, head: Header, shrink: int, channels: int, fast: bool, name: str) -> np.ndarray | None:
    """The picture, upright, at 1 / shrink of its size; None for what Pillow has to decide.

    Raises:
      UserError: for one that takes too much, and for damage after which pixels are missing.
    """
    if _by_pillow(head):
        return None
    _check(encoded, head, name)
    height, width = shrunk(head.shape, shrink)
    try:  # strict: libjpeg's default for missing data is a warning and grey pixels
        image = simplejpeg.decode_jpeg(
            encoded,
            "GRAY" if channels == 1 and head.colours == "Gray" else "RGB",
            min_height=height,
            min_width=width,
            fastdct=fast,
            fastupsample=fast,
            strict=True,
        )
    except ValueError as error:
        if "remature end" in str(error):
            raise truncated(encoded, name) from error
        unused = _UNUSED.search(str(error))
        hole = unused and int(unused[1]) > max(1024, _HOLE * len(encoded))
        if hole or any(loss in str(error) for loss in _LOSSES):
            raise UserError(f"{name or 'picture'}: damaged JPEG file ({error}); replace or remove it") from error
        return None
    return np.ascontiguousarray(_finished(image, head, channels))


def _by_pillow(head):
    return head.colours in ("CMYK", "YCCK")


def _check(encoded, head, name):
    """Raises UserError for a JPEG that takes too much, judged in full, whatever is decoded of it."""
    each = 3 + (3 if head.orientation > 1 else 0)
    if head.found.buffered:
        each += _COEFFICIENTS.get(head.subsampling, 3)
        bounds.check_scans(encoded.count(b"\xff\xda", head.found.start), *head.shape, len(encoded), name)
    bounds.check_memory(*head.shape, each, len(encoded), name)


def _finished(image, head, channels):
    """In the wanted channels, upright."""
    if channels == 1 and image.shape[2] == 3:
        # Not libjpeg's Y: it differs from the luma of the (clipped) RGB by up to 24 levels on ordinary photographs.
        image = grey(image)
    return formats.UPRIGHT[head.orientation](image) if head.orientation > 1 else image


def truncated(encoded: bytes, name: str) -> UserError:
    """The error for a JPEG whose data ends early. libjpeg fills what is missing with 128, so rows can be counted."""
    where = "its data ends early"
    head = header(encoded)
    try:
        if head and head.shape[0] * head.shape[1] <= _COUNTED and not head.found.buffered:
            image = simplejpeg.decode_jpeg(encoded, strict=False)
            rows = int(np.flatnonzero((image != 128).any(axis=(1, 2)))[-1:].sum()) + 1 if (image != 128).any() else 0
            where = f"its data ends after {rows} of {len(image)} rows"
    except ValueError:
        pass  # not even that much can be read
    return UserError(f"{name or 'picture'}: truncated JPEG, {where}; replace or remove it")
