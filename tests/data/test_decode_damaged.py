"""Pictures with flipped and missing bytes: an array or one line, whatever the reader."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bombs import exif_tags, tiff
from pictures import encode, noise, smooth
from PIL import Image

from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.data import decode, kinds
from jaxcls.errors import UserError


def pictures():
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


def damaged(encoded, count, seed):
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


def check(count):
    ways = Preprocessing(("resize(256)", "center_crop(224)")), Preprocessing(picture=(16, 16, 3))
    refused = 0
    for seed, (name, encoded) in enumerate(pictures().items()):
        for version in damaged(encoded, count, seed):
            for way in ways:
                try:
                    image = way.prepare(version, name)
                except UserError as error:
                    refused += 1
                    assert str(error).startswith(f"{name}: ") and "\n" not in str(error), str(error)
                    assert "it can't be used" not in str(error), str(error)  # an exception that nobody thought of
                else:
                    assert image.dtype == np.uint8 and image.shape in ((224, 224, 3), (16, 16, 3))
    assert refused > count


def test_damage_gives_an_array_or_a_line():
    check(12)


@pytest.mark.slow
def test_much_damage_gives_arrays_or_lines():
    check(800)


def test_nothing_of_it_reaches_the_terminal(tmp_path):
    """Pillow's warnings and libtiff's messages, of damaged tags, palettes with transparency and cut strips."""
    palette = Image.fromarray(smooth(40, 30)).quantize(8)
    encoded = [
        encode(smooth(), "TIFF", compression="tiff_lzw")[:-300],
        encode(smooth(), "TIFF", compression="jpeg").replace(b"\xff\xd8", b"\xff\xd0"),
        tiff({256: (3, (1, 2, 3)), 257: (3, (9,))}),
        tiff({256: (3, (9,)), 257: (3, (9,)), 277: (3, (7168,))}),
        encode(palette, "PNG", transparency=bytes([0, 99])),
        encode(smooth(), "PNG", exif=exif_tags(3, 900)),
        encode(smooth(), "WEBP", exif=exif_tags(3, 900)),
    ]
    for i, data in enumerate(encoded):
        (tmp_path / str(i)).write_bytes(data)
    program = (
        "import pathlib, sys\nfrom jaxcls.data import decode\nfrom jaxcls.errors import UserError\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n        decode.decode(path.read_bytes())\n    except UserError:\n        pass\nprint('done')"
    )
    command = [sys.executable, "-W", "default", "-c", program, str(tmp_path)]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("done\n", "")


def test_a_hole_in_a_png_is_found_by_its_checksum():
    encoded = bytearray(encode(noise(), "PNG", compress_level=0))  # stored: no other check would see it
    encoded[len(encoded) // 2] ^= 1
    with pytest.raises(UserError, match=r"x.png: .*wrong checksum of IDAT"):
        decode.decode(bytes(encoded), name="x.png")
