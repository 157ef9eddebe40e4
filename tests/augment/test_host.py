"""Crops and resizes on the host, against torchvision's outputs (fixtures/images.npz) and its closed forms."""

import io
import pickle
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcls import augment
from jaxcls.augment import host, opencv
from jaxcls.augment.boxes import TRIES, crop_box
from jaxcls.data import bounds, decode, resample
from jaxcls.errors import UserError

REFERENCE = np.load(Path(__file__).parents[1] / "fixtures" / "images.npz")


@pytest.mark.parametrize(
    "operation, name",
    [
        (host.Resize(20, 30), "resize_20x30_bilinear_aa"),
        (host.Resize(20, 30, "bicubic"), "resize_20x30_bicubic_aa"),
        (host.Resize(20, 30, resample="nearest"), "resize_20x30_nearest_aa"),
        (host.Resize(20), "resize_short20_bilinear_aa"),
        (host.CenterCrop(24), "center_crop_24"),
        (host.CenterCrop(60), "center_crop_60_pads"),
    ],
)
def test_equals_torchvision(operation, name):
    np.testing.assert_array_equal(operation(REFERENCE["in:c"], None), REFERENCE[f"pil:c:{name}"])


@settings(max_examples=50)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90))
def test_the_short_side_gets_the_size_and_the_long_side_is_truncated(height, width, size):
    """torchvision: new_short, new_long = size, int(size * long / short)."""
    out = host.Resize(size)(np.zeros((height, width, 1), np.uint8), None)
    short, long = sorted((height, width))
    assert sorted(out.shape[:2]) == [size, int(size * long / short)]
    assert out.shape[0] <= out.shape[1] if height <= width else out.shape[0] >= out.shape[1]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_the_central_crop_always_has_its_size(height, width, size):
    image = np.arange(1, height * width + 1).reshape(height, width, 1).astype(np.uint16)
    out = host.CenterCrop(size)(image, None)
    assert out.shape == (size, size, 1)
    kept = min(height, size) * min(width, size)
    assert np.count_nonzero(out) == kept  # no pixel is lost that has room, and the padding is zero
    middle = [(n - 1) / 2 for n in (height, width)]
    rows, columns, _ = np.nonzero(np.isin(image, out[out > 0]))
    assert abs(rows.mean() - middle[0]) <= 0.5 and abs(columns.mean() - middle[1]) <= 0.5


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_a_random_resized_crop_is_pillows_resize_of_the_box(resample):
    image, random = REFERENCE["in:c"], np.random.default_rng(4)
    out = host.RandomResizedCrop(16, resample=resample)(image, random)
    uniform = np.random.default_rng(4).random((TRIES, 4))
    top, left, h, w = crop_box(uniform, *image.shape[:2]).tolist()
    part = Image.fromarray(image[top : top + h, left : left + w])
    np.testing.assert_array_equal(out, np.asarray(part.resize((16, 16), getattr(Image.Resampling, resample.upper()))))


def test_a_box_of_torchvision_gives_torchvisions_pixels(monkeypatch):
    monkeypatch.setattr(host, "first_box", lambda *_: (3, 5, 20, 24))
    out = host.RandomResizedCrop(16, resample="bilinear")(REFERENCE["in:c"], np.random.default_rng(0))
    np.testing.assert_array_equal(out, REFERENCE["pil:c:resized_crop_3_5_20_24_to16"])


def test_grey_pictures_keep_their_axis():
    image = REFERENCE["in:c"][..., :1]
    for operation in (host.Resize(20), host.CenterCrop(20), host.RandomResizedCrop(20)):
        assert operation(image, np.random.default_rng(0)).shape[2] == 1


def test_encoded_pictures_are_decoded_and_transforms_can_be_sent_to_workers():
    calls, rest = augment.split_list(("resize(20)", "center_crop(16)"), encoded=True)
    transform = pickle.loads(pickle.dumps(augment.host_transform(calls, channels=3)))
    buffer = io.BytesIO()
    Image.fromarray(REFERENCE["in:c"]).save(buffer, "PNG")
    out = transform(buffer.getvalue(), "x.png", None)
    np.testing.assert_array_equal(out, transform(REFERENCE["in:c"], "x.png", None))
    expected = REFERENCE["pil:c:resize_short20_bilinear_aa"][2:18, 6:22]
    np.testing.assert_array_equal(out, expected)
    assert rest == []


