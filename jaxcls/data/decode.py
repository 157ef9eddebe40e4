"""Encoded bytes to pictures.

JPEG goes through simplejpeg (libjpeg-turbo), which gives the same pixels as Pillow in about 60 % of the time;
everything else, and JPEG that simplejpeg does not know (CMYK, rare subsampling), goes through Pillow (`formats`). The
content decides, not the file's name. What a picture may cost stands in `bounds`.
"""

import re

import numpy as np
import simplejpeg

from jaxcls.data import bounds, containers, formats
from jaxcls.data.bounds import MAX_PIXELS
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


def decode(
    encoded: bytes,
    *,
    channels: int = 3,
    scale_for: int | tuple[int, int] | None = None,
    fast: bool = False,
    max_pixels: int = MAX_PIXELS,
    name: str = "",
) -> np.ndarray:
    """Decodes one picture: JPEG, PNG, WebP, BMP, GIF and TIFF (the first frame), PPM/PGM/PBM.

    The pixels equal `ImageOps.exif_transpose(Image.open(...)).convert(...)` of Pillow: EXIF orientation applied, CMYK
    and YCCK (Adobe's inverted ones too) and palettes converted. Two things differ on purpose: transparency is laid
    onto white, and 16-bit grey is scaled to 8 bit where Pillow clips it.

    Args:
      encoded: the bytes of the file.
      channels: 3 (RGB) or 1 (grey, ITU-R 601 luma).
      scale_for: least height and width (one number: of both) that are needed. JPEG is decoded at 1/8, 1/4 or 1/2 of its
        size where that is enough: libjpeg takes means over blocks of pixels, in 40 to 60 % of the time. Pictures that
        are smaller already, and other kinds, stay as they are.
      fast: for JPEG, the faster transform and chroma upsampling of libjpeg: 8 % less time, a level off on average.
      max_pixels: the most pixels (width x height) that are decoded; judged from the header.
      name: what messages call the picture.

    Returns:
      uint8 [height, width, channels].

    Raises:
      UserError: not a picture, truncated or damaged, of a kind that has no 8-bit form, or too large.
    """
    if channels not in (1, 3):
        raise UserError(f"pictures can have 1 or 3 channels, not {channels}")
    if is_jpeg(encoded):
        image = _decode_jpeg(encoded, channels, scale_for, fast, max_pixels, name)
        if image is not None:
            return image
    opened = formats.open_(encoded, name)
    try:
        formats.check(opened, len(encoded), max_pixels, name)
        return formats.pixels(opened, channels)
    except UserError:
        raise
    except Exception as error:  # Pillow's readers raise nearly any kind for bytes that make no sense
        if is_jpeg(encoded) and "truncated" in str(error):
            raise _truncated(encoded, name) from error
        raise formats.damaged(opened, error, name) from error


def size(encoded: bytes, *, name: str = "") -> tuple[int, int]:
    """Height and width in pixels as stored (before EXIF orientation), from the header alone.

    Raises:
      UserError: not a picture, or a header that is damaged or cut off.
    """
    if is_jpeg(encoded):
        try:
            return simplejpeg.decode_jpeg_header(encoded)[:2]
        except ValueError:
            pass  # a kind that only Pillow knows, or damage that Pillow describes
    picture = formats.open_(encoded, name).picture
    return picture.height, picture.width


def is_jpeg(encoded: bytes) -> bool:
    """Whether these are the bytes of a JPEG, by their first two."""
    return encoded[:2] == b"\xff\xd8"


def upright_size(encoded: bytes, *, name: str = "") -> tuple[int, int]:
    """Height and width in pixels of what `decode` returns without scaling: EXIF orientation is applied.

    Raises:
      UserError: as in `size`.
    """
    height, width = size(encoded, name=name)
    if is_jpeg(encoded):
        found = containers.jpeg(encoded)
        orientation = containers.orientation(found.exif, found.xmp)
    else:
        orientation = formats.open_(encoded, name).orientation
    return (width, height) if orientation > 4 else (height, width)


