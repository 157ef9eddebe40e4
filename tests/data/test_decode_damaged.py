"""Pictures with flipped and missing bytes: an array or one line, whatever the reader."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bombs import exif_tags, tiff
from damage import damaged, pictures
from pictures import encode, noise, smooth
from PIL import Image

from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.data import decode
from jaxcls.errors import UserError


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
