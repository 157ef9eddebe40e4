"""Transforms of colours: that each draws what it says, against Pillow with the amounts that were found."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pillow_ops
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxcls.augment import colour, enhance
from jaxcls.errors import UserError


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def run(operation, images, seed=0):
    return np.asarray(jax.jit(operation)(keys(len(images), seed), {"image": images})["image"])


@pytest.fixture(scope="module")
def picture():
    """A colourful part of a photograph, uint8 [24, 30, 3]."""
    from sklearn.datasets import load_sample_image

    return np.ascontiguousarray(load_sample_image("flower.jpg")[150:174, 300:330])


def turned(array, shift):
    """torchvision's adjust_hue with Pillow."""
    h, s, v = Image.fromarray(array).convert("HSV").split()
    h = Image.fromarray((np.asarray(h).astype(int) + int(shift * 255)).astype(np.uint8))
    return np.asarray(Image.merge("HSV", (h, s, v)).convert("RGB"))


FIXED = {"brightness": 0.7, "contrast": 1.6, "saturation": 1.8}
PILLOW = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast, "saturation": ImageEnhance.Color}


def in_order(array, order, shift):
    for name in order:
        if name == "hue":
            array = turned(array, shift)
        else:
            array = np.asarray(PILLOW[name](Image.fromarray(array)).enhance(FIXED[name]))
    return array


def test_color_jitter_takes_every_order_equally_often(picture):
    """With fixed amounts, each picture is one of the 24 that Pillow makes."""
    settings = {name: (value, value) for name, value in FIXED.items()}
    out = run(colour.color_jitter(**settings, hue=(0.2, 0.2)), np.stack([picture] * 480))
    outcomes = {in_order(picture, order, 0.2).tobytes() for order in itertools.permutations((*FIXED, "hue"))}
    assert len(outcomes) == 24
    counts = {outcome: sum(got.tobytes() == outcome for got in out) for outcome in outcomes}
    assert sum(counts.values()) == 480 and min(counts.values()) >= 6 and max(counts.values()) <= 40


@pytest.mark.parametrize("name", FIXED)
def test_color_jitter_draws_factors_evenly_around_one(picture, name):
    picture = picture[::2, ::3]  # each result is compared with each candidate
    out = run(colour.color_jitter(**{name: 0.4}), np.stack([picture] * 300))
    steps = np.linspace(0.6, 1.4, 401)
    candidates = np.stack([np.asarray(PILLOW[name](Image.fromarray(picture)).enhance(f)) for f in steps]).astype(int)
    off = [np.abs(candidates - got).mean((1, 2, 3)) for got in out]
    assert max(x.min() for x in off) < 0.35
    found = np.array([steps[x.argmin()] for x in off])
    assert abs(found.mean() - 1) < 0.05 and found.min() < 0.63 and found.max() > 1.37
    assert abs(np.quantile(found, 0.25) - 0.8) < 0.06


def test_color_jitter_of_nothing_and_of_probability_zero_changes_nothing(picture):
    images = np.stack([picture] * 40)
    np.testing.assert_array_equal(run(colour.color_jitter(), images), images)
    half = run(colour.color_jitter(0.5, 0.5, 0.5, 0.2, p=0.5), images)
    same = np.all(half == images, axis=(1, 2, 3))
    assert 8 < same.sum() < 32
    np.testing.assert_array_equal(run(colour.color_jitter(contrast=0.5, p=0.0), images), images)


def test_color_jitter_leaves_the_colour_of_grey_pictures(picture):
    images = np.stack([picture[..., :1]] * 8)
    np.testing.assert_array_equal(run(colour.color_jitter(saturation=0.9, hue=0.4), images), images)
    assert np.all(np.any(run(colour.color_jitter(brightness=(0.2, 0.5)), images) != images, axis=(1, 2, 3)))


