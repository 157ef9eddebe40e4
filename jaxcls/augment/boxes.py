"""Sizes and boxes, by one formula for host and device."""

import math
from typing import Any

import numpy as np

TRIES = 10
Pair = tuple[float, float]


def check_size(value: Any) -> int:
    """The value, if it is a whole number of at least 1. Raises ValueError otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"a size must be a whole number of at least 1, not {value!r}")
    return value


def check_pair(what: str, value: Any, low: float, high: float = math.inf) -> Pair:
    """The value, if it is (least, most) with low < least <= most <= high, both finite. Raises ValueError otherwise."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else ()
    if not all(isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x) for x in pair):
        pair = ()
    if len(pair) != 2 or not low < pair[0] <= pair[1] <= high:
        most = f" and at most {high:g}" if math.isfinite(high) else ""
        raise ValueError(f"{what} must be a pair (least, most), above {low:g}{most}, not {value!r}")
    return pair[0], pair[1]


def check_crop(scale: Any, ratio: Any) -> tuple[Pair, Pair]:
    """(scale, ratio), if `crop_box` can use them. Raises ValueError otherwise."""
    return check_pair("scale", scale, 0, 1), check_pair("ratio", ratio, 0)


def resized(shape: tuple[int, int], height: int, width: int | None = None) -> tuple[int, int]:
    """(height, width) of a picture of this shape after a resize to height x width.

    Without a width `height` is the short side and the shape is kept, the long side rounded down as torchvision has it.
    """
    if width is not None:
        return height, width
    if shape[0] <= shape[1]:
        return height, int(height * shape[1] / shape[0])
    return int(height * shape[0] / shape[1]), height


def crop_box(
    uniform: Any, height: int, width: int, *, scale: Pair = (0.08, 1.0), ratio: Pair = (3 / 4, 4 / 3), xp: Any = np
) -> Any:
    """A box of random area and aspect ratio (Szegedy et al., Going Deeper with Convolutions, section 6).

    The rule is torchvision's: ten candidates are drawn at once and the first that fits is taken; if none does, the
    largest central box whose ratio is allowed.

    Args:
      uniform: [TRIES, 4] numbers in [0, 1): area, ratio, top, left of each candidate.
      height, width: of the picture.
      scale: range of the share of the area.
      ratio: range of width / height, drawn evenly in its logarithm.
      xp: numpy or jax.numpy.

    Returns:
      (top, left, box height, box width), whole numbers as int32.
    """
    area = height * width * (scale[0] + (scale[1] - scale[0]) * uniform[:, 0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = xp.exp(low + (high - low) * uniform[:, 1])
    w, h = xp.round(xp.sqrt(area * aspect)), xp.round(xp.sqrt(area / aspect))
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    top = xp.floor(uniform[:, 2] * (height - h + 1))
    left = xp.floor(uniform[:, 3] * (width - w + 1))
    fallback_w = xp.minimum(width, xp.round(height * ratio[1]))
    fallback_h = xp.minimum(height, xp.round(width / ratio[0]))
    fallback = xp.stack(
        [xp.floor((height - fallback_h) / 2), xp.floor((width - fallback_w) / 2), fallback_h, fallback_w]
    )
    first = xp.argmax(fits)
    chosen = xp.stack([top[first], left[first], h[first], w[first]])
    return xp.where(xp.any(fits), chosen, fallback).astype(xp.int32)


def first_box(uniform: np.ndarray, height: int, width: int, scale: Pair, ratio: Pair) -> tuple[int, int, int, int]:
    """`crop_box` as four ints, candidate by candidate: nearly always the first fits, in a tenth of the time."""
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for area, aspect, y, x in uniform.tolist():
        area = height * width * (scale[0] + (scale[1] - scale[0]) * area)
        aspect = math.exp(low + (high - low) * aspect)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return math.floor(y * (height - h + 1)), math.floor(x * (width - w + 1)), h, w
    return tuple(crop_box(uniform, height, width, scale=scale, ratio=ratio).tolist())
