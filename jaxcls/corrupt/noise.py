"""Noise. Every corruption is `(keys [n], x, rows, at) -> x`: float32 [n, h, w, c] on [0, 1], which may leave it.

`rows` are the amounts at the five strengths and `at`, which may be traced, says which of them.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxcls.augment.base import uniform


def column(rows, i, at):
    """Entry i of the row `at` (the row itself where rows are numbers), float32."""
    values = np.asarray(rows, np.float32)
    return jnp.asarray(values if values.ndim == 1 else values[:, i])[at]


def normal(keys, shape):
    """Standard normal float32 [n, *shape], from one key an example."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def gaussian_noise(keys, x, rows, at):
    """Normal noise on every value."""
    return x + column(rows, 0, at) * normal(keys, x.shape[1:])


def shot_noise(keys, x, rows, at):
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
    found, step = jnp.zeros_like(row), size // 2
    while step:
        found = jnp.where(below[row + found + step - 1] <= drawn, found + step, found)
        step //= 2
    return found / scale


def impulse_noise(keys, x, rows, at):
    """Salt and pepper: a share of the values becomes 0 or 1, each as often."""
    share, drawn = column(rows, 0, at), uniform(keys, x.shape[1:])
    return jnp.where(drawn < share / 2, 0.0, jnp.where(drawn < share, 1.0, x))
