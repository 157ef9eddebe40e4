"""What several corruptions are made of: resampling along the axes, motion, Gaussian smoothing, plasma."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.augment.base import uniform
from jaxcls.corrupt.noise import At


def along(matrix: Array, x: Array, axis: int) -> Array:
    """The matrix [k, m] times axis 1 or 2 of x [n, h, w, ...]."""
    return jnp.moveaxis(jnp.tensordot(matrix, x, ((1,), (axis,))), 0, axis)


def zoom_lines(side: int, factors: Any) -> tuple[np.ndarray, np.ndarray]:
    """(start, step), float64 of the shape of `factors`: where pixels of an enlarged picture lie in the original.

    The middle ceil(side / factor) pixels become round(that * factor) with first and last pixel on first and last
    (scipy.ndimage.zoom), of which the middle `side` are taken: the authors' `clipped_zoom`.
    """
    factors = np.asarray(factors, np.float64)
    part = np.ceil(side / factors)
    size = np.round(part * factors)
    step = (part - 1) / np.maximum(size - 1, 1)
    return (side - part) // 2 + (size - side) // 2 * step, step


def zoomed(x: Array, lines: Iterable[Any]) -> Array:
    """Bilinear enlargement of x [n, h, w, ...] by `lines`: (start, step) of each axis."""
    for axis, (start, step) in zip((1, 2), lines, strict=True):
        pixels = jnp.arange(x.shape[axis])
        place = jnp.clip(start + step * pixels, 0, x.shape[axis] - 1)
        x = along(jnp.maximum(0, 1 - jnp.abs(place[:, None] - pixels)), x, axis)
    return x


def moved(x: Array, angle: Array, radius: Array, sigma: Array, widest: int) -> Array:
    """Motion along a line: ImageMagick's `motion_blur`, which looks one way along it, with a Gaussian's weights.

    Args:
      x: [n, h, w, c].
      angle: radians [n]; 0 looks to the right, a quarter turn downwards.
      radius, sigma: in pixels, may be traced; 2 * radius + 1 pixels are averaged.
      widest: the largest radius, an int. Beyond the border there are border pixels.
    """
    n, height, width, channels = x.shape
    taps = np.arange(2 * widest + 1)
    weights = jnp.where(taps <= 2 * radius, jnp.exp(-(taps**2) / (2 * sigma**2)), 0)
    weights = weights / weights.sum()
    reach = 2 * widest
    padded = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    places = jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)

    def add(total, tap):
        number, weight = tap
        corner = reach + jnp.ceil(number * places - 0.5).astype(jnp.int32)

        def window(picture, at):
            return jax.lax.dynamic_slice(picture, (at[0], at[1], 0), (height, width, channels))

        return total + weight * jax.vmap(window)(padded, corner), None

    return jax.lax.scan(add, jnp.zeros_like(x), (jnp.asarray(taps, jnp.float32), weights))[0]


def gaussian_matrices(side: int, sigmas: Sequence[float], mode: str, truncate: float) -> np.ndarray:
    """float32 [k, side, side]: scipy.ndimage's Gaussian filter of each sigma along an axis; 0 leaves it."""
    from scipy import ndimage

    unit = np.eye(side)
    matrices = [ndimage.gaussian_filter1d(unit, s, axis=0, mode=mode, truncate=truncate) if s else unit for s in sigmas]
    return np.stack(matrices).astype(np.float32)


def smoothed(x: Array, sigmas: Sequence[float], at: At, mode: str = "nearest", truncate: float = 4.0) -> Array:
    """x [n, h, w, ...] filtered by a Gaussian whose sigma is `sigmas[at]`."""
    for axis in (1, 2):
        x = along(jnp.asarray(gaussian_matrices(x.shape[axis], sigmas, mode, truncate))[at], x, axis)
    return x


def plasma(keys: Array, height: int, width: int, decay: Any) -> Array:
    """A fractal by diamonds and squares, float32 [n, height, width]; on its whole torus it goes from 0 to 1.

    A level adds uniform noise to the mean of four neighbours, of 1 / decay^2 of the amplitude of the one before, as in
    the authors' code (whose noise is its amplitude times uniform numbers of that amplitude).
    """
    levels = math.ceil(math.log2(max(height, width)))
    drawn = uniform(keys, (4**levels - 1,), -1.0, 1.0)  # at once: this is what takes long to compile
    grid, amplitude = jnp.zeros((keys.shape[0], 1, 1)), 1.0
    for _ in range(levels):
        n, side, _ = grid.shape
        noise = amplitude * drawn[:, side**2 - 1 : 4 * side**2 - 1].reshape(n, 3, side, side)
        right, down = jnp.roll(grid, -1, 2), jnp.roll(grid, -1, 1)
        centre = (grid + right + down + jnp.roll(right, -1, 1)) / 4 + noise[:, 0]
        beside = (grid + right + centre + jnp.roll(centre, 1, 1)) / 4 + noise[:, 1]
        below = (grid + down + centre + jnp.roll(centre, 1, 2)) / 4 + noise[:, 2]
        pairs = jnp.stack([jnp.stack([grid, beside], -1), jnp.stack([below, centre], -1)], axis=2)
        grid, amplitude = pairs.reshape(n, 2 * side, 2 * side), amplitude / decay**2
    low, high = (f(grid, axis=(1, 2), keepdims=True) for f in (jnp.min, jnp.max))
    return ((grid - low) / (high - low))[:, :height, :width]
