"""A box of a JPEG, against the same part of the whole: by simplejpeg (another build of libjpeg-turbo) and by Pillow."""

import concurrent.futures
import io

import numpy as np
import pytest
import simplejpeg
from damage import damaged, pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encode, jpeg_of_size, noise, smooth
from PIL import Image

from jaxcls.data import decode, jpeg, turbo
from jaxcls.errors import UserError

WHOLE = (10**6, 10**6)  # a least size that nothing has: no smaller scale is taken
needs_library = pytest.mark.skipif(turbo.found() is None, reason="libturbojpeg 3 is not installed")


@st.composite
def jpegs(draw):
    """(a JPEG of random samples, whether it is grey)."""
    height, width = draw(st.integers(9, 150)), draw(st.integers(9, 150))
    image = np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, 256, (height, width, 3), dtype=np.uint8)
    quality, kind = draw(st.integers(5, 100)), draw(st.sampled_from(["444", "422", "420", "440", "411", "Gray"]))
    if draw(st.booleans()) and kind not in ("440", "411"):
        sampling = {} if kind == "Gray" else {"subsampling": f"{kind[0]}:{kind[1]}:{kind[2]}"}
        image = image[..., 0] if kind == "Gray" else image
        return encode(image, quality=quality, progressive=True, **sampling), kind == "Gray"
    options = {"colorspace": "GRAY", "colorsubsampling": "Gray"} if kind == "Gray" else {"colorsubsampling": kind}
    image = np.ascontiguousarray(image[..., :1]) if kind == "Gray" else image
    return simplejpeg.encode_jpeg(image, quality=quality, **options), kind == "Gray"


def spans(draw, shape):
    """(top, left, bottom, right) of a box within a shape."""
    (top, bottom), (left, right) = (sorted(draw(st.integers(0, n - 1)) for _ in "ab") for n in shape)
    return top, left, bottom + 1, right + 1


@needs_library
@settings(max_examples=250, deadline=None)
@given(st.data(), jpegs(), st.sampled_from([1, 2, 4, 8]), st.booleans())
def test_a_box_is_to_the_bit_that_part_of_the_whole(data, made, shrink, fast):
    encoded, grey = made
    height, width = jpeg.shrunk(simplejpeg.decode_jpeg_header(encoded)[:2], shrink)
    top, left, bottom, right = spans(data.draw, (height, width))
    options = {"min_height": height, "min_width": width, "fastdct": fast, "fastupsample": fast}
    whole = simplejpeg.decode_jpeg(encoded, "GRAY" if grey else "RGB", **options)
    assert whole.shape[:2] == (height, width)
    part = turbo.decode(encoded, (top, left, bottom, right), shrink, grey=grey, fast=fast)
    np.testing.assert_array_equal(part, whole[top:bottom, left:right])


