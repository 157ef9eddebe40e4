"""Samples of Pillow's pictures, of any depth and mode, to uint8."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

BLOCK = 2**20  # pixels that are converted at a time
_TEN_BITS, _FOURTEEN_BITS = 2**10 - 1, 2**14 - 1


def conversion(kind: str, picture: Any, channels: int) -> Callable[[Image.Image], np.ndarray]:
    """From a part of a picture to its pixels [h, w] or [h, w, channels]."""
    mode, to = picture.mode, "L" if channels == 1 else "RGB"
    if mode == "F":
        raise ValueError(
            "floating-point pixels have no fixed white; set config.data.window, or convert it to 8 or 16 bit"
        )
    if mode.startswith("I"):  # 16-bit grey, which Pillow also gives as 32-bit integers
        white = _white(kind, picture)
        return lambda part: np.repeat(_scaled(np.asarray(part), white)[..., None], channels, axis=-1)
    if picture.has_transparency_data:
        return lambda part: np.asarray(_on_white(part.convert("RGBA")).convert(to))
    return lambda part: np.asarray(part if part.mode == to else part.convert(to))


def _on_white(picture: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)


def _white(kind: str, picture: Any) -> int:
    """The sample value that is white, of 16-bit grey.

    Of a TIFF by its bits, or by MaxSampleValue where that is 2^n - 1: elsewhere that is the picture's own maximum, by
    which it must not be shown (TIFF 6.0, section 8).
    """
    if kind != "TIFF":
        return 65535
    bits, most = max(tags(picture, 258, 16)), max(tags(picture, 281, 0))
    if isinstance(most, int) and _TEN_BITS <= most <= _FOURTEEN_BITS and most & (most + 1) == 0:
        return most
    return 2**bits - 1 if 8 < bits < 16 else 65535


def _scaled(values: np.ndarray, white: int) -> np.ndarray:
    if values.dtype != np.uint16:
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise ValueError("32-bit grey has no fixed white; set config.data.window, or convert it to 8 or 16 bit")
        values = values.astype(np.uint16)
    scaled = (values.astype(np.uint32) * 255 + white // 2) // white
    return np.minimum(scaled, 255, out=scaled).astype(np.uint8)


def scaled_ppm(kind: str, picture: Any, encoded: bytes) -> np.ndarray | None:
    """uint8 [h, w, 1 or 3] of a binary PPM or PGM with another maximum than 255, which Pillow scales in Python, a
    microsecond a value; None for other pictures."""
    if kind != "PPM" or not picture.tile or picture.tile[0][0] != "ppm":
        return None
    (_, _, offset, (_, most)), (width, height) = picture.tile[0], picture.size
    each = 3 if picture.mode == "RGB" else 1
    dtype = np.dtype(">u2" if most > 255 else "u1")
    if offset + width * height * each * dtype.itemsize > len(encoded):
        raise ValueError("its data ends early")
    values = np.frombuffer(encoded, dtype, width * height * each, offset).reshape(height, width, each)
    table = np.rint(np.arange(2 ** (8 * dtype.itemsize)) / most * 255).clip(0, 255).astype(np.uint8)
    return table[values]


def grey(image: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 1] of uint8 [h, w, 3], Pillow's luma."""
    out = np.empty((*image.shape[:2], 1), np.uint8)
    step = max(1, BLOCK // max(1, image.shape[1]))
    for top in range(0, len(image), step):
        out[top : top + step, :, 0] = np.asarray(Image.fromarray(image[top : top + step]).convert("L"))
    return out


def tags(picture: Any, tag: int, default: int) -> tuple[int, ...]:
    """The values of a tag of a TIFF."""
    value = picture.tag_v2.get(tag, default)
    return value if isinstance(value, tuple) and value else (value,)
