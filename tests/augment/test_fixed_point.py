"""Nearest pixels of affine maps against Pillow's, pixel for pixel; the numbers against fractions."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pillow_ops
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcls.augment import fixed_point, geometry, spatial
from jaxcls.augment.policy_layer import apply
from jaxcls.augment.policy_tables import INDEX, OPS, magnitudes
from jaxcls.errors import UserError

SPATIAL = OPS[1:6]
layer = jax.jit(lambda images, op, magnitude: apply(images, op, magnitude, names=SPATIAL))


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def differing(name, values, height, width, batch=64):
    """The share of pixels that are not Pillow's, [maps], of an operation of the policies."""
    image, values = noise(height, width), np.asarray(values, np.float32)
    padded = np.resize(values, -(-len(values) // batch) * batch).reshape(-1, batch)
    images, op = np.broadcast_to(image, (batch, *image.shape)), np.full(batch, INDEX[name], np.int32)
    out = np.concatenate([np.asarray(layer(images, op, part)) for part in padded])
    expected = [pillow_ops.apply(image, name, m) for m in values.tolist()]
    return np.array([np.mean(np.any(a != b, axis=-1)) for a, b in zip(out, expected, strict=False)])


@pytest.mark.parametrize("name", ["ShearX", "ShearY"])
def test_shears_that_put_coordinates_onto_borders_are_pillows(name):
    assert differing(name, [s * m for m in (0.2, 0.04, 0.12, 0.28) for s in (1, -1)], 32, 32).max() == 0


def test_an_angle_that_puts_diagonals_onto_borders_is_pillows():
    assert differing("Rotate", [135, -135, 45, -45], 32, 32).max() == 0


@pytest.mark.parametrize("height, width", [(32, 32), (33, 47)])
def test_every_whole_degree_is_pillows(height, width):
    assert differing("Rotate", np.arange(-360, 361), height, width).max() == 0


@pytest.mark.parametrize("height, width", [(32, 32), (20, 47)])
def test_every_magnitude_of_every_policy_is_pillows(height, width):
    for policy, bins in (("rand_augment", 31), ("trivial_augment_wide", 31), ("auto_augment", 10), ("augmix", 10)):
        table = magnitudes(policy, bins, height, width)
        for name in SPATIAL:
            values = table[INDEX[name]]
            assert differing(name, np.concatenate([values, -values]), height, width).max() == 0, (policy, name)


def test_pictures_of_a_common_size_are_pillows():
    for name, values in (
        ("Rotate", [135, -30, 4.5, 10 / 3, 17.77]),
        ("ShearX", [0.2, -0.28]),
        ("ShearY", [0.04, 0.99]),
    ):
        assert differing(name, values, 224, 224, batch=8).max() == 0


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from([(32, 32), (20, 47)]),
    st.lists(st.floats(-360, 360, width=32), min_size=1, max_size=60),
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60),
)
def test_any_angle_and_shear_is_pillows(size, degrees, shares):
    """But for an angle in thousands that rounds otherwise, of which a few pixels differ."""
    assert differing("Rotate", degrees, *size).max() <= 2e-3
    assert np.mean(differing("Rotate", degrees, *size)) <= 1e-4
    assert differing("ShearX", shares, *size).max() == differing("ShearY", shares, *size).max() == 0


def affine_of_torchvision(image, degrees, translate, scale, shear):
    """`_get_inverse_affine_matrix` in float64, and Pillow."""
    height, width = image.shape[:2]
    turn, (x, y) = math.radians(degrees), map(math.radians, shear)
    a, c = math.cos(turn - y) / math.cos(y), math.sin(turn - y) / math.cos(y)
    b, d = -a * math.tan(x) - math.sin(turn), -c * math.tan(x) + math.cos(turn)
    rows = np.array([[d, -b], [-c, a]]) / scale
    middle = np.array([width / 2, height / 2])
    matrix = np.column_stack([rows, middle - rows @ (middle + translate)])
    return np.asarray(Image.fromarray(image).transform((width, height), Image.Transform.AFFINE, tuple(matrix.ravel())))


warped = jax.jit(
    lambda images, *parameters: geometry.resample(images, geometry.affine_matrix(*parameters, *images.shape[1:3]))
)


