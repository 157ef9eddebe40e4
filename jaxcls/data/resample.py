"""Pillow's resize of arrays, within bounds: a large picture in blocks, and no more than what is kept of the result."""

import math
from itertools import pairwise

import numpy as np
from PIL import Image

BLOCK = 2**24  # pixels, of the picture or the result, from which on it is done in blocks, and of a block
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_SUPPORT = 2  # of the widest filter, in pixels of the result or, enlarged, of the picture
Box = tuple[float, float, float, float]


def filter_named(name: str, *others: str) -> Image.Resampling:
    """Pillow's filter of this name. Raises ValueError with the names, and other possible ones, if there is none."""
    if name not in FILTERS:
        raise ValueError(f"resample can be {', '.join([*FILTERS, *others])}, not {name!r}")
    return FILTERS[name]


def resized(
    image: np.ndarray,
    size: tuple[int, int],
    filter: Image.Resampling,
    *,
    box: Box | None = None,
    kept: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """A part of a picture resized by Pillow, antialiased; nothing outside of the part is seen.

    Where the box cuts pixels, as it does in a JPEG decoded at a smaller scale, all of these are seen. In blocks the
    result may be a level off: Pillow rounds between its two passes, whose order depends on the sizes.

    Args:
      image: uint8 [h, w, c].
      size: (height, width) of the result.
      filter: of Pillow.
      box: (top, left, bottom, right) of the part in pixels; all by default.
      kept: (top, left, height, width) of what is wanted of the result; all by default.

    Returns:
      uint8 [height, width, c].
    """
    top, left, bottom, right = box or (0, 0, *image.shape[:2])
    image = image[math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)]
    spans = [(top - math.floor(top), bottom - math.floor(top)), (left - math.floor(left), right - math.floor(left))]
    scales = [(stop - start) / n for (start, stop), n in zip(spans, size, strict=True)]
    y, x, height, width = kept or (0, 0, *size)
    if kept is None and max(image.shape[0] * image.shape[1], height * width) <= BLOCK:
        return _part(image, spans[0], spans[1], size, filter)
    rows, columns = _cuts(y, height, scales[0], x, width, scales[1])
    out = np.empty((height, width, image.shape[2]), np.uint8)
    for above, below in pairwise(rows):
        for before, after in pairwise(columns):
            place = out[above - y : below - y, before - x : after - x]
            parts = [
                (start + scale * first, min(stop, start + scale * last))
                for (start, stop), scale, first, last in zip(
                    spans, scales, (above, before), (below, after), strict=True
                )
            ]
            place[:] = _windowed(image, parts, scales, place.shape[:2], filter)
    return out


def _cuts(y: int, height: int, down: float, x: int, width: int, across: float) -> tuple[list[int], list[int]]:
    """Where the result is cut, so that neither a block nor what it is made of has many more than BLOCK pixels."""
    pixels = max(1.0, down) * height * max(1.0, across) * width
    n = min(height, math.ceil(pixels / BLOCK))
    m = min(width, math.ceil(pixels / n / BLOCK))
    return (
        [y + height * i // n for i in range(n + 1)],
        [x + width * i // m for i in range(m + 1)],
    )


def _windowed(image, parts, scales, size, filter):
    """A block of the result, from as much of the picture as the filter sees there."""
    spans, windows = [], []
    for (start, stop), scale, n in zip(parts, scales, image.shape, strict=False):
        margin = _SUPPORT * max(1.0, scale) + 1
        first, last = max(0, math.floor(start - margin)), min(n, math.ceil(stop + margin))
        windows.append(slice(first, last))
        spans.append((start - first, min(stop - first, last - first)))
    return _part(image[tuple(windows)], *spans, size, filter)


def _part(image, rows, columns, size, filter):
    if image.shape[2] not in (1, 3):  # Pillow takes 2 and 4 for opacity, and knows no others
        bands = [_part(image[..., i : i + 1], rows, columns, size, filter) for i in range(image.shape[2])]
        return np.concatenate(bands, axis=-1)
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    made = np.asarray(picture.resize(size[::-1], filter, box=(columns[0], rows[0], columns[1], rows[1])))
    return made[..., None] if made.ndim == 2 else made
