"""Blurs; see noise.py for what a corruption is given."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.augment.base import fold, uniform
from jaxcls.corrupt import fields
from jaxcls.corrupt.noise import At, Rows, column


def defocus_blur(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """The mean over a disk, whose edge is softened by a Gaussian. Not random."""
    del keys
    disks = [_disk(*row) for row in rows]
    half = max(len(disk) // 2 for disk in disks)
    kernels = np.stack([np.pad(disk, half - len(disk) // 2) for disk in disks]).astype(np.float32)
    used = np.flatnonzero(kernels.any(axis=(0, 1)))
    half -= used[0]
    kernel = jnp.asarray(kernels[:, used[0] : used[-1] + 1, used[0] : used[-1] + 1])[at]
    n, height, width, channels = x.shape
    planes = jnp.moveaxis(x, -1, 1).reshape(n * channels, height, width, 1)
    planes = jnp.pad(planes, ((0, 0), (half, half), (half, half), (0, 0)), mode="reflect")
    blurred = jax.lax.conv_general_dilated(
        planes, kernel[..., None, None], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jnp.moveaxis(blurred.reshape(n, channels, height, width), 1, -1)


def _disk(radius, sigma):
    """A disk [k, k] that sums to about 1, filtered by a Gaussian of 3 pixels' width (5 beyond a radius of 8)."""
    half, reach = (8, 1) if radius <= 8 else (math.ceil(radius), 2)
    line = np.arange(-half, half + 1)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).astype(float)
    disk /= disk.sum()
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for _ in range(2):
        padded = np.pad(disk, ((reach, reach), (0, 0)), mode="reflect")
        disk = sum(w * padded[i : i + len(disk)] for i, w in enumerate(weights)).T
    return disk


def glass_blur(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """A Gaussian blur, pixels replaced by near ones at random, and the blur again.

    The authors' code goes through the pixels one by one and swaps each with a neighbour; the swap, of views of one
    array, in fact copies the neighbour. Here all pixels of a pass are replaced at once, from where they were before it.
    """
    sigmas, distance, passes = np.asarray(rows).T
    x = jnp.floor(255 * fields.smoothed(x, sigmas, at) + 1e-3) / 255
    reach, number = jnp.asarray(distance, jnp.float32)[at], jnp.asarray(passes)[at]
    height, width = x.shape[1:3]
    row, col = jnp.arange(height)[:, None], jnp.arange(width)
    inside = (row > reach) & (row <= height - reach) & (col > reach) & (col <= width - reach)

    def replace(i, x):
        drawn = jnp.floor(uniform(fold(keys, i), (2, height, width), -reach, reach)).astype(jnp.int32)
        drawn = jnp.where(inside & (i < number), drawn, 0)
        return jax.vmap(lambda picture, move: picture[row + move[0], col + move[1]])(x, drawn)

    x = jax.lax.fori_loop(0, int(max(passes)), replace, x)
    return fields.smoothed(x, sigmas, at)


def motion_blur(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """Motion in a direction of up to 45 degrees from the horizontal."""
    angle = uniform(keys, (), -math.pi / 4, math.pi / 4)
    return fields.moved(x, angle, column(rows, 0, at), column(rows, 1, at), max(radius for radius, _ in rows))


def zoom_blur(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """The mean of the picture and of it enlarged by factors from 1 on. Not random."""
    del keys
    ranges = [np.arange(1, end, step) for end, step in rows]
    most = max(map(len, ranges))
    ones = np.stack([np.pad(np.ones(len(f)), (0, most - len(f))) for f in ranges])
    factors = np.stack([np.pad(f, (0, most - len(f)), constant_values=1) for f in ranges])
    lines = [jnp.asarray(fields.zoom_lines(side, factors), jnp.float32)[:, at] for side in x.shape[1:3]]
    weights = jnp.asarray(ones, jnp.float32)[at]

    def add(total, part):
        weight, *lines = part
        return total + weight * fields.zoomed(x, lines), None

    total, _ = jax.lax.scan(add, x, (weights, *(line.T for line in lines)))
    return total / (1 + weights.sum())
