"""Windows: which stored values become black and white, of pictures of more than 8 bits."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcls.errors import UserError

Window = tuple[float, ...]  # (low, high), or () for none
BLOCK = 2**20  # values that are mapped at a time
LINEAR, SIGMOID = "linear", "sigmoid"


class Stored(NamedTuple):
    """A picture as the numbers that its file holds.

    Attributes:
      values: [h, w, bands], upright, of any dtype of numbers.
      range: (low, high) of what is shown where no window is given; None: nobody says.
      takes: whether a window is for it: it has more than 8 bits.
      slope, intercept: what a window counts in is slope * value + intercept.
      inverted: whether the lowest value is white.
      curve: of its own range, LINEAR or SIGMOID.
      alpha: whether the last band is opacity.
    """

    values: np.ndarray
    range: tuple[float, float] | None
    takes: bool
    slope: float = 1.0
    intercept: float = 0.0
    inverted: bool = False
    curve: str = LINEAR
    alpha: bool = False


def checked(value: Sequence[Any], what: str = "config.data.window") -> Window:
    """A window as (low, high), floats, or ().

    Raises:
      UserError: for anything but none or two finite numbers, the first below the second.
    """
    given = tuple(value)
    numbers = [float(x) for x in given if isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)]
    if given and (len(numbers) != 2 or len(given) != 2 or numbers[0] >= numbers[1]):
        raise UserError(
            f"{what}={given!r}: it takes two numbers, what becomes black and what becomes white, the first below the "
            "second, such as (-160, 240); () for none"
        )
    return tuple(numbers)


def levels(
    values: np.ndarray,
    window: Sequence[float],
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    inverted: bool = False,
    curve: str = LINEAR,
) -> np.ndarray:
    """Values through a window to uint8: 255 (slope * x + intercept - low) / (high - low), clipped, rounded to even.

    This is DICOM's LINEAR_EXACT (PS3.3, C.11.2.1.3.2) with the centre (low + high) / 2 and the width high - low; its
    default, LINEAR, takes half a value off the centre and one off the width. The sigmoid is that of C.11.2.1.3.1. What
    is not a number is black; where low is high, what is above is white.

    Args:
      values: numbers of any dtype and shape.
      window: (low, high), in what slope and intercept make of values.
      slope, intercept, inverted, curve: as of `Stored`.
    """
    how = (window[0], window[1], slope, intercept, inverted, curve)
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2 < values.size >> 14:  # all values that there can be
        code = np.dtype(f"u{values.dtype.itemsize}")
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        table = _mapped(np.arange(2 ** (8 * code.itemsize)).astype(code).view(values.dtype), *how)
        return table[values.view(code)]
    out = np.empty(values.shape, np.uint8)
    step = max(1, BLOCK // max(1, math.prod(values.shape[1:])))
    for top in range(0, len(values), step):
        out[top : top + step] = _mapped(values[top : top + step], *how)
    return out


def _mapped(values, low, high, slope, intercept, inverted, curve):
    with np.errstate(all="ignore"):
        x = values.astype(np.float64) * slope + intercept
        if low == high:
            share = (x > low).astype(np.float64)
        elif curve == SIGMOID:
            share = 1 / (1 + np.exp(-4 * (x - (low + high) / 2) / (high - low)))
        else:
            share = (x - low) / (high - low)
        level = np.rint(255 * np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)).astype(np.uint8)
    return 255 - level if inverted else level
