"""Colours of pictures, batched: what Pillow's ImageEnhance, ImageOps and HSV mode compute, to the level.

All functions are pure and take uint8 pictures [n, h, w, c] with 1 or 3 channels; a parameter is an array [n], one value
an example. They round where Pillow rounds. Grey pictures (c = 1) have no colour: `saturation` and `hue` leave them be.

What only depends on a pixel's own level is a table of 256 entries, one an example and channel, and one gather
(`levels.py`).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

LUMA = (19595, 38470, 7471)  # ITU-R 601 in 16 bits, as Pillow's "L" has it


def grey(images: Array) -> Array:
    """Luma as Pillow's "L" rounds it: uint8 [n, h, w, 1]."""
    if images.shape[-1] == 1:
        return images
    red, green, blue = (images[..., i : i + 1].astype(jnp.int32) * weight for i, weight in enumerate(LUMA))
    return ((red + green + blue + 0x8000) >> 16).astype(jnp.uint8)


def mean_grey(images: Array) -> Array:
    """The mean of the luma, rounded to a level: int32 [n]."""
    pixels = images.shape[1] * images.shape[2]
    total = jnp.sum(grey(images).astype(jnp.int32), axis=(1, 2, 3))
    return (2 * total + pixels) // (2 * pixels)


def blend(base: Array, images: Array, factor: Array) -> Array:
    """`base + factor * (images - base)` as Pillow's `Image.blend`: clipped, and the fraction of a level is cut off.

    Args:
      base, images: levels 0..255, shapes that broadcast; int or float.
      factor: float32 that broadcasts, too; 0 gives the base, 1 the images, and beyond that is extrapolated.

    Returns:
      uint8.
    """
    base, images = base.astype(jnp.float32), images.astype(jnp.float32)
    # Pillow rounds the product to float32 before it adds. A compiler may fuse both into one multiply-add, which does
    # not, and then a whole level can be lost. Two factors of 12 bits have exact products: their sum is rounded once.
    bits = jax.lax.bitcast_convert_type(factor.astype(jnp.float32), jnp.uint32) & jnp.uint32(0xFFFFF000)
    coarse = jax.lax.bitcast_convert_type(bits, jnp.float32)
    change = images - base
    product = coarse * change + (factor - coarse) * change
    return jnp.clip(base + product, 0, 255).astype(jnp.uint8)


def per_example(values: Any) -> Array:
    """[n] as [n, 1, 1, 1]."""
    return jnp.asarray(values)[:, None, None, None]


def brightness(images: Array, factor: Array) -> Array:
    """Blended with black (ImageEnhance.Brightness)."""
    return blend(jnp.zeros((), jnp.uint8), images, per_example(factor))


def contrast(images: Array, factor: Array) -> Array:
    """Blended with the mean of the luma (ImageEnhance.Contrast)."""
    return blend(per_example(mean_grey(images)), images, per_example(factor))


def saturation(images: Array, factor: Array) -> Array:
    """Blended with the luma (ImageEnhance.Color)."""
    return images if images.shape[-1] == 1 else blend(grey(images), images, per_example(factor))


def sharpness(images: Array, factor: Array) -> Array:
    """Blended with the smoothed picture (ImageEnhance.Sharpness): below 1 blurs, above 1 sharpens."""
    return blend(smooth(images), images, per_example(factor))


