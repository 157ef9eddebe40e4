"""Which ranks of arrays the transforms take: others are refused by name, and those that take any treat them alike."""

import jax
import numpy as np
import pytest

from jaxcls import augment
from jaxcls.augment import device, device_clips, mixing
from jaxcls.augment.base import Context
from jaxcls.errors import UserError

ARGUMENTS = {
    "crop": "(4)",
    "random_resized_crop": "(4)",
    "resize": "(4)",
    "center_crop": "(4)",
    "rotate": "(10)",
    "posterize": "(4)",
    "solarize": "(100)",
    "sharpness": "(2.0)",
    "cutout": "(2)",
    "random_grey": "(0.5)",
    "invert": "(0.5)",
    "frames": "(2)",
    "random_frames": "(2)",
}
CLIPS = np.random.default_rng(0).integers(0, 256, (4, 2, 5, 6, 3), dtype=np.uint8)


CLIPS_ALONE = device_clips.OPERATIONS  # of which tests/augment/test_clips.py tells


def transform(*specs):
    calls = [augment.parse(spec) for spec in specs]
    return augment.device_transform(calls, random=True, context=Context(3, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))


def batch(image):
    zeros = np.zeros(4, np.int32)
    return {"image": image, "label": np.arange(4) % 3, "index": zeros, "epoch": zeros, "draw": zeros}


KEYS = jax.random.split(jax.random.key(1), 4)


@pytest.mark.parametrize("name", [name for name in device.DEVICE if name not in device.ANY_RANK])
def test_other_ranks_are_refused_by_name_while_tracing(name):
    """Before the flip, too, which would have run on them: it comes first in the list."""
    for shape in ((4, 5, 6), (4, 2, 2, 5, 6, 3)):
        with pytest.raises(UserError) as caught:
            jax.eval_shape(transform("invert", name + ARGUMENTS.get(name, "")), KEYS, batch(np.zeros(shape, np.uint8)))
        message = str(caught.value)
        assert f"'{name}' takes " in message and str(shape) in message and "\n" not in message


def test_an_alternative_is_refused_by_its_own_name():
    for specs in (("invert | vflip",), ("flip(0.0)", "rotate(10)"), ("mixup(0.2) | cutmix(1.0)",)):
        refused = {"invert | vflip": "vflip", "flip(0.0)": "flip"}.get(specs[0], "cutmix")
        with pytest.raises(UserError, match=f"'{refused}' takes pictures of rank 4"):
            jax.eval_shape(transform(*specs), KEYS, batch(CLIPS[:, 0, 0]))


MIXING = {**dict.fromkeys(mixing.OPERATIONS), "mixup(0.5) | cutmix(1.0)": None}


ALIKE = [(name + ARGUMENTS.get(name, ""),) for name in device.DEVICE if name not in (*MIXING, *CLIPS_ALONE)]
SEVERAL = ("crop(6)", "flip | vflip", "rotate(20)", "alternating_flip", "invert(0.5)", "random_erasing(1.0)")


@pytest.mark.parametrize("specs", [SEVERAL, *(pytest.param(x, marks=pytest.mark.slow, id=x[0]) for x in ALIKE)])
def test_every_frame_of_a_clip_is_changed_alike(specs):
    """A clip of the same frame again and again stays one; and its first frame is what the picture alone becomes."""
    change = jax.jit(transform(*specs))
    pictures = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    clips = change(KEYS, batch(np.stack([pictures] * 3, axis=1)))["image"]
    assert clips.ndim == 5 and clips.shape[:2] == (4, 3)
    np.testing.assert_array_equal(clips[:, 1:], np.stack([clips[:, 0]] * 2, axis=1))
    np.testing.assert_allclose(clips[:, 0], change(KEYS, batch(pictures))["image"], atol=1e-5)


@pytest.mark.parametrize("name", MIXING)
def test_clips_are_mixed_with_clips(name):
    """As pictures that hold all frames as channels would be: one share, or one box, for all of them."""
    change = jax.jit(augment.device_transform([augment.parse(name)], random=True, context=Context(3)))
    flat = np.moveaxis(CLIPS[..., 0], 1, -1)
    clips, channels = (change(KEYS, batch(x)) for x in (CLIPS[..., :1], flat))
    mixed = np.moveaxis(np.asarray(clips["image"])[..., 0], 1, -1)
    np.testing.assert_allclose(mixed, channels["image"], atol=1e-6)
    np.testing.assert_array_equal(clips["label"], channels["label"])
    assert np.abs(mixed - flat / 255).max() > 0.01


@pytest.mark.parametrize("name", device.ANY_RANK)
def test_those_that_take_any_rank_treat_clips_as_tall_pictures(name):
    change = jax.jit(transform(name + ARGUMENTS.get(name, "")))
    clips, tall = change(KEYS, batch(CLIPS)), change(KEYS, batch(CLIPS.reshape(4, 10, 6, 3)))
    assert clips["image"].ndim == 5
    np.testing.assert_array_equal(clips["image"].reshape(tall["image"].shape), tall["image"])
    np.testing.assert_array_equal(clips["label"], tall["label"])


@pytest.mark.parametrize("shape", [(4, 3), (4, 5, 3), (4, 5, 6, 3), (4, 2, 5, 6, 3)])
def test_normalising_is_by_the_last_axis_of_any_rank(shape):
    image = CLIPS.reshape(-1)[: np.prod(shape)].reshape(shape)
    out = transform()(KEYS, batch(image))["image"]
    expected = (image / 255 - np.array([0.4, 0.5, 0.6])) / np.array([0.2, 0.3, 0.4])
    assert out.shape == shape
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