def test_what_is_random_has_no_place_in_evaluation():
    with pytest.raises(UserError, match="'random_resized_crop' is random"):
        host.RandomResizedCrop(8)(REFERENCE["in:c"], None)


@settings(max_examples=300)
@given(
    st.integers(0, 2**32),
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.sampled_from([(0.08, 1.0), (0.9, 1.0), (1.0, 1.0)]),
    st.sampled_from([(3 / 4, 4 / 3), (1.0, 1.0), (0.2, 0.3)]),
)
def test_a_box_drawn_candidate_by_candidate_is_crop_box(seed, height, width, scale, ratio):
    uniform = np.random.default_rng(seed).random((TRIES, 4))
    expected = crop_box(uniform, height, width, scale=scale, ratio=ratio)
    assert host.first_box(uniform, height, width, scale, ratio) == tuple(expected.tolist())


def jpeg(image, quality=95, orientation=1):
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(image).save(out, "JPEG", quality=quality, exif=exif)
    return out.getvalue()


def photograph(shared, name="n01440764_tench", size=(1200, 900)):
    """A picture of the sample, enlarged."""
    (path,) = (shared / "data" / "imagenet_sample").glob(f"{name}.jpg")
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def whole_and_scaled(operation, encoded, seed=0):
    """The operation on the picture decoded in full, and on one decoded no larger than needed; and their difference."""
    channels, draw = 3, lambda: np.random.default_rng(seed)
    whole = operation(decode.decode(encoded, channels=channels), draw())
    scaled = host.HostTransform([operation], channels)(encoded, "x.jpg", draw())
    assert whole.shape == scaled.shape
    return np.abs(whole.astype(int) - scaled).mean()


@pytest.mark.parametrize("operation", [host.RandomResizedCrop(224), host.Resize(256), host.Resize(200, 300)])
def test_small_jpegs_are_decoded_in_full_and_do_not_change_by_a_bit(shared, operation):
    encoded = jpeg(photograph(shared, size=(500, 375)))
    assert all(whole_and_scaled(operation, encoded, seed) == 0 for seed in range(5))


