"""What depends on a pixel's own level: tables of 256 entries, one an example and channel, and one gather.

A table is a picture of all levels, uint8 [n, 1, 256, c], and is made by applying an operation to `RAMP`; c = 1 serves
all channels. Everything equals Pillow's ImageOps to the level.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.augment.enhance import per_example

RAMP = np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1)
CHUNK = 255  # pixels whose counts fit into a byte


def look_up(images: Array, table: Array) -> Array:
    """Each pixel's entry in the table of its example and channel."""
    n, height, width, channels = images.shape
    flat = jnp.moveaxis(jnp.broadcast_to(table, (n, 1, 256, channels)), -1, 1).reshape(n, channels * 256)
    at = images.astype(jnp.int32) + 256 * jnp.arange(channels)[None, None, None]
    return jax.vmap(lambda entries, i: entries.at[i].get(mode="promise_in_bounds"))(flat, at)


def posterize(images: Array, bits: Array) -> Array:
    """Keeps the upper `bits` [n] bits of each level; 0 makes black."""
    mask = 0xFF00 >> jnp.asarray(bits, jnp.int32)
    return images & per_example(mask).astype(jnp.uint8)


def solarize(images: Array, threshold: Array) -> Array:
    """Inverts the levels from the threshold [n] up."""
    return jnp.where(images < per_example(threshold), images, 255 - images)


def invert(images: Array) -> Array:
    """255 minus each level."""
    return 255 - images


def autocontrast(images: Array) -> Array:
    """Stretches each channel to 0..255; a channel of one level stays (ImageOps.autocontrast)."""
    return look_up(images, autocontrast_table(images))


def equalize(images: Array) -> Array:
    """Spreads each channel's levels evenly over its pixels; one of one level stays (ImageOps.equalize)."""
    return look_up(images, equalize_table(histogram(images)))


def autocontrast_table(images: Array) -> Array:
    """The table of `autocontrast`; what stands in it below the darkest or above the brightest pixel is of no use."""
    n, height, width, channels = images.shape
    rows = images.reshape(n, height, width * channels)  # over the rows first: a CPU takes many columns at a time
    low, high = (
        limit(limit(rows, axis=1).reshape(n, width, channels), axis=1).astype(jnp.int32) for limit in (jnp.min, jnp.max)
    )
    spread = jnp.maximum(high - low, 1)[:, None, None, :]
    stretched = 255 * (RAMP.astype(np.int32) - low[:, None, None, :]) // spread - _lost_levels(low, high)
    return jnp.where((high > low)[:, None, None, :], jnp.clip(stretched, 0, 255), RAMP).astype(jnp.uint8)


def _lost_levels(low, high):
    """uint8 [n, 1, 256, c]: 1 where Pillow's autocontrast is a level below the exact quotient."""
    which, rows = _lost_level_rows()
    packed = jnp.asarray(rows)[jnp.asarray(which)[low, high]]
    shifts = jnp.arange(8, dtype=jnp.uint8).reshape((1,) * packed.ndim + (8,))
    bits = packed[..., None] >> shifts & 1
    return jnp.moveaxis(bits.reshape(*low.shape, 256), 1, -1)[:, None]


@functools.cache
def _lost_level_rows():
    """(which [256, 256], rows [k, 32]): for each darkest and brightest level the row of 256 bits, one a level.

    Pillow multiplies and adds in float64 and cuts off the fraction, so some quotients that are whole numbers come out
    one too low: 12,094 of 2.8 million. No formula in float32 has the same errors, so they are kept.
    """
    lost = np.zeros((256, 256, 256), bool)
    for spread in range(1, 256):
        parts = math.gcd(spread, 255)  # only at these levels is the quotient a whole number
        low, part = np.ogrid[: 256 - spread, : parts + 1]
        level, scale = low + part * (spread // parts), 255.0 / spread
        lost[low, low + spread, level] = (level * scale + -low * scale).astype(int) < part * (255 // parts)
    rows, which = np.unique(np.packbits(lost, axis=-1, bitorder="little").reshape(-1, 32), axis=0, return_inverse=True)
    return which.reshape(256, 256).astype(np.uint16), rows


def equalize_table(counts: Array) -> Array:
    """The table of `equalize` from a histogram [n, 256, c]."""
    total = jnp.sum(counts, axis=1, keepdims=True)
    brightest = jnp.max(jnp.where(counts > 0, jnp.arange(256)[None, :, None], 0), axis=1, keepdims=True)
    step = (total - jnp.take_along_axis(counts, brightest, axis=1)) // 255
    below = jnp.cumsum(counts, axis=1) - counts
    spread = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
    return jnp.where(step > 0, spread, RAMP[0].reshape(1, 256, 1)).astype(jnp.uint8)[:, None]


def histogram(images: Array) -> Array:
    """Counts of each level: int32 [n, 256, c]. By scattering on a CPU, by comparing elsewhere."""
    return jax.lax.platform_dependent(images, cpu=count_by_scattering, default=count_by_comparing)


def count_by_scattering(images: Array) -> Array:
    """A histogram by one addition a pixel, which accelerators do not like."""
    n, _, _, channels = images.shape
    at = (images.astype(jnp.int32) * channels + jnp.arange(channels)[None, None, None]).reshape(n, -1)
    count = jax.vmap(lambda i: jnp.zeros(256 * channels, jnp.int32).at[i].add(1, mode="promise_in_bounds"))
    return count(at).reshape(n, 256, channels)


def count_by_comparing(images: Array) -> Array:
    """A histogram by 64 comparisons a pixel: four levels share an integer, a byte each, for up to CHUNK pixels."""
    n, height, width, channels = images.shape
    pixels = images.reshape(n, height * width, channels)
    chunks = -(-height * width // CHUNK)
    padding = ((0, 0), (0, chunks * CHUNK - height * width), (0, 0))
    one = jnp.pad(jnp.uint32(1) << (8 * (pixels & 3)).astype(jnp.uint32), padding)
    upper = jnp.pad(pixels >> 2, padding)
    one, upper = (x.reshape(n, chunks, CHUNK, channels, 1) for x in (one, upper))
    level = jnp.arange(64, dtype=jnp.uint8).reshape(1, 1, 1, 1, 64)
    packed = jnp.sum(jnp.where(upper == level, one, 0), axis=2, dtype=jnp.uint32)
    counts = packed[..., None] >> (8 * jnp.arange(4, dtype=jnp.uint32)).reshape(1, 1, 1, 1, 4) & 255
    return jnp.moveaxis(jnp.sum(counts.astype(jnp.int32), axis=1).reshape(n, channels, 256), 1, -1)
