"""Transforms inside the step, against numpy and Pillow on the same boxes, and their keys."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxcls.augment import crops, device, flips
from jaxcls.augment.base import Context
from jaxcls.augment.boxes import TRIES, crop_box
from jaxcls.errors import UserError

REFERENCE = np.load(Path(__file__).parents[1] / "fixtures" / "images.npz")


def make(name, *args, **kwargs):
    """`(keys, images) -> images` of a transform."""
    operation = device.build(device.DEVICE[name], args, kwargs, Context())
    return lambda own, images: operation(own, {"image": images})["image"]


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def noise(n, height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


@pytest.fixture(scope="module")
def photograph():
    """A real picture that scikit-learn carries: uint8 [427, 640, 3]."""
    from sklearn.datasets import load_sample_image

    return np.asarray(load_sample_image("china.jpg"))


@pytest.mark.parametrize("mode, numpy_mode", [("zero", "constant"), ("reflect", "reflect")])
def test_a_crop_is_a_window_of_the_padded_picture(mode, numpy_mode):
    images = noise(64, 7, 9)
    out = np.asarray(jax.jit(make("crop", 6, pad=2, mode=mode))(keys(64), images))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode=numpy_mode)
    corners = set()
    for got, whole in zip(out, padded, strict=True):
        found = [(t, c) for t in range(6) for c in range(8) if np.array_equal(got, whole[t : t + 6, c : c + 6])]
        assert len(found) == 1
        corners |= set(found)
    assert out.dtype == np.uint8
    assert {t for t, _ in corners} == set(range(6)) and {c for _, c in corners} == set(range(8))


def test_flip_mirrors_about_half_of_the_pictures():
    images = noise(400, 3, 4)
    out = np.asarray(make("flip")(keys(400), images))
    mirrored = np.array([np.array_equal(x, y[:, ::-1]) for x, y in zip(out, images, strict=True)])
    same = np.array([np.array_equal(x, y) for x, y in zip(out, images, strict=True)])
    assert np.all(mirrored ^ same) and abs(mirrored.mean() - 0.5) < 0.1
    np.testing.assert_array_equal(make("flip", 0.0)(keys(400), images), images)
    np.testing.assert_array_equal(make("flip", 1)(keys(400), images), images[:, :, ::-1])


@pytest.mark.parametrize("height, width, size", [(32, 32, 28), (50, 40, 16), (20, 24, 32)])
def test_a_random_resized_crop_is_close_to_pillows(photograph, height, width, size):
    """Rounding aside, it is Pillow's `resize(box=...)`, whose filter sees what lies just outside of the box."""
    images = np.stack([photograph[r : r + height, r : r + width] for r in range(60, 380, 20)])
    own = keys(len(images))
    out = np.asarray(jax.jit(make("random_resized_crop", size))(own, images))
    assert out.dtype == np.uint8
    out = out.astype(float)
    draw = jax.vmap(lambda key: crop_box(jax.random.uniform(key, (TRIES, 4)), height, width, xp=jnp))
    others, boxes = [], jax.jit(draw)(own).tolist()
    for got, (top, left, h, w), image in zip(out, boxes, images, strict=True):
        box = (left, top, left + w, top + h)
        expected = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=box), float)
        assert np.abs(got - expected).max() <= 1
        beside = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=(0, 0, w, h)))
        others.append(np.abs(got - beside).max())
    assert np.median(others) > 10  # the tolerance does tell a box from another one


@pytest.mark.parametrize("shape", [(24, 32), (20, 30), (50, 70)])
def test_resize_equals_pillow_to_a_level(photograph, shape):
    image = photograph[100:148, 200:264]
    expected = np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BILINEAR), float)
    out = np.asarray(make("resize", *shape)(None, image[None]))[0]
    assert np.abs(out - expected).max() <= 1
    assert np.mean(out != expected) < 0.25  # Pillow rounds between its two passes, too
    assert make("resize", 20)(None, image[None]).shape == (1, 20, 26, 3)  # as on the host: int(20 * 64 / 48)


@pytest.mark.parametrize("shape", [(24, 32), (20, 30), (60, 80)])
def test_a_bicubic_resize_is_close_to_pillows(photograph, shape):
    image = photograph[100:148, 200:264]
    out, linear = (np.asarray(make("resize", *shape, name)(None, image[None]))[0] for name in ("bicubic", "bilinear"))
    expected = np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BICUBIC), float)
    assert np.abs(out - expected).max() <= 2 and np.mean(np.abs(out - expected) > 1) < 0.001
    assert np.abs(out.astype(float) - linear).max() > 10  # it is another filter
    with pytest.raises(ValueError, match="resample can be bilinear or bicubic for pictures in memory, not 'nearest'"):
        make("resize", *shape, "nearest")


def test_resize_equals_torchvision_to_a_level():
    out = np.asarray(make("resize", 20, 30)(None, REFERENCE["in:c"][None]))[0].astype(float)
    assert np.abs(out - REFERENCE["pil:c:resize_20x30_bilinear_aa"]).max() <= 1


def test_center_crop_equals_torchvision():
    out = make("center_crop", 24)(None, REFERENCE["in:c"][None])
    np.testing.assert_array_equal(out[0], REFERENCE["pil:c:center_crop_24"])


