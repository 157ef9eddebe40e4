"""Crops and resizes on the host, against torchvision's outputs (fixtures/images.npz) and its closed forms."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcls import augment
from jaxcls.augment import host
from jaxcls.augment.boxes import TRIES, crop_box
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


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90))
def test_the_short_side_gets_the_size_and_the_long_side_is_truncated(height, width, size):
    """torchvision: new_short, new_long = size, int(size * long / short)."""
    out = host.Resize(size)(np.zeros((height, width, 1), np.uint8), None)
    short, long = sorted((height, width))
    assert sorted(out.shape[:2]) == [size, int(size * long / short)]
    assert out.shape[0] <= out.shape[1] if height <= width else out.shape[0] >= out.shape[1]


@settings(deadline=None)
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
    monkeypatch.setattr(host, "crop_box", lambda *_, **__: np.array([3, 5, 20, 24]))
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
