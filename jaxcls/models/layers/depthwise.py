"""Depthwise convolutions as sums of shifted products, for the CPU: XLA's own are up to 60 times slower there.

No forward-mode derivative (`jax.jvp`); `convolve.plain()` where one is wanted.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

CACHED = 2**15  # values of a gradient that are worked on at a time


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(x: Array, kernel: Array, strides: Sequence[int], padding: Sequence[tuple[int, int]]) -> Array:
    """Each channel of `[b, h, w, c]` with its own window of `[h, w, 1, c]`: the sum of shifted copies times weights."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    total: Any = 0
    for i, j in _taps(kernel):
        total += _shifted(x, i, j, kernel.shape, strides) * kernel[i, j, :1, None, None]
    return total


def _depthwise_forward(x, kernel, strides, padding):
    return depthwise(x, kernel, strides, padding), (x, kernel)


def _depthwise_backward(strides, padding, saved, grad):
    x, kernel = saved
    return _input_gradient(grad, kernel, x.shape, strides, padding), _kernel_gradient(x, grad, kernel, strides, padding)


def _input_gradient(grad, kernel, shape, strides, padding):
    """A depthwise convolution again: of the gradient with zeros between its pixels, with the window turned round."""
    around = []
    for n, out, k, s, (before, _) in zip(shape[1:3], grad.shape[1:3], kernel.shape, strides, padding, strict=False):
        low = k - 1 - before
        around.append((low, n + k - 1 - low - (out - 1) * s - 1, s - 1))
    spread = lax.pad(grad, jnp.zeros((), grad.dtype), ((0, 0, 0), *around, (0, 0, 0)))
    return depthwise(spread, kernel[::-1, ::-1], (1, 1), ((0, 0), (0, 0)))


def _kernel_gradient(x, grad, kernel, strides, padding):
    """In float32, one row of the window over a few rows of one picture at a time, which stay in the cache.

    (XLA:CPU is ten times slower in one reduction over everything. It compiles a sum for each place in a row of the
    window: one for each place of all the window takes 1.2 (3x3) to three times (7x7) as long to compile.)
    """
    n, height, width, channels = grad.shape
    parts = -(-height * width * channels // CACHED)
    rows = -(-height // parts)
    parts = -(-height // rows)
    over = parts * rows - height  # rows of zeros that fill up the last part
    x = jnp.pad(x, ((0, 0), (padding[0][0], padding[0][1] + over * strides[0]), padding[1], (0, 0)))
    grad = jnp.pad(grad, ((0, 0), (0, over), (0, 0), (0, 0)))
    across, below = kernel.shape[1], (rows - 1) * strides[0] + 1

    def add(total, step):
        part, row = step // kernel.shape[0], step % kernel.shape[0]
        i, first = part // parts, part % parts * rows
        pixels = lax.dynamic_slice(x, (i, first * strides[0] + row, 0, 0), (1, below, *x.shape[2:]))
        grads = lax.dynamic_slice(grad, (i, first, 0, 0), (1, rows, width, channels)).astype(jnp.float32)
        seen = [_shifted(pixels.astype(jnp.float32), 0, j, (1, across), strides) for j in range(across)]
        sums = jnp.stack([jnp.sum(pixels * grads, (0, 1, 2)) for pixels in seen])
        return total.at[row].add(sums), None

    zeros = jnp.zeros((kernel.shape[0], across, channels), jnp.float32)
    total, _ = lax.scan(add, zeros, jnp.arange(n * parts * kernel.shape[0]))
    return total.reshape(kernel.shape).astype(kernel.dtype)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _taps(kernel):
    return [(i, j) for i in range(kernel.shape[0]) for j in range(kernel.shape[1])]


def _shifted(x, i, j, window, strides):
    """What the place (i, j) of the window sees of a padded `[b, h, w, c]`, one pixel for each of the result."""
    h, w = ((n - k) // s * s + 1 for n, k, s in zip(x.shape[1:3], window, strides, strict=False))
    return lax.slice(x, (0, i, j, 0), (x.shape[0], i + h, j + w, x.shape[3]), (1, *strides, 1))
