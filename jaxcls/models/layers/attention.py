"""Attention on a feature map: gates between 0 and 1 for its channels (CBAM, in a file of its own: for places, too)."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models.layers.apart import apart
from jaxcls.models.layers.cbam import Cbam
from jaxcls.models.layers.init import torch_kernel, torch_uniform
from jaxcls.models.layers.pool import global_mean

ATTENTIONS = ("se", "eca", "cbam")


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the means of all channels: two 1x1 convolutions with biases.

    Hu et al. 2017 (arXiv 1709.01507). `conv` is a constructor as `layers.conv` with the dtypes filled in; `squeezed` is
    the number of features between the two. `bias_init`: a function of the fan-in that gives the initialiser of a bias;
    None: zeros. `names`: of the two; `fc1`, `fc2` as in torchvision and in most of timm's nets.
    """

    squeezed: int
    conv: Any
    act: Callable = nn.relu
    gate: Callable = nn.sigmoid
    bias_init: Callable | None = None
    names: tuple[str, str] = ("fc1", "fc2")

    @nn.compact
    def __call__(self, x: Array) -> Array:
        first, second = self.names
        mean = jnp.expand_dims(global_mean(apart(x)), range(1, x.ndim - 1)).astype(x.dtype)
        y = self.act(self.biased(self.squeezed, x.shape[-1], first)(mean))
        return x * self.gate(self.biased(x.shape[-1], self.squeezed, second)(y))

    def biased(self, features: int, fan_in: int, name: str) -> nn.Module:
        bias_init = self.bias_init(fan_in) if self.bias_init else nn.initializers.zeros
        return self.conv(features, 1, use_bias=True, bias_init=bias_init, name=name)


class EfficientChannelAttention(nn.Module):
    """Scales each channel by a gate computed from the means of its neighbours: one short convolution over channels.

    Wang et al. 2019, "ECA-Net" (arXiv 1910.03151), section 3.2. Name: `conv`, as in timm.
    """

    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        size = eca_size(x.shape[-1])
        # Not layers.conv: in one dimension the kernel has the reference's shape.
        conv = nn.Conv(
            1,
            (size,),
            padding=((size // 2, size // 2),),
            use_bias=False,
            kernel_init=torch_kernel,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="conv",
        )
        gate = nn.sigmoid(conv(global_mean(x)[..., None].astype(x.dtype)))
        return x * jnp.expand_dims(gate[..., 0], range(1, x.ndim - 1))


def attention(x: Array, kind: str, *, conv: Any, norm: Any, dtype: Any, param_dtype: Any, name: str) -> Array:
    """`x` behind a new attention block of that kind, or `x` itself for "". Called inside a compact module.

    "se", "eca" and "cbam" are timm's, initialisation included; the first and the last squeeze to about a sixteenth of
    the channels. Raises UserError for another kind.
    """
    check_attention(kind)
    channels = x.shape[-1]
    if kind == "se":
        return SqueezeExcite(squeezed_features(channels, divisor=8), conv, bias_init=torch_uniform, name=name)(x)
    if kind == "eca":
        return EfficientChannelAttention(dtype, param_dtype, name=name)(x)
    if kind == "cbam":
        return Cbam(squeezed_features(channels, divisor=1), conv, norm, name=name)(x)
    return x


def check_attention(kind: str) -> None:
    """Raises UserError for an unknown kind of attention."""
    if kind and kind not in ATTENTIONS:
        raise UserError(f'attention must be one of {", ".join(ATTENTIONS)}, or "" for none, not {kind!r}')


def squeezed_features(channels: int, divisor: int, ratio: float = 1 / 16) -> int:
    """timm's rule: the multiple of `divisor` nearest to that share of the channels, at least one."""
    return max(divisor, int(channels * ratio + divisor / 2) // divisor * divisor)


def eca_size(channels: int) -> int:
    """The size of ECA's kernel: equation 12 with gamma = 2 and b = 1, as the authors' code rounds it, at least 3."""
    size = int((math.log2(channels) + 1) / 2)
    return max(3, size if size % 2 else size + 1)