def shrunk(shape: tuple[int, int], shrink: int) -> tuple[int, int]:
    """Height and width of a JPEG of this shape that is decoded at 1 / shrink of its size."""
    return -(-shape[0] // shrink), -(-shape[1] // shrink)


def shrink_of(image: np.ndarray, shape: tuple[int, int]) -> int:
    """How many times smaller than `shape` (1, 2, 4 or 8) `decode` made a picture."""
    return next(shrink for shrink in (1, 2, 4, 8) if shrunk(shape, shrink) == image.shape[:2])


def _scaled(shape: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """Height and width at the smallest scale that has the wanted ones."""
    for shrink in _SHRINKS:
        smaller = shrunk(shape, shrink)
        if smaller[0] >= wanted[0] and smaller[1] >= wanted[1]:
            return smaller
    return shape


def _decode_jpeg(
    encoded: bytes, channels: int, scale_for: int | tuple[int, int] | None, fast: bool, max_pixels: int, name: str
) -> np.ndarray | None:
    """The fast way; None for what Pillow has to decide."""
    try:
        height, width, colours, subsampling = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        return None
    bounds.check_size(height, width, max_pixels, name)
    if colours in ("CMYK", "YCCK"):
        return None
    found = containers.jpeg(encoded)
    orientation = containers.orientation(found.exif, found.xmp) if found.exif or found.xmp else 1
    is_grey = channels == 1 and colours == "Gray"
    _check(encoded, (height, width), found, orientation, _COEFFICIENTS.get(subsampling, 3), name)
    scaled = (height, width)
    if scale_for is not None:
        wanted = scale_for if isinstance(scale_for, tuple) else (scale_for, scale_for)
        scaled = _scaled(scaled, wanted[::-1] if orientation > 4 else wanted)
    try:  # strict: libjpeg's default for missing data is a warning and grey pixels
        image = simplejpeg.decode_jpeg(
            encoded,
            "GRAY" if is_grey else "RGB",
            min_height=scaled[0],
            min_width=scaled[1],
            fastdct=fast,
            fastupsample=fast,
            strict=True,
        )
    except ValueError as error:
        if "remature end" in str(error):
            raise _truncated(encoded, name) from error
        unused = _UNUSED.search(str(error))
        hole = unused and int(unused[1]) > max(1024, _HOLE * len(encoded))
        if hole or any(loss in str(error) for loss in _LOSSES):
            raise UserError(f"{name or 'picture'}: damaged JPEG file ({error}); replace or remove it") from error
        return None
    if channels == 1 and not is_grey:
        # Not libjpeg's Y: it differs from the luma of the (clipped) RGB by up to 24 levels on ordinary photographs.
        image = grey(image)
    return np.ascontiguousarray(formats.UPRIGHT[orientation](image)) if orientation > 1 else image


def _check(encoded, shape, found, orientation, coefficients, name):
    """Raises UserError for a JPEG that takes too much, judged in full, whatever the scale and the channels."""
    each = 3 + (3 if orientation > 1 else 0)
    if found.buffered:
        each += coefficients
        bounds.check_scans(encoded.count(b"\xff\xda", found.start), *shape, len(encoded), name)
    bounds.check_memory(*shape, each, len(encoded), name)


def _truncated(encoded: bytes, name: str) -> UserError:
    """The error for a JPEG whose data ends early. libjpeg fills what is missing with 128, so rows can be counted."""
    where = "its data ends early"
    try:
        height, width = size(encoded, name=name)
        if height * width <= _COUNTED and not containers.jpeg(encoded).buffered:
            image = simplejpeg.decode_jpeg(encoded, strict=False)
            rows = int(np.flatnonzero((image != 128).any(axis=(1, 2)))[-1:].sum()) + 1 if (image != 128).any() else 0
            where = f"its data ends after {rows} of {len(image)} rows"
    except (ValueError, UserError):
        pass  # not even that much can be read
    return UserError(f"{name or 'picture'}: truncated JPEG, {where}; replace or remove it")
