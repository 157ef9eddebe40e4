"""Pictures of every format, and what is left of them when bytes flip or are missing."""

from collections.abc import Iterator

import numpy as np
from pictures import encode, noise, smooth
from PIL import Image

from jaxcls.data import kinds


def pictures() -> dict[str, bytes]:
    """name -> bytes, of each format and its variants."""
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb, deep = Image.fromarray(noise(40, 30)), Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(40, 30) * 50)
    flat = Image.fromarray(smooth(40, 30))
    made = {
        "baseline.jpg": encode(rgb, exif=exif),
        "progressive.jpg": encode(flat, progressive=True),
        "cmyk.jpg": encode(flat.convert("CMYK")),
        "rgb.png": encode(rgb, "PNG", exif=exif),
        "palette.png": encode(flat.quantize(8), "PNG", transparency=bytes([0, 99])),
        "deep.png": encode(deep, "PNG"),
        "palette.gif": encode(flat.quantize(8), "GIF", save_all=True, append_images=[rgb]),
        "lossless.webp": encode(rgb, "WEBP", lossless=True, exif=exif),
        "lossy.webp": encode(flat, "WEBP"),
        "animated.webp": encode(flat, "WEBP", save_all=True, append_images=[rgb]),
        "rgb.bmp": encode(rgb, "BMP"),
        "palette.bmp": encode(flat.quantize(8), "BMP"),
        "raw.tif": encode(rgb, "TIFF"),
        "lzw.tif": encode(flat, "TIFF", compression="tiff_lzw"),
        "zip.tif": encode(flat, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": encode(flat, "TIFF", compression="jpeg"),
        "group4.tif": encode(flat.convert("1"), "TIFF", compression="group4"),
        "deep.tif": encode(deep, "TIFF"),
        "rgb.ppm": encode(rgb, "PPM"),
        "plain.ppm": b"P3 3 2 255 " + b"17 " * 18,
        "deep.pgm": b"P5 30 40 4095\n" + np.asarray(deep).astype(">u2").tobytes(),
    }
    if "AVIF" in kinds.readable():
        made["lossy.avif"] = encode(flat, "AVIF", exif=exif)
    return made


def damaged(encoded: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`count` versions: bytes flipped, most of them where headers are, a part missing, doubled, or all of the rest."""
    random = np.random.default_rng(seed)
    for i in range(count):
        changed, way = bytearray(encoded), i % 4
        start = int(random.integers(2, min(len(encoded), 300) if i % 3 else len(encoded)))
        if way < 2:
            for at in start + random.integers(0, 40, way + 1):
                if at < len(changed):
                    changed[at] = random.integers(256) if i % 8 < 4 else random.choice([0, 1, 127, 128, 255])
        elif way == 2:
            del changed[start : start + int(random.integers(1, 60))]
        else:
            del changed[start:]
        yield bytes(changed)
