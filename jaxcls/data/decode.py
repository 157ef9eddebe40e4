"""Encoded bytes to pictures.

JPEG goes through simplejpeg (libjpeg-turbo), which gives the same pixels as Pillow in about 60 % of the time;
everything else, and JPEG that simplejpeg does not know (CMYK, rare subsampling), goes through Pillow. The content
decides, not the file's name.
"""

import io
from collections.abc import Callable

import numpy as np
import simplejpeg
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from jaxcls.errors import UserError

MAX_PIXELS = 178_956_970  # where Pillow itself refuses, twice 1/4 GiB of RGB: a bomb or a mistake
PNG = b"\x89PNG\r\n\x1a\n"
# By hand instead of Image.open: the size can be judged before Pillow's process-wide limit raises without naming it,
# and no other format (EPS starts Ghostscript) is ever tried on a stranger's bytes.
_READERS = (
    (b"\xff\xd8", JpegImagePlugin.JpegImageFile),
    (PNG, PngImagePlugin.PngImageFile),
    (b"GIF8", GifImagePlugin.GifImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"II", TiffImagePlugin.TiffImageFile),
    (b"MM", TiffImagePlugin.TiffImageFile),
    *((b"P" + digit, PpmImagePlugin.PpmImageFile) for digit in (b"1", b"2", b"3", b"4", b"5", b"6")),
)
# How much smaller than it is stored a JPEG may be decoded. libjpeg-turbo has fast code (SIMD) for these alone: 12
# megapixels take 24 ms in full, 14, 11 and 9 ms at 1/2, 1/4 and 1/8, but 19 ms at 3/8 and 36 at 5/8.
_SHRINKS = (8, 4, 2)
# libjpeg's warnings after which pixels are missing or wrong. Others (stray bytes before a marker, an odd JFIF version)
# are harmless and frequent in pictures from the web.
_LOSSES = ("remature end", "Huffman", "instead of RST")
# How the EXIF orientations 2..8 are undone, as in PIL.ImageOps.exif_transpose.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[:, ::-1].swapaxes(0, 1),
}


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
    try:
        return _by_pillow(encoded, channels, max_pixels, name)
    except UserError:
        plain = _without_text(encoded)
        if len(plain) == len(encoded):
            raise
        return _by_pillow(plain, channels, max_pixels, name)


def _by_pillow(encoded, channels, max_pixels, name):
    picture = _open(encoded, name)
    check_size(picture.height, picture.width, max_pixels, name)
    try:
        image = _to_array(picture, channels)
        return _turn(image, _orientation(picture))
    except Exception as error:  # Pillow's readers raise nearly any kind for bytes that make no sense
        if is_jpeg(encoded) and "truncated" in str(error):
            raise _truncated(encoded, name) from error
        raise UserError(
            f"{name or 'picture'}: damaged {picture.format} file ({error}); replace or remove it"
        ) from error


