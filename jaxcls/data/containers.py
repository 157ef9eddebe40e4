"""What stands around the pixels of a file: segments of JPEG, chunks of PNG, tags of TIFF and EXIF.

Read here and not by Pillow, since a few kilobytes of them can describe gigabytes, and for JPEG it is quicker. Only what
pixels depend on is passed on; of all the rest the orientation alone is wanted.
"""

import re
import struct
import zlib
from typing import NamedTuple

PNG = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112
MAX_TEXT = 2**20  # bytes of a compressed text that are looked at, Pillow's bound
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_TURNED_BY_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_PROGRESSIVE = frozenset([0xC2, 0xC6, 0xCA, 0xCE])
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset([0x01, *range(0xD0, 0xDA)])  # markers without a length
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class Jpeg(NamedTuple):
    """What a JPEG says before its first scan.

    Attributes:
      exif, xmp: as they stand in the file, b"" for none.
      buffered: whether all coefficients are kept until the last scan: progressive, or components one after another.
      start: of the first scan, the length of the file where there is none.
    """

    exif: bytes
    xmp: bytes
    buffered: bool
    start: int


def jpeg(encoded: bytes) -> Jpeg:
    """The segments up to the first scan; stray bytes before a marker are passed over, as libjpeg and Pillow do."""
    exif: list[bytes] = []
    xmp, buffered, components, at = b"", False, 0, 2
    end = len(encoded) - 3
    while at < end:
        if encoded[at] != 0xFF:
            at = encoded.find(b"\xff", at)
            if at < 0:
                break
            continue
        marker = encoded[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _ALONE or marker == 0:
            at += 2
            continue
        if marker == 0xDA:
            return Jpeg(b"".join(exif), xmp, buffered or encoded[at + 4 : at + 5] < bytes([components]), at)
        stop = at + 2 + (encoded[at + 2] << 8 | encoded[at + 3])
        if marker == 0xE1:
            if encoded[at + 4 : at + 10] == b"Exif\0\0":  # more than one are parts of one
                exif.append(encoded[at + 10 : stop])
            elif encoded.startswith(_XMP, at + 4):
                xmp = encoded[at + 4 + len(_XMP) : stop]
        elif marker in _FRAMES:
            buffered, components = marker in _PROGRESSIVE, encoded[at + 9] if at + 9 < len(encoded) else 0
        at = stop
    return Jpeg(b"".join(exif), xmp, buffered, len(encoded))


def bare_jpeg(encoded: bytes, start: int) -> bytes:
    """A JPEG without the segments that no pixel depends on, of any application but JFIF's and Adobe's.

    Args:
      encoded: the file.
      start: of its first scan.
    """
    kept, at = [encoded[:2]], 2
    while at < start:
        marker = encoded[at + 1]
        if encoded[at] != 0xFF or marker in _ALONE or marker in (0, 0xFF):
            at += 1
            continue
        stop = min(start, at + 2 + int.from_bytes(encoded[at + 2 : at + 4]))
        if not (0xE1 <= marker <= 0xEF and marker != 0xEE) and marker != 0xFE:
            kept.append(encoded[at:stop])
        at = max(stop, at + 1)
    return b"".join([*kept, encoded[start:]])


class Png(NamedTuple):
    """A PNG as the chunks that pixels depend on (`bare`, a PNG again), and what may hold its orientation."""

    bare: bytes
    exif: bytes
    xmp: bytes


def png(encoded: bytes) -> Png:
    """The chunks of a PNG. Texts and profiles are left out: Pillow refuses files whose texts are above 1 MiB.

    Raises:
      ValueError: a checksum that is wrong in a chunk that pixels depend on; Pillow doesn't look at those of the data.
    """
    kept: list[bytes | memoryview] = [PNG]
    exif, xmp, at = b"", b"", len(PNG)
    view = memoryview(encoded)
    while at + 8 <= len(encoded):
        length, kind = int.from_bytes(encoded[at : at + 4]), encoded[at + 4 : at + 8]
        stop = at + 12 + length
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(view[at:stop])
            if stop <= len(encoded) and zlib.crc32(view[at + 4 : stop - 4]) != int.from_bytes(view[stop - 4 : stop]):
                raise ValueError(f"wrong checksum of {kind.decode()} at byte {at}")
        elif kind == b"eXIf":
            exif = encoded[at + 8 : stop - 4]
        elif kind in (b"iTXt", b"tEXt", b"zTXt"):
            exif, xmp = _of_text(kind, encoded[at + 8 : stop - 4], exif, xmp)
        at = stop
        if kind == b"IEND":
            break
    return Png(b"".join(kept), exif, xmp)


def _of_text(kind: bytes, text: bytes, exif: bytes, xmp: bytes) -> tuple[bytes, bytes]:
    """EXIF and XMP, where a text is one of them: ImageMagick's hexadecimal EXIF, Adobe's XMP."""
    try:
        if kind == b"iTXt" and text.startswith(b"XML:com.adobe.xmp\0"):
            rest = text[20:].split(b"\0", 2)[-1]  # after flag and method of compression: language, keyword
            return exif, _inflated(rest) if text[18:19] == b"\1" else rest
        if not exif and text.startswith(b"Raw profile type exif\0"):
            rest = _inflated(text[23:]) if kind == b"zTXt" else text[22:]
            return bytes.fromhex(b"".join(rest.split(b"\n")[3:]).decode("ascii")), xmp
    except (ValueError, zlib.error):
        pass  # no reason to refuse the pixels
    return exif, xmp


def _inflated(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, MAX_TEXT)


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """1 to 8, from EXIF or, where it has none, from XMP; 1 for what EXIF does not know, and for broken metadata.

    As Pillow's `exif_transpose` finds it, but without reading the other tags.
    """
    tags = exif
    for _ in range(2):
        tags = tags.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tags[:2])
    if order and len(tags) >= 10:
        (first,) = struct.unpack_from(order + "I", tags, 4)
        count = struct.unpack_from(order + "H", tags, first)[0] if first + 2 <= len(tags) else 0
        for at in range(first + 2, min(first + 2 + 12 * count, len(tags) - 11), 12):
            tag, kind, n = struct.unpack_from(order + "HHI", tags, at)
            if tag == ORIENTATION:
                form = {3: "H", 4: "I", 8: "h", 9: "i"}.get(kind)
                return _known(struct.unpack_from(order + form, tags, at + 8)[0] if form and n == 1 else 1)
    match = _TURNED_BY_XMP.search(xmp)
    return _known(int(match[1]) if match else 1)


