"""Convolution."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from jaxcls.models.layers.convolve import convolve
from jaxcls.models.layers.init import kaiming_normal

PADDINGS = ("torch", "same")


def conv(
    features: int,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] = 1,
    *,
    groups: int = 1,
    padding: int | tuple[int, ...] | str = "torch",
    use_bias: bool = False,
    kernel_init: Any = kaiming_normal,
    bias_init: Any = nn.initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    convolve: Any = convolve,
    name: str | None = None,
) -> nn.Conv:
    """A convolution of `[b, h, w, c]`, with the same padding on opposite sides: half the kernel unless given.

    One number stands for height and width; three, (time, height, width), are for clips `[n, t, h, w, c]`.
    `padding="same"` is TensorFlow's (and Flax's): where a stride above 1 needs an odd number of rows, the far side gets
    one more, and which rows are needed depends on the picture's size.
    `convolve`: the operation itself, as `lax.conv_general_dilated`; `standardised` is another.
    """
    size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    pad = tuple(k // 2 for k in size) if padding == "torch" else padding
    pad = (pad,) * len(size) if isinstance(pad, int) else pad
    return nn.Conv(
        features,
        size,
        strides=(stride,) * len(size) if isinstance(stride, int) else stride,
        padding="SAME" if isinstance(pad, str) else tuple((p, p) for p in pad),
        feature_group_count=groups,
        use_bias=use_bias,
        kernel_init=kernel_init,
        bias_init=bias_init,
        dtype=dtype,
        param_dtype=param_dtype,
        conv_general_dilated=convolve,
        name=name,
    )


def standardised(x: Array, kernel: Array, *args: Any, **fields: Any) -> Array:
    """A convolution with a kernel whose values for each feature have mean 0 and variance 1 (BiT's: epsilon 1e-8).

    Qiao et al. 2019, "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization" (arXiv
    1903.10520), equation 3; in float32 at least.
    """
    wide = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
    mean, var = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    return convolve(x, ((wide - mean) * lax.rsqrt(var + 1e-8)).astype(kernel.dtype), *args, **fields)