def test_hsv_jitter_is_its_formula(picture):
    """Recovered from the output's own HSV, to the error of a picture stored in RGB."""
    bright = np.clip(picture.astype(int) // 2 + 60, 0, 255).astype(np.uint8)
    before = np.asarray(enhance.rgb_to_hsv(jnp.asarray(bright[None])))[0].astype(float)
    plain = before[..., 1] > 60
    shifts, gains = [], []
    for got in run(colour.hsv_jitter(hue=0.1, saturation=0.3, value=0.2), np.stack([bright] * 100)):
        after = np.asarray(Image.fromarray(got).convert("HSV"), float)
        shift = (after[..., 0] - before[..., 0] + 127.5) % 255 - 127.5
        assert np.std(shift[plain]) < 3
        shifts.append(np.median(shift[plain]) / 255)
        ratios = after[plain][:, 1:] / before[plain][:, 1:]
        assert np.all(np.std(ratios, axis=0) < 0.08)
        gains.append(np.median(ratios, axis=0))
    for found, most in zip((np.array(shifts), *(np.array(gains).T - 1)), (0.1, 0.3, 0.2), strict=True):
        assert abs(found.mean()) < most / 4 and 0.8 * most < np.abs(found).max() < 1.05 * most + 0.01
    grey = run(colour.hsv_jitter(0.5, 1.0, 0.5), np.stack([picture[..., :1]] * 20))
    ratio = grey.sum((1, 2, 3)) / picture[..., :1].astype(float).sum()
    assert 0.45 < ratio.min() < 0.8 and 1.1 < ratio.max() < 1.55


EACH = {
    "random_grey": (colour.random_grey(0.5), lambda x: x.convert("L").convert("RGB")),
    "posterize": (colour.posterize(3, p=0.5), lambda x: ImageOps.posterize(x, 3)),
    "solarize": (colour.solarize(99, p=0.5), lambda x: ImageOps.solarize(x, 99)),
    "equalize": (colour.equalize(0.5), ImageOps.equalize),
    "autocontrast": (colour.autocontrast(0.5), ImageOps.autocontrast),
    "invert": (colour.invert(0.5), ImageOps.invert),
    "sharpness": (colour.sharpness(1.7, p=0.5), lambda x: ImageEnhance.Sharpness(x).enhance(1.7)),
}


@pytest.mark.parametrize("name", EACH)
def test_half_of_the_pictures_are_what_pillow_makes_and_half_stay(picture, name):
    operation, pillows = EACH[name]
    changed = np.asarray(pillows(Image.fromarray(picture)))
    assert np.any(changed != picture)
    out = run(operation, np.stack([picture] * 100))
    counts = [sum(np.array_equal(got, x) for got in out) for x in (changed, picture)]
    assert sum(counts) == 100 and min(counts) > 30


def test_blur_draws_its_sigma_and_takes_a_tenth_of_the_picture(picture):
    images = np.stack([picture] * 60)
    out = run(colour.gaussian_blur((0.3, 1.2)), images).astype(int)
    blur = jax.jit(enhance.gaussian_blur, static_argnums=2)
    candidates = np.asarray(blur(images[:10], jnp.linspace(0.3, 1.2, 10), 3), int)
    nearest = [np.argmin([np.abs(x - got).sum() for x in candidates]) for got in out]
    assert len(set(nearest)) >= 8
    wide = run(colour.gaussian_blur(1.0, kernel=9), images[:1])
    np.testing.assert_array_equal(wide[0], blur(images[:1], jnp.array([1.0]), 9)[0])
    assert run(colour.gaussian_blur(), images[:1, :1, :1]).shape == (1, 1, 1, 3)
    with pytest.raises(UserError, match="a Gaussian blur over 51 pixels needs pictures of at least 26, not 24"):
        run(colour.gaussian_blur(kernel=51), images)


def test_grey_and_hsv_are_not_random(picture):
    for operation, mode in ((colour.grey(), "L"), (colour.hsv(), "HSV")):
        got = operation(None, {"image": picture[None]})["image"][0]
        np.testing.assert_array_equal(got, pillow_ops.to_array(Image.fromarray(picture).convert(mode)))
    one = picture[None, ..., :1]
    np.testing.assert_array_equal(colour.hsv()(None, {"image": one})["image"], one)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: colour.color_jitter(hue=0.6), "hue must lie between 0 and 0.5"),
        (lambda: colour.color_jitter(brightness=-1), "brightness must lie between 0"),
        (lambda: colour.color_jitter(contrast=(2, 1)), "contrast must be a number or a pair"),
        (lambda: colour.hsv_jitter(value=2), "value must lie between 0 and 1"),
        (lambda: colour.posterize(9), "bits must be a whole number from 0 to 8"),
        (lambda: colour.solarize(300), "threshold must lie between 0 and 256"),
        (lambda: colour.invert(p=1.2), "p is a probability"),
        (lambda: colour.gaussian_blur(kernel=4), "kernel must be an odd whole number"),
        (lambda: colour.gaussian_blur(0), "sigma must lie between"),
        (lambda: colour.grey(2), "channels can be 1 or 3"),
    ],
)
def test_settings_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
