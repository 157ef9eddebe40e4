"""Convolutions over time, height and width as convolutions of pictures, for the CPU.

XLA:CPU takes 1.2 to 11 times as long for its own ones, and hundreds of times for a gradient of stride 2
(docs/results.md).
No forward-mode derivative (`jax.jvp`); `convolve.plain()` where one is wanted.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

Pairs = Sequence[tuple[int, int]]
WIDE = 32  # channels from which taps are summed: more of them make a product no faster, and their kernel is copied


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def volume(flat: Callable, strides: Sequence[int], padding: Pairs, x: Array, kernel: Array) -> Array:
    """The convolution of `[n, t, h, w, c]` and `[time, h, w, c / groups, features]`.

    `flat(x, kernel, strides, padding)` is that of pictures, with the same groups. For the gradients x and the kernel
    alone are kept, not x once for each tap.
    """
    if kernel.shape[1:3] == (1, 1) and tuple(strides[1:]) == (1, 1) and not any(map(any, padding[1:])):
        return _along_time(flat, strides, padding, x, kernel)
    return _folded(flat, strides, padding, x, kernel)


def _forward(flat, strides, padding, x, kernel):
    return volume(flat, strides, padding, x, kernel), (x, kernel)


def _backward(flat, strides, padding, saved, grad):
    return jax.vjp(functools.partial(_folded, flat, strides, padding), *saved)[1](grad)


volume.defvjp(_forward, _backward)


def _folded(flat, strides, padding, x, kernel):
    """The taps in time side by side as channels; of many channels, and of grouped convolutions, a sum over taps."""
    taps, *window = kernel.shape
    frames = shifted(x, taps, strides[0], padding[0])
    of_pictures = functools.partial(per_frame, flat, strides=strides[1:], padding=padding[1:])
    if window[2] != x.shape[-1] or window[2] >= WIDE:
        return functools.reduce(jnp.add, (of_pictures(y, kernel=kernel[i]) for i, y in enumerate(frames)))
    kernel = jnp.moveaxis(kernel, 0, 2).reshape(*window[:2], taps * window[2], window[3])
    return of_pictures(jnp.concatenate(frames, axis=-1), kernel=kernel)


def _along_time(flat, strides, padding, x, kernel):
    """With taps in time alone: time and places as height and width. Faster forward, slower backward than `_folded`."""
    n, t, h, w, c = x.shape
    y = flat(x.reshape(n, t, h * w, c), kernel[:, 0], strides=(strides[0], 1), padding=(padding[0], (0, 0)))
    return y.reshape(n, y.shape[1], h, w, y.shape[-1])


def shifted(x: Array, taps: int, stride: int, padding: tuple[int, int]) -> list[Array]:
    """For each tap in time what it sees of `[n, t, ...]` between frames of zeros: `[n, t', ...]` each."""
    x = jnp.pad(x, ((0, 0), padding, *[(0, 0)] * (x.ndim - 2)))
    reach = (x.shape[1] - taps) // stride * stride + 1
    return [lax.slice_in_dim(x, i, i + reach, stride, axis=1) for i in range(taps)]


def per_frame(function: Callable[..., Array], x: Array, **fields: Any) -> Array:
    """A function of feature maps `[b, h, w, c]` of each frame of clips `[n, t, h, w, c]`; of maps as they are."""
    if x.ndim == 4:
        return function(x, **fields)
    y = function(x.reshape(-1, *x.shape[2:]), **fields)
    return y.reshape(*x.shape[:2], *y.shape[1:])
