import io
import struct
import zlib

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encode, jpeg_of_size, noise, smooth
from PIL import Image, ImageOps

from jaxcls.data import decode
from jaxcls.errors import UserError


def pillow(encoded: bytes, mode="RGB") -> np.ndarray:
    image = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert(mode))
    return image if mode == "RGB" else image[..., None]


@pytest.mark.parametrize("channels,mode", [(3, "RGB"), (1, "L")])
def test_real_pictures_equal_pillows(shared, channels, mode):
    paths = sorted((shared / "data" / "hymenoptera").rglob("*.jpg")) + sorted(
        (shared / "data" / "imagenet_sample").glob("*.jpg")
    )
    paths += sorted((shared / "data" / "magnetic_tile").rglob("*.jpg"))[::40]
    assert len(paths) > 500
    for path in paths:
        encoded = path.read_bytes()
        np.testing.assert_array_equal(decode.decode(encoded, channels=channels), pillow(encoded, mode), str(path))


@pytest.mark.parametrize(
    "kind,options", [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("PPM", {})]
)
def test_lossless_kinds_give_the_pixels_back(kind, options):
    image = noise(20, 30)
    np.testing.assert_array_equal(decode.decode(encode(image, kind, **options)), image)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("channels,mode", [(3, "RGB"), (1, "L")])
def test_jpeg_equals_pillows(subsampling, progressive, channels, mode):
    encoded = encode(noise(37, 51), subsampling=subsampling, progressive=progressive)
    np.testing.assert_array_equal(decode.decode(encoded, channels=channels), pillow(encoded, mode))


def test_gif_gives_its_first_frame():
    red, blue = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    image = decode.decode(encode(red, "GIF", save_all=True, append_images=[blue]))
    assert image.shape == (6, 8, 3) and np.all(image == (255, 0, 0))


def test_transparency_is_laid_onto_white():
    rgba = np.random.default_rng(1).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    alpha = rgba[..., 3:] / 255
    want = rgba[..., :3] * alpha + 255 * (1 - alpha)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert np.abs(decode.decode(encode(rgba, kind, **options)) - want).max() <= 1
    grey = encode(rgba[..., 2:], "PNG")  # LA
    assert np.abs(decode.decode(grey, channels=1)[..., 0] - want[..., 2]).max() <= 1
    assert np.ptp(decode.decode(grey), axis=-1).max() == 0


