"""Hand-made features against the formulas they are defined by, and against what must not change them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcls.classical import hog, pictures, sift
from jaxcls.data.base import ArraySource
from jaxcls.errors import UserError

pytest.importorskip("skimage", reason="needs the extra 'classical'")
pytest.importorskip("cv2", reason="needs the extra 'classical'")


def textured(seed, side=64):
    """uint8 [side, side, 1]: noise smoothed to blobs of some pixels, in which SIFT finds corners."""
    noise = np.random.default_rng(seed).integers(0, 256, (side // 4, side // 4), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC))[..., None]


def hog_by_hand(image, cell, bins=9):
    """HOG as the docstring of `hog.describe` says it, in float64: votes by cell, blocks of 2 x 2, L2-Hys."""
    x = np.sqrt(image.astype(np.float64))
    down, right = np.zeros_like(x), np.zeros_like(x)
    down[1:-1], right[:, 1:-1] = x[2:] - x[:-2], x[:, 2:] - x[:, :-2]
    size, angle = np.hypot(down, right), np.rad2deg(np.arctan2(down, right)) % 180
    rows, columns = (n // cell for n in x.shape)
    cells = np.zeros((rows, columns, bins))
    for i in range(rows * cell):
        for j in range(columns * cell):
            cells[i // cell, j // cell, int(angle[i, j] // (180 / bins)) % bins] += size[i, j] / cell**2
    out = []
    for i in range(rows - 1):
        for j in range(columns - 1):
            block = cells[i : i + 2, j : j + 2].ravel()
            block = np.minimum(block / np.sqrt((block**2).sum() + 1e-10), 0.2)
            out.append(block / np.sqrt((block**2).sum() + 1e-10))
    return np.concatenate(out)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(12, 20), st.integers(12, 20), st.integers(3, 5))
def test_hog_equals_a_recomputation(seed, height, width, cell):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 1), dtype=np.uint8)
    expected = hog_by_hand(image[..., 0], cell)
    np.testing.assert_allclose(hog.describe(image, cell=cell), expected, atol=2e-3)


@pytest.mark.parametrize("turned, orientation", [(False, 0), (True, 4)])
def test_a_ramp_falls_into_the_bin_of_its_direction(turned, orientation):
    ramp = np.tile(np.arange(0, 160, 10, dtype=np.uint8), (16, 1))
    image = (ramp.T if turned else ramp)[..., None]
    found = hog.describe(image, cell=4).reshape(-1, 9)
    assert found[:, orientation].min() > 0
    assert np.delete(found, orientation, axis=1).max() == 0


def test_colours_of_hog():
    grey = textured(0, 16)
    one, three = hog.describe(grey), hog.describe(np.repeat(grey, 3, axis=2), colour="channels")
    np.testing.assert_array_equal(three, np.tile(one, 3))
    coloured = np.concatenate([np.full_like(grey, 128), grey, np.full_like(grey, 7)], axis=2)
    np.testing.assert_allclose(hog.describe(coloured, colour="strongest"), one, atol=1e-6)


def test_hog_refuses_pictures_without_a_block():
    with pytest.raises(UserError, match="5 x 3 pixels hold no 2 x 2 cells of 2 pixels; enlarge them with --size"):
        hog.cell_side((3, 5, 1))
    assert hog.cell_side((28, 28)) == 4 and hog.cell_side((128, 200)) == 16


def test_dense_descriptors_lie_on_a_grid_and_have_unit_length():
    found, places = sift.descriptors(textured(1))
    assert found.shape == (512, 128)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.unique(places[:, 0]), (np.arange(16) + 0.5) / 16, atol=1e-6)


def test_a_dense_descriptor_of_a_ramp_points_one_way():
    """Of a horizontal ramp all gradient is in the first of the 8 orientations, in every one of the 4 x 4 parts."""
    image = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))[..., None]
    found, places = sift.descriptors(image)
    inner = found[np.all((places > 0.3) & (places < 0.7), axis=1)].reshape(-1, 16, 8)
    assert (inner[..., 0] ** 2).sum(axis=1).min() > 0.999


@pytest.fixture(scope="module")
def vocabulary():
    return sift.learn((textured(seed) for seed in range(12)), words=32, seed=0, keypoints="detected")


def test_a_picture_turned_by_90_degrees_keeps_its_bag_of_detected_words(vocabulary):
    def bag(image):
        return sift.describe(np.ascontiguousarray(image), vocabulary, keypoints="detected")

    for seed in range(20, 24):
        image = textured(seed)
        turned, other = bag(image) @ bag(np.rot90(image)), bag(image) @ bag(textured(seed + 50))
        assert 1 - turned < 0.05 and 1 - turned < (1 - other) / 3


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from(sift.WEIGHTINGS), st.sampled_from(sift.KEYPOINTS))
def test_bags_have_unit_length_and_count_every_descriptor(vocabulary, seed, pyramid, weighting, keypoints):
    kwargs = {"keypoints": keypoints, "weighting": weighting}
    image = textured(seed)
    bag = sift.describe(image, vocabulary, pyramid=pyramid, **kwargs)
    assert bag.shape == (32 * (5 if pyramid else 1),)
    np.testing.assert_allclose(np.linalg.norm(bag), 1, atol=1e-5)
    np.testing.assert_array_equal(bag, sift.describe(image.copy(), vocabulary, pyramid=pyramid, **kwargs))
    # Counts can be had back: Hellinger's squares and tf-idf without its idf are shares of the words.
    shares = bag**2 if weighting == "hellinger" else bag / np.tile(vocabulary.idf, 5 if pyramid else 1)
    shares = shares / shares[:32].sum()
    counts = np.bincount(
        sift.nearest(sift.descriptors(image, keypoints=keypoints)[0], vocabulary.centres), minlength=32
    )
    np.testing.assert_allclose(shares[:32], counts / counts.sum(), atol=1e-5)
    if pyramid:
        np.testing.assert_allclose(shares[32:].reshape(4, 32).sum(axis=0), shares[:32], atol=1e-5)


def test_quarters_of_the_pyramid_are_those_of_the_picture(vocabulary):
    """Detail in one corner only: the other quarters see flat patches, of one word."""
    image = np.full((64, 64, 1), 128, np.uint8)
    image[:12, 52:] = textured(3)[:12, :12]
    bag = sift.describe(image, vocabulary, pyramid=True)
    words = (bag.reshape(5, 32) > 0).sum(axis=1)  # whole, top left, top right, bottom left, bottom right
    assert words[2] > 3 and words[3] == 1 and words[0] >= words[2]


def test_a_flat_picture_has_no_detected_words(vocabulary):
    assert not sift.describe(np.full((64, 64, 1), 9, np.uint8), vocabulary, keypoints="detected").any()


def test_idf_is_larger_for_rarer_words(vocabulary):
    occurs = np.zeros(32)
    for seed in range(12):
        found, _ = sift.descriptors(textured(seed), keypoints="detected")
        distances = ((found.astype(np.float16).astype(np.float32)[:, None] - vocabulary.centres) ** 2).sum(axis=2)
        occurs[np.unique(distances.argmin(axis=1))] += 1
    np.testing.assert_allclose(vocabulary.idf, np.log(13 / (1 + occurs)) + 1, rtol=1e-5)


def test_too_few_descriptors_for_a_vocabulary():
    flat = np.zeros((64, 64, 1), np.uint8)
    with pytest.raises(UserError, match="0 descriptors, too few for 8 words; lower --words or use --keypoints dense"):
        sift.learn([flat, flat], words=8, seed=0, keypoints="detected")


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_resized_and_turned_grey_as_pillow_does(channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 12, 3), dtype=np.uint8)
    source = ArraySource(images, [0, 1, 0], "ab", "xyz")
    (got,) = pictures.read(source, [1], size=6, channels=channels)
    expected = Image.fromarray(images[1]).convert("L" if channels == 1 else "RGB").resize((6, 6), Image.BILINEAR)
    np.testing.assert_array_equal(got, np.asarray(expected).reshape(6, 6, channels))
    (same,) = pictures.read(source, [2], size=None, channels=3)
    np.testing.assert_array_equal(same, images[2])


def test_the_side_of_pictures():
    small = ArraySource(np.zeros((1, 8, 8, 1), np.uint8), [0], "ab", "x")
    assert pictures.side(small, 0, default=128) is None
    assert pictures.side(small, 0, default=128, least=32) == 32
    assert pictures.side(small, 16, default=128, least=32) == 16
    assert pictures.side(object(), 0, default=128, least=32) == 128
