"""RandomErasing and Cutout against a re-computation in NumPy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxcls.augment import device, erasing
from jaxcls.augment.base import Context
from jaxcls.augment.boxes import TRIES

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.5)
CONTEXT = Context(mean=MEAN, std=STD)


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def normalised(operation, own, images):
    """What the model sees after the operation, float32."""
    return np.asarray(jax.jit(device.compose([operation], CONTEXT))(own, {"image": images})["image"])


def plain(images):
    return (images.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)


def noise(n, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def rectangle(mask):
    """(top, left, bottom, right) of a mask [h, w] that is one rectangle; None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    box = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    assert mask.sum() == (box[2] - box[0]) * (box[3] - box[1])
    return box


def numpy_box(uniform, height, width, scale, ratio):
    """The rule of torchvision's RandomErasing, one candidate after the other."""
    for area, aspect, top, left in uniform:
        area = height * width * (scale[0] + (scale[1] - scale[0]) * area)
        aspect = np.exp(np.log(ratio[0]) + (np.log(ratio[1]) - np.log(ratio[0])) * aspect)
        h, w = int(round(np.sqrt(area * aspect))), int(round(np.sqrt(area / aspect)))
        if h < height and w < width:
            top, left = int(top * (height - h + 1)), int(left * (width - w + 1))
            return top, left, top + h, left + w
    return 0, 0, 0, 0


@settings(max_examples=100)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(32, 32), (20, 45), (5, 60)]),
    st.sampled_from([((0.02, 0.33), (0.3, 3.3)), ((0.5, 1.0), (0.9, 1.1)), ((0.9, 1.0), (1.0, 1.0))]),
)
def test_the_box_is_torchvisions(seed, shape, ranges):
    scale, ratio = ranges
    uniform = np.random.default_rng(seed).random((TRIES, 4), dtype=np.float32)
    got = np.asarray(BOX[shape, ranges](uniform))
    expected = numpy_box(uniform.astype(float), *shape, scale, ratio)
    assert np.abs(got - expected).max() <= 1  # float32 may round a side that ends on .5 to the other neighbour
    assert 0 <= got[0] <= got[2] <= shape[0] and 0 <= got[1] <= got[3] <= shape[1]


class _Boxes(dict):
    def __missing__(self, key):
        shape, (scale, ratio) = key
        self[key] = jax.jit(lambda u: erasing.erasing_box(u, *shape, scale=scale, ratio=ratio))
        return self[key]


BOX = _Boxes()


def test_nothing_is_erased_where_no_candidate_fits():
    uniform = np.full((TRIES, 4), 0.5, np.float32)
    np.testing.assert_array_equal(erasing.erasing_box(uniform, 8, 8, scale=(1, 1), ratio=(1, 1)), [0, 0, 0, 0])
    uniform[7, 0] = 0.0  # the eighth candidate: a quarter of the area
    box = erasing.erasing_box(uniform, 8, 8, scale=(0.25, 1.75), ratio=(1, 1))
    np.testing.assert_array_equal(box, [2, 2, 6, 6])


@pytest.mark.parametrize("value", ["zero", "noise", 1.5])
def test_erased_pixels_have_their_value_after_normalising_and_others_are_untouched(value):
    images = noise(300, 24, 20)
    out = normalised(erasing.random_erasing(0.5, value=value, context=CONTEXT), keys(300), images)
    erased = np.any(np.abs(out - plain(images)) > 1e-3, axis=-1)
    np.testing.assert_allclose(out[~erased], plain(images)[~erased], atol=1e-5)
    filled = out[erased]
    assert filled.size > 10000
    if value == "noise":
        assert stats.kstest(filled.ravel()[:20000], "norm").pvalue > 0.001
        assert np.abs(np.corrcoef(filled.T) - np.eye(3)).max() < 0.03
    else:
        np.testing.assert_allclose(filled, 0 if value == "zero" else value, atol=1e-4)
    assert abs(np.mean(erased.any((1, 2))) - 0.5) < 0.08


def test_the_erased_share_lies_in_its_range():
    images = np.zeros((400, 40, 40, 3), np.uint8)
    operation = erasing.random_erasing(1.0, scale=(0.1, 0.3), ratio=(0.5, 2.0), value=9.0, context=CONTEXT)
    out = normalised(operation, keys(400), images)
    boxes = np.array([rectangle(x[..., 0] > 5) for x in out])
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share, shape = height * width / 1600, height / width
    assert 0.09 < share.min() < 0.12 and 0.27 < share.max() < 0.32 and abs(share.mean() - 0.2) < 0.01
    assert 0.45 < shape.min() < 0.55 and 1.85 < shape.max() < 2.2 and abs(np.log(shape).mean()) < 0.06


@pytest.mark.parametrize("size", [1, 4, 5])
def test_cutout_erases_a_square_about_every_pixel_clipped_at_the_border(size):
    images = np.full((1500, 6, 9, 3), 255, np.uint8)
    out = normalised(erasing.cutout(size, context=CONTEXT), keys(1500), images)
    boxes = {rectangle(np.all(np.abs(x) < 1e-5, axis=-1)) for x in out}
    expected = {
        (max(y - size // 2, 0), max(x - size // 2, 0), min(y - size // 2 + size, 6), min(x - size // 2 + size, 9))
        for y in range(6)
        for x in range(9)
    }
    assert boxes == expected


def test_cutout_leaves_a_share_of_the_pictures_whole():
    images = np.full((500, 6, 6, 3), 255, np.uint8)
    out = normalised(erasing.cutout(3, p=0.4, context=CONTEXT), keys(500), images)
    assert abs(np.mean(np.any(np.abs(out) < 1e-5, axis=(1, 2, 3))) - 0.4) < 0.07


def test_a_picture_is_erased_by_its_key_alone():
    images = noise(8, 12, 12)
    for make in (erasing.random_erasing, erasing.cutout):
        options = {"p": 1.0, "value": "noise"} if make is erasing.random_erasing else {"size": 4}
        operation = jax.jit(make(context=CONTEXT, **options))
        whole = operation(keys(8), {"image": images})["image"]
        order = np.array([2, 3, 4, 0, 0, 7, 7, 7])  # another batch of the same size: a program serves for both
        other = operation(keys(8)[order], {"image": images[order]})["image"]
        np.testing.assert_allclose(other, whole[order], atol=1e-3)
        assert whole.dtype == jnp.float32


def test_impossible_arguments_are_refused():
    for wrong in (
        {"p": -1},
        {"scale": (0.5, 0.2)},
        {"scale": (0.1, 2)},
        {"ratio": 0},
        {"value": "mean"},
        {"value": float("nan")},
        {"value": True},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            erasing.random_erasing(context=CONTEXT, **wrong)
    for wrong in ({"size": 0}, {"size": 2.5}, {"size": 3, "p": 2}):
        with pytest.raises(ValueError):
            erasing.cutout(context=CONTEXT, **wrong)
