"""Noise. Every corruption is `(keys [n], x, rows, at) -> x`: float32 [n, h, w, c] on [0, 1], which may leave it.

`rows` are the amounts at the five strengths and `at`, which may be traced, says which of them.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcls.augment.base import uniform

Rows = Sequence[Any]
At = Array | int


def column(rows: Rows, i: int, at: At) -> Array:
    """Entry i of the row `at` (the row itself where rows are numbers), float32."""
    values = np.asarray(rows, np.float32)
    return jnp.asarray(values if values.ndim == 1 else values[:, i])[at]


def normal(keys: Array, shape: tuple[int, ...]) -> Array:
    """Standard normal float32 [n, *shape], from one key an example."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def gaussian_noise(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """Normal noise on every value."""
    return x + column(rows, 0, at) * normal(keys, x.shape[1:])


def shot_noise(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """Poisson noise: a white pixel is the mean of so many photons.

    Drawn through the quantile function: there are only 256 different means, so a table of the distributions and a
    binary search in it take the place of a loop of rejections. Exact up to the float32 grid of a uniform number.
    """
    most = max(rows)
    size = 2 ** math.ceil(math.log2(most + 8 * math.sqrt(most) + 16))
    photons = np.arange(size)
    log_factorial = np.concatenate([[0], np.cumsum(np.log(photons[1:]))]).astype(np.float32)
    scale = column(rows, 0, at)
    mean = jnp.arange(256)[:, None] / 255 * scale
    log_mean = jnp.log(jnp.maximum(mean, 1e-30))
    below = jnp.cumsum(jnp.exp(photons * log_mean - mean - log_factorial), axis=1)
    below = (below / below[:, -1:]).reshape(-1)
    drawn, row = uniform(keys, x.shape[1:]), size * jnp.round(255 * x).astype(jnp.int32)
    counted, step = jnp.zeros_like(row), size // 2
    while step:
        counted = jnp.where(below[row + counted + step - 1] <= drawn, counted + step, counted)
        step //= 2
    return counted / scale


def impulse_noise(keys: Array, x: Array, rows: Rows, at: At) -> Array:
    """Salt and pepper: a share of the values becomes 0 or 1, each as often."""
    share, drawn = column(rows, 0, at), uniform(keys, x.shape[1:])
    return jnp.where(drawn < share / 2, 0.0, jnp.where(drawn < share, 1.0, x))
