"""Convolution."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxcls.models.layers.convolve import convolve
from jaxcls.models.layers.init import kaiming_normal

PADDINGS = ("torch", "same")


def conv(
    features: int,
    kernel_size: int | tuple[int, int],
    stride: int = 1,
    *,
    groups: int = 1,
    padding: int | tuple[int, int] | str = "torch",
    use_bias: bool = False,
    kernel_init: Any = kaiming_normal,
    bias_init: Any = nn.initializers.zeros,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
    name: str | None = None,
) -> nn.Conv:
    """A convolution of `[b, h, w, c]`, with the same padding on opposite sides: half the kernel unless given.

    One number stands for height and width. `padding="same"` is TensorFlow's (and Flax's): where a stride above 1 needs
    an odd number of rows, the far side gets one more, and which rows are needed depends on the picture's size.
    """
    size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    pad = tuple(k // 2 for k in size) if padding == "torch" else padding
    pad = (pad, pad) if isinstance(pad, int) else pad
    return nn.Conv(
        features,
        size,
        strides=(stride, stride),
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
