"""Attention over the channels of a feature map."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the means of all channels: two 1x1 convolutions with biases.

    Hu et al. 2017 (arXiv 1709.01507). `conv` is a constructor as `layers.conv` with the dtypes filled in; `squeezed` is
    the number of features between the two. Names: `fc1`, `fc2`, as in torchvision and timm.
    """

    squeezed: int
    conv: Any
    act: Callable = nn.relu
    gate: Callable = nn.sigmoid

    @nn.compact
    def __call__(self, x):
        mean = jnp.mean(x, axis=(1, 2), keepdims=True, dtype=jnp.float32).astype(x.dtype)
        y = self.act(self.conv(self.squeezed, 1, use_bias=True, name="fc1")(mean))
        return x * self.gate(self.conv(x.shape[-1], 1, use_bias=True, name="fc2")(y))