def differing_affine(degrees, translate, scale, shear, size):
    image = noise(*size)
    drawn = [np.asarray(x, np.float32) for x in (degrees, translate, scale, shear)]
    out = np.asarray(warped(np.broadcast_to(image, (len(degrees), *image.shape)), *drawn))
    expected = [affine_of_torchvision(image, *each) for each in zip(*(x.astype(float) for x in drawn), strict=True)]
    return np.array([np.mean(np.any(a != b, axis=-1)) for a, b in zip(out, expected, strict=True)])


def test_affine_maps_are_pillows_where_they_turn_and_move():
    degrees, ones, none = np.arange(-180, 180), np.ones(360), np.zeros((360, 2))
    moved = np.random.default_rng(0).integers(-9, 10, (360, 2))
    assert differing_affine(degrees, moved, ones, none, (32, 48)).max() == 0
    sheared = np.stack([np.arange(360) % 61 - 30, np.zeros(360)], -1)
    assert differing_affine(np.zeros(360), moved, ones, sheared, (32, 48)).max() == 0


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_affine_map_is_pillows_but_for_few_pixels(seed):
    """Its entries are float32: 1/65536 off in one is less than a hundredth of a pixel."""
    rng = np.random.default_rng(seed)
    translate, shear = rng.integers(-9, 10, (64, 2)), rng.uniform(-40, 40, (64, 2))
    shares = differing_affine(rng.uniform(-180, 180, 64), translate, rng.uniform(0.5, 2, 64), shear, (32, 48))
    assert shares.mean() <= 2e-4


@settings(max_examples=100, deadline=None)
@given(st.floats(-1000, 1000, width=32), st.floats(-1000, 1000, width=32))
def test_numbers_are_sums_and_round_as_pillow_does(a, b):
    def value(number):
        return (int(number.whole) + Fraction(float(number.rest))) / 65536

    tiny = Fraction(1, 65536 * 2**23)
    assert abs(value(fixed_point.fixed(jnp.float32(a))) - Fraction(a)) <= tiny
    total = fixed_point.fixed(jnp.float32(a)) + jnp.float32(b)
    assert abs(value(total) - Fraction(a) - Fraction(b)) <= 3 * tiny
    assert int(fixed_point.fixed(jnp.float32(a)).nearest()) == math.floor(Fraction(a) * 65536 + Fraction(1, 2))


def test_turns_and_shifts_have_more_digits_than_float32():
    degrees = np.concatenate([np.arange(-360, 361), np.random.default_rng(0).uniform(-400, 400, 2000)])
    degrees = degrees.astype(np.float32)
    height, width = 150, 224
    out = jax.jit(lambda x: geometry.rotation(x, height, width))(degrees)
    out = (np.asarray(out.whole, float) + np.asarray(out.rest, float)) / 65536
    angle = np.radians(degrees.astype(float))
    cos, sin = np.round(np.cos(angle), 15), np.round(np.sin(angle), 15)
    np.testing.assert_allclose(out[:, :2, :2].reshape(-1, 4), np.stack([cos, -sin, sin, cos], -1), atol=3e-5 / 65536)
    shift = np.stack([112 - (cos * 112 - sin * 75), 75 - (sin * 112 + cos * 75)], -1)
    np.testing.assert_allclose(out[:, :2, 2], shift, atol=4e-3 / 65536)
    np.testing.assert_array_equal(out[:, 2], np.broadcast_to([0, 0, 1], (len(out), 3)))


def test_what_the_numbers_do_not_hold_is_refused():
    with pytest.raises(UserError, match="pictures of 2 x 9000 can't be warped: at most 8192 pixels a side"):
        geometry.resample(jnp.zeros((1, 9000, 2, 1), jnp.uint8), geometry.rotation([3.0], 9000, 2))
    keys = jax.random.split(jax.random.key(0), 2)
    for operation in (spatial.affine(scale=(0.01, 1)), spatial.affine(shear=89.9), spatial.affine(shear=(90, 95))):
        with pytest.raises(UserError, match="reaches too far outside of pictures of 224 x 224: take less shear"):
            operation.matrices(keys, 224, 224)