def smooth(images: Array) -> Array:
    """Pillow's ImageFilter.SMOOTH: 3x3, the centre weighs 5 of 13; border pixels stay, as do pictures below 3x3."""
    _, height, width, _ = images.shape
    if min(height, width) < 3:
        return images
    x = jnp.pad(images.astype(jnp.uint16), ((0, 0), (1, 1), (1, 1), (0, 0)))  # 2 * 13 * 255 fits
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * x[:, 1:-1, 1:-1]
    row, column = jnp.arange(height)[None, :, None, None], jnp.arange(width)[None, None, :, None]
    inside = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
    return jnp.where(inside, (2 * total + 13) // 26, images).astype(jnp.uint8)


def gaussian_blur(images: Array, sigma: Array, kernel: int) -> Array:
    """torchvision's `gaussian_blur`: a Gaussian sampled at whole pixels, borders reflected, rounded once.

    Args:
      images: uint8 [n, h, w, c].
      sigma: float [n], in pixels.
      kernel: its width in pixels, odd; at most 2 * min(h, w) - 1.

    Raises:
      ValueError: where the kernel is even or too wide to be reflected.
    """
    half = kernel // 2
    if kernel % 2 == 0 or half >= min(images.shape[1:3]):
        raise ValueError(f"a blur over {kernel} pixels of pictures of {images.shape[1]}x{images.shape[2]}")
    weights = jnp.exp(-0.5 * (jnp.arange(-half, half + 1)[None] / sigma[:, None]) ** 2)
    weights = (weights / weights.sum(axis=1, keepdims=True)).T[..., None, None, None]
    x = images.astype(jnp.float32)
    for axis in (1, 2):
        size = x.shape[axis]
        widths = [(half, half) if i == axis else (0, 0) for i in range(4)]
        padded = jnp.pad(x, widths, mode="reflect")
        x = sum(w * jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i, w in enumerate(weights))
    return jnp.round(x).astype(jnp.uint8)


def hue(images: Array, shift: Array) -> Array:
    """Turns the hue by a share of the circle, -0.5 to 0.5: torchvision's `adjust_hue` on Pillow's HSV."""
    if images.shape[-1] == 1:
        return images
    turn = (per_example(shift).astype(jnp.float32) * 255).astype(jnp.int32)  # cut off towards zero
    h, s, v = to_hsv(*_planes(images))
    turned = (h.astype(jnp.int32) + turn[..., 0]) & 255  # modulo 256, though the circle has 255 levels
    return _picture(to_rgb(turned, s, v))


def rgb_to_hsv(images: Array) -> Array:
    """Hue, saturation and value on 0..255 (hue: 255 is once round), as Pillow's "HSV"; uint8 [n, h, w, 3]."""
    return _picture(to_hsv(*_planes(images)))


def hsv_to_rgb(images: Array) -> Array:
    """The way back from Pillow's "HSV"; uint8 [n, h, w, 3]."""
    return _picture(to_rgb(*_planes(images)))


def _planes(images):
    return [images[..., i] for i in range(3)]


def _picture(planes):
    return jnp.stack([plane.astype(jnp.uint8) for plane in planes], axis=-1)


def _lost_hues():
    """bool [256]: the hues that Pillow gives one level too low where the exact quotient is a whole level.

    It computes in float32 and cuts off the fraction; the error only shows where there is no fraction.
    """
    sixth = np.arange(256) * 6 / 255  # 0, 2, 4 for red, green, blue
    odd = 2 * np.minimum(sixth // 2, 2) + 1  # there both of Pillow's quotients are 1; elsewhere only one of them is
    other = np.float32(np.abs(sixth - odd))
    sixth = odd + np.sign(sixth - odd) * other.astype(float)
    sixth = np.float32(np.where(sixth > 5, sixth - 6, sixth))
    turn = np.float32(np.fmod(sixth.astype(float) / 6 + 1, 1))
    return np.floor(turn.astype(float) * 255) < np.arange(256)


def to_hsv(red: Array, green: Array, blue: Array) -> tuple[Array, Array, Array]:
    """(hue, saturation, value), whole float32, of arrays of levels."""
    red, green, blue = (x.astype(jnp.float32) for x in (red, green, blue))
    value = jnp.maximum(jnp.maximum(red, green), blue)
    spread = value - jnp.minimum(jnp.minimum(red, green), blue)
    to_red, to_green = green - blue, blue - red
    part = jnp.where(red == value, to_red, jnp.where(green == value, to_green, red - green))
    sector = jnp.where(red == value, jnp.where(to_red < 0, 6.0, 0.0), jnp.where(green == value, 2.0, 4.0))
    # In whole numbers up to the quotient, which is either whole or at least 1/510 away from it: an offset
    # makes the floor safe from the rounding of the division
    safe, offset = jnp.maximum(spread, 1), 1e-3
    exact = 42.5 * (part + sector * spread) / safe
    level = jnp.floor(exact + offset)
    lost = jnp.asarray(_lost_hues())[level.astype(jnp.uint8)] & (exact - level < offset)
    saturation = jnp.floor(255 * spread / jnp.maximum(value, 1) + offset)
    return jnp.where(lost, level - 1, level), saturation, value


def to_rgb(h: Array, s: Array, v: Array) -> list[Array]:
    """[red, green, blue], int32, of arrays of levels."""
    h, s, v = (x.astype(jnp.int32) for x in (h, s, v))
    sector = 6 * h // 255
    rest = 6 * h - 255 * sector
    low = (2 * v * (255 - s) + 255) // 510
    slope = jnp.where(sector % 2 == 0, 255 - rest, rest)
    middle = (2 * v * (65025 - s * slope) + 65025) // 130050
    sector = sector % 6

    def channel(order):
        return jnp.select([sector == i for i in range(5)], order[:5], order[5])

    red = channel([v, middle, low, low, middle, v])
    green = channel([middle, v, v, middle, low, low])
    blue = channel([low, low, middle, v, v, middle])
    return [red, green, blue]