def test_a_transparent_colour_or_palette_entry_is_white():
    image = np.zeros((4, 4, 3), np.uint8)
    image[0] = (10, 20, 30)
    picture = decode.decode(encode(image, "PNG", transparency=(10, 20, 30)))
    assert np.all(picture[0] == 255) and np.all(picture[1:] == 0)
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    np.testing.assert_array_equal(decode.decode(encode(palette, "PNG"))[0], [[255, 0, 0], [0, 0, 255]])
    np.testing.assert_array_equal(
        decode.decode(encode(palette, "PNG", transparency=0))[0], [[255, 255, 255], [0, 0, 255]]
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(kind):
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    got = decode.decode(encode(values, kind), channels=1)[..., 0]
    np.testing.assert_array_equal(got, np.rint(values / 257))  # Pillow alone would give 0, 128, 129, 255, 255, 255
    assert decode.decode(encode(values, kind)).shape == (1, 6, 3)


def test_1_bit_is_black_and_white():
    bits = Image.fromarray(np.eye(8, dtype=np.uint8) * 255).convert("1")
    np.testing.assert_array_equal(decode.decode(encode(bits, "PNG"), channels=1)[..., 0], np.eye(8) * 255)


def test_cmyk_and_ycck():
    image = smooth()
    cmyk = Image.fromarray(image).convert("CMYK")
    encoded = encode(cmyk, "JPEG", quality=95)  # Adobe's inverted CMYK
    assert simplejpeg.decode_jpeg_header(encoded)[2] == "CMYK"
    np.testing.assert_array_equal(decode.decode(encoded), pillow(encoded))
    assert np.abs(decode.decode(encoded).astype(int) - image).max() < 12
    inverted = np.ascontiguousarray(255 - np.asarray(cmyk))
    ycck = simplejpeg.encode_jpeg(inverted, quality=95, colorspace="CMYK", colorsubsampling="444")
    assert simplejpeg.decode_jpeg_header(ycck)[2] == "YCCK"
    assert np.abs(decode.decode(ycck).astype(int) - image).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(smooth(), kind, exif=exif)
    image = decode.decode(encoded)
    np.testing.assert_array_equal(image, pillow(encoded))
    assert image.shape == ((64, 48, 3) if orientation > 4 else (48, 64, 3)) and image.flags.c_contiguous


@given(st.integers(0, 65535), st.sampled_from(["JPEG", "PNG"]))
def test_an_orientation_that_exif_does_not_know_leaves_the_picture_as_it_is(orientation, kind):
    """All that reads the size agrees, so what looks for a scale finds one."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(smooth(), kind, exif=exif)
    turned = 5 <= orientation <= 8
    image = decode.decode(encoded, scale_for=12)
    assert decode.upright_size(encoded) == ((64, 48) if turned else (48, 64))
    assert decode.shrink_of(image, decode.upright_size(encoded)) in (1, 4)
    if not 1 <= orientation <= 8:
        np.testing.assert_array_equal(decode.decode(encoded), pillow(encode(smooth(), kind)))


def test_two_orientations_are_none():
    exif = Image.Exif()
    exif[0x0112] = (6, 8)
    encoded = encode(smooth(), "PNG", exif=exif)
    assert decode.decode(encoded).shape[:2] == decode.upright_size(encoded)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind, compressed", [("tEXt", False), ("zTXt", True), ("iCCP", True), ("iTXt", False)])
def test_texts_and_profiles_of_any_size_are_no_damage_of_a_png(kind, compressed, after):
    """3 MiB of them, which Pillow refuses from 1 MiB on; the orientation in EXIF stays."""
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, text = encode(noise(20, 30), "PNG", exif=exif), bytes(3 * 2**20)
    head = {"tEXt": b"a\0", "zTXt": b"a\0\0", "iCCP": b"a\0\0", "iTXt": b"a\0\0\0\0\0"}[kind]
    content = kind.encode() + head + (zlib.compress(text) if compressed else text.replace(b"\0", b"x"))
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    at = plain.index(b"IEND") - 4 if after else 33
    encoded = plain[:at] + chunk + plain[at:]
    np.testing.assert_array_equal(decode.decode(encoded), decode.decode(plain))
    assert decode.size(encoded) == (20, 30) and decode.upright_size(encoded) == (30, 20)


def test_orientation_is_found_after_fill_bytes_and_stray_ones_and_other_segments():
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = encode(smooth(), exif=exif, comment=b"before", icc_profile=b"x" * 300)
    app1 = encoded.index(b"\xff\xe1")
    for between in (b"", b"\xff\xff", b"\x12\x34", b"\xff\xfe\0\x05abc"):
        changed = encoded[:app1] + between + encoded[app1:]
        assert decode.decode(changed).shape == (64, 48, 3) and decode.upright_size(changed) == (64, 48)


def test_broken_exif_is_ignored():
    encoded = encode(smooth(), exif=b"Exif\0\0II*\0rubbish")
    np.testing.assert_array_equal(decode.decode(encoded), pillow(encode(smooth())))


def test_scale_for():
    encoded = encode(smooth(400, 600), quality=95)
    for wanted, height in ((50, 50), (100, 100), (101, 200), (200, 200), (390, 400), (2000, 400), ((99, 151), 200)):
        image = decode.decode(encoded, scale_for=wanted)
        assert image.shape == (height, height * 3 // 2, 3) and decode.shrink_of(image, (400, 600)) == 400 // height
    small = decode.decode(encoded, scale_for=100).astype(int)
    mean = smooth(400, 600).reshape(100, 4, 150, 4, 3).mean((1, 3))
    assert np.abs(small - mean).max() < 6


@settings(max_examples=60)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 80), st.integers(1, 80), st.integers(1, 8))
def test_a_scaled_picture_has_what_is_asked_for_and_no_more_than_needed(height, width, wanted_h, wanted_w, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(smooth(height, width), exif=exif)
    full = decode.upright_size(encoded)
    assert full == decode.decode(encoded).shape[:2]
    image = decode.decode(encoded, scale_for=(wanted_h, wanted_w))
    enough = [image.shape[0] >= wanted_h, image.shape[1] >= wanted_w]
    assert all(enough) or image.shape[:2] == full
    half = decode.shrunk(full, 2 * decode.shrink_of(image, full))
    if decode.shrink_of(image, full) < 8 and half != image.shape[:2]:
        assert half[0] < wanted_h or half[1] < wanted_w


def test_fast_decoding_is_a_level_off_on_average(shared):
    for path in sorted((shared / "data" / "imagenet_sample").glob("*.jpg"))[:20]:
        encoded = path.read_bytes()
        exact, fast = (decode.decode(encoded, fast=fast).astype(int) for fast in (False, True))
        assert 0 < np.abs(exact - fast).mean() < 4


@settings(max_examples=150)
@given(st.data())
def test_truncation_never_passes(data):
    """Any strict beginning of a JPEG is refused: baseline and progressive, with and without restart markers."""
    options = data.draw(st.sampled_from([{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}]))
    encoded = encode(noise(), quality=60, **options)
    cut = data.draw(st.integers(1, len(encoded) - 1))
    with pytest.raises(UserError, match="cats/a.jpg: (truncated|not a picture|damaged)"):
        decode.decode(encoded[:cut], name="cats/a.jpg")


def test_truncation_of_a_picture_of_the_real_kind(shared):
    path = sorted((shared / "data" / "imagenet_sample").glob("*.jpg"))[0]
    encoded = path.read_bytes()
    for cut in np.random.default_rng(0).integers(1000, len(encoded), 30):
        with pytest.raises(UserError, match="truncated JPEG"):
            decode.decode(encoded[:cut])


def test_truncation_names_the_rows():
    encoded = encode(noise(), quality=60)
    whole = decode.decode(encoded)
    with pytest.raises(UserError, match=r"a.jpg: truncated JPEG, its data ends after (\d+) of 160 rows") as caught:
        decode.decode(encoded[: len(encoded) // 2], name="a.jpg")
    rows = int(str(caught.value).split(" of 160")[0].split()[-1])
    assert 70 <= rows <= 96  # half, in rows of blocks
    partial = simplejpeg.decode_jpeg(encoded[: len(encoded) // 2], strict=False)
    np.testing.assert_array_equal(partial[: rows - 24], whole[: rows - 24])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_other_kinds_truncated(kind):
    encoded = encode(noise(), kind)
    for cut in (0, 3, 20, len(encoded) // 2):
        with pytest.raises(UserError, match="^x: "):
            decode.decode(encoded[:cut], name="x")


def test_stray_bytes_before_a_marker_do_no_harm():
    encoded = encode(noise())
    tables = encoded.index(b"\xff\xdb")
    early = encoded[:tables] + b"\x12\x34\x56" + encoded[tables:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(early)
    late = encoded[:-2] + b"\x12\x34\x56\x00" + encoded[-2:]
    for stray in (early, late, encoded + b"more"):
        np.testing.assert_array_equal(decode.decode(stray), decode.decode(encoded))


@settings(max_examples=200)
@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF", b"BM", b"II*\0", b"P6"]),
)
def test_rubbish_gives_a_user_error(rubbish, magic):
    try:
        image = decode.decode(magic + rubbish, name="x", max_pixels=10**6)
    except UserError as error:
        assert str(error).startswith("x: ") and "\n" not in str(error)
    else:
        assert image.dtype == np.uint8 and image.ndim == 3


def test_what_is_no_picture_is_named_by_its_first_bytes():
    for encoded, message in (
        (b"hello world", "cats/x.jpg: not a picture that is read here, but text; move it away"),
        (b"<!DOCTYPE html><html>404</html>", "cats/x.jpg: not a picture that is read here, but HTML; it is a web page"),
        (b"\x01\x02\x03 not known", r"cats/x.jpg: not a picture \(it starts with b'.x01.x02.x03 not "),
        (b"", "cats/x.jpg: empty file; replace"),
    ):
        with pytest.raises(UserError, match=message):
            decode.decode(encoded, name="cats/x.jpg")


def png_of_size(width: int, height: int) -> bytes:
    encoded = encode(smooth(), "PNG")
    header = b"IHDR" + struct.pack(">II", width, height) + encoded[24:29]  # after 8 bytes of magic and 4 of length
    return encoded[:12] + header + struct.pack(">I", zlib.crc32(header)) + encoded[33:]


def test_too_many_pixels_are_refused_by_the_header():
    for encoded in (jpeg_of_size(20_000, 20_000), png_of_size(20_000, 20_000)):
        with pytest.raises(
            UserError, match="big: 20000 x 20000 = 400,000,000 pixels, more than 178,956,970; resize it"
        ):
            decode.decode(encoded, name="big")
    with pytest.raises(UserError, match="64 x 48 = 3,072 pixels, more than 3,071"):
        decode.decode(encode(smooth()), max_pixels=3071)
    assert decode.decode(encode(smooth()), max_pixels=3072).shape == (48, 64, 3)


def test_size():
    assert decode.size(encode(smooth(10, 20))) == decode.size(encode(smooth(10, 20), "PNG")) == (10, 20)
