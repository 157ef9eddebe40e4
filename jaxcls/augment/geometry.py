"""Rotation, affine and perspective maps of pictures, and pictures resampled through them.

A map is a 3x3 matrix that takes pixel coordinates of the OUTPUT to pixel coordinates of the INPUT, [n, 3, 3] for a
batch. Coordinates are Pillow's: x to the right, y down, the centre of the first pixel at (0.5, 0.5).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.augment.base import Fill
from jaxcls.errors import UserError


def resample(images: Array, matrices: Array, interpolation: str = "nearest", fill: Fill = 0) -> Array:
    """Pictures through projective maps, sampled as Pillow's `Image.transform` samples with AFFINE and PERSPECTIVE.

    Differs from Pillow in that coordinates are float32. With "nearest" a pixel whose coordinate lies on a border of two
    input pixels may so get the other one: for affine maps, whose coordinates Pillow has in fixed point with 16
    fractional bits that drift along a row, 0.02 % of the pixels of a 32x32 picture and 0.1 % at 224x224.

    Args:
      images: uint8 [n, h, w, c].
      matrices: float32 [n, 3, 3], output to input coordinates; the scale of each is of no matter.
      interpolation: "nearest", or "bilinear" (the border's pixels are repeated for half a pixel; the fraction of a
        level is cut off, not rounded: both as Pillow has it).
      fill: what lies outside of the input: one level or one a channel.

    Returns:
      uint8 [n, h, w, c].

    Raises:
      UserError: where there are neither one nor c fill values.
    """
    _, height, width, channels = images.shape
    outside = np.asarray(fill, np.uint8)
    if outside.ndim and outside.shape != (channels,):
        raise UserError(f"fill {fill!r} has {outside.size} values, but the pictures have {channels} channel(s)")
    sample = {"nearest": _nearest, "bilinear": _bilinear}[interpolation]
    x, y = _coordinates(matrices.astype(jnp.float32), height, width)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)  # false for NaN, too
    values = sample(images, jnp.where(inside, x, 0), jnp.where(inside, y, 0))
    return jnp.where(inside[..., None], values, outside)


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


def rotation(degrees: Array, height: int, width: int) -> Array:
    """Matrices [n, 3, 3] of rotations about the centre, counter-clockwise, as Pillow's `Image.rotate`.

    Args:
      degrees: float [n]. At multiples of 90 the matrices are exact.
      height, width: of the pictures, which keep their size.
    """
    cos, sin = _cos_sin(degrees)
    return _about(cos, -sin, sin, cos, (width / 2, height / 2))


def affine_matrix(
    degrees: Array,
    translate: Array,
    scale: Array,
    shear: Array,
    height: int,
    width: int,
    center: tuple[float, float] | None = None,
) -> Array:
    """Matrices [n, 3, 3] of torchvision's `affine`: shear, then rotation and scale about the centre, then translation.

    The inverse is written down directly, as torchvision does it (`_get_inverse_affine_matrix`).

    Args:
      degrees: float [n], clockwise (unlike `rotation`; so torchvision has it).
      translate: float [n, 2], pixels to the right and down.
      scale: float [n], above 1 enlarges.
      shear: float [n, 2], degrees along x and y.
      height, width: of the pictures.
      center: (x, y) in pixels; None for the middle of the picture.
    """
    degrees, shear = jnp.asarray(degrees), jnp.asarray(shear)
    along_x, along_y = jnp.radians(shear[:, 0]), jnp.radians(shear[:, 1])
    (cos, sin), (turn_cos, turn_sin) = _cos_sin(degrees - shear[:, 1]), _cos_sin(degrees)
    a, c = cos / jnp.cos(along_y), sin / jnp.cos(along_y)
    b, d = -a * jnp.tan(along_x) - turn_sin, -c * jnp.tan(along_x) + turn_cos
    center = (width / 2, height / 2) if center is None else center
    return _about(d / scale, -b / scale, -c / scale, a / scale, center, jnp.asarray(translate))


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


def product(a: Array, b: Array) -> Array:
    """The product of matrices [n, 3, 3] at full precision on any device: first through b, then through a."""
    return jnp.sum(a[:, :, :, None] * b[:, None, :, :], axis=2)


def matrix(*rows: Sequence[Any]) -> Array:
    """[n, 3, 3] from three rows of three entries, each [n] or a number."""
    flat = jnp.broadcast_arrays(*[jnp.asarray(entry, jnp.float32) for row in rows for entry in row])
    return jnp.stack(flat, axis=-1).reshape(-1, 3, 3)


def _cos_sin(degrees):
    """Cosine and sine, exact at multiples of 90 degrees."""
    degrees = jnp.asarray(degrees, jnp.float32)
    quarters = jnp.round(degrees / 90)
    rest = jnp.radians(degrees - 90 * quarters)
    cos, sin, odd = jnp.cos(rest), jnp.sin(rest), quarters % 2 == 1
    sign = jnp.where(quarters % 4 >= 2, -1, 1)
    return sign * jnp.where(odd, -sin, cos), sign * jnp.where(odd, cos, sin)


def _about(a, b, c, d, center, translate=None):
    """The linear map ((a, b), (c, d)) about a centre, of a picture that was moved by `translate` [n, 2]."""
    center_x, center_y = center
    x, y = (center_x, center_y) if translate is None else (center_x + translate[:, 0], center_y + translate[:, 1])
    return matrix((a, b, center_x - (a * x + b * y)), (c, d, center_y - (c * x + d * y)), (0, 0, 1))


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
