"""Affine maps in Pillow's fixed point, which decides what pixel "nearest" takes where a coordinate lies on a border.

Source: `ImagingTransformAffine` (Pillow, src/libImaging/Geometry.c). It rounds the six numbers of a map to 1/65536 and
adds them up from pixel to pixel in whole numbers. To round as it does takes more digits than float32 has.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

ONE = 65536  # of Pillow's steps are a pixel
STEPS = 8  # entries of the table of cosines in a degree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Fixed:
    """Numbers as whole + rest in 1/65536: int32, and float32 from 0 to 1, of one shape; below 16,384, or they wrap."""

    whole: Array
    rest: Array

    def __getitem__(self, index: Any) -> "Fixed":
        """Its elements."""
        return Fixed(self.whole[index], self.rest[index])

    def __add__(self, other: Array) -> "Fixed":
        """The sum with float32."""
        more = fixed(other)
        return _carried(self.whole + more.whole, self.rest + more.rest)

    def nearest(self) -> Array:
        """The nearest 1/65536, halves upwards, as Pillow's FIX: int32."""
        return self.whole + (self.rest >= 0.5)

    def rounded(self) -> Array:
        """The numbers in float32."""
        return (self.whole.astype(jnp.float32) + self.rest) / ONE


def fixed(x: Array) -> Fixed:
    """float32 as it is."""
    return _carried(0, jnp.asarray(x, jnp.float32) * ONE)


def turn(degrees: Array) -> Fixed:
    """((cos, -sin), (sin, cos)), [n, 2, 2], of float32 degrees [n]; off by 2e-5/65536 at most."""
    degrees = jnp.asarray(degrees, jnp.float32)
    place = jnp.round(degrees * STEPS)
    angle = ((degrees - place / STEPS) * (np.pi / 180))[:, None, None]  # what the table lacks; the difference is exact
    # To 15 digits, as Image.rotate has them: cos(60) is 0.5
    table = np.round(np.cos(np.radians(np.arange(360 * STEPS) / STEPS)), 15) * ONE
    at = (place.astype(jnp.int32)[:, None, None] + STEPS * np.array([[0, 90], [-90, 0]])) % len(table)
    start = Fixed(jnp.asarray(np.floor(table), jnp.int32)[at], jnp.asarray(table - np.floor(table), jnp.float32)[at])
    values = start.rounded()
    slope = values[..., ::-1] * np.array([1, -1], np.float32)
    return start + (slope * (angle - angle**3 / 6) - values * (angle**2 / 2))


def about(linear: Fixed, center: np.ndarray, moved: np.ndarray | Array) -> Fixed:
    """Matrices [n, 3, 3] of what is linear, [n, 2, 2], about `center` of a picture of which that is now at `moved`.

    Both are [n, 2] or [2], (x, y) in pixels, and multiples of 1/2.
    """
    twice = jnp.asarray(2 * moved, jnp.float32)[..., None, :]
    rest = jnp.sum(linear.rest * twice, axis=-1)
    whole = jnp.asarray(2 * ONE * center, jnp.int32) - jnp.sum(linear.whole * twice.astype(jnp.int32), -1)
    shift = _carried(whole >> 1, ((whole & 1) - rest) * 0.5)

    def matrix(linear, shift, corner):
        entries = jnp.concatenate([linear, shift[..., None]], axis=-1)
        return jnp.pad(entries, ((0, 0), (0, 1), (0, 0))).at[:, 2, 2].set(corner)

    return Fixed(matrix(linear.whole, shift.whole, ONE), matrix(linear.rest, shift.rest, 0))


def coordinates(matrices: Fixed, height: int, width: int) -> tuple[Array, Array]:
    """(column, row), int32 [n, height, width], of the input's pixel of each output pixel; may lie outside.

    Pillow adds up in float64 where a map only scales: what falls onto a border falls as its rounding has it. Here the
    coordinates of such maps are computed in one go.

    Args:
      matrices: [n, 3, 3], affine maps of output to input coordinates below 16,384, the last row (0, 0, 1).
      height, width: of the pictures.
    """
    linear, shift = matrices[:, :2, :2], matrices[:, :2, 2]
    whole = jnp.sum(linear.whole, -1)
    first = _carried(shift.whole + (whole >> 1), shift.rest + (jnp.sum(linear.rest, -1) + (whole & 1)) * 0.5)
    zero = (linear.whole == 0) & (linear.rest == 0)
    scales = (zero[:, 0, 1] & zero[:, 1, 0])[:, None]
    step, start = linear.nearest(), first.nearest()

    def along(axis):
        numbers = [jnp.arange(length)[None] for length in (width, height)]
        by_column, by_row = (step[:, axis, j, None] * number for j, number in enumerate(numbers))
        by_row = start[:, axis, None] + by_row
        own, number = linear[:, axis, axis, None], numbers[axis]
        rest = jnp.floor(own.rest * number + first.rest[:, axis, None])
        exact = first.whole[:, axis, None] + own.whole * number + rest.astype(jnp.int32)
        by_column = jnp.where(scales, exact if axis == 0 else 0, by_column)
        by_row = jnp.where(scales, exact if axis == 1 else 0, by_row)
        return (by_column[:, None, :] + by_row[:, :, None]) >> 16

    return along(0), along(1)


def _carried(whole, rest):
    """Fixed, with what is whole in the rest moved."""
    floor = jnp.floor(rest)
    return Fixed(whole + floor.astype(jnp.int32), rest - floor)