def upright_box(encoded, box, least=WHOLE, **options):
    """`decode_part` of a box, and the same of the whole that `decode` gives."""
    part = decode.decode_part(encoded, lambda _: (box, least), **options)
    whole = decode.decode(encoded, scale_for=least, **options)
    assert part.shrink == decode.shrink_of(whole, decode.upright_size(encoded))
    y, x = part.top, part.left
    return part, whole[y : y + part.image.shape[0], x : x + part.image.shape[1]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels, least", [(3, WHOLE), (1, (40, 40))])
def test_a_box_is_upright_and_no_larger_than_needed(orientation, channels, least):
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(noise(), exif=exif)
    part, expected = upright_box(encoded, (11, 22, 33, 44), least, channels=channels)
    np.testing.assert_array_equal(part.image, expected)
    assert part.shrink == (2 if channels == 1 else 1) and part.image.shape[2] == channels
    if turbo.found():
        assert (part.top, part.left) == (11 // part.shrink, 22 // part.shrink)
        assert part.image.shape[:2] == ((33, 44) if part.shrink == 1 else (17, 22))


def test_without_the_library_the_whole_is_decoded(monkeypatch):
    monkeypatch.setattr(turbo, "found", lambda: None)
    part, expected = upright_box(encode(noise()), (11, 22, 33, 44))
    assert part.image.shape == (160, 120, 3) and (part.top, part.left) == (0, 0)
    np.testing.assert_array_equal(part.image, expected)


def test_what_has_no_fast_way_is_decoded_as_a_whole():
    cmyk = Image.fromarray(smooth()).convert("CMYK")
    for encoded in (encode(cmyk), encode(noise(1, 1))):
        part, expected = upright_box(encoded, (0, 0, 1, 1))
        np.testing.assert_array_equal(part.image, expected)
    assert turbo.found() is None or turbo.decode(b"\xff\xd8rubbish", (0, 0, 1, 1)) is None


def error_of(call):
    try:
        call()
    except UserError as error:
        return str(error)


def test_a_file_that_ends_early_has_the_message_of_the_whole_wherever_the_box_is():
    for encoded in (encode(noise()), encode(noise(), progressive=True)):
        for cut in (len(encoded) // 4, len(encoded) // 2, len(encoded) - 40, len(encoded) - 2):
            short = encoded[:cut]
            message = error_of(lambda short=short: decode.decode(short, name="a.jpg"))
            assert message.startswith("a.jpg: truncated JPEG")
            for box in ((0, 0, 8, 8), (100, 30, 60, 50)):
                wanted = lambda _, box=box: (box, WHOLE)  # noqa: E731
                part = lambda short=short, wanted=wanted: decode.decode_part(short, wanted, name="a.jpg")  # noqa: E731
                assert error_of(part) == message


def test_too_large_a_picture_is_refused_by_its_header_whatever_the_box():
    encoded = jpeg_of_size(20_000, 20_000)
    assert error_of(lambda: decode.decode_part(encoded, lambda _: ((0, 0, 8, 8), WHOLE))) == error_of(
        lambda: decode.decode(encoded)
    )


def test_damage_gives_the_pixels_of_the_whole_or_its_line():
    """But for what only the whole notices: damage below the box."""
    for name in ("baseline.jpg", "progressive.jpg", "cmyk.jpg"):
        for version in damaged(pictures()[name], 150, 0):
            whole, part = None, None
            said = []
            for way in (decode.decode, lambda x, **o: decode.decode_part(x, lambda _: ((3, 2, 20, 9), WHOLE), **o)):
                try:
                    whole, part = part, way(version, name="x")
                except UserError as error:
                    whole = part
                    said.append(str(error))
            if not said:
                y, x = part.top, part.left
                expected = whole[y : y + part.image.shape[0], x : x + part.image.shape[1]]
                np.testing.assert_array_equal(part.image, expected)
            elif len(said) == 2:
                assert said[0] == said[1]
            else:  # the whole was refused, the box has its pixels
                assert isinstance(part, decode.Part)


@needs_library
def test_threads_do_not_disturb_each_other():
    made = [encode(np.roll(noise(), 7 * i, axis=0), quality=60 + i) for i in range(16)]
    expected = [simplejpeg.decode_jpeg(x)[20:90, 30:80] for x in made]

    def work(i):
        return all(
            np.array_equal(turbo.decode(made[k], (20, 30, 90, 80)), expected[k])
            for k in [(i + j) % 16 for j in range(40)]
        )

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


@needs_library
def test_real_pictures(shared):
    draw = np.random.default_rng(0)
    for path in sorted((shared / "data" / "imagenet_sample").glob("*.jpg"))[::3]:
        encoded = path.read_bytes()
        whole = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
        (top, bottom), (left, right) = (np.sort(draw.choice(n + 1, 2, replace=False)) for n in whole.shape[:2])
        part = turbo.decode(encoded, (int(top), int(left), int(bottom), int(right)))
        np.testing.assert_array_equal(part, whole[top:bottom, left:right])
