"""Drawn maps: what is drawn, that lists of them resample once, and what that changes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxcls import augment
from jaxcls.augment import crops, device, flips, geometry, spatial
from jaxcls.errors import UserError

FILTERS = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def noise(n, height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def run(operations, images, seed=0):
    """uint8 pictures after a list of operations."""
    operations = operations if isinstance(operations, list) else [operations]
    transform = jax.jit(device.compose(operations))
    out = transform(keys(len(images), seed), {"image": images})["image"]
    return np.round(np.asarray(out) * 255).astype(np.uint8)


def drawn(operation, height, width, n=2000):
    """Its matrices in float64."""
    matrices = jax.jit(lambda own: geometry.rounded(operation.matrices(own, height, width)))(keys(n))
    return np.asarray(matrices, float)


def lookups(operations):
    """Number of gathers of pixels."""
    transform = device.compose(operations)
    text = str(jax.make_jaxpr(transform)(keys(2), {"image": jnp.asarray(noise(2, 6, 6))}))
    return len(re.findall(r"u8\[[0-9,]*\] = gather\[", text))


def angle(matrices):
    return np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))


def spread_evenly(values, low, high):
    """Mean and standard deviation of an even distribution, and nothing outside of it."""
    assert values.min() >= low - 1e-3 and values.max() <= high + 1e-3
    assert abs(values.mean() - (low + high) / 2) < 0.05 * (high - low)
    assert abs(values.std() - (high - low) / 12**0.5) < 0.05 * (high - low)


@pytest.mark.parametrize("degrees, low, high", [(30, -30, 30), ((-10, 50.0), -10, 50)])
def test_rotations_are_drawn_evenly_and_leave_the_centre(degrees, low, high):
    matrices = drawn(spatial.rotate(degrees), 20, 30)
    spread_evenly(angle(matrices), low, high)
    np.testing.assert_allclose(matrices @ [15, 10, 1], np.broadcast_to([15, 10, 1], (2000, 3)), atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-4)


@pytest.mark.parametrize("how", FILTERS)
def test_a_drawn_rotation_equals_pillows(how):
    from sklearn.datasets import load_sample_image

    image = np.asarray(load_sample_image("flower.jpg"))[100:160, 200:290]
    operation = spatial.rotate(180, how, (9, 8, 7))
    out = run(operation, np.stack([image] * 8)).astype(int)
    own = jax.vmap(jax.random.fold_in, (0, None))(keys(8), 0)
    angles = angle(np.asarray(geometry.rounded(operation.matrices(own, 60, 90))))
    for got, degrees in zip(out, angles, strict=True):
        expected = np.asarray(Image.fromarray(image).rotate(float(degrees), FILTERS[how], fillcolor=(9, 8, 7)))
        apart = np.abs(got - expected).max(-1)
        assert np.mean(apart == 0) > 0.995 if how == "nearest" else apart.max() <= 1


def test_each_part_of_an_affine_map_is_drawn_from_its_range():
    matrices = drawn(spatial.affine(scale=(0.5, 2)), 20, 30)
    spread_evenly(1 / matrices[:, 0, 0], 0.5, 2)
    np.testing.assert_allclose(matrices[:, 0, 0], matrices[:, 1, 1])
    matrices = drawn(spatial.affine(translate=(0.5, 0.25)), 20, 30)
    assert set(matrices[:, 0, 2]) == set(range(-15, 16)) and set(matrices[:, 1, 2]) == set(range(-5, 6))
    np.testing.assert_array_equal(matrices[:, :2, :2], np.broadcast_to(np.eye(2), (2000, 2, 2)))
    matrices = drawn(spatial.affine(shear=20), 20, 30)
    spread_evenly(np.degrees(np.arctan(matrices[:, 0, 1])), -20, 20)
    np.testing.assert_allclose(matrices[:, 1, 0], 0)
    matrices = drawn(spatial.affine(shear=(0, 0, 5, 25)), 20, 30)
    spread_evenly(np.degrees(np.arctan(matrices[:, 1, 0])), 5, 25)
    spread_evenly(-angle(drawn(spatial.affine(40), 20, 30)), -40, 40)


def test_the_corners_of_a_perspective_move_inwards_by_whole_pixels():
    height, width = 21, 30
    matrices = drawn(spatial.perspective(0.4, 0.5), height, width)
    still = np.all(matrices == np.eye(3), axis=(1, 2))
    assert abs(still.mean() - 0.5) < 0.05
    corners = np.array([(0, 0), (29, 0), (29, 20), (0, 20)], float)
    ends = np.linalg.inv(matrices[~still]) @ np.concatenate([corners, np.ones((4, 1))], 1).T
    ends = (ends[:, :2] / ends[:, 2:]).swapaxes(1, 2)
    inwards = (ends - corners) * np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
    np.testing.assert_allclose(inwards, np.round(inwards), atol=0.01)
    for axis, most in enumerate((6, 4)):  # int(0.4 * 15), int(0.4 * 10)
        counts = np.bincount(np.round(inwards[..., axis]).astype(int).ravel(), minlength=most + 1)
        assert len(counts) == most + 1 and counts.min() > 0.8 * counts.mean()


def test_mirroring_about_both_axes():
    images = noise(400, 3, 4)
    out = run(flips.vflip(), images)
    upside_down = np.all(out == images[:, ::-1], axis=(1, 2, 3))
    assert np.all(upside_down ^ np.all(out == images, axis=(1, 2, 3))) and abs(upside_down.mean() - 0.5) < 0.1
    np.testing.assert_array_equal(run([flips.flip(1), flips.vflip(1)], images), images[:, ::-1, ::-1])


def test_a_list_of_flips_looks_up_no_pixel():
    assert lookups([flips.flip(), flips.vflip()]) == 0
    assert lookups([flips.flip(), crops.center_crop(4), flips.vflip()]) == 0


def test_neighbours_resample_once():
    nearest = [flips.flip(), spatial.rotate(9, "nearest"), spatial.affine(9, interpolation="nearest"), flips.vflip()]
    assert lookups(nearest) == 1
    assert lookups([spatial.rotate(9), spatial.perspective(), spatial.affine(9)]) == lookups([spatial.rotate(9)]) == 4
    assert lookups([spatial.rotate(9), crops.center_crop(4), spatial.rotate(9)]) == 8
    assert lookups([spatial.rotate(9), flips.flip(), spatial.rotate(9, fill=1)]) == 8
    assert lookups([spatial.rotate(9, "nearest"), spatial.rotate(9)]) == 5


def test_every_operation_keeps_the_key_of_its_place():
    images = noise(64, 6, 6)
    np.testing.assert_array_equal(run([flips.flip(), spatial.rotate(0)], images), run(flips.flip(), images))
    plain, merged = [crops.center_crop(6), flips.vflip()], [spatial.rotate(0, "nearest"), flips.vflip()]
    np.testing.assert_array_equal(run(merged, images), run(plain, images))
    twice = run([flips.flip(), spatial.rotate(0), flips.flip()], images)
    assert 0 < np.mean(np.any(twice != images, axis=(1, 2, 3))) < 1  # the two do not always cancel each other


def one_by_one(operations, images, seed=0):
    """The pictures after the operations, each resampling by itself, with the keys they have in a list."""
    batch = {"image": images}
    for i, operation in enumerate(operations):
        own = jax.vmap(jax.random.fold_in, (0, None))(keys(len(images), seed), i)
        batch = jax.jit(operation)(own, batch)
    return np.asarray(batch["image"])


def test_quarter_turns_and_flips_as_one_are_exact():
    images = noise(16, 9, 9)
    operations = [flips.flip(), spatial.rotate((90, 90)), flips.vflip(), spatial.affine((-90, -90)), flips.flip()]
    np.testing.assert_array_equal(run(operations, images), one_by_one(operations, images))


def smooth(size):
    """A picture without edges: uint8 [size, size, 3]."""
    y, x = np.mgrid[:size, :size]
    wave = 127 + 60 * np.sin(x / 5) + 60 * np.cos(y / 7)
    return np.stack([wave, wave.T, 255 - wave], -1).astype(np.uint8)


def test_one_resampling_is_close_to_several_in_the_middle_of_a_picture():
    images = np.stack([smooth(48)] * 16)
    operations = [spatial.rotate(20), spatial.affine(10, scale=(0.9, 1.1)), spatial.perspective(0.2, 1.0)]
    apart = np.abs(run(operations, images).astype(int) - one_by_one(operations, images))[:, 16:32, 16:32]
    assert apart.max() <= 6 and apart.mean() < 2  # cut off three times, interpolated three times


def test_corners_that_leave_the_frame_and_come_back_are_kept():
    images = np.full((4, 12, 12, 3), 200, np.uint8)
    operations = [spatial.rotate((45, 45)), spatial.rotate((-45, -45))]
    assert run(operations, images).min() == 200
    assert one_by_one(operations, images)[:, 0, 0].max() == 0


def test_a_picture_depends_on_its_key_only():
    operations = [spatial.rotate(30), flips.flip(), spatial.perspective()]
    transform = jax.jit(device.compose(operations))
    images, own = noise(8, 7, 9), keys(8)
    whole = transform(own, {"image": images})["image"]
    pairs = [transform(own[i : i + 2], {"image": images[i : i + 2]})["image"] for i in range(0, 8, 2)]
    np.testing.assert_allclose(np.concatenate(pairs), whole, atol=1.01 / 255)


def test_the_list_in_a_config_gives_them():
    specs = (
        "rotate(15)",
        "affine(5, translate=(0.1, 0.1), fill=(1, 2, 3))",
        "perspective(0.3, p=0.2)",
        "flip",
        "vflip",
    )
    transform = augment.device_transform([augment.parse(s) for s in specs], random=True)
    assert jax.eval_shape(transform, keys(2), {"image": noise(2, 8, 9)})["image"].shape == (2, 8, 9, 3)
    with pytest.raises(UserError, match="fill .* has 2 values, but the pictures have 3 channel"):
        run(spatial.rotate(3, fill=(1, 2)), noise(2, 6, 6))


@pytest.mark.parametrize(
    "spec, message",
    [
        ("rotate()", "degrees"),
        ("rotate(-3)", "degrees must be at least 0, or a pair"),
        ("rotate((3, -3))", "degrees must be a number or a pair"),
        ("rotate(3, 'bicubic')", "interpolation can be 'nearest' or 'bilinear', not 'bicubic'"),
        ("rotate(3, fill=256)", "fill must be a whole number from 0 to 255, or one a channel, not 256"),
        ("rotate(3, fill=())", "fill must be"),
        ("affine(translate=0.1)", "translate must be two shares"),
        ("affine(translate=(0.1, 2))", "translate must be two shares from 0 to 1"),
        ("affine(scale=(0, 1))", "scale must be above 0"),
        ("affine(scale=(-1, 1))", "scale must lie between 0"),
        ("affine(shear=(1, 2, 3))", "shear must be a number or a pair"),
        ("perspective(2)", "distortion must be from 0 to 1"),
        ("vflip(2)", "p is a probability"),
    ],
)
def test_arguments_that_make_no_sense_are_named(spec, message):
    with pytest.raises(UserError, match=f"the arguments of '.*' don't fit: .*({message})"):
        augment.device_transform([augment.parse(spec)], random=True)
