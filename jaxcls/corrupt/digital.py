"""What cameras and software do to pictures; see noise.py for what a corruption is given."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.augment.base import split, uniform
from jaxcls.corrupt import fields
from jaxcls.corrupt.noise import At, Rows, column


def contrast(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """Every channel drawn towards its mean. Not random."""
    del keys
    mean = x.mean(axis=(1, 2), keepdims=True)
    return (x - mean) * column(rows, 0, at) + mean


def pixelate(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """Made smaller and larger again by Pillow's box filter, which rounds after each pass. Not random."""
    del keys
    _, height, width, _ = x.shape
    levels = jnp.round(255 * x)
    for direction in (0, 1):  # down, up
        for axis, side in ((2, width), (1, height)):
            matrices = _box_matrices(side, tuple(int(side * part) for part in rows))[direction]
            levels = jnp.floor(fields.along(jnp.asarray(matrices)[at], levels, axis) + 0.5)
    return levels / 255


@functools.cache
def _box_matrices(side, smaller):
    """(down [k, most, side], up [k, side, most]), float32: to each of the smaller sides and back, zeros beyond."""
    most = max(smaller)
    down = [np.pad(_box_matrix(side, small), ((0, most - small), (0, 0))) for small in smaller]
    up = [np.pad(_box_matrix(small, side), ((0, 0), (0, most - small))) for small in smaller]
    return np.stack(down).astype(np.float32), np.stack(up).astype(np.float32)


def _box_matrix(source, target):
    """Weights [target, source] of Pillow's box filter: pixels whose centres lie within half an output pixel."""
    scale = source / target
    centre = (np.arange(target)[:, None] + 0.5) * scale
    apart = (np.arange(source) + 0.5 - centre) / max(scale, 1)
    inside = (apart > -0.5) & (apart <= 0.5)
    return inside / inside.sum(axis=1, keepdims=True)


def elastic_transform(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """A random affine map of the picture, then a smooth random displacement of its pixels; both bilinear."""
    corners, draws = split(keys, 2)
    _, height, width, _ = x.shape
    side = min(height, width)
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), axis=-1)
    jitter = uniform(corners, (3, 2), -1.0, 1.0) * column(rows, 2, at) * side
    x = _sampled(x, _affine(grid, jitter, height, width), repeat=0)
    moves = uniform(draws, (height, width, 2), -1.0, 1.0)
    moves = fields.smoothed(moves, [row[1] * side for row in rows], at, mode="reflect", truncate=3.0)
    return _sampled(x, grid + column(rows, 0, at) * side * moves, repeat=1)


def _affine(grid, jitter, height, width):
    """Where pixels [h, w, 2] come from, [n, h, w, 2], if three points about the centre move by jitter [n, 3, 2]."""
    reach = min(height, width) // 3
    points = np.array([height // 2, width // 2]) + reach * np.array([[1, 1], [-1, 1], [-1, -1]], np.float32)
    moved = points + jitter
    edges = points[1:] - points[0]
    (a, b), (c, d) = jnp.moveaxis(moved[:, 1:] - moved[:, :1], 0, -1)
    inverse = jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-c, a], -1)], 1) / (a * d - b * c)[:, None, None]
    return jnp.einsum("nhwi,nij->nhwj", grid - moved[:, None, None, 0], inverse @ edges) + points[0]


def _sampled(x, places, *, repeat):
    """x [n, h, w, c] at places [n, h, w, 2] by bilinear interpolation; beyond the border there is its mirror image.

    `repeat`: 1 where the border pixel stands twice in it (scipy's "reflect"), 0 where it does not ("mirror").
    """
    corner = jnp.floor(places)
    far = places - corner
    corner = corner.astype(jnp.int32)

    def bounced(at, side):
        period = 2 * (side - 1 + repeat)
        at = at % period
        return jnp.minimum(at, period - repeat - at)

    def part(down, right):
        rows, columns = (bounced(corner[..., i] + move, x.shape[1 + i]) for i, move in enumerate((down, right)))
        weight = jnp.abs(1 - down - far[..., 0]) * jnp.abs(1 - right - far[..., 1])
        return weight[..., None] * jax.vmap(lambda picture, i, j: picture[i, j])(x, rows, columns)

    return part(0, 0) + part(0, 1) + part(1, 0) + part(1, 1)
