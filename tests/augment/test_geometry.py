"""Maps and resampling against Pillow itself, torchvision's formulas in float64, and torchvision's stored outputs.

Nearest pixels of affine maps, which are Pillow's one by one: test_fixed_point.py.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcls.augment import geometry
from jaxcls.errors import UserError

FIXTURE = np.load(Path(__file__).parents[1] / "fixtures" / "geometry.npz")
FILTERS = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}
resample = jax.jit(geometry.resample, static_argnames=("interpolation", "fill"))


@pytest.fixture(scope="module")
def photograph():
    """A real picture that scikit-learn carries: uint8 [427, 640, 3]."""
    from sklearn.datasets import load_sample_image

    return np.asarray(load_sample_image("china.jpg"))


def affine(height, width, degrees=0, translate=(0, 0), scale=1, shear=(0, 0), center=None):
    """One map."""
    return geometry.affine_matrix([degrees], np.array([translate]), scale, np.array([shear]), height, width, center)


def stored(name, height, width):
    """The map of a stored output: (matrix, interpolation, fill)."""
    form, *numbers = name.removesuffix("_fill128").rsplit("_nearest", 1)[0].rsplit("_bilinear", 1)[0].split("_")
    how = "nearest" if "nearest" in name else "bilinear"
    if form == "rotate":
        return geometry.rotation([float(numbers[0])], height, width), how, 128 if name.endswith("fill128") else 0
    if form == "perspective":  # the corners were found by search: nothing states them
        start, end = [[(0, 0), (31, 0), (31, 31), (0, 31)]], [[(3, 2), (29, 1), (30, 28), (1, 30)]]
        return geometry.perspective_matrix(start, end), how, 0
    settings = {
        "shear_x10": {"shear": (10, 0)},
        "shear_y10": {"shear": (0, 10)},
        "shear_x10_center00": {"shear": (10, 0), "center": (0, 0)},
        "translate_7_-4": {"translate": (7, -4)},
        "affine_r20_t3_5_s1.2_sh8": {"degrees": 20, "translate": (3, 5), "scale": 1.2, "shear": (8, 0)},
    }
    return affine(height, width, **settings["_".join([form, *numbers])]), how, 0


def check_stored(archive, image, name):
    picture, expected = archive[f"in:{image}"], archive[f"pil:{image}:{name}"].astype(int)
    matrix, how, fill = stored(name, *picture.shape[:2])
    check(np.asarray(resample(picture[None], matrix, how, fill))[0], expected, how)


def check(out, expected, how):
    """What is asked for: nearest equal on 99.5 % of the pixels, bilinear at most a level off on 97 %."""
    apart = np.abs(out.astype(int) - expected).reshape(*expected.shape[:2], -1).max(-1)
    assert out.dtype == np.uint8
    assert np.mean(apart == 0) >= 0.995 if how == "nearest" else np.mean(apart <= 1) >= 0.97


@pytest.mark.parametrize("key", [key for key in FIXTURE if key.startswith("pil:")])
def test_outputs_of_torchvision_are_reproduced(key):
    check_stored(FIXTURE, *key.split(":")[1:])


def test_all_stored_outputs_of_torchvision_are_reproduced(shared):
    archive = np.load(shared / "reference" / "functions" / "images.npz")
    forms, n = ("rotate_", "shear_", "translate_", "affine_", "perspective"), 0
    for key in archive:
        backend, image, name = key.split(":") if key.startswith("pil:") else ("", "", "")
        if backend and name.startswith(forms) and not name.endswith("expand"):
            check_stored(archive, image, name)
            n += 1
    assert n == 4 * 23


@pytest.mark.parametrize("how", FILTERS)
@pytest.mark.parametrize("height, width, channels", [(101, 150, 3), (64, 64, 1)])
def test_rotations_of_a_photograph_equal_pillows(photograph, how, height, width, channels):
    image = np.ascontiguousarray(photograph[150 : 150 + height, 200 : 200 + width, :channels])
    fill = (10, 200, 30) if channels == 3 else 77
    degrees = np.array([0, 7.77, -30, 45, 90, 133.3, 180, 270], np.float32)
    matrices = geometry.rotation(degrees, height, width)
    out = np.asarray(resample(np.stack([image] * len(degrees)), matrices, how, fill))
    picture = Image.fromarray(image if channels == 3 else image[..., 0])
    for got, angle in zip(out, degrees, strict=True):
        expected = np.asarray(picture.rotate(float(angle), FILTERS[how], fillcolor=fill)).reshape(image.shape)
        check(got, expected, how)


@pytest.mark.parametrize("how", FILTERS)
def test_maps_of_real_pictures_equal_pillows(shared, how):
    """At 224, where Pillow's fixed-point coordinates of nearest have drifted by some thousandths of a pixel."""
    files = sorted((shared / "data" / "imagenet_sample").glob("*.jpg"))[:6]
    if not files:
        pytest.skip("needs shared/data/imagenet_sample")
    pictures = [Image.open(file).convert("RGB").resize((224, 224)) for file in files]
    rng = np.random.default_rng(0)
    degrees, scale = rng.uniform(-40, 40, 6), rng.uniform(0.7, 1.4, 6)
    translate, shear = rng.integers(-30, 31, (6, 2)), rng.uniform(-20, 20, (6, 2))
    matrices = geometry.affine_matrix(degrees, translate, scale, shear, 224, 224)
    out = np.asarray(resample(np.stack([np.asarray(p) for p in pictures]), matrices, how))
    for got, picture, matrix in zip(out, pictures, np.asarray(geometry.rounded(matrices), float), strict=True):
        expected = picture.transform((224, 224), Image.Transform.AFFINE, tuple(matrix.ravel()[:6]), FILTERS[how])
        check(got, np.asarray(expected), how)


