"""Convolution."""

import jax.numpy as jnp
from flax import linen as nn

from jaxcls.models.layers.init import kaiming_normal


def conv(features: int, kernel_size: int, stride: int = 1, *, groups: int = 1, padding: int | None = None,
         use_bias: bool = False, kernel_init=kaiming_normal, bias_init=nn.initializers.zeros,
         dtype=None, param_dtype=jnp.float32, name: str | None = None) -> nn.Conv:  # fmt: skip
    """A square convolution of `[b, h, w, c]`, with the same padding on every side: half the kernel unless given.

    (Flax's SAME pads the far side more where the stride is 2, PyTorch does not.)
    """
    pad = kernel_size // 2 if padding is None else padding
    return nn.Conv(
        features,
        (kernel_size, kernel_size),
        strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        feature_group_count=groups,
        use_bias=use_bias,
        kernel_init=kernel_init,
        bias_init=bias_init,
        dtype=dtype,
        param_dtype=param_dtype,
        name=name,
    )
