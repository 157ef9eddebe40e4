"""Whether a file is cut off, by its first and last bytes and its length."""

import re
import struct
from collections.abc import Callable

from jaxcls.data import bounds, decode, deep, dicom, formats, kinds, npy, tiff_bands
from jaxcls.errors import UserError

_EACH = 24  # bytes a pixel that no kind needs more of; where that is too much, decoding decides


def look_whole(head: bytes, tail: bytes, length: int, max_pixels: int = bounds.MAX_PIXELS, channels: int = 3) -> bool:
    """Whether the ends of a picture leave no doubt about it; if they do, it has to be decoded.

    Args:
      head, tail: its first and last bytes, some thousand; they may overlap.
      length: of the file.
      max_pixels, channels: as in `decode.decode`.
    """
    kind = kinds.of(head[:512])
    if kind not in _WHOLE or kind not in kinds.readable():
        return False
    try:
        if not _fits(head, kind, channels):
            return False
        height, width = _SIZES.get(kind, decode.size)(head)
        bounds.check_size(height, width, max_pixels, "")
        bounds.check_memory(height, width, _EACH, length, "")
        return _WHOLE[kind](head, tail, length)
    except (UserError, ValueError, LookupError, TypeError, struct.error):  # decoding will say what is wrong
        return False


def _fits(head: bytes, kind: str, channels: int) -> bool:
    """Whether a picture has the channels that are wanted, beyond doubt."""
    bands = deep.channels_of(head)
    if channels not in deep.PILLOWS:
        return bands == channels
    return bands is None or bands in deep.PILLOWS or (kind == "TIFF" and bands == 4)


def _webp_size(head: bytes) -> tuple[int, int]:
    """Height and width: RFC 9649, sections 2.5 to 2.7 and 3.4."""
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[27:30], "little") + 1, int.from_bytes(head[24:27], "little") + 1
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", head, 21)
        return (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return height & 0x3FFF, width & 0x3FFF


def _ispe_size(head: bytes) -> tuple[int, int]:
    """Height and width of the largest image of an AVIF or HEIC, from the properties "ispe" (ISO 23008-12, 6.5.3)."""
    found = [struct.unpack(">II", match[1]) for match in re.finditer(rb"ispe\0{4}(.{8})", head, re.DOTALL)]
    width, height = max(found, key=lambda size: size[0] * size[1])
    return height, width


def _boxes_end(head: bytes, _: bytes, length: int) -> bool:
    """The boxes of an ISO base media file fill it (ISO 14496-12, 4.2)."""
    at = 0
    while at + 8 <= min(len(head), length):
        size = int.from_bytes(head[at : at + 4])
        size = int.from_bytes(head[at + 8 : at + 16]) if size == 1 else size or length - at
        if size < 8:
            return False
        at += size
    return at == length


def _raw_ends(head: bytes, _: bytes, length: int) -> bool:
    """The rows of an uncompressed BMP or PPM fit into the file."""
    picture = formats.open_(head, "").picture
    ((codec, _, offset, args),) = picture.tile
    width, height = picture.size
    if isinstance(args, tuple) and codec == "raw":  # BMP: mode, bytes a row, order of rows
        return offset + args[1] * height <= length
    bits = {"1;I": 1, "L": 8, "I;16B": 16, "RGB": 24}[args if codec == "raw" else args[0].replace("I", "L")]
    wide = 2 if codec == "ppm" and args[1] > 255 else 1
    return codec in ("raw", "ppm") and offset + (width * bits + 7) // 8 * wide * height <= length


def _strips_end(head: bytes, _: bytes, length: int) -> bool:
    """The strips or tiles of a TIFF lie inside the file."""
    tags = tiff_bands.layout(head).tags
    offsets, counts = (273, 279) if 273 in tags else (324, 325)
    return all(at + count <= length for at, count in zip(tags[offsets], tags[counts], strict=True))


_SIZES: dict[str, Callable[[bytes], tuple[int, int]]] = {"WebP": _webp_size, "AVIF": _ispe_size, "HEIC": _ispe_size}
_WHOLE: dict[str, Callable[[bytes, bytes, int], bool]] = {
    "JPEG": lambda head, tail, length: b"\xff\xd9" in tail,
    "PNG": lambda head, tail, length: b"IEND" in tail,
    "GIF": lambda head, tail, length: tail.endswith(b"\0;"),
    "WebP": lambda head, tail, length: int.from_bytes(head[4:8], "little") + 8 <= length,
    "BMP": _raw_ends,
    "PPM": _raw_ends,
    "TIFF": _strips_end,
    "AVIF": _boxes_end,
    "HEIC": _boxes_end,
    "DICOM": dicom.whole,
    "NumPy": lambda head, tail, length: npy.whole(head, length),
}