@pytest.mark.parametrize("how", FILTERS)
@pytest.mark.parametrize("size", [8, 9])
def test_quarter_turns_of_squares_are_exact(how, size):
    images = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    out = resample(images, geometry.rotation([-90, 0, 90, 180, 270], size, size), how)
    np.testing.assert_array_equal(out, [np.rot90(x, k) for x, k in zip(images, (-1, 0, 1, 2, 3), strict=True)])


@pytest.mark.parametrize("how", FILTERS)
def test_whole_pixels_of_translation_are_exact_and_the_rest_is_filled(how):
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    out = np.asarray(resample(image, affine(8, 8, translate=(3, -2)), how, (1, 2, 3)))
    np.testing.assert_array_equal(out[0, :6, 3:], image[0, 2:, :5])
    assert np.all(out[0, 6:] == [1, 2, 3]) and np.all(out[0, :, :3] == [1, 2, 3])


BATCH, HEIGHT, WIDTH = 32, 23, 31
numbers = st.integers(0, 2**32 - 1)


def random_matrices(seed):
    """Matrices of all kinds, some with round numbers, whose denominators stay well above 0."""
    rng = np.random.default_rng(seed)
    turn, scale = rng.uniform(-np.pi, np.pi, BATCH), rng.uniform(0.4, 2.5, (BATCH, 2))
    linear = np.stack([np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)], -1).reshape(BATCH, 2, 2)
    linear = linear * scale[:, None] + rng.uniform(-0.3, 0.3, (BATCH, 2, 2)) * rng.integers(0, 2, (BATCH, 1, 1))
    matrices = np.zeros((BATCH, 3, 3))
    matrices[:, :2, :2] = linear
    shift = rng.uniform(-0.3, 0.3, (BATCH, 2))
    matrices[:, :2, 2] = np.array([WIDTH, HEIGHT]) * (0.5 + shift) - linear @ np.array([WIDTH / 2, HEIGHT / 2])
    matrices[:, 2, :2] = rng.uniform(-0.012, 0.012, (BATCH, 2)) * rng.integers(0, 2, (BATCH, 1))
    matrices[:, 2, 2] = 1
    rough = rng.integers(0, 2, (BATCH, 1, 1))
    return np.where(rough, np.round(matrices * 8) / 8, matrices).astype(np.float32).astype(float)


@settings(max_examples=100)
@given(numbers)
def test_any_map_equals_pillows(seed):
    """3200 matrices through Pillow in float64: equal, but where a coordinate lies on a border to 1e-3 of a pixel."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (BATCH, HEIGHT, WIDTH, 3), dtype=np.uint8)
    matrices = random_matrices(seed)
    column, row = np.arange(WIDTH) + 0.5, np.arange(HEIGHT)[:, None] + 0.5
    m = matrices[..., None, None]
    x, y, z = (m[:, i, 0] * column + m[:, i, 1] * row + m[:, i, 2] for i in range(3))
    x, y = x / z, y / z
    off_border = np.minimum(np.abs(x - np.round(x)), np.abs(y - np.round(y))) > 1e-3
    off_frame = np.min([np.abs(x), np.abs(x - WIDTH), np.abs(y), np.abs(y - HEIGHT)], axis=0) > 1e-3
    assert np.mean(off_border) > 0.5 and 0.2 < np.mean((x > 0) & (x < WIDTH) & (y > 0) & (y < HEIGHT)) < 0.95
    for how in FILTERS:
        out = np.asarray(resample(images, jnp.asarray(matrices, jnp.float32), how, (5, 6, 7))).astype(int)
        expected = np.stack(
            [
                Image.fromarray(image).transform(
                    (WIDTH, HEIGHT),
                    Image.Transform.PERSPECTIVE,
                    tuple(m.ravel()[:8]),
                    FILTERS[how],
                    fillcolor=(5, 6, 7),
                )
                for image, m in zip(images, matrices, strict=True)
            ]
        )
        apart = np.abs(out - expected).max(-1)
        if how == "nearest":
            assert not np.any(apart[off_border])
        else:
            assert apart[off_frame].max() <= 1 and np.mean(apart[off_frame] == 0) > 0.97


def in_float64(degrees, translate, scale, shear, center):
    """torchvision's documented product T C R Shear_y Shear_x S C^-1, inverted."""

    def move(x, y):
        return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])

    a, (sx, sy) = np.radians(degrees), np.radians(shear)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    shear_y = np.array([[1, 0, 0], [-np.tan(sy), 1, 0], [0, 0, 1]])
    shear_x = np.array([[1, -np.tan(sx), 0], [0, 1, 0], [0, 0, 1]])
    size = np.diag([scale, scale, 1])
    return np.linalg.inv(move(*translate) @ move(*center) @ turn @ shear_y @ shear_x @ size @ move(*-np.array(center)))


