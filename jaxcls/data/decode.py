"""Encoded bytes to pictures.

JPEG goes through libjpeg-turbo (`jpeg`), which gives the same pixels as Pillow in about 60 % of the time; everything
else, and JPEG that simplejpeg does not know (CMYK, rare subsampling), goes through Pillow (`formats`). The content
decides, not the file's name. What a picture may cost stands in `bounds`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxcls.data import bounds, deep, formats, jpeg
from jaxcls.data.bounds import MAX_PIXELS
from jaxcls.data.jpeg import is_jpeg, shrunk
from jaxcls.data.windows import Window
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
    window: Window = (),
    scale_for: int | tuple[int, int] | None = None,
    fast: bool = False,
    max_pixels: int = MAX_PIXELS,
    name: str = "",
) -> np.ndarray:
    """Decodes one picture: JPEG, PNG, WebP, BMP, GIF and TIFF (the first frame), PPM/PGM/PBM, NumPy, DICOM.

    The pixels equal `ImageOps.exif_transpose(Image.open(...)).convert(...)` of Pillow: EXIF orientation applied, CMYK
    and YCCK (Adobe's inverted ones too) and palettes converted. Two things differ on purpose: transparency is laid
    onto white, and 16-bit grey is scaled to 8 bit where Pillow clips it.

    Args:
      encoded: the bytes of the file.
      channels: 3 (RGB) or 1 (grey, ITU-R 601 luma); with any other number the picture must have just so many, of
        which nothing is converted: bands of TIFF and NumPy, RGBA for 4, grey with opacity for 2.
      window: (low, high): what becomes 0 and 255 of grey DICOM, and of pictures of more than 8 bits or of floats; ():
        DICOM's own window, 16 bits by their full range.
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
    if not 1 <= channels <= deep.MOST:
        raise UserError(f"pictures can have 1 to {deep.MOST} channels, not {channels}")
    head = _jpeg_header(encoded, channels, name)
    if head:
        bounds.check_size(*head.shape, max_pixels, name)
        least = (scale_for, scale_for) if isinstance(scale_for, int) else scale_for
        shrink = 1 if least is None else jpeg.shrink_for(head, least)
        image = jpeg.whole(encoded, head, shrink, channels, fast, name)
        if image is not None:
            return image
    return _by_pillow(encoded, channels, window, max_pixels, name)


def decode_part(
    encoded: bytes,
    wanted: Callable[[tuple[int, int]], tuple[Box | None, tuple[int, int]]],
    *,
    channels: int = 3,
    window: Window = (),
    fast: bool = False,
    name: str = "",
) -> Part:
    """Decodes at least a box of a JPEG: no more than it where there is `turbo.found`, else the whole; the same pixels.

    Where it is no more than the box, a hole in the data below it is not noticed; data that ends early is.

    Args:
      encoded: the bytes of a JPEG.
      wanted: of its upright (height, width): the box in pixels of that, None for all, and `scale_for` of `decode`.
      channels, window, fast, name: as in `decode`.

    Raises:
      UserError: as in `decode`; and what `wanted` raises.
    """
    head = _jpeg_header(encoded, channels, name)
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
        image = _by_pillow(encoded, channels, window, MAX_PIXELS, name)
    return Part(image, 0, 0, shrink_of(image, shape))


def _jpeg_header(encoded: bytes, channels: int, name: str) -> jpeg.Header | None:
    """As `jpeg.header`. Raises UserError for a JPEG of which other channels are wanted than it can have."""
    head = jpeg.header(encoded)
    if head and channels not in deep.PILLOWS:
        raise deep.unfit(1 if head.colours == "Gray" else 3, channels, name)
    return head


def _by_pillow(encoded, channels, window, max_pixels, name):
    if kind := deep.reads(encoded, channels, window, name):
        return deep.pixels(encoded, kind, channels, window, max_pixels, name)
    opened = formats.open_(encoded, name)
    try:
        formats.check(opened, len(encoded), max_pixels, name)
        return formats.pixels(opened, channels) if channels in deep.PILLOWS else deep.bands(opened, channels, name)
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
    if kind := deep.reads(encoded, deep.PILLOWS[0], (), name):
        return deep.size(encoded, kind, name)
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
    if kind := deep.reads(encoded, deep.PILLOWS[0], (), name):
        return deep.size(encoded, kind, name)
    opened = formats.open_(encoded, name)
    shape = opened.picture.height, opened.picture.width
    return shape[::-1] if opened.orientation > 4 else shape


def shrink_of(image: np.ndarray, shape: tuple[int, int]) -> int:
    """How many times smaller than `shape` (1, 2, 4 or 8) `decode` made a picture."""
    return next(shrink for shrink in (1, 2, 4, 8) if shrunk(shape, shrink) == image.shape[:2])
