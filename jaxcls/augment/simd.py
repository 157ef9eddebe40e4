"""Pillow's bilinear resize, to a level, in SIMD instructions: three to four times as fast, where that is installed."""

import functools
import math
from typing import Any

import numpy as np

from jaxcls.errors import UserError

NAME = "bilinear-simd"
PACKAGE = "cykooz-resizer"  # Rust's fast_image_resize


def resized(
    image: np.ndarray,
    size: tuple[int, int],
    *,
    box: tuple[float, float, float, float] | None = None,
    kept: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """As data.resample.resized, bilinear, each value a level off at most.

    What is large, of other than 1 or 3 channels, or wanted in part goes through that one. Fixed-point sums are rounded
    elsewhere than in Pillow. Other filters are not offered: bicubic ones differ by up to 6 levels.
    """
    from jaxcls.data import resample

    height, width, channels = image.shape
    if (
        kept
        or image.dtype != np.uint8
        or channels not in (1, 3)
        or max(height * width, size[0] * size[1]) > resample.BLOCK
    ):
        return resample.resized(image, size, resample.FILTERS["bilinear"], box=box, kept=kept)
    top, left, bottom, right = box or (0, 0, height, width)
    y, x = math.floor(top), math.floor(left)
    image = image[y : math.ceil(bottom), x : math.ceil(right)]
    package = loaded()
    kind = package.PixelType.U8 if channels == 1 else package.PixelType.U8x3
    out = package.ImageData(size[1], size[0], kind)
    options = package.ResizeOptions(
        package.ResizeAlg.convolution(package.FilterType.bilinear),
        use_alpha=False,
        crop_box=package.CropBox(left - x, top - y, right - left, bottom - top),
    )
    # A Resizer can't be shared by threads, and is nothing but its buffers.
    package.Resizer().resize(package.ImageData(image.shape[1], image.shape[0], kind, image.tobytes()), out, options)
    return np.frombuffer(out.get_buffer(), np.uint8).reshape(*size, channels)


def installed() -> bool:
    """Whether the package is there."""
    try:
        return bool(loaded())
    except UserError:
        return False


@functools.cache
def loaded() -> Any:
    """The package. Raises UserError where there is none."""
    try:
        import cykooz_resizer
    except ImportError as error:
        raise UserError(f"resample={NAME!r} needs {PACKAGE}: pip install {PACKAGE}; 'bilinear' does not.") from error
    return cykooz_resizer
