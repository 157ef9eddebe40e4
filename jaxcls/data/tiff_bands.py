"""TIFF of any number of bands and any depth, as the numbers that are stored.

Pillow knows only some numbers of bands, and makes 8 bits of 16 where there are several. But to libtiff the bytes of
bands that lie next to each other are a grey picture that is as many times wider, and bands that lie apart are as many
grey pictures: that is what a directory written behind the file says, for Pillow to read.
"""

import struct
from typing import NamedTuple

import numpy as np

from jaxcls.data import bounds, containers, formats
from jaxcls.data.windows import Stored
from jaxcls.errors import UserError

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL = 256, 257, 258, 259, 262, 266
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _EXTRA, _FORMAT = 322, 323, 324, 325, 338, 339
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # types of values
_LONG, _SHORT = 4, 3
_NO_NUMBERS = {3: "a palette", 6: "YCbCr", 8: "CIE L*a*b*"}
_JPEG = (6, 7, 34712)
_PREDICTED = (5, 8, 32946, 34925, 50000)  # compressions that have predictors
_KINDS = {1: "u", 2: "i", 3: "f"}  # of a sample


class Layout(NamedTuple):
    """What the first directory of a TIFF says: `tags` by number, each a tuple of values."""

    tags: dict[int, tuple[int, ...]]
    order: bytes

    def get(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        return self.tags.get(tag, (default,))[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, bands), as stored."""
        return self.get(_HEIGHT, 0), self.get(_WIDTH, 0), self.get(_SAMPLES, 1)

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) once its orientation is applied."""
        height, width, _ = self.shape
        return (width, height) if self.orientation > 4 else (height, width)

    @property
    def orientation(self) -> int:
        """1 to 8."""
        value = self.get(containers.ORIENTATION, 1)
        return value if value in range(1, 9) else 1

    @property
    def bits(self) -> int:
        """Of a sample."""
        return self.get(_BITS, 1)

    @property
    def grey(self) -> bool:
        """Whether a level is a shade of grey and no colour."""
        return self.get(_PHOTOMETRIC, 1) in (0, 1)


def layout(encoded: bytes, name: str = "") -> Layout:
    """The layout of a TIFF, read by its header. Raises UserError where it has none."""
    try:
        if not containers.tags_fit(encoded):
            raise ValueError("its tags would be larger than the file")
        found = Layout(_tags(encoded), encoded[:2])
        if min(found.shape) < 1:
            raise ValueError("it has no size")
    except (ValueError, KeyError, struct.error) as error:
        raise UserError(f"{name or 'picture'}: damaged TIFF header ({error}); replace or remove it") from error
    return found


def _tags(encoded):
    """The tags of the first directory whose values are whole numbers."""
    order, big = {b"II": "<", b"MM": ">"}[encoded[:2]], 43 in encoded[2:4]
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), encoded, 8 if big else 4)
    head, entry, inline = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    (count,) = struct.unpack_from(order + head, encoded, at)
    at, step = at + struct.calcsize(head), struct.calcsize(order + entry) + inline
    tags: dict[int, tuple[int, ...]] = {}
    for start in range(at, at + step * min(count, len(encoded) // step), step):
        tag, kind, n = struct.unpack_from(order + entry, encoded, start)
        if kind in _INTEGERS and n:
            place = start + step - inline
            if n * struct.calcsize(_INTEGERS[kind]) > inline:
                (place,) = struct.unpack_from(order + ("Q" if big else "I"), encoded, place)
            tags[tag] = struct.unpack_from(f"{order}{n}{_INTEGERS[kind]}", encoded, place)
    return tags


def read(encoded: bytes, max_pixels: int, name: str) -> Stored:
    """The numbers of the first picture of a TIFF, as `Stored`.

    Raises:
      UserError: one that is too large, or of which no bands of numbers can be read: JPEG, palettes, YCbCr.
      Exception: of nearly any kind for one that is damaged.
    """
    found = layout(encoded, name)
    height, width, bands = found.shape
    _refuse(found, name or "picture")
    bounds.check_size(height, width, max_pixels, name)
    bounds.check_memory(height, width, bands * (3 * -(-found.bits // 8) + 1), len(encoded), name)
    apart = bands > 1 and found.get(_PLANAR, 1) == 2
    planes = [_plane(encoded, found, band, apart, max_pixels, name) for band in range(bands if apart else 1)]
    values = np.concatenate(planes, axis=-1)
    if found.orientation > 1:
        values = formats.UPRIGHT[found.orientation](values)
    extra = found.tags.get(_EXTRA, ())
    alpha = bands == (2 if found.grey else 4) and extra[-1:] in ((1,), (2,))
    return Stored(values, _range(found), takes=found.bits > 8, inverted=found.get(_PHOTOMETRIC, 1) == 0, alpha=alpha)


def _refuse(found, name):
    colours, compression = found.get(_PHOTOMETRIC, 1), found.get(_COMPRESSION, 1)
    if colours in _NO_NUMBERS or compression in _JPEG:
        kind = _NO_NUMBERS.get(colours, "JPEG")
        raise UserError(f"{name}: a TIFF of {kind}, which has no bands of numbers; set config.data.channels=3")
    kind, bits = _KINDS.get(found.get(_FORMAT, 1), "u"), found.bits
    if len(set(found.tags.get(_BITS, ()))) > 1 or not (bits in (8, 16, 32, 64) or (8 < bits < 16 and kind == "u")):
        shown = ", ".join(map(str, found.tags.get(_BITS, (1,))[:8]))
        raise UserError(f"{name}: a TIFF of {shown} bits a value; save it with 8, 16 or 32")
    if found.get(_PREDICTOR, 1) == 3 and compression in _PREDICTED:
        raise UserError(f"{name}: a TIFF with a predictor for floating point; save it without")


def _range(found):
    """(lowest, highest) number; None for signed and floating-point ones, and those of more than 16 bits."""
    if _KINDS.get(found.get(_FORMAT, 1), "u") != "u" or found.bits > 16:
        return None
    return 0.0, float(2**found.bits - 1)


def _plane(encoded, found, band, apart, max_pixels, name):
    """[h, w, bands] of all bands that lie next to each other; [h, w, 1] of one of those that lie apart."""
    height, width, bands = found.shape
    bands = 1 if apart else bands
    opened = formats.open_(_rewritten(encoded, found, band, apart), name)
    formats.check(opened, len(encoded), max_pixels * bands * 8, name)
    rows = np.asarray(opened.picture)
    order = "<" if found.order == b"II" else ">"
    if found.bits % 8:
        return _unpacked(rows, width * bands, found.bits).reshape(height, width, bands)
    dtype = np.dtype(f"{order}{_KINDS.get(found.get(_FORMAT, 1), 'u')}{found.bits // 8}")
    values = rows.view(dtype).reshape(height, width, bands)
    differences = found.get(_PREDICTOR, 1) == 2 and found.get(_COMPRESSION, 1) in _PREDICTED
    return _summed(values, found.get(_TILE_WIDTH, width)) if differences else values


def _summed(values, tile):
    """What horizontal differences (TIFF 6.0, section 14) within each tile are the differences of; they wrap."""
    wrapping = np.dtype(f"u{values.dtype.itemsize}")
    out = np.empty(values.shape, values.dtype.newbyteorder("="))
    for left in range(0, values.shape[1], tile):
        part = values[:, left : left + tile].astype(out.dtype).view(wrapping)
        out[:, left : left + tile] = np.cumsum(part, axis=1, dtype=wrapping).view(out.dtype)
    return out


def _unpacked(rows, count, bits):
    """Numbers of 9 to 15 bits, the first bit the highest; each row begins with a byte: uint16 [h, count]."""
    out = np.zeros((len(rows), count), np.uint16)
    flags = np.unpackbits(rows, axis=1)[:, : count * bits].reshape(len(rows), count, bits)
    for i in range(bits):
        out = (out << 1) | flags[..., i]
    return out


def _rewritten(encoded, found, band, apart):
    """The file with a directory behind it in which one band, or the bytes of all side by side, are a grey picture."""
    _, width, bands = found.shape
    bits = found.bits * (1 if apart else bands)
    new = {tag: found.tags[tag] for tag in (_HEIGHT, _ROWS, _TILE_HEIGHT, _COMPRESSION, _FILL) if tag in found.tags}
    new |= {_WIDTH: (-(-width * bits // 8),), _BITS: (8,), _PHOTOMETRIC: (1,), _SAMPLES: (1,)}
    if _TILE_WIDTH in found.tags:
        new[_TILE_WIDTH] = (found.get(_TILE_WIDTH, 1) * bits // 8,)
    for tag in (_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES):
        if tag in found.tags:
            each = len(found.tags[tag]) // bands
            new[tag] = found.tags[tag][band * each : (band + 1) * each] if apart else found.tags[tag]
    at = len(encoded) + len(encoded) % 2
    order = "<" if found.order == b"II" else ">"
    head = found.order + struct.pack(order + "HI", 42, at)
    return b"".join([head, memoryview(encoded)[8:], bytes(at - len(encoded)), _directory(new, order, at)])


def _directory(tags, order, at):
    """A TIFF's directory that lies at a byte, and the values that have no room in it."""
    entries, values = [], b""
    start = at + 2 + 12 * len(tags) + 4
    for tag in sorted(tags):
        kind = _SHORT if tag in (_BITS, _COMPRESSION, _PHOTOMETRIC, _FILL, _SAMPLES) else _LONG
        packed = struct.pack(f"{order}{len(tags[tag])}{_INTEGERS[kind]}", *tags[tag])
        if len(packed) > 4:
            place, values = struct.pack(order + "I", start + len(values)), values + packed
        else:
            place = packed.ljust(4, b"\0")
        entries.append(struct.pack(order + "HHI", tag, kind, len(tags[tag])) + place)
    return b"".join([struct.pack(order + "H", len(tags)), *entries, bytes(4), values])
