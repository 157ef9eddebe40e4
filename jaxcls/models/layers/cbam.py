"""CBAM: Woo et al. 2018, "Convolutional Block Attention Module" (arXiv 1807.06521), section 3."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models.layers.pool import global_max, global_mean, largest


class ChannelGate(nn.Module):
    """Scales each channel: two 1x1 convolutions of the means and of the maxima, added before the sigmoid."""

    squeezed: int
    conv: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        mean = global_mean(x)[:, None, None].astype(x.dtype)
        pooled = jnp.concatenate([mean, global_max(x)[:, None, None]], axis=1)
        y = nn.relu(self.conv(self.squeezed, 1, name="fc1")(pooled))
        y = self.conv(x.shape[-1], 1, name="fc2")(y)
        return x * nn.sigmoid(jnp.sum(y, axis=1, keepdims=True))


class SpatialGate(nn.Module):
    """Scales each place: a 7x7 convolution of the mean and the maximum over the channels."""

    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        mean = jnp.mean(x, axis=-1, keepdims=True, dtype=jnp.float32).astype(x.dtype)
        y = self.conv(1, 7, name="conv.conv")(jnp.concatenate([mean, largest(x, -1)[..., None]], axis=-1))
        return x * nn.sigmoid(self.norm(name="conv.bn")(y))


class Cbam(nn.Module):
    """Both gates, one after the other: `[b, h, w, c]` to the same.

    As timm has it, names included: no biases between the convolutions of the channels' gate (the authors' code has
    them). `conv` and `norm` are constructors with the dtypes filled in.
    """

    squeezed: int
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = ChannelGate(self.squeezed, self.conv, name="channel")(x)
        return SpatialGate(self.conv, self.norm, name="spatial")(x)
