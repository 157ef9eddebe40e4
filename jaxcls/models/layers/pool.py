"""Pooling."""

import jax.numpy as jnp
from flax import linen as nn


def max_pool(x, window: int, stride: int | None = None, padding: int = 0):
    """Max pooling of `[b, h, w, c]` with the same padding on every side; the stride is the window unless given.

    The padding is zeros, which are neutral only for what comes out of a ReLU (x >= 0). It is a separate operation
    since the converter to ONNX drops the padding of pools, and zeros since -inf would wreck the ranges of int8.
    """
    if padding:
        x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    stride = stride or window
    return nn.max_pool(x, window_shape=(window, window), strides=(stride, stride))


def global_mean(x):
    """The mean over height and width: `[b, h, w, c]` of any float type to float32 `[b, c]`."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