def _known(value: int) -> int:
    return value if value in range(1, 9) else 1


def tags_fit(encoded: bytes, at: int = 0) -> bool:
    """Whether the values of the tags of a TIFF's first directory could stand side by side in the file.

    Where they overlap, some hundred kilobytes of tags describe gigabytes, which Pillow before 13 reads.

    Args:
      encoded: bytes in which a TIFF starts: the file, or another with EXIF in it.
      at: where it starts.
    """
    order = {b"II": "<", b"MM": ">"}.get(encoded[at : at + 2])
    if order is None or len(encoded) < at + 16:
        return True
    big = 43 in encoded[at + 2 : at + 4]
    first = at + struct.unpack_from(order + ("Q" if big else "I"), encoded, at + (8 if big else 4))[0]
    entry, head = ("HHQ8x", "Q") if big else ("HHI4x", "H")
    if first + struct.calcsize(head) > len(encoded):
        return True
    (count,) = struct.unpack_from(order + head, encoded, first)
    first += struct.calcsize(head)
    step = struct.calcsize(order + entry)
    count = min(count, (len(encoded) - first) // step)
    values = struct.iter_unpack(order + entry, memoryview(encoded)[first : first + count * step])
    return sum(_SIZES.get(kind, 0) * n for _, kind, n in values) <= len(encoded)
