"""Small files that ask for large memory or time, made when they are wanted: `BOMBS`, name -> function of nothing."""

import functools
import struct
import zlib

from pictures import encode, smooth
from PIL import Image

SIDE = 13_300  # 177 megapixels, just under what is read at all


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@functools.cache
def _zeros(size: int) -> bytes:
    """Deflated zeros after which anything may follow."""
    state = zlib.compressobj(9)
    return (state.compress(bytes(size)) + state.flush(zlib.Z_FULL_FLUSH))[2:]


def zeros(count: int) -> bytes:
    """zlib data of this many zeros: compressed blocks again and again, and their checksum, (1, count mod 65521)."""
    state = zlib.compressobj(9)
    rest = (state.compress(bytes(count % 2**16)) + state.flush())[2:-4]
    blocks = _zeros(2**24) * (count >> 24) + _zeros(2**16) * (count % 2**24 >> 16)
    return b"\x78\xda" + blocks + rest + struct.pack(">HH", count % 65521, 1)


def png(width, height, depth=8, colour=2, *, interlaced=0, more=b"", data=None) -> bytes:
    """A black PNG; `more`: chunks before the data; data: of the IDAT, by default all that is needed."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if data is None:
        if interlaced:
            passes = [(8, 8, 0, 0), (8, 8, 4, 0), (4, 8, 0, 4), (4, 4, 2, 0), (2, 4, 0, 2), (2, 2, 1, 0), (1, 2, 0, 1)]
            sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for dx, dy, x, y in passes]
        else:
            sizes = [(width, height)]
        data = zeros(sum(h * (1 + -(-w * depth * samples // 8)) for w, h in sizes))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    palette = chunk(b"PLTE", bytes(range(48))) if colour == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + header + palette + more + chunk(b"IDAT", data) + chunk(b"IEND")


def many_idats() -> bytes:
    whole = png(300, 300)
    at = whole.index(b"IDAT") - 4
    return whole[:at] + chunk(b"IDAT") * 80_000 + whole[at:]


def texts() -> bytes:
    return png(64, 48, more=chunk(b"zTXt", b"a\0\0" + zeros(2**20)) * 300)


def segments(encoded: bytes) -> list[tuple[int, int, int]]:
    """(marker, start, end) of the segments of a JPEG, scans with their data."""
    at, found = 2, []
    while encoded[at + 1] != 0xD9:
        end = at + 2 + int.from_bytes(encoded[at + 2 : at + 4])
        if encoded[at + 1] == 0xDA:
            while not (encoded[end] == 0xFF and encoded[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
        found.append((encoded[at + 1], at, end))
        at = end
    return found


def scans(side: int, count: int, which: int = -1, mode: str = "RGB", **options) -> bytes:
    """A JPEG of one colour with one of its scans `count` times more."""
    encoded = encode(Image.new(mode, (side, side), "gray" if mode != "CMYK" else (9, 9, 9, 9)), **options)
    _, start, end = [segment for segment in segments(encoded) if segment[0] == 0xDA][which]
    return encoded[:-2] + encoded[start:end] * count + encoded[-2:]


def separate_scans(side: int, count: int) -> bytes:
    """A baseline JPEG whose components come one after another, again and again (libjpeg keeps all of it)."""
    encoded = encode(Image.new("L", (side, side), 90))
    (sof,) = [s for s in segments(encoded) if s[0] == 0xC0]
    frame = encoded[sof[1] : sof[1] + 9] + b"\3" + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    frame = frame[:2] + struct.pack(">H", len(frame) - 2) + frame[4:]
    (scan,) = [s for s in segments(encoded) if s[0] == 0xDA]
    return encoded[: sof[1]] + frame + encoded[sof[2] : scan[1]] + encoded[scan[1] : scan[2]] * count + b"\xff\xd9"


def exif_tags(count: int, size: int) -> bytes:
    """EXIF of many tags that all have the same `size` bytes for their value."""
    tags = b"".join(struct.pack("<HHII", 1000 + i, 1, size, 8) for i in range(count))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, count) + tags + bytes(4)


def exif_bomb(kind: str) -> bytes:
    content = exif_tags(5000, 60_000) if kind == "JPEG" else exif_tags(15_000, 180_000)
    if kind == "PNG":
        return png(64, 48, more=chunk(b"eXIf", content[6:]))
    return encode(smooth(), kind, exif=content)


def long_exif() -> bytes:
    """EXIF of a JPEG in parts, together 900 kB."""
    content, encoded = exif_tags(50_000, 590_000), encode(smooth())
    parts = [content[start : start + 60_000] for start in range(6, len(content), 60_000)]
    app = b"".join(b"\xff\xe1" + struct.pack(">H", len(p) + 8) + b"Exif\0\0" + p for p in parts)
    return encoded[:2] + app + encoded[2:]


def tiff(tags: dict[int, tuple[int, tuple[int, ...]]], data: bytes = b"", more: bytes = b"") -> bytes:
    """A TIFF: tag -> (type 3 or 4, values); data at byte 8; `more`: further entries as they stand in the file."""
    entries, values, at = [], b"", 8 + len(data)
    for tag, (kind, numbers) in sorted(tags.items()):
        packed = struct.pack("<" + {3: "H", 4: "I"}[kind] * len(numbers), *numbers)
        if len(packed) > 4:
            entries.append(struct.pack("<HHII", tag, kind, len(numbers), at + len(values)))
            values += packed
        else:
            entries.append(struct.pack("<HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0"))
    count = len(entries) + len(more) // 12
    start = at + len(values)
    return (
        b"II*\0" + struct.pack("<I", start) + data + values + struct.pack("<H", count) + b"".join(entries) + more
        + bytes(4)
    )  # fmt: skip


def flat_tiff(width, height, bits=(8, 8, 8), *, photometric=2, compression=8, **more) -> bytes:
    """A black TIFF of one strip, by zlib. `more`: tags by number, t282=(type, values)."""
    data = zeros(width * height * sum(bits) // 8)
    tags = {
        256: (4, (width,)), 257: (4, (height,)), 258: (3, bits), 259: (3, (compression,)), 262: (3, (photometric,)),
        273: (4, (8,)), 277: (3, (len(bits),)), 278: (4, (height,)), 279: (4, (len(data),)),
        **{int(key[1:]): value for key, value in more.items()},
    }  # fmt: skip
    return tiff(tags, data)


def shared_strips(width: int, height: int) -> bytes:
    """An uncompressed TIFF all of whose rows are the same bytes."""
    tags = {
        256: (4, (width,)), 257: (4, (height,)), 258: (3, (8, 8, 8)), 259: (3, (1,)), 262: (3, (2,)),
        273: (4, (8,) * height), 277: (3, (3,)), 278: (4, (1,)), 279: (4, (3 * width,) * height),
    }  # fmt: skip
    return tiff(tags, bytes(3 * width))


def tiled_tiff(tile: int) -> bytes:
    """A TIFF of 64 x 48 pixels in one tile of `tile` x `tile`."""
    data = zeros(3 * tile * tile)
    tags = {
        256: (4, (64,)), 257: (4, (48,)), 258: (3, (8, 8, 8)), 259: (3, (8,)), 262: (3, (2,)), 277: (3, (3,)),
        322: (4, (tile,)), 323: (4, (tile,)), 324: (4, (8,)), 325: (4, (len(data),)),
    }  # fmt: skip
    return tiff(tags, data)


def missing_strips() -> bytes:
    """A TIFF of one pixel by 100 million rows, each a strip, of which one is there."""
    return flat_tiff(1, 1, t257=(4, (100_000_000,)), t278=(4, (1,)))


def tiff_tags() -> bytes:
    entries = b"".join(struct.pack("<HHII", 1000 + i, 1, 120_000, 8) for i in range(16_000))
    return tiff({256: (4, (64,)), 257: (4, (48,))}, more=entries)


def jpeg_in_tiff(side: int, count: int) -> bytes:
    data = scans(side, count, mode="L", progressive=True)
    tags = {
        256: (4, (side,)), 257: (4, (side,)), 258: (3, (8,)), 259: (3, (7,)), 262: (3, (1,)), 273: (4, (8,)),
        277: (3, (1,)), 278: (4, (side,)), 279: (4, (len(data),)),
    }  # fmt: skip
    return tiff(tags, data)


def bmp(width: int, height: int, bits: int = 24, compression: int = 0, data: bytes = b"") -> bytes:
    palette = bytes(1024) if bits == 8 else b""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + palette + data


def gif(width: int, height: int, *, transparent: bool = False) -> bytes:
    return encode(Image.new("P", (width, height), 0), "GIF", **({"transparency": 0} if transparent else {}))


def gif_frames(count: int) -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")] * (count // 2)
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


def gif_of_size(width: int, height: int) -> bytes:
    """A frame that declares more than its data has."""
    encoded = bytearray(encode(Image.new("P", (8, 8)), "GIF"))
    encoded[6:10] = struct.pack("<HH", width, height)
    frame = encoded.index(b"\x2c", 13)
    encoded[frame + 5 : frame + 9] = struct.pack("<HH", width, height)
    return bytes(encoded)


def webp_animation(width: int, height: int) -> bytes:
    """A large canvas with frames of one pixel."""
    still = encode(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    anim = b"ANIM" + struct.pack("<I", 6) + bytes(6)
    content = bytes(6) + bytes(6) + (100).to_bytes(3, "little") + b"\0" + still
    frame = b"ANMF" + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x12\0\0\0" + size + anim + frame * 500
    return b"RIFF" + struct.pack("<I", len(body)) + body


def flat(kind: str, mode: str, width: int, height: int, **options) -> bytes:
    return encode(Image.new(mode, (width, height)), kind, **options)


def jpeg_of(width: int, height: int, encoded: bytes) -> bytes:
    """A JPEG that says it is larger than its data."""
    changed = bytearray(encoded)
    (frame,) = [start for marker, start, _ in segments(encoded) if marker in (0xC0, 0xC2)]
    changed[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(changed)


def avif_of(width: int, height: int) -> bytes:
    encoded = bytearray(encode(smooth(), "AVIF"))
    at = encoded.index(b"ispe") + 8
    encoded[at : at + 8] = struct.pack(">II", width, height)
    return bytes(encoded)


def webp_of(width: int, height: int) -> bytes:
    encoded = bytearray(encode(smooth(), "WEBP", lossless=True))
    encoded[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    return bytes(encoded)


def turned(width: int, height: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return flat("JPEG", "RGB", width, height, exif=exif)


def random_segments() -> bytes:
    """A JPEG with a megabyte of segments without content."""
    encoded = encode(smooth())
    return encoded[:2] + b"\xff\xfe\0\2" * 250_000 + encoded[2:]


p = functools.partial
# Refused, or read at once
QUICK = {
    "thin.png": p(png, 30_000, 1),
    "thin-column.png": p(png, 1, 60_000),
    "thin-grey16.png": p(png, 1_000_000, 1, 16, 0),
    "thin.jpg": p(flat, "JPEG", "RGB", 65_500, 2),
    "thin-column.jpg": p(flat, "JPEG", "RGB", 1, 65_500),
    "rgb.png": p(png, SIDE, SIDE),
    "rgba.png": p(png, SIDE, SIDE, 8, 6),
    "grey16.png": p(png, SIDE, SIDE, 16, 0),
    "interlaced.png": p(png, SIDE, SIDE, interlaced=1),
    "empty.png": p(png, SIDE, SIDE, data=zeros(3_000_000)),
    "empty-allowed.png": p(png, 6_700, 6_700, data=zeros(10)),
    "texts.png": texts,
    "profile.png": lambda: png(64, 48, more=chunk(b"iCCP", b"a\0\0" + zeros(2**28))),
    "many-idats.png": many_idats,
    "exif.png": p(exif_bomb, "PNG"),
    "exif.jpg": p(exif_bomb, "JPEG"),
    "exif.webp": p(exif_bomb, "WEBP"),
    "long-exif.jpg": long_exif,
    "segments.jpg": random_segments,
    "rgb.jpg": lambda: jpeg_of(SIDE, SIDE, encode(smooth())),
    "progressive.jpg": lambda: jpeg_of(6_900, 6_900, encode(smooth(), progressive=True, subsampling=0)),
    "cmyk.jpg": lambda: jpeg_of(7_000, 7_000, encode(Image.new("CMYK", (64, 48)), progressive=True)),
    "scans.jpg": lambda: jpeg_of(4_000, 4_000, scans(200, 1_000, progressive=True)),
    "cmyk-scans.jpg": lambda: jpeg_of(1_000, 1_000, scans(200, 1_000, mode="CMYK", progressive=True)),
    "separate-scans.jpg": p(separate_scans, 1_000, 240),
    "dc-scans.jpg": p(scans, 200, 500, 0, progressive=True),
    "rgb.tif": p(flat_tiff, SIDE, SIDE),
    "rgb16.tif": p(flat_tiff, 6_000, 6_000, (16, 16, 16)),
    "grey16.tif": p(flat_tiff, 7_000, 7_000, (16,), photometric=1),
    "int32.tif": p(flat_tiff, 6_100, 6_100, (32,), photometric=1, t339=(3, (2,))),
    "float.tif": p(flat_tiff, 6_100, 6_100, (32,), photometric=1, t339=(3, (3,))),
    "strips.tif": p(shared_strips, 6_000, 20_000),
    "tile.tif": p(tiled_tiff, 16_000),
    "missing-strips.tif": missing_strips,
    "tags.tif": tiff_tags,
    "scans.tif": p(jpeg_in_tiff, 1_000, 1_000),
    "header.bmp": p(bmp, SIDE, SIDE),
    "negative.bmp": p(bmp, SIDE, -SIDE),
    "skips.bmp": p(bmp, 10_000_000, 5, 8, 1, b"\0\2\0\xff" * 20 + b"\0\1"),
    "canvas.gif": p(gif_of_size, SIDE, SIDE),
    "canvas-allowed.gif": p(gif_of_size, 8_800, 8_800),
    "frames.gif": p(gif_frames, 1_000),
    "flat.webp": p(webp_of, 16_000, 11_000),
    "canvas.webp": p(webp_animation, 16_383, 10_000),
    "header.ppm": lambda: b"P6 13300 13300 255\n",
    "header-allowed.ppm": lambda: b"P6 6700 6700 255\n",
    "deep.ppm": lambda: b"P6 6700 6700 1000\n",
    "plain.pgm": lambda: b"P2 6700 6700 255\n" + b"0 " * 20_000,
    "flat.avif": p(avif_of, 8_000, 8_000),
}
# As large as a small file may be
ALLOWED = {
    "broad.jpg": p(flat, "JPEG", "RGB", 65_500, 1_023),
    "rgb-allowed.png": p(png, 6_700, 6_700),
    "rgba-allowed.png": p(png, 6_700, 6_700, 8, 6),
    "rgba16-allowed.png": p(png, 6_700, 6_700, 16, 6),
    "grey16-allowed.png": p(png, 7_900, 7_900, 16, 0),
    "bits.png": p(png, 8_850, 8_850, 1, 0),
    "palette.png": p(png, 8_850, 8_850, 8, 3, more=chunk(b"tRNS", bytes(16))),
    "key.png": p(png, 6_700, 6_700, more=chunk(b"tRNS", bytes(6))),
    "interlaced-allowed.png": p(png, 6_700, 6_700, interlaced=1),
    "rgb-allowed.jpg": p(flat, "JPEG", "RGB", 10_200, 10_200),
    "turned.jpg": p(turned, 7_200, 7_200),
    "grey.jpg": p(flat, "JPEG", "L", 10_200, 10_200),
    "empty-allowed.jpg": lambda: jpeg_of(10_200, 10_200, encode(smooth())),
    "progressive-allowed.jpg": p(flat, "JPEG", "RGB", 5_800, 5_800, progressive=True, subsampling=0),
    "scans-allowed.jpg": p(scans, 1_000, 780, progressive=True, subsampling=0),
    "scans-wide-allowed.jpg": p(scans, 4_000, 40, progressive=True, subsampling=0),
    "cmyk-allowed.jpg": p(flat, "JPEG", "CMYK", 4_500, 4_500, progressive=True),
    "rgb-allowed.tif": p(flat_tiff, 5_300, 5_300),
    "int32-allowed.tif": p(flat_tiff, 5_300, 5_300, (32,), photometric=1, t339=(3, (2,))),
    "turned.tif": p(flat_tiff, 4_500, 4_500, t274=(3, (6,))),
    "strips-allowed.tif": p(shared_strips, 3_000, 14_900),
    "runs.bmp": lambda: bmp(7_200, 7_200, 8, 1, (b"\xff\0" * 29 + b"\0\0") * 7_200 + b"\0\1"),
    "header-allowed.bmp": p(bmp, 6_700, -6_700),
    "flat.gif": p(gif, 8_800, 8_800),
    "transparent.gif": p(gif, 8_800, 8_800, transparent=True),
    "flat-allowed.webp": p(flat, "WEBP", "RGBA", 4_290, 4_290, lossless=True, method=0),
    "lossy.webp": p(flat, "WEBP", "RGB", 4_290, 4_290, method=0),
    "canvas-allowed.webp": p(webp_animation, 4_290, 4_290),
    "flat-allowed.avif": p(flat, "AVIF", "RGBA", 3_850, 3_850, speed=10),
}
BOMBS = {**QUICK, **ALLOWED}
