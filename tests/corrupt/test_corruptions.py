"""The common corruptions against Pillow, SciPy, scikit-image and closed forms."""

import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxcls import corrupt
from jaxcls.corrupt import blur, fields, jpeg, noise, weather
from jaxcls.corrupt.amounts import LARGE, SMALL
from jaxcls.errors import UserError

NAMES = tuple(corrupt.CORRUPTIONS)
FIXED = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
# By the authors' amounts these get no further from the picture with each strength: one amount goes down while
# another goes up, or equals the one before.
UNEVEN = ("glass_blur", "motion_blur", "frost", "elastic_transform")
SLOW = ("gaussian_noise", "shot_noise", "glass_blur", "snow", "frost", "fog", "elastic_transform")  # to compile
KEYS = jax.random.split(jax.random.key(3), 8)


@functools.cache
def pictures(side=32):
    """uint8 [8, side, side, 3]: smooth patches of colour with fine detail."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(x).resize((side, side), Image.Resampling.BICUBIC), int) for x in coarse]
    return np.clip(np.array(large) + rng.integers(-20, 21, (8, side, side, 3)), 0, 255).astype(np.uint8)


@functools.cache
def compiled(name):
    return jax.jit(functools.partial(corrupt.corrupted, name))


def changed(name, strength, keys=KEYS, images=None):
    return np.asarray(compiled(name)(keys, pictures() if images is None else images, np.int32(strength)))


def distance(a, b):
    return np.abs(np.asarray(a, float) - np.asarray(b, float)).mean()


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NAMES])
def test_every_corruption_is_a_function_of_picture_key_and_strength(name):
    images = pictures()
    np.testing.assert_array_equal(changed(name, 0), images)
    results = [changed(name, strength) for strength in corrupt.STRENGTHS]
    assert all(result.dtype == np.uint8 and result.shape == images.shape for result in results)
    far = [distance(result, images) for result in results]
    assert min(far) > 0.3
    if name not in UNEVEN:
        assert far == sorted(far) and far[-1] > 1.1 * far[0]
    np.testing.assert_array_equal(changed(name, 5, KEYS[::-1], images[::-1]), results[-1][::-1])
    other = changed(name, 5, jax.random.split(jax.random.key(4), 8))
    assert np.array_equal(other, results[-1]) == (name in FIXED)


@pytest.mark.parametrize("shape", [(2, 28, 35, 1), pytest.param((2, 224, 112, 3), marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_grey_and_oblong_pictures_keep_their_shape(name, shape):
    made = jax.eval_shape(
        functools.partial(corrupt.corrupted, name), KEYS[:2], jax.ShapeDtypeStruct(shape, np.uint8), np.int32(3)
    )
    assert (made.shape, made.dtype) == (shape, np.uint8)


@pytest.mark.parametrize("shape", [(2, 12, 32, 3), (2, 32, 32, 4)])
def test_pictures_that_are_too_small_or_neither_grey_nor_colour_are_refused(shape):
    with pytest.raises(UserError, match="grey and colour pictures of 16x16 and more"):
        corrupt.corrupted("fog", KEYS[:2], np.zeros(shape, np.uint8), 1)


def test_the_sets_of_amounts_have_five_strengths_of_all_corruptions():
    assert set(SMALL) == set(LARGE) == set(NAMES)
    assert {len(rows) for table in (SMALL, LARGE) for rows in table.values()} == {5}


# Noise


def of_grey(corruption, level, rows, at, side=64):
    """A corruption of pictures of one level, in [0, 1]."""
    x = np.full((8, side, side, 1), level / 255, np.float32)
    return np.asarray(jax.jit(lambda keys, x, at: corruption(keys, x, rows, at))(KEYS, x, np.int32(at)))


def test_gaussian_noise_has_its_deviation():
    x = of_grey(noise.gaussian_noise, 100, SMALL["gaussian_noise"], 3) - 100 / 255
    n = x.size
    assert abs(x.mean()) < 5 * 0.09 / n**0.5
    assert x.std() == pytest.approx(0.09, rel=5 / (2 * n) ** 0.5)


@pytest.mark.parametrize("rows, at, level", [((500, 100, 50), 0, 255), ((500, 100, 50), 2, 100), ((60, 3), 1, 30)])
def test_shot_noise_has_the_moments_of_poisson(rows, at, level):
    """Mean m, variance m and third central moment m of the photons."""
    photons = of_grey(noise.shot_noise, level, rows, at).astype(float) * rows[at]
    np.testing.assert_allclose(photons, photons.round(), atol=1e-3)
    mean, n = level / 255 * rows[at], photons.size
    assert photons.mean() == pytest.approx(mean, abs=5 * (mean / n) ** 0.5)
    assert photons.var() == pytest.approx(mean, rel=6 * (2 / n) ** 0.5 + 1e-3)
    assert ((photons - mean) ** 3).mean() == pytest.approx(mean, abs=6 * (15 * mean**3 / n) ** 0.5 + 0.1)


def test_shot_noise_leaves_black_as_it_is():
    assert not of_grey(noise.shot_noise, 0, (60, 3), 1).any()


def test_impulse_noise_is_half_salt_and_half_pepper():
    x = of_grey(noise.impulse_noise, 100, LARGE["impulse_noise"], 4)
    for value in (0.0, 1.0):
        assert (x == value).mean() == pytest.approx(0.27 / 2, abs=0.01)
    assert np.isin(x, [0, 1, np.float32(100 / 255)]).all()


# Blur


@pytest.mark.parametrize("at", range(5))
def test_defocus_is_opencvs_filter_with_a_soft_disk(at):
    cv2 = pytest.importorskip("cv2")
    radius, sigma = SMALL["defocus_blur"][at]
    line = np.arange(-8, 9)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), (3, 3), sigma)
    expected = np.clip([cv2.filter2D(x / 255.0, -1, kernel) for x in pictures()], 0, 1) * 255
    np.testing.assert_allclose(changed("defocus_blur", at + 1), expected, atol=0.51)


@pytest.mark.parametrize("radius, sigma", [(3, 0.1), (8, 0.5), (10, 0.5)])
def test_a_wide_disk_is_smoothed_as_opencv_does(radius, sigma):
    cv2 = pytest.importorskip("cv2")
    half, width = (8, 3) if radius <= 8 else (radius, 5)
    line = np.arange(-half, half + 1)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float64)
    np.testing.assert_allclose(
        blur._disk(radius, sigma), cv2.GaussianBlur(disk / disk.sum(), (width, width), sigma), atol=1e-6
    )


@pytest.mark.parametrize("at", range(5))
def test_zoom_blur_is_the_mean_of_scipys_enlargements(at):
    from scipy import ndimage

    last = (1.06, 1.11, 1.16, 1.21, 1.26)[at]
    for x, found in list(zip(pictures() / 255.0, changed("zoom_blur", at + 1), strict=True))[:2]:
        total, factors = x.copy(), np.arange(1, last, 0.01)
        for factor in factors:
            part = int(np.ceil(32 / factor))
            top = (32 - part) // 2
            large = ndimage.zoom(x[top : top + part, top : top + part], (factor, factor, 1), order=1)
            trim = (large.shape[0] - 32) // 2
            total += large[trim : trim + 32, trim : trim + 32]
        np.testing.assert_allclose(found, total / (len(factors) + 1) * 255, atol=0.51)


def test_motion_is_a_gaussian_weighted_sum_of_pixels_along_a_line():
    x = pictures()[:2] / np.float32(255)
    angles = np.array([0.3, -2.0], np.float32)
    found = jax.jit(functools.partial(fields.moved, widest=9))(x, angles, 6.0, 2.5)
    weights = np.exp(-(np.arange(13) ** 2) / (2 * 2.5**2))
    expected = np.zeros_like(x)
    for i, angle in enumerate(angles):
        for tap, weight in enumerate(weights / weights.sum()):
            rows = np.clip(np.arange(32) + int(np.ceil(tap * np.sin(angle) - 0.5)), 0, 31)
            columns = np.clip(np.arange(32) + int(np.ceil(tap * np.cos(angle) - 0.5)), 0, 31)
            expected[i] += weight * x[i][rows][:, columns]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_glass_moves_levels_by_a_pixel_and_leaves_the_border():
    """At the least strength the blur is nothing: what is there was one pixel up or left, or stays."""
    images, found = pictures(), changed("glass_blur", 1)
    padded = np.pad(images, ((0, 0), (1, 0), (1, 0), (0, 0)))
    near = [padded[:, i : i + 32, j : j + 32] for i in (0, 1) for j in (0, 1)]
    assert np.any([(found == x).all(-1) for x in near], axis=0).all()
    np.testing.assert_array_equal(found[:, :2], images[:, :2])
    np.testing.assert_array_equal(found[:, :, :2], images[:, :, :2])
    inside = (found != images).any(-1)[:, 2:, 2:].mean()
    assert inside == pytest.approx(0.75, abs=0.03)


def test_gaussian_smoothing_is_scipys():
    from scipy import ndimage

    x = pictures()[:2] / np.float32(255)
    found = jax.jit(lambda at: fields.smoothed(x, [0.4, 1.5], at))(np.int32(1))
    np.testing.assert_allclose(found, ndimage.gaussian_filter(x, (0, 1.5, 1.5, 0), mode="nearest"), atol=1e-5)


# Weather


def test_brightness_adds_to_the_value_of_hsv():
    color = pytest.importorskip("skimage.color")
    images = pictures().copy()
    images[0, :4] = 0  # black becomes grey
    hsv = color.rgb2hsv(images / 255.0)
    hsv[..., 2] = np.minimum(hsv[..., 2] + 0.2, 1)
    np.testing.assert_allclose(changed("brightness", 4, images=images), color.hsv2rgb(hsv) * 255, atol=0.51)


@pytest.mark.slow
def test_fog_is_the_mean_of_the_picture_and_a_cloud():
    """On a picture of one level both the cloud and its share follow from the result; with more decay it is smoother."""
    x, rows = np.full((8, 32, 32, 1), 100 / 255, np.float32), ((0.5, 3), (1, 2), (1, 1.4))

    def run(keys, x, at):
        decay = jnp.array([row[1] for row in rows], jnp.float32)[at]
        return weather.fog(keys, x, rows, at), fields.plasma(keys, 32, 32, decay)

    run, rough = jax.jit(run), []
    for at, (amount, _) in enumerate(rows):
        found, cloud = map(np.asarray, run(KEYS, x, np.int32(at)))
        np.testing.assert_allclose((found * (x + amount) / x - x)[..., 0] / amount, cloud, atol=2e-5)
        np.testing.assert_allclose([cloud.min((1, 2)), cloud.max((1, 2))], [[0] * 8, [1] * 8], atol=1e-6)
        rough.append(np.abs(np.diff(cloud)).mean())
    assert rough == sorted(rough) and rough[0] < 0.7 * rough[2]


def test_snow_whitens_the_picture_where_no_flake_falls():
    x = pictures()[:2] / np.float32(255)
    rows = tuple((-9, 0, 1, 0.5, 8, 3, share) for share in (0.9, 0.8))  # flakes below the threshold
    found = jax.jit(lambda keys, x: weather.snow(keys, x, rows, 1))(KEYS[:2], x)
    luma = (x @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    np.testing.assert_allclose(found, 0.8 * x + 0.2 * np.maximum(x, 1.5 * luma + 0.5), atol=1e-5)


# Digital


def test_contrast_draws_each_channel_to_its_mean():
    x = pictures() / 255.0
    mean = x.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(changed("contrast", 2), (0.5 * (x - mean) + mean) * 255, atol=0.51)


@pytest.mark.parametrize("strength", corrupt.STRENGTHS)
def test_pixelate_is_pillows_box_filter(strength):
    small = int(32 * SMALL["pixelate"][strength - 1])
    box = Image.Resampling.BOX
    expected = [np.asarray(Image.fromarray(x).resize((small, small), box).resize((32, 32), box)) for x in pictures()]
    np.testing.assert_allclose(changed("pixelate", strength).astype(int), np.array(expected, int), atol=1)


def test_elastic_moves_three_points_by_their_jitter():
    from jaxcls.corrupt.digital import _affine

    jitter = np.random.default_rng(0).uniform(-4, 4, (2, 3, 2)).astype(np.float32)
    points = np.array([[26, 26], [6, 26], [6, 6]], np.float32)
    for i in range(3):
        place = _affine((points[i] + jitter[:, i])[:, None, None], jitter, 32, 32)
        np.testing.assert_allclose(place[:, 0, 0], np.tile(points[i], (2, 1)), atol=1e-3)


@pytest.mark.parametrize("repeat, mode", [(0, "mirror"), (1, "reflect")])
def test_bilinear_samples_are_scipys_beyond_the_border_too(repeat, mode):
    from scipy import ndimage

    from jaxcls.corrupt.digital import _sampled

    x = pictures()[:2, :12, :9].astype(np.float32)
    places = np.random.default_rng(0).uniform(-15, 30, (2, 5, 6, 2)).astype(np.float32)
    found = jax.jit(functools.partial(_sampled, repeat=repeat))(x, places)
    for i in range(2):
        for c in range(3):
            expected = ndimage.map_coordinates(x[i, ..., c], np.moveaxis(places[i], -1, 0), order=1, mode=mode)
            np.testing.assert_allclose(found[i, ..., c], expected, atol=1e-2)


@pytest.mark.parametrize("height, width, channels", [(32, 32, 3), (28, 41, 3), (28, 28, 1)])
def test_jpeg_is_pillows_at_the_same_quality(height, width, channels):
    """Nearly: libjpeg's cosine transforms are in whole numbers, and so some coefficients are rounded the other way."""
    qualities = (80, 40, 7)
    images = pictures(48)[:, :height, :width, :channels]
    code = jax.jit(lambda at: jnp.round(jpeg.jpeg_compression(None, images / np.float32(255), qualities, at) * 255))
    for at, quality in enumerate(qualities):
        expected = []
        for x in images:
            file = io.BytesIO()
            Image.fromarray(x if channels == 3 else x[..., 0]).save(file, "JPEG", quality=quality)
            expected.append(np.asarray(Image.open(file), int).reshape(height, width, channels))
        apart = np.abs(np.asarray(code(np.int32(at)), int) - expected)
        assert apart.mean() < 0.06 * distance(images, expected)
        assert (apart <= 2).mean() > 0.9