@pytest.mark.parametrize(
    "operation, bound",
    [  # measured on the sample enlarged to 12 megapixels: 0.35 on average, 0.6 at most; 0.17 and 0.21
        (host.RandomResizedCrop(112), 1.5),
        (host.RandomResizedCrop(112, resample="bicubic"), 2.5),
        (host.Resize(112), 1.0),
        (host.Resize(100, 120), 1.0),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_jpegs_decoded_at_a_smaller_scale_are_nearly_the_same(shared, operation, bound, orientation):
    encoded = jpeg(photograph(shared), orientation=orientation)
    differences = [whole_and_scaled(operation, encoded, seed) for seed in range(6)]
    assert 0 < max(differences) < bound  # so a smaller scale was used, and is near


def test_nearest_needs_every_pixel(shared):
    encoded = jpeg(photograph(shared))
    for operation in (host.Resize(64, resample="nearest"), host.RandomResizedCrop(64, resample="nearest")):
        assert whole_and_scaled(operation, encoded) == 0


def test_fast_resampling_is_near_pillows_and_antialiased(shared):
    pytest.importorskip("cv2")
    fast, exact = host.RandomResizedCrop(224, resample="fast"), host.RandomResizedCrop(224)
    for size in ((500, 375), (1200, 900)):
        image = photograph(shared, size=size)
        pairs = [[f(image, np.random.default_rng(seed)).astype(int) for f in (fast, exact)] for seed in range(5)]
        assert max(np.abs(a - b).mean() for a, b in pairs) < 3
    stripes = np.zeros((800, 800, 1), np.uint8)
    stripes[:, ::2] = 255  # far beyond what 64 pixels can show: an alias would be black or white
    out = host.RandomResizedCrop(64, scale=(1, 1), ratio=(1, 1), resample="fast")(stripes, np.random.default_rng(0))
    assert out.shape == (64, 64, 1) and np.abs(out.astype(int) - 127).max() < 20


def test_fast_resampling_names_the_package_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    opencv.loaded.cache_clear()
    with pytest.raises(UserError, match="pip install opencv-python-headless"):
        augment.host_transform([augment.parse("random_resized_crop(8, resample='fast')")], channels=3)
    opencv.loaded.cache_clear()
    with pytest.raises(UserError, match="nearest, bilinear, bicubic, bilinear-simd, fast, auto, not 'quick'"):
        augment.host_transform([augment.parse("random_resized_crop(8, resample='quick')")], channels=3)
    with pytest.raises(UserError, match="nearest, bilinear, bicubic, bilinear-simd, not 'fast'"):
        augment.host_transform([augment.parse("resize(8, resample='fast')")], channels=3)


THIN = ((1, 30_000), (2, 12_000), (60_000, 1), (3, 9_001))


def both(shape, monkeypatch, operations, seed=0):
    """The operations on a random picture, whole and with a bound that lets no more than the crop be made."""
    image = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    whole = host.HostTransform(operations, 3)(image, "x", None)
    monkeypatch.setattr(bounds, "MAX_RESIZED", 1)
    return whole.astype(int), host.HostTransform(operations, 3)(image, "x", None)


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("shape", [(1, 3000), (2, 1001), (2500, 3), (40, 333), (37, 41), (90, 700)])
@pytest.mark.parametrize("short, size", [(32, 28), (20, 24), (33, 33)])
def test_of_a_thin_picture_the_box_that_the_crop_keeps_is_that_of_the_whole(shape, short, size, name, monkeypatch):
    operations = [host.Resize(short, resample=name), host.CenterCrop(size)]
    whole, box = both(shape, monkeypatch, operations)
    assert box.shape == (size, size, 3)
    if name == "nearest":  # pixels on the border of two: a neighbour
        assert (whole != box).mean() < 0.01
    else:
        assert np.abs(whole - box).max() <= 1


def test_a_thin_picture_takes_the_memory_of_its_crop():
    operations = [host.Resize(256), host.CenterCrop(224)]
    for shape in THIN:
        tracemalloc.start()
        out = host.HostTransform(operations, 3)(np.full((*shape, 3), 7, np.uint8), "x", None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert out.shape == (224, 224, 3) and np.all(out == 7) and peak < 4 * 2**20


def test_without_a_crop_a_line_names_both_sizes():
    for image in (np.zeros((1, 300_000, 3), np.uint8), jpeg(np.zeros((1, 60_000, 3), np.uint8))):
        with pytest.raises(
            UserError, match=r"x.png: (300000|60000) x 1 pixels would be resized to \d+ x 256, more than"
        ):
            host.HostTransform([host.Resize(256)], 3)(image, "x.png", None)
    assert host.HostTransform([host.Resize(64, 64)], 3)(np.zeros((1, 300_000, 3), np.uint8), "x", None).shape[0] == 64
    with pytest.raises(UserError, match="300000 x 1 pixels would be resized to"):
        augment.device_transform([augment.parse("resize(256)")], random=False)(
            None, {"image": np.zeros((1, 1, 300_000, 3), np.uint8)}
        )


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 100_000), st.booleans(), st.integers(1, 70), st.sampled_from(["bilinear", "fast"]))
def test_pictures_of_one_row_or_column_of_any_length(n, column, size, name):
    if name == "fast":
        pytest.importorskip("cv2")
    image = np.full((n, 1, 3) if column else (1, n, 3), 9, np.uint8)
    evaluated = host.HostTransform([host.Resize(size), host.CenterCrop(size)], 3)(image, "x", None)
    assert evaluated.shape == (size, size, 3) and np.all(evaluated == 9)
    cropped = host.RandomResizedCrop(size, resample=name)(image, np.random.default_rng(n))
    assert cropped.shape == (size, size, 3) and np.all(cropped == 9)
    packed = host.smaller(size, 3)(image, "x", None)
    assert packed.shape == image.shape


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(1, 40), st.integers(30, 700))
def test_a_resize_in_blocks_is_that_of_the_whole(height, width, to_height, to_width, block):
    """To the rounding between Pillow's two passes, of which it chooses the order by the sizes."""
    image = np.random.default_rng(block).integers(64, 192, (height, width, 1), dtype=np.uint8)
    for name in ("bilinear", "bicubic"):
        whole = resample.resized(image, (to_height, to_width), resample.FILTERS[name]).astype(int)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resample, "BLOCK", block)
            blocks = resample.resized(image, (to_height, to_width), resample.FILTERS[name])
        assert np.abs(whole - blocks).max() <= 2