def test_grey_equals_pillow_exactly(photograph):
    for image in (photograph, noise(1, 300, 300)[0]):
        expected = np.asarray(Image.fromarray(image).convert("L"))
        np.testing.assert_array_equal(make("grey")(None, image[None])[0, ..., 0], expected)
    np.testing.assert_array_equal(make("grey", 3)(None, REFERENCE["in:c"][None])[0], REFERENCE["pil:c:gray3"])
    one = noise(2, 3, 3, channels=1)
    np.testing.assert_array_equal(make("grey", 3)(None, one), np.repeat(one, 3, axis=-1))


def test_hsv_equals_pillow_to_a_level(photograph):
    corners = np.stack(np.meshgrid(*[[0, 1, 127, 128, 254, 255]] * 3), axis=-1).reshape(1, -1, 3).astype(np.uint8)
    for image in (photograph, noise(1, 300, 300)[0], corners):
        expected = np.asarray(Image.fromarray(image).convert("HSV"), int)
        out = np.asarray(jax.jit(make("hsv"))(None, image[None]))[0]
        assert np.abs(out - expected).max() <= 1
        assert np.mean(out != expected) < 0.01


OPERATIONS = [crops.crop(6, pad=2), flips.flip(), crops.random_resized_crop(5)]


def test_a_picture_depends_on_its_key_only():
    """However the batch is cut or ordered."""
    transform = device.compose(OPERATIONS, Context(mean=(0.5,), std=(0.25,)))
    batch, own = {"image": noise(8, 7, 7), "label": np.arange(8)}, keys(8)
    transform = jax.jit(transform)
    whole = transform(own, batch)
    assert whole["image"].shape == (8, 5, 5, 3) and whole["image"].dtype == jnp.float32
    np.testing.assert_array_equal(whole["label"], np.arange(8))
    parts = [transform(own[i : i + 2], {k: v[i : i + 2] for k, v in batch.items()})["image"] for i in range(0, 8, 2)]
    np.testing.assert_allclose(np.concatenate(parts), whole["image"], atol=1e-6)
    backwards = transform(own[::-1], {k: v[::-1] for k, v in batch.items()})["image"]
    np.testing.assert_allclose(backwards[::-1], whole["image"], atol=1e-6)
    other = transform(keys(8, seed=1), batch)["image"]
    assert np.mean(np.abs(other - whole["image"])) > 0.1


def test_each_operation_of_a_list_has_keys_of_its_own():
    """Two flips with the same key would always cancel each other."""
    images = noise(64, 3, 4)
    out = jax.jit(device.compose([flips.flip(), flips.flip()]))(keys(64), {"image": images})["image"]
    assert 0 < np.mean(np.any(np.round(out * 255) != images, axis=(1, 2, 3))) < 1


def test_normalising_is_by_channel_and_on_the_scale_of_0_to_1():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    images = noise(2, 3, 3)
    out = device.compose([], Context(mean=mean, std=std))(None, {"image": images})["image"]
    np.testing.assert_allclose(out, (images / 255 - np.array(mean)) / np.array(std), rtol=1e-5, atol=1e-6)


def test_a_crop_that_does_not_fit_is_an_error_with_the_sizes():
    with pytest.raises(UserError, match="a crop of 12 does not fit into 7x7 padded by 2"):
        make("crop", 12, pad=2)(keys(1), noise(1, 7, 7))
    with pytest.raises(UserError, match="a crop of 8 does not fit into 7x9"):
        make("center_crop", 8)(None, noise(1, 7, 9))


def test_alternatives_are_drawn_by_example_with_their_weights():
    images = noise(600, 2, 3)
    mirror = crops.of_pictures(lambda _, image: image[:, :, ::-1])
    invert = crops.of_pictures(lambda _, image: 255 - image)
    either = jax.jit(device.one_of(mirror, invert, weights=(1, 3)))
    batch = either(keys(600), {"image": images, "label": np.zeros(600)})
    mirrored = np.all(np.asarray(batch["image"]) == images[:, :, ::-1], axis=(1, 2, 3))
    inverted = np.all(np.asarray(batch["image"]) == 255 - images, axis=(1, 2, 3))
    assert np.all(mirrored ^ inverted) and abs(inverted.mean() - 0.75) < 0.06
    alone = either(keys(600)[7:9], {"image": images[7:9]})["image"]
    np.testing.assert_array_equal(alone, batch["image"][7:9])


def test_alternatives_that_mix_pairs_are_drawn_by_pair():
    def mixing(value):
        def operation(own, batch):
            return {**batch, "image": batch["image"] * 0 + value}

        operation.mixes = "pair"
        return operation

    batch = jax.jit(device.one_of(mixing(1), mixing(2), weights=(1, 1)))(keys(200), {"image": noise(200, 1, 1)})
    drawn = np.asarray(batch["image"])[:, 0, 0, 0].reshape(100, 2)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 1])
    assert 30 < np.sum(drawn[:, 0] == 1) < 70


def test_alternatives_must_leave_one_size():
    with pytest.raises(UserError, match="must leave pictures of the same size"):
        jax.eval_shape(device.one_of(crops.crop(4), crops.crop(5), weights=(1, 1)), keys(2), {"image": noise(2, 7, 7)})


def test_labels_become_distributions_where_the_list_mixes():
    def operation(own, batch):
        return batch

    batch = {"image": noise(3, 2, 2), "label": np.array([2, 0, 1])}
    np.testing.assert_array_equal(device.compose([operation])(keys(3), batch)["label"], [2, 0, 1])
    operation.mixes = "pair"
    label = device.compose([operation], Context(classes=4))(keys(3), batch)["label"]
    np.testing.assert_array_equal(label, np.eye(4)[[2, 0, 1]])