def test_affine_matrices_are_the_inverse_of_torchvisions_product():
    rng = np.random.default_rng(1)
    degrees, scale = rng.uniform(-180, 180, 50), rng.uniform(0.3, 3, 50)
    translate, shear = rng.integers(-20, 21, (50, 2)), rng.uniform(-60, 60, (50, 2))
    for center in (None, (3, 4)):
        make = jax.jit(lambda *drawn, at=center: geometry.rounded(geometry.affine_matrix(*drawn, 40, 30, at)))
        out = make(degrees, translate, scale, shear)
        expected = [
            in_float64(*each, center or (15, 20)) for each in zip(degrees, translate, scale, shear, strict=True)
        ]
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=2e-4)


def test_a_rotation_is_counter_clockwise_and_an_affine_map_clockwise():
    maps = geometry.rotation([30.0], 6, 9), affine(6, 9, degrees=-30)
    np.testing.assert_allclose(*map(geometry.rounded, maps), atol=1e-5)
    corner = np.zeros((1, 5, 5, 1), np.uint8)
    corner[0, 0, 4] = 255
    assert resample(corner, geometry.rotation([90], 5, 5))[0, 0, 0] == 255


def test_perspective_matrices_equal_the_solved_system():
    """torchvision solves eight equations in float64."""
    rng = np.random.default_rng(0)
    corners = np.array([(0, 0), (223, 0), (223, 99), (0, 99)], float)
    start = corners + rng.uniform(-20, 20, (40, 4, 2))
    end = corners + rng.uniform(-20, 20, (40, 4, 2))
    for got, p, q in zip(np.asarray(jax.jit(geometry.perspective_matrix)(start, end)), start, end, strict=True):
        rows = [[x, y, 1, 0, 0, 0, -u * x, -u * y] for (x, y), (u, _) in zip(q, p, strict=True)]
        rows += [[0, 0, 0, x, y, 1, -v * x, -v * y] for (x, y), (_, v) in zip(q, p, strict=True)]
        solved = np.linalg.solve(np.array(rows), np.concatenate([p[:, 0], p[:, 1]]))
        points = np.concatenate([q, q[:1] * 0.3 + q[2:3] * 0.7])
        for matrix in (got, np.append(solved, 1).reshape(3, 3)):
            x, y, z = matrix @ np.concatenate([points, np.ones((5, 1))], axis=1).T
            np.testing.assert_allclose(np.stack([x / z, y / z], -1)[:4], p, atol=2e-3)
        np.testing.assert_allclose(got.ravel()[:8], solved, rtol=2e-3, atol=2e-4)


def test_a_map_without_an_image_gives_the_fill():
    nowhere = np.stack([np.full((3, 3), np.nan), np.zeros((3, 3)), np.diag([1, 1, 0])])
    images = np.full((3, 8, 8, 3), 200, np.uint8)
    assert np.all(np.asarray(resample(images, jnp.asarray(nowhere), "bilinear", 9)) == 9)


def test_as_many_fills_as_channels():
    with pytest.raises(UserError, match=r"fill \(1, 2\) has 2 values, but the pictures have 3 channel"):
        geometry.resample(np.zeros((1, 8, 8, 3), np.uint8), affine(8, 8), fill=(1, 2))


def test_a_sharded_batch_stays_on_its_devices():
    """Each device looks up pixels of its own pictures."""
    mesh = jax.make_mesh((8,), ("data",))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
    matrices = geometry.rotation(np.linspace(0, 90, 16), 8, 8)
    sharded = jax.jit(geometry.resample, static_argnames="interpolation", out_shardings=place)
    arguments = jax.device_put(images, place), jax.device_put(matrices, place)
    compiled = sharded.lower(*arguments, interpolation="bilinear").compile()
    assert not any(word in compiled.as_text() for word in ("all-gather", "all-reduce", "all-to-all", "permute"))
    np.testing.assert_array_equal(compiled(*arguments), resample(images, matrices, "bilinear"))
