"""Enhancements, blur and HSV against Pillow and torchvision's stored outputs; tables and histograms against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from jaxcls.augment import enhance, levels

ENHANCE = {
    "brightness": (enhance.brightness, ImageEnhance.Brightness),
    "contrast": (enhance.contrast, ImageEnhance.Contrast),
    "saturation": (enhance.saturation, ImageEnhance.Color),
    "sharpness": (enhance.sharpness, ImageEnhance.Sharpness),
}


@pytest.fixture(scope="module")
def photograph():
    """A real picture that scikit-learn carries: uint8 [427, 640, 3]."""
    from sklearn.datasets import load_sample_image

    return load_sample_image("china.jpg")


@pytest.fixture(scope="module")
def stored(shared):
    """Pictures and torchvision's outputs on Pillow's back end, for four pictures: {"pil:a:equalize": ...}."""
    return np.load(shared / "reference" / "functions" / "images.npz")


@pytest.mark.parametrize("name", ENHANCE)
def test_enhancing_by_any_factor_is_pillows_to_the_level(photograph, name):
    ours, pillows = ENHANCE[name]
    factors = np.random.default_rng(0).uniform(0, 3, 60).astype(np.float32)
    factors[:6] = 0, 1, 0.1, 0.3, 1.9, 30
    images = np.stack([photograph[r : r + 60, r : r + 80] for r in range(240, 300)])
    out = np.asarray(jax.jit(ours)(images, factors))
    for image, factor, got in zip(images, factors, out, strict=True):
        np.testing.assert_array_equal(got, pillows(Image.fromarray(image)).enhance(float(factor)))


def test_blends_at_all_levels_round_as_pillow_does():
    """All pairs of levels; a fused multiply-add would lose a level here and there."""
    base, image = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    factors = np.float32([*np.random.default_rng(1).uniform(0, 2, 40), 0.1, 0.3, 0.6, 0.7, 0.9, 1.1, 1.7, 1.9])
    ours = jax.jit(enhance.blend)(base, image, factors[:, None, None])
    for factor, got in zip(factors, np.asarray(ours), strict=True):
        expected = Image.blend(Image.fromarray(base), Image.fromarray(image), float(factor))
        np.testing.assert_array_equal(got, expected)


def test_smoothing_is_pillows_and_leaves_narrow_pictures():
    noise = np.random.default_rng(0).integers(0, 256, (1, 300, 200, 3), dtype=np.uint8)
    for image in (noise, noise[:, :3, :3], noise[:, :2, :9], noise[:, :9, :1], noise[:, :1, :1]):
        expected = Image.fromarray(image[0]).filter(ImageFilter.SMOOTH)
        np.testing.assert_array_equal(jax.jit(enhance.smooth)(image)[0], expected)


def test_hsv_is_pillows_for_every_colour_both_ways():
    """All 2^24 of them."""
    # Optimised, unlike in the rest of the suite (conftest.py): it computes for longer than it compiles.
    options = {"xla_backend_optimization_level": 2, "xla_llvm_disable_expensive_passes": False}
    to_hsv, to_rgb = (jax.jit(f, compiler_options=options) for f in (enhance.rgb_to_hsv, enhance.hsv_to_rgb))
    low = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), axis=-1).astype(np.uint8)
    for first in range(0, 256, 16):
        part = np.concatenate([np.insert(low, 0, i, axis=-1) for i in range(first, first + 16)])
        np.testing.assert_array_equal(to_hsv(part[None])[0], Image.fromarray(part).convert("HSV"))
        back = Image.frombytes("HSV", part.shape[1::-1], part.tobytes()).convert("RGB")
        np.testing.assert_array_equal(to_rgb(part[None])[0], back)


STORED = {
    **{name: (ours, (0.0, 0.5, 1.0, 1.5, 1.9)) for name, (ours, _) in ENHANCE.items()},
    "hue": (enhance.hue, (-0.5, -0.1, 0.05, 0.25)),
    "posterize": (levels.posterize, (1, 2, 4, 6, 8)),
    "solarize": (levels.solarize, (0, 64, 128, 255)),
}
BLURS = ((3, 0.5), (5, 1.0), (9, 2.0))


@jax.jit
def all_stored(image):
    """{name: picture} of every operation whose output is stored, in one program."""
    out = {name: getattr(levels, name)(image[None])[0] for name in ("autocontrast", "equalize", "invert")}
    for name, (fn, values) in STORED.items():
        results = fn(jnp.repeat(image[None], len(values), axis=0), jnp.array(values, jnp.float32))
        out |= {f"{name}_{value}": result for value, result in zip(values, results, strict=True)}
    for kernel, sigma in BLURS:
        out[f"gblur_k{kernel}_s{sigma}"] = enhance.gaussian_blur(image[None], jnp.array([sigma]), kernel)[0]
    return out


@pytest.mark.parametrize("name", "abc")
def test_operations_equal_torchvisions_stored_outputs(stored, name):
    """To the level, save for the blur, whose float32 sums go another way."""
    for what, got in all_stored(stored[f"in:{name}"]).items():
        expected = stored[f"pil:{name}:{what}"]
        if what.startswith("gblur"):
            off = np.abs(np.asarray(got, int) - expected)
            assert off.max() <= 1 and np.mean(off) < 1e-3
        else:
            np.testing.assert_array_equal(got, expected, err_msg=what)


def test_a_blur_is_the_convolution_with_reflected_borders(photograph):
    from scipy import ndimage

    images, sigmas = np.stack([photograph[r : r + 31, r : r + 40] for r in (10, 200, 300)]), np.float32([0.4, 1.7, 5.0])
    out = np.asarray(jax.jit(enhance.gaussian_blur, static_argnums=2)(images, sigmas, 11)).astype(int)
    for image, sigma, got in zip(images.astype(float), sigmas, out, strict=True):
        weights = np.exp(-0.5 * (np.arange(-5, 6) / float(sigma)) ** 2)
        for axis in range(2):
            image = ndimage.correlate1d(image, weights / weights.sum(), axis=axis, mode="mirror")
        assert np.abs(got - image).max() < 0.501
    with pytest.raises(ValueError, match="a blur over 63 pixels of pictures of 31x40"):
        enhance.gaussian_blur(jnp.asarray(images), jnp.asarray(sigmas), 63)


def test_each_example_has_its_own_parameter(photograph):
    images = np.stack([photograph[200:220, 300:330]] * 3)
    for fn in (enhance.brightness, enhance.contrast, enhance.saturation, enhance.sharpness):
        low, same, high = np.asarray(jax.jit(fn)(images, jnp.array([0.2, 1.0, 1.8]))).astype(int)
        np.testing.assert_array_equal(same, images[1])
        assert np.abs(low - same).mean() > 0.5 and np.abs(high - same).mean() > 0.5


def test_grey_pictures_have_neither_hue_nor_saturation(photograph):
    images = photograph[None, :20, :30, :1]
    np.testing.assert_array_equal(enhance.hue(images, jnp.array([0.3])), images)
    np.testing.assert_array_equal(enhance.saturation(images, jnp.array([0.3])), images)


pixels = st.integers(1, 40).flatmap(lambda n: st.lists(st.integers(0, 255), min_size=n, max_size=n))
look = jax.jit(lambda x: (levels.autocontrast(x), levels.equalize(x)))


@settings(max_examples=150)
@given(pixels, st.lists(st.integers(0, 255), min_size=1, max_size=3))
def test_autocontrast_and_equalize_are_pillows_for_any_picture(some, few):
    """One shape, since each is compiled: the pixels are repeated to 24x25, and a second channel has few levels."""
    image = np.stack([np.resize(some, 600), np.resize(few, 600), np.arange(600) % 256], axis=-1)
    image = image.reshape(24, 25, 3).astype(np.uint8)
    contrast, equal = look(image[None])
    picture = Image.fromarray(image)
    np.testing.assert_array_equal(contrast[0], ImageOps.autocontrast(picture))
    np.testing.assert_array_equal(equal[0], ImageOps.equalize(picture))


def test_autocontrast_is_pillows_for_all_darkest_and_brightest_levels():
    low, high = (levels[::7] for levels in np.triu_indices(256))
    pairs = np.stack([low, high], axis=-1).astype(np.uint8)[:, None, :, None]
    out = np.asarray(jax.jit(levels.autocontrast_table)(pairs))[:, 0, :, 0]
    for darkest, brightest, table in zip(low.tolist(), high.tolist(), out, strict=True):
        ramp = np.arange(darkest, brightest + 1, dtype=np.uint8)[None]
        expected = np.asarray(ImageOps.autocontrast(Image.fromarray(ramp)))[0]
        np.testing.assert_array_equal(table[darkest : brightest + 1], expected)


@pytest.mark.parametrize("shape", [(3, 17, 30, 3), (2, 1, 1, 3), (2, 16, 16, 1), (2, 15, 17, 1)])
def test_both_ways_to_count_levels_are_numpys(shape):
    """The second is what accelerators run; 510 pixels fill two chunks, 255 one and 256 one and a bit."""
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images[-1] = 200
    for count in (levels.count_by_scattering, levels.count_by_comparing, levels.histogram):
        counts = np.asarray(jax.jit(count)(images))
        for i in range(shape[0]):
            for c in range(shape[-1]):
                np.testing.assert_array_equal(counts[i, :, c], np.bincount(images[i, ..., c].ravel(), minlength=256))


def test_looking_up_is_by_example_and_channel():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (3, 5, 6, 2), dtype=np.uint8)
    table = random.integers(0, 256, (3, 1, 256, 2), dtype=np.uint8)
    look_up = jax.jit(levels.look_up)
    out = look_up(images, table)
    for i in range(3):
        for c in range(2):
            np.testing.assert_array_equal(out[i, ..., c], table[i, 0, :, c][images[i, ..., c]])
    np.testing.assert_array_equal(look_up(images, levels.RAMP), images)
