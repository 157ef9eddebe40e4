"""The SIMD resizer against Pillow's, and which of the two a crop takes."""

import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encode, smooth

from jaxcls import augment
from jaxcls.augment import host, simd
from jaxcls.data import resample, turbo
from jaxcls.errors import UserError

needs_package = pytest.mark.skipif(not simd.installed(), reason="cykooz-resizer is not installed")
BILINEAR = resample.FILTERS["bilinear"]


@st.composite
def boxes(draw):
    """(height, width, box or None): edges on eighths of pixels, as they are in a JPEG at a smaller scale."""
    shape = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    if draw(st.booleans()):
        return *shape, None
    edges = [sorted(draw(st.lists(st.integers(0, 8 * n), min_size=2, max_size=2, unique=True))) for n in shape]
    (top, bottom), (left, right) = edges
    return *shape, (top / 8, left / 8, bottom / 8, right / 8)


@needs_package
@settings(max_examples=150, deadline=None)
@given(boxes(), st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 3]), st.integers(0, 2**32))
def test_values_are_pillows_to_a_level(where, to_height, to_width, channels, seed):
    """On noise, where two were seen in one of 4,000."""
    height, width, box = where
    image = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    ours = simd.resized(image, (to_height, to_width), box=box)
    pillows = resample.resized(image, (to_height, to_width), BILINEAR, box=box).astype(int)
    assert ours.shape == pillows.shape and ours.dtype == np.uint8
    assert np.abs(ours - pillows).max() <= 2 and (ours != pillows).mean() < 0.5 or pillows.size < 100


@needs_package
def test_photographs_are_pillows_to_a_level(shared):
    from PIL import Image

    for path in sorted((shared / "data" / "imagenet_sample").glob("*.jpg"))[::5]:
        image = np.asarray(Image.open(path).convert("RGB"))
        pillows = resample.resized(image, (224, 200), BILINEAR).astype(int)
        assert np.abs(simd.resized(image, (224, 200)) - pillows).max() <= 1


@needs_package
def test_what_is_large_or_wanted_in_part_is_pillows(monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    kept = (3, 4, 10, 12)
    ours = simd.resized(image, (30, 30), kept=kept)
    np.testing.assert_array_equal(ours, resample.resized(image, (30, 30), BILINEAR, kept=kept))
    two = simd.resized(image[..., :2], (30, 30))
    np.testing.assert_array_equal(two, resample.resized(image[..., :2], (30, 30), BILINEAR))
    monkeypatch.setattr(resample, "BLOCK", 500)
    np.testing.assert_array_equal(simd.resized(image, (30, 30)), resample.resized(image, (30, 30), BILINEAR))


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    simd.loaded.cache_clear()
    yield
    simd.loaded.cache_clear()


def test_without_the_package_auto_is_pillows_and_its_name_an_error(absent):
    image = smooth(100, 120)
    made = [host.RandomResizedCrop(32, resample=name)(image, np.random.default_rng(0)) for name in ("auto", "bilinear")]
    np.testing.assert_array_equal(*made)
    for spec in ("random_resized_crop(8, resample='bilinear-simd')", "resize(8, resample='bilinear-simd')"):
        with pytest.raises(UserError, match="pip install cykooz-resizer; 'bilinear' does not"):
            augment.host_transform([augment.parse(spec)], channels=3)


@needs_package
def test_auto_is_the_faster_one_for_crops_and_evaluation_stays_pillows():
    image = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    auto, named, pillow = (
        pickle.loads(pickle.dumps(host.RandomResizedCrop(32, resample=name)))(image, np.random.default_rng(0))
        for name in ("auto", "bilinear-simd", "bilinear")
    )
    np.testing.assert_array_equal(auto, named)
    assert np.any(auto != pillow)
    plain, asked = host.Resize(32), host.Resize(32, resample="bilinear-simd")
    np.testing.assert_array_equal(plain(image, None), resample.resized(image, (32, 38), BILINEAR))
    assert np.any(asked(image, None) != plain(image, None))


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "bilinear-simd", "fast"])
@pytest.mark.parametrize("orientation", [1, 8])
def test_a_crop_is_the_same_whether_the_box_or_the_whole_is_decoded(name, orientation, monkeypatch):
    if name == "fast":
        pytest.importorskip("cv2")
    if name == simd.NAME and not simd.installed():
        pytest.skip("cykooz-resizer is not installed")
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(np.random.default_rng(0).integers(0, 256, (300, 407, 3), dtype=np.uint8), exif=exif)
    transform = host.HostTransform([host.RandomResizedCrop(64, resample=name)], 3)
    seeds = range(12)
    parts = [transform(encoded, "x", np.random.default_rng(seed)) for seed in seeds]
    views = transform.views(encoded, "x", [np.random.default_rng(seed) for seed in (0, 1, 2)])
    monkeypatch.setattr(turbo, "found", lambda: None)
    for seed, part in zip(seeds, parts, strict=True):
        np.testing.assert_array_equal(part, transform(encoded, "x", np.random.default_rng(seed)))
    again = transform.views(encoded, "x", [np.random.default_rng(seed) for seed in (0, 1, 2)])
    np.testing.assert_array_equal(views, again)
