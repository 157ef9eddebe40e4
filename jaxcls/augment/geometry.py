"""Rotation, affine and perspective maps of pictures, and pictures resampled through them.

A map is a 3x3 matrix that takes pixel coordinates of the OUTPUT to pixel coordinates of the INPUT, [n, 3, 3] for a
batch. Coordinates are Pillow's: x to the right, y down, the centre of the first pixel at (0.5, 0.5). Affine maps are
`Fixed` numbers (fixed_point.py): which pixel is the nearest can depend on more digits than float32 has.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.augment import fixed_point
from jaxcls.augment.base import Fill
from jaxcls.augment.fixed_point import Fixed
from jaxcls.errors import UserError

LARGEST = 8192  # side of a picture whose coordinates under rotations and shears up to 1 `Fixed` can hold


def resample(images: Array, matrices: Array | Fixed, interpolation: str = "nearest", fill: Fill = 0) -> Array:
    """Pictures through maps, sampled as Pillow's `Image.transform` samples with AFFINE and PERSPECTIVE.

    Args:
      images: uint8 [n, h, w, c].
      matrices: [n, 3, 3], output to input coordinates. Fixed: affine maps, the last row (0, 0, 1); with "nearest"
        the pixels are Pillow's of these numbers (`fixed_point.coordinates` says where not). float32: any map, the
        scale of its matrix is of no matter; coordinates are float32, so that with "nearest" a pixel whose coordinate
        lies on a border of two input pixels may get the other one.
      interpolation: "nearest", or "bilinear" (the border's pixels are repeated for half a pixel; the fraction of a
        level is cut off, not rounded: both as Pillow has it).
      fill: what lies outside of the input: one level or one a channel.

    Returns:
      uint8 [n, h, w, c].

    Raises:
      UserError: where there are neither one nor c fill values; for Fixed and sides of more than 8,192 pixels.
    """
    _, height, width, channels = images.shape
    outside = np.asarray(fill, np.uint8)
    if outside.ndim and outside.shape != (channels,):
        raise UserError(f"fill {fill!r} has {outside.size} values, but the pictures have {channels} channel(s)")
    if isinstance(matrices, Fixed) and max(height, width) > LARGEST:
        raise UserError(f"pictures of {width} x {height} can't be warped: at most {LARGEST} pixels a side")
    sample = {"nearest": _nearest, "bilinear": _bilinear}[interpolation]
    if interpolation == "nearest" and isinstance(matrices, Fixed):
        x, y = fixed_point.coordinates(matrices, height, width)
    else:
        x, y = _coordinates(rounded(matrices), height, width)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)  # false for NaN, too
    values = sample(images, jnp.where(inside, x, 0), jnp.where(inside, y, 0))
    return jnp.where(inside[..., None], values, outside)


def rounded(matrices: Array | Fixed) -> Array:
    """The matrices in float32."""
    return matrices.rounded() if isinstance(matrices, Fixed) else matrices.astype(jnp.float32)


def _coordinates(matrices, height, width):
    """(x, y) [n, height, width] of where the centre of each output pixel comes from.

    Written out: a matrix product would run in reduced precision on accelerators.
    """
    column = jnp.arange(width, dtype=jnp.float32)[None, None] + 0.5
    row = jnp.arange(height, dtype=jnp.float32)[None, :, None] + 0.5
    m = matrices[:, :, :, None, None]
    x, y, z = (m[:, i, 0] * column + m[:, i, 1] * row + m[:, i, 2] for i in range(3))
    return x / z, y / z


def _nearest(images, x, y):
    return _take(images, x.astype(jnp.int32), y.astype(jnp.int32))


def _bilinear(images, x, y):
    height, width = images.shape[1:3]
    x, y = x - 0.5, y - 0.5
    left, top = jnp.floor(x), jnp.floor(y)
    across, down = (x - left)[..., None], (y - top)[..., None]
    columns = [jnp.clip(left.astype(jnp.int32) + i, 0, width - 1) for i in range(2)]
    rows = [jnp.clip(top.astype(jnp.int32) + i, 0, height - 1) for i in range(2)]

    def line(row):
        a, b = (_take(images, column, row).astype(jnp.float32) for column in columns)
        return a + (b - a) * across

    above, below = (line(row) for row in rows)
    return (above + (below - above) * down).astype(jnp.uint8)


def _take(images, column, row):
    """The pixels at whole coordinates [n, h, w], which must lie inside: one gather.

    Within each picture, not within the batch: sharded batches stay on their devices.
    """
    n, height, width, channels = images.shape
    flat = images.reshape(n, height * width, channels)
    return jax.vmap(lambda pixels, at: pixels.at[at].get(mode="promise_in_bounds"))(flat, row * width + column)


def rotation(degrees: Array, height: int, width: int) -> Fixed:
    """Matrices [n, 3, 3] of rotations about the centre, counter-clockwise, as Pillow's `Image.rotate`.

    Args:
      degrees: float [n]. At multiples of 90 the matrices are exact.
      height, width: of the pictures, which keep their size.
    """
    center = np.array([width / 2, height / 2])
    return fixed_point.about(fixed_point.turn(degrees), center, center)


def affine_matrix(
    degrees: Array,
    translate: Array,
    scale: Array,
    shear: Array,
    height: int,
    width: int,
    center: tuple[float, float] | None = None,
) -> Fixed:
    """Matrices [n, 3, 3] of torchvision's `affine`: shear, then rotation and scale about the centre, then translation.

    The inverse is written down directly, as torchvision does it (`_get_inverse_affine_matrix`).

    Args:
      degrees: float [n], clockwise (unlike `rotation`; so torchvision has it).
      translate: float [n, 2], pixels to the right and down; multiples of 1/2, as the center is.
      scale: float [n], above 1 enlarges.
      shear: float [n, 2], degrees along x and y.
      height, width: of the pictures.
      center: (x, y) in pixels; None for the middle of the picture.
    """
    along_x, along_y = jnp.moveaxis(jnp.tan(jnp.radians(jnp.asarray(shear, jnp.float32))), -1, 0)[..., None]
    scale = jnp.asarray(scale, jnp.float32)[..., None, None]
    exact = fixed_point.turn(-jnp.asarray(degrees))
    turn = exact.rounded()
    down = along_y * turn[:, 0]
    right = along_x * (turn[:, 1] + down)
    linear = exact + (jnp.stack([right, down], 1) + turn * (1 - scale)) / scale  # plus 0, exactly, if it only turns
    middle = np.array((width / 2, height / 2) if center is None else center)
    return fixed_point.about(linear, middle, middle + jnp.asarray(translate, jnp.float32))


def perspective_matrix(start: Array, end: Array) -> Array:
    """Matrices [n, 3, 3] that take the corners `end` of the output to the corners `start` of the input.

    Through the unit square (Heckbert, Fundamentals of Texture Mapping and Image Warping, section 2.2.3), which needs
    no linear system in float32. Scaled so that the last entry is 1, as Pillow's eight coefficients are.

    Args:
      start, end: float [n, 4, 2], (x, y) of top left, top right, bottom right, bottom left.
    """
    p, q = _from_square(jnp.asarray(start, jnp.float32)), _from_square(jnp.asarray(end, jnp.float32))
    through = product(p, _adjugate(q))
    return through / through[:, 2:, 2:]


def product(a: Array | Fixed, b: Array | Fixed) -> Array:
    """float32 product of matrices [n, 3, 3], at full precision on any device: first through b, then through a."""
    return jnp.sum(rounded(a)[:, :, :, None] * rounded(b)[:, None, :, :], axis=2)


def matrix(*rows: Sequence[Any]) -> Array:
    """[n, 3, 3] from three rows of three entries, each [n] or a number."""
    flat = jnp.broadcast_arrays(*[jnp.asarray(entry, jnp.float32) for row in rows for entry in row])
    return jnp.stack(flat, axis=-1).reshape(-1, 3, 3)


def _from_square(corners):
    """Matrices that take (0, 0), (1, 0), (1, 1), (0, 1) to four corners [n, 4, 2]."""
    first, second, third, fourth = jnp.moveaxis(corners, 1, 0)
    right, down, rest = second - third, fourth - third, first - second + third - fourth

    def cross(u, v):
        return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]

    area = cross(right, down)
    g, h = cross(rest, down) / area, cross(right, rest) / area
    columns = [second - first + g[:, None] * second, fourth - first + h[:, None] * fourth, first]
    rows = [[column[:, i] for column in columns] for i in range(2)]
    return matrix(*rows, (g, h, 1))


def _adjugate(m):
    """The inverse up to a factor, for matrices [n, 3, 3]."""
    rows = [m[:, i] for i in range(3)]
    columns = [jnp.cross(rows[(i + 1) % 3], rows[(i + 2) % 3]) for i in range(3)]
    return jnp.stack(columns, axis=-1)
