"""Weather; see noise.py for what a corruption is given."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.augment.base import split, uniform
from jaxcls.corrupt import fields
from jaxcls.corrupt.noise import At, Rows, column, normal

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
ICE = np.array([0.82, 0.91, 1.0], np.float32)  # colour of the frost
FERNS = 24  # in a picture


def luma(x: Array) -> Array:
    """Brightness as ITU-R 601 has it, [n, h, w, 1]."""
    return x if x.shape[-1] == 1 else jnp.tensordot(x, LUMA, 1)[..., None]


def brightness(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """Adds to the value of HSV, at most up to 1; hue and saturation stay. Not random."""
    del keys
    value = x.max(axis=-1, keepdims=True)
    raised = jnp.minimum(value + column(rows, 0, at), 1)
    return jnp.where(value > 0, x * (raised / jnp.where(value > 0, value, 1)), raised)


def fog(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """Adds a fractal cloud and scales back to the brightest value that the picture had."""
    amount, brightest = column(rows, 0, at), x.max(axis=(1, 2, 3), keepdims=True)
    _, height, width, _ = x.shape
    cloud = fields.plasma(keys, height, width, column(rows, 1, at))[..., None]
    return (x + amount * cloud) * brightest / jnp.maximum(brightest + amount, 1e-6)


def snow(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """Flakes, enlarged and moved by the wind, twice (the second time turned by 180 degrees), on a whitened picture."""
    draws, angles = split(keys, 2)
    mean, deviation, _, threshold, radius, sigma, share = (column(rows, i, at) for i in range(7))
    flakes = mean + deviation * normal(draws, x.shape[1:3])
    sizes = [row[2] for row in rows]
    lines = [jnp.asarray(fields.zoom_lines(side, sizes), jnp.float32)[:, at] for side in x.shape[1:3]]
    flakes = fields.zoomed(flakes, lines)
    flakes = jnp.clip(jnp.where(flakes < threshold, 0, flakes), 0, 1)[..., None]
    angle = uniform(angles, (), -math.pi * 3 / 4, -math.pi / 4)
    flakes = fields.moved(flakes, angle, radius, sigma, max(row[4] for row in rows))
    x = share * x + (1 - share) * jnp.maximum(x, luma(x) * 1.5 + 0.5)
    return x + flakes + flakes[:, ::-1, ::-1]


def frost(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """Ice over the picture: it is darkened, and the ice is added.

    The authors take crops of six photographs of frost. Ours is drawn: ferns of ice over a fractal haze, of about a
    photograph's brightness. So the figures are not comparable with published ones.
    """
    _, height, width, _ = x.shape
    hazes, ferns = split(keys, 2)
    haze = fields.plasma(hazes, height, width, 1.45)
    ice = 0.55 * haze + 0.6 * jax.vmap(_ferns)(ferns, haze)
    ice = jnp.clip(ice, 0, 1)[..., None] * ICE
    if x.shape[-1] == 1:
        ice = luma(ice)
    return column(rows, 0, at) * x + column(rows, 1, at) * ice


def _ferns(key, haze):
    """[h, w] on [0, 1]: ferns with a stem and barbs at an angle, one over the other, bent by the haze [h, w]."""
    height, width = haze.shape
    side = min(height, width)
    down, across = jnp.arange(height)[:, None] + 0.2 * side * haze, jnp.arange(width) - 0.2 * side * haze

    def fern(picture, drawn):
        angle = 2 * jnp.pi * drawn[2]
        length, bend = side * (0.3 + 0.7 * drawn[3]), 0.4 + 0.5 * drawn[4]
        y, x = down - height * drawn[0], across - width * drawn[1]
        stem = x * jnp.cos(angle) + y * jnp.sin(angle)
        off = jnp.abs(y * jnp.cos(angle) - x * jnp.sin(angle))
        inside = (stem > 0) & (off < 0.35 * (length - stem))
        barbs = 0.5 + 0.5 * jnp.cos(2 * jnp.pi * (stem - bend * off) / jnp.maximum(0.06 * length, 2))
        fade = 1 - off / jnp.maximum(0.35 * (length - stem), 1e-3)
        light = jnp.where(inside, (0.3 + 0.7 * barbs**2) * fade, 0) * (0.5 + 0.5 * drawn[5])
        return jnp.maximum(picture, light), None

    drawn = jax.random.uniform(key, (FERNS, 6))
    return jax.lax.scan(fern, jnp.zeros((height, width)), drawn)[0]