def _without_text(encoded: bytes) -> bytes:
    """A PNG without texts and colour profile, which Pillow refuses above 1 MiB and no pixel depends on; others as they
    are."""
    if not encoded.startswith(PNG):
        return encoded
    kept, at = [PNG], len(PNG)
    while at + 8 <= len(encoded):
        length, kind = int.from_bytes(encoded[at : at + 4]), encoded[at + 4 : at + 8]
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(encoded[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


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
    picture = _open(encoded, name)
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
    turned = _may_be_turned(encoded) and _orientation(_open(encoded, name)) > 4
    return (width, height) if turned else (height, width)


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
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        return None
    check_size(height, width, max_pixels, name)
    if colours in ("CMYK", "YCCK"):
        return None
    grey = channels == 1 and colours == "Gray"
    orientation = _orientation(_open(encoded, name)) if _may_be_turned(encoded) else 1
    scaled = (height, width)
    if scale_for is not None:
        wanted = scale_for if isinstance(scale_for, tuple) else (scale_for, scale_for)
        scaled = _scaled(scaled, wanted[::-1] if orientation > 4 else wanted)
    try:  # strict: libjpeg's default for missing data is a warning and grey pixels
        image = simplejpeg.decode_jpeg(
            encoded,
            "GRAY" if grey else "RGB",
            min_height=scaled[0],
            min_width=scaled[1],
            fastdct=fast,
            fastupsample=fast,
            strict=True,
        )
    except ValueError as error:
        if "remature end" in str(error):
            raise _truncated(encoded, name) from error
        if any(loss in str(error) for loss in _LOSSES):
            raise UserError(f"{name or 'picture'}: damaged JPEG file ({error}); replace or remove it") from error
        return None
    if channels == 1 and not grey:
        # Not libjpeg's Y: it differs from the luma of the (clipped) RGB by up to 24 levels on ordinary photographs.
        image = np.asarray(Image.fromarray(image).convert("L"))[..., None]
    return _turn(image, orientation)


def _may_be_turned(encoded: bytes) -> bool:
    """Whether a look for the orientation, which takes a tenth of a millisecond, is worth it: is there EXIF or XMP?

    Goes from segment to segment up to the scan, since a search through all bytes takes longer than the look.
    """
    at = 2
    while encoded[at : at + 1] == b"\xff" and len(encoded) > at + 3:
        marker = encoded[at + 1]
        if marker == 0xE1:  # APP1
            return True
        if marker == 0xDA:  # start of scan
            return False
        at += 1 if marker == 0xFF else 2 + int.from_bytes(encoded[at + 2 : at + 4])  # 0xFF: a fill byte
    return True  # no order in the segments: Pillow shall look


def _open(encoded: bytes, name: str) -> Image.Image:
    """A Pillow image of which only the header is read."""
    if not encoded:
        raise UserError(f"{name or 'picture'}: empty file; replace or remove it")
    reader = next((reader for magic, reader in _READERS if encoded.startswith(magic)), None)
    if reader is None:
        raise UserError(
            f"{name or 'picture'}: not a picture (it starts with {bytes(encoded[:8])!r}; JPEG, PNG, WebP, BMP, GIF, "
            "TIFF and PPM are read); convert or remove it"
        )
    try:
        return reader(io.BytesIO(encoded))
    except Exception as error:  # as in decode
        plain = _without_text(encoded)
        if len(plain) < len(encoded):
            return _open(plain, name)
        raise UserError(
            f"{name or 'picture'}: not a picture, or truncated or damaged in its header "
            f"({str(error) or type(error).__name__}); replace or remove it"
        ) from error


def check_size(height: int, width: int, max_pixels: int, name: str) -> None:
    """Raises UserError for a picture of more than `max_pixels` pixels."""
    if height * width > max_pixels:
        raise UserError(
            f"{name or 'picture'}: {width} x {height} = {width * height:,} pixels, more than {max_pixels:,}; "
            "resize it or move it away"
        )


def _to_array(picture: Image.Image, channels: int) -> np.ndarray:
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow also gives as 32-bit integers
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("32-bit grey has no fixed white; convert it to 8 or 16 bit")
        picture = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    elif picture.mode == "F":
        raise ValueError("floating-point pixels have no fixed white; convert it to 8 or 16 bit")
    elif picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    image = np.array(picture.convert("L" if channels == 1 else "RGB"))
    return image[..., None] if channels == 1 else image


def _orientation(picture: Image.Image) -> int:
    """1 to 8; 1 for what EXIF does not know, which leaves a picture as it is."""
    try:
        value = picture.getexif().get(0x0112, 1)
        return value if value in _UPRIGHT else 1
    except Exception:  # broken metadata is no reason to refuse the pixels
        return 1


def _turn(image: np.ndarray, orientation: int) -> np.ndarray:
    return np.ascontiguousarray(_UPRIGHT[orientation](image)) if orientation in _UPRIGHT else image


def _truncated(encoded: bytes, name: str) -> UserError:
    """The error for a JPEG whose data ends early. libjpeg fills what is missing with 128, so rows can be counted."""
    where = "its data ends early"
    try:
        image = simplejpeg.decode_jpeg(encoded, strict=False)
        if "progressive" not in _open(encoded, name).info:
            rows = int(np.flatnonzero((image != 128).any(axis=(1, 2)))[-1:].sum()) + 1 if (image != 128).any() else 0
            where = f"its data ends after {rows} of {len(image)} rows"
    except (ValueError, UserError):
        pass  # not even that much can be read
    return UserError(f"{name or 'picture'}: truncated JPEG, {where}; replace or remove it")
