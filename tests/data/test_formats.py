"""Kinds beyond the usual: AVIF, HEIC, 12 bits in 16, EXIF and XMP in any container; against Pillow and closed forms."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from bombs import chunk, flat_tiff, png, tiff
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encode, noise, smooth
from PIL import Image, ImageOps

from jaxcls.data import bounds, containers, decode, formats, kinds, samples
from jaxcls.errors import UserError

AVIF = pytest.mark.skipif("AVIF" not in kinds.readable(), reason="this Pillow reads no AVIF")


def turned_by_pillow(encoded):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB"))


@AVIF
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_avif_is_read_and_turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(smooth(), "AVIF", quality=95, exif=exif)
    image = decode.decode(encoded)
    np.testing.assert_array_equal(image, turned_by_pillow(encoded))
    assert image.shape[:2] == decode.upright_size(encoded) == ((64, 48) if orientation > 4 else (48, 64))


@AVIF
def test_avif_lays_transparency_onto_white_and_is_bound_by_its_header():
    rgba = np.dstack([smooth(), np.zeros((48, 64), np.uint8)])
    assert decode.decode(encode(rgba, "AVIF")).min() == 255
    with pytest.raises(UserError, match="x: 64 x 48 = 3,072 pixels, more than 3,000"):
        decode.decode(encode(smooth(), "AVIF"), name="x", max_pixels=3000)
    with pytest.raises(UserError, match="^x: "):
        decode.decode(encode(smooth(), "AVIF")[:-40], name="x")


def test_heic_names_its_reader(monkeypatch):
    """With pillow-heif it is read; it is no dependency, so the tests see the remedy alone."""
    monkeypatch.setattr(kinds, "readable", lambda: frozenset(["JPEG"]))
    head = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    with pytest.raises(UserError, match="x.jpg: not a picture that is read here, but HEIC; pip install pillow-heif"):
        decode.decode(head, name="x.jpg")


def test_a_reader_is_imported_when_it_is_used():
    assert "pillow_heif" not in sys.modules
    if "AVIF" in kinds.readable():
        formats.reader.cache_clear()
        assert formats.reader("AVIF").__name__ == "AvifImageFile"


# Orientation


@settings(max_examples=80)
@given(st.integers(0, 9), st.sampled_from("<>"), st.integers(0, 5), st.integers(0, 1))
def test_the_orientation_is_found_as_pillow_finds_it(value, order, before, prefix):
    """Among other tags, in either byte order, with or without the name in front."""
    entries = b"".join(struct.pack(order + "HHII", 256 + i, 4, 1, i) for i in range(before))
    entries += struct.pack(order + "HHIHH", 0x0112, 3, 1, value, 0)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, before + 1)
    exif = b"Exif\0\0" * prefix + head + entries + bytes(4)
    found = Image.Exif()
    found.load(exif)
    assert containers.orientation(exif) == (found[0x0112] if 1 <= found[0x0112] <= 8 else 1)


@given(st.binary(max_size=60))
def test_rubbish_turns_nothing(rubbish):
    assert containers.orientation(b"II*\0\x08\0\0\0" + rubbish) in range(1, 9)
    assert containers.tags_fit(b"MM\0*\0\0\0\x08" + rubbish) in (True, False)
    assert 0 <= containers.jpeg(b"\xff\xd8" + rubbish).start <= 62


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_xmp_turns_where_exif_does_not(kind):
    encoded = encode(smooth(), kind, xmp=XMP)
    np.testing.assert_array_equal(decode.decode(encoded), turned_by_pillow(encoded))
    assert decode.decode(encoded).shape == (64, 48, 3)
    exif = Image.Exif()
    exif[0x0112] = 1
    assert decode.decode(encode(smooth(), kind, xmp=XMP, exif=exif)).shape == (48, 64, 3)


def test_xmp_and_imagemagicks_exif_turn_a_png():
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = exif.tobytes()
    lines = b"Raw profile type exif\0", b"\nexif\n%8d\n%s\n" % (len(raw), raw.hex().encode())
    text, itxt = b"XML:com.adobe.xmp\0", b"\0\0" + XMP
    for more in (
        chunk(b"iTXt", text + b"\0\0" + itxt),
        chunk(b"iTXt", text + b"\1\0\0\0" + zlib.compress(XMP)),
        chunk(b"tEXt", b"".join(lines)),
        chunk(b"zTXt", lines[0] + b"\0" + zlib.compress(lines[1])),
    ):
        encoded = png(30, 20, more=more)
        assert decode.decode(encoded).shape == turned_by_pillow(encoded).shape == (30, 20, 3)


# More than 8 bits


@pytest.mark.parametrize("most", [1, 100, 254, 255, 256, 1000, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_maximum_of_a_ppm_is_white(most, channels):
    values = np.random.default_rng(most).integers(0, most + 1, (7, 9, channels))
    values[0, 0] = most
    data = values.astype(">u2" if most > 255 else "u1").tobytes()
    encoded = b"P%d 9 7 %d\n" % (6 if channels == 3 else 5, most) + data
    wanted = np.broadcast_to(np.rint(values / most * 255), (7, 9, 3))
    if most == 65535 and channels == 3:  # as Pillow rounds
        wanted = turned_by_pillow(encoded)
    np.testing.assert_array_equal(decode.decode(encoded), wanted)
    grey = decode.decode(encoded, channels=1)
    assert grey.shape == (7, 9, 1) and (channels == 3 or np.array_equal(grey, wanted[..., :1]))


def grey_tiff(values, bits=16, **more):
    data = values.astype("<u2").tobytes() if bits == 16 else bytes(0)
    if bits == 12:  # two samples in three bytes, the high bits first
        pairs = values.reshape(-1, 2).astype(int)
        data = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], -1)
        data = data.astype(np.uint8).tobytes()
    height, width = values.shape
    tags = {
        256: (4, (width,)), 257: (4, (height,)), 258: (3, (bits,)), 259: (3, (1,)), 262: (3, (1,)), 273: (4, (8,)),
        277: (3, (1,)), 278: (4, (height,)), 279: (4, (len(data),)),
        **{int(key[1:]): value for key, value in more.items()},
    }  # fmt: skip
    return tiff(tags, data)


@pytest.mark.parametrize("most", [1023, 4095, 16383])
def test_a_tiff_that_says_its_maximum_is_scaled_by_it(most):
    values = np.linspace(0, most, 60).round().reshape(6, 10).astype(int)
    got = decode.decode(grey_tiff(values, t281=(3, (most,))), channels=1)[..., 0]
    np.testing.assert_array_equal(got, np.rint(values * 255 / most))


def test_a_maximum_that_is_the_pictures_own_is_not_white():
    """TIFF 6.0: MaxSampleValue is not to be used to affect how a picture looks."""
    values = np.linspace(0, 3000, 60).round().reshape(6, 10).astype(int)
    got = decode.decode(grey_tiff(values, t281=(3, (3000,))), channels=1)[..., 0]
    np.testing.assert_array_equal(got, np.rint(values / 257))


def test_12_bits_a_sample_are_scaled():
    values = np.linspace(0, 4095, 60).round().reshape(6, 10).astype(int)
    got = decode.decode(grey_tiff(values, 12), channels=1)[..., 0]
    np.testing.assert_array_equal(got, np.rint(values * 255 / 4095))


# Bounds


def test_a_large_picture_in_a_large_file_is_read(monkeypatch):
    """The bound is on what a file of its size may take."""
    encoded = encode(noise(100, 100), "PNG")
    monkeypatch.setattr(bounds, "MEMORY", 60_000)
    assert len(encoded) > 100 * 100 * 7 / bounds.FOR_EACH_BYTE
    assert decode.decode(encoded).shape == (100, 100, 3)
    with pytest.raises(UserError, match="flat: 100 x 100 pixels in [0-9,]+ bytes would take 0 MiB to decode"):
        decode.decode(png(100, 100), name="flat")


def test_scans_are_counted_in_progressive_jpegs_alone(monkeypatch):
    monkeypatch.setattr(bounds, "MAX_PASSES", 48 * 64 * 5)
    monkeypatch.setattr(bounds, "FOR_EACH_BYTE", 0)
    assert decode.decode(encode(smooth())).shape == (48, 64, 3)
    with pytest.raises(UserError, match="x: 10 scans of 64 x 48 pixels in .* would take too long"):
        decode.decode(encode(smooth(), progressive=True), name="x")


def test_blocks_give_what_the_whole_gives(monkeypatch):
    palette = Image.fromarray(smooth()).quantize(16)
    made = [
        encode(np.dstack([noise(48, 64), noise(48, 64)[..., 0]]), "PNG"),
        encode(palette, "PNG", transparency=bytes([0, 128])),
        encode(palette, "GIF"),
        encode(np.arange(3072, dtype=np.uint16).reshape(48, 64) * 21, "PNG"),
        encode(Image.fromarray(smooth()).convert("1"), "PNG"),
        encode(smooth(), "TIFF"),
        flat_tiff(64, 48, t274=(3, (6,))),
    ]
    for channels in (1, 3):
        whole = [decode.decode(encoded, channels=channels) for encoded in made]
        monkeypatch.setattr(samples, "BLOCK", 50)  # less than a row
        for encoded, image in zip(made, whole, strict=True):
            np.testing.assert_array_equal(decode.decode(encoded, channels=channels), image)
        monkeypatch.setattr(samples, "BLOCK", 2**20)
