"""Encoded bytes to pictures.

JPEG goes through libjpeg-turbo (`jpeg`), which gives the same pixels as Pillow in about 60 % of the time; everything
else, and JPEG that simplejpeg does not know (CMYK, rare subsampling), goes through Pillow (`formats`). The content
decides, not the file's name. What a picture may cost stands in `bounds`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxcls.data import bounds, formats, jpeg
from jaxcls.data.bounds import MAX_PIXELS
from jaxcls.data.jpeg import is_jpeg, shrunk
from jaxcls.errors import UserError

Box = tuple[int, int, int, int]  # top, left, height, width


class Part(NamedTuple):
    """What was decoded of a picture.

    Attributes:
      image: uint8 [h, w, c], maybe not contiguous.
      top, left: where it lies in the upright picture at that scale.
      shrink: how many times smaller it was decoded: 1, 2, 4 or 8.
    """

    image: np.ndarray
    top: int
    left: int
    shrink: int


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
    head = jpeg.header(encoded)
    if head:
        bounds.check_size(*head.shape, max_pixels, name)
        least = (scale_for, scale_for) if isinstance(scale_for, int) else scale_for
        shrink = 1 if least is None else jpeg.shrink_for(head, least)
        image = jpeg.whole(encoded, head, shrink, channels, fast, name)
        if image is not None:
            return image
    return _by_pillow(encoded, channels, max_pixels, name)


def decode_part(
    encoded: bytes,
    wanted: Callable[[tuple[int, int]], tuple[Box | None, tuple[int, int]]],
    *,
    channels: int = 3,
    fast: bool = False,
    name: str = "",
) -> Part:
    """Decodes at least a box of a JPEG: no more than it where there is `turbo.found`, else the whole; the same pixels.

    Where it is no more than the box, a hole in the data below it is not noticed; data that ends early is.

    Args:
      encoded: the bytes of a JPEG.
      wanted: of its upright (height, width): the box in pixels of that, None for all, and `scale_for` of `decode`.
      channels, fast, name: as in `decode`.

    Raises:
      UserError: as in `decode`; and what `wanted` raises.
    """
    head = jpeg.header(encoded)
    shape = head.upright if head else upright_size(encoded, name=name)
    box, least = wanted(shape)
    image = None
    if head:
        bounds.check_size(*head.shape, MAX_PIXELS, name)
        shrink = jpeg.shrink_for(head, least)
        if box:
            rows, columns = ((a // shrink, -(-(a + n) // shrink)) for a, n in zip(box[:2], box[2:], strict=True))
            if (rows[1] - rows[0], columns[1] - columns[0]) != shrunk(shape, shrink):
                image = jpeg.box(encoded, head, (rows, columns), shrink, channels, fast, name)
                if image is not None:
                    return Part(image, rows[0], columns[0], shrink)
        image = jpeg.whole(encoded, head, shrink, channels, fast, name)
    if image is None:
        image = _by_pillow(encoded, channels, MAX_PIXELS, name)
    return Part(image, 0, 0, shrink_of(image, shape))


def _by_pillow(encoded, channels, max_pixels, name):
    opened = formats.open_(encoded, name)
    try:
        formats.check(opened, len(encoded), max_pixels, name)
        return formats.pixels(opened, channels)
    except UserError:
        raise
    except Exception as error:  # Pillow's readers raise nearly any kind for bytes that make no sense
        if is_jpeg(encoded) and "truncated" in str(error):
            raise jpeg.truncated(encoded, name) from error
        raise formats.damaged(opened, error, name) from error


def size(encoded: bytes, *, name: str = "") -> tuple[int, int]:
    """Height and width in pixels as stored (before EXIF orientation), from the header alone.

    Raises:
      UserError: not a picture, or a header that is damaged or cut off.
    """
    head = jpeg.header(encoded)
    if head:
        return head.shape
    picture = formats.open_(encoded, name).picture  # a kind that only Pillow knows, or damage that it describes
    return picture.height, picture.width


def upright_size(encoded: bytes, *, name: str = "") -> tuple[int, int]:
    """Height and width in pixels of what `decode` returns without scaling: EXIF orientation is applied.

    Raises:
      UserError: as in `size`.
    """
    head = jpeg.header(encoded)
    if head:
        return head.upright
    opened = formats.open_(encoded, name)
    shape = opened.picture.height, opened.picture.width
    return shape[::-1] if opened.orientation > 4 else shape


def shrink_of(image: np.ndarray, shape: tuple[int, int]) -> int:
    """How many times smaller than `shape` (1, 2, 4 or 8) `decode` made a picture."""
    return next(shrink for shrink in (1, 2, 4, 8) if shrunk(shape, shrink) == image.shape[:2])
