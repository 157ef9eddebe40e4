"""Convolutions of pictures made ones of clips: Carreira and Zisserman 2017 (arXiv 1705.07750), section 2.4.

A clip of one frame, again and again, then has the answers that the picture has of the net of pictures: exactly, also
at the ends, since clips are continued by their first and last frame there (the paper's nets see zeros).
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from jaxcls.models.layers.conv import conv
from jaxcls.models.layers.convolve import convolve


def inflated(
    features: int, kernel_size: int, stride: int = 1, *, taps: int, every_frame: bool = False, **fields: Any
) -> nn.Conv:
    """As `layers.conv`, of clips `[n, t, h, w, c]`: with so many taps over time where the kernel is larger than one
    place, and the stride over time too, unless `every_frame` is kept."""
    window = (taps if kernel_size > 1 else 1, kernel_size, kernel_size)
    return conv(features, window, (1 if every_frame else stride, stride, stride), convolve=_with_ends, **fields)


def _with_ends(x: Array, kernel: Array, strides: Any, padding: Any, *args: Any, **fields: Any) -> Array:
    """`convolve` of clips that are continued by their first and last frame."""
    before, after = padding[0]
    x = jnp.concatenate([x[:, :1]] * before + [x] + [x[:, -1:]] * after, axis=1)
    return convolve(x, kernel, strides, ((0, 0), *padding[1:]), *args, **fields)


def inflate(kernel: np.ndarray, taps: int) -> np.ndarray:
    """`[features, c, h, w]`, PyTorch's order, over time and divided by the taps: `[features, c, taps, h, w]`."""
    return np.repeat(kernel[:, :, None], taps, axis=2) / np.asarray(taps, kernel.dtype)
