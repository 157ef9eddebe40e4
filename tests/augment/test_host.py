"""Crops and resizes on the host, against torchvision's outputs (fixtures/images.npz) and its closed forms."""

import io
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcls import augment
from jaxcls.augment import host
from jaxcls.augment.boxes import TRIES, crop_box
from jaxcls.data import decode
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
    out = host.RandomResizedCrop(16)(REFERENCE["in:c"], np.random.default_rng(0))
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
    host._cv2.cache_clear()
    with pytest.raises(UserError, match="pip install opencv-python-headless"):
        augment.host_transform([augment.parse("random_resized_crop(8, resample='fast')")], channels=3)
    host._cv2.cache_clear()
    with pytest.raises(UserError, match="nearest, bilinear, bicubic, fast, not 'quick'"):
        augment.host_transform([augment.parse("random_resized_crop(8, resample='quick')")], channels=3)
    with pytest.raises(UserError, match="nearest, bilinear, bicubic, not 'fast'"):
        augment.host_transform([augment.parse("resize(8, resample='fast')")], channels=3)
