"""Tables of position embeddings, `[1, extra + height * width, c]`, for another grid of patches.

The first `extra` rows belong to tokens that are no patches (class, distillation). The others are resized as pictures
are: bicubic, antialiased where the grid shrinks, as timm does it.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.errors import UserError


def table_for(table: Array, grid: tuple[int, int], extra: int) -> Array:
    """The table for `grid` = (height, width); as it is where the number of rows is right. For use inside a model.

    A table does not say what grid it was made for. It is taken for a square one, else for one with the proportions of
    `grid`; UserError if its number of rows allows neither.
    """
    rows = table.shape[1] - extra
    if rows == math.prod(grid):
        return table
    patches = _resample(table[:, extra:], _grid_of(rows, grid), grid)
    return jnp.concatenate([table[:, :extra], patches.astype(table.dtype)], axis=1)


def loaded_table(value: np.ndarray, shape: tuple[int, int, int], extra: int) -> np.ndarray:
    """A published table for a model whose own table has `shape`, `extra` rows of them before the patches.

    Both grids are taken for square, which also tells how many rows `value` has before the patches: none, one, two or
    `extra`. Rows that it lacks are zeros, since nets without them (DeiT-III) add nothing to those tokens; rows too many
    are left away. What cannot be made to fit comes back as it is.
    """
    value = np.asarray(value)
    if value.shape == tuple(shape) or value.ndim != 3:
        return value
    known = next((k for k in (0, 1, 2, extra) if _side(value.shape[1] - k)), None)
    side = _side(shape[1] - extra)
    if known is None or not side:
        return value
    first = np.zeros((1, extra, value.shape[2]), value.dtype)
    first[:, :known] = value[:, : min(known, extra)]
    old = _side(value.shape[1] - known)
    patches = value[:, known:]
    if old != side:
        patches = np.asarray(_resample(patches, (old, old), (side, side)), value.dtype)
    return np.concatenate([first, patches], axis=1)


def _resample(patches, old: tuple[int, int], new: tuple[int, int]):
    """`[1, h * w, c]` for another grid, in float32."""
    pixels = jnp.asarray(patches, jnp.float32).reshape(*old, -1)
    return jax.image.resize(pixels, (*new, pixels.shape[-1]), "cubic", antialias=True).reshape(1, math.prod(new), -1)


def _grid_of(rows: int, like: tuple[int, int]) -> tuple[int, int]:
    """(height, width) with this many places: square, or else in proportion to `like`."""
    side = _side(rows)
    if side:
        return side, side
    height = math.isqrt(rows * like[0] // like[1])
    if height and rows % height == 0 and height * like[1] == rows // height * like[0]:
        return height, rows // height
    raise UserError(
        f"the position embedding of {rows} patches cannot be resized to {like[0]}x{like[1]}: it is neither "
        "square nor of the picture's proportions; initialise the model at this size"
    )


def _side(rows: int) -> int:
    """The side of the square with this many places, 0 if there is none."""
    side = math.isqrt(max(rows, 0))
    return side if side * side == rows else 0
