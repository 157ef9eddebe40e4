"""ConvNeXt V2: Woo et al. 2023, "Co-designing and Scaling ConvNets with Masked Autoencoders" (arXiv 2301.00808).

ConvNeXt's blocks without the scales of layers; inside, a global response normalisation (section 3.3) makes channels
compete. As timm builds them and with its names; weights with the authors' names load too.
"""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models import layers
from jaxcls.models.convnext import Stages
from jaxcls.models.registry import register


class ResponseNorm(nn.Module):
    """Scales each channel by its norm over the picture, relative to the mean of all channels' norms, and adds `x`.

    Equations 1 to 3 of the paper with its learned scale and shift; the norms are float32. `[b, h, w, c]` to the same.
    """

    param_dtype: Any
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Array) -> Array:
        zeros, c = nn.initializers.zeros, x.shape[-1]
        scale, bias = (self.param(name, zeros, (c,), self.param_dtype) for name in ("scale", "bias"))
        squares = jnp.square(x.astype(jnp.float32)).sum((1, 2), keepdims=True)
        norms = jnp.sqrt(squares + 1e-30)  # for the gradient of a channel that is nothing but zeros
        relative = (norms / (norms.mean(-1, keepdims=True) + self.epsilon)).astype(x.dtype)
        return x + (x * relative * scale.astype(x.dtype) + bias.astype(x.dtype))


class ConvNeXtV2Block(nn.Module):
    """Depthwise 7x7, LayerNorm, dense, GELU, response norm, dense, and `x` itself: `[b, h, w, c]` to the same."""

    conv: Any
    norm: Any
    dense: Any
    param_dtype: Any
    drop: Any = lambda y: y  # stochastic depth of the residual branch

    @nn.compact
    def __call__(self, x: Array) -> Array:
        c = x.shape[-1]
        y = layers.apart(self.norm(name="norm")(layers.apart(self.conv(c, 7, groups=c, name="conv_dw")(x))))
        y = layers.gelu(self.dense(y, 4 * c, name="mlp.fc1"))
        y = ResponseNorm(self.param_dtype, name="mlp.grn")(y)
        return x + self.drop(self.dense(y, c, name="mlp.fc2"))


class ConvNeXtV2(Stages):
    """`Stages` of blocks with a response norm.

    `conv_mlp`: the dense layers of blocks are 1x1 convolutions, as timm stores those of the smaller nets.
    """

    conv_mlp: bool = False
    title: ClassVar = "ConvNeXt V2"
    last_norm: ClassVar = "head.norm"
    head: ClassVar = ("head.fc",)
    unused: ClassVar = (r"^head\.norm\.",)
    renames: ClassVar = (
        (r"^downsample_layers\.0\.", "stem."),
        (r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample."),
        (r"^norm\.", "head.norm."),
        (r"^head\.(weight|bias)$", r"head.fc.\1"),
        (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"\.dwconv\.", ".conv_dw."),
        (r"\.pwconv([12])\.", r".mlp.fc\1."),
        (r"\.grn\.gamma$", ".mlp.grn.weight"),
        (r"\.grn\.beta$", ".mlp.grn.bias"),
    )

    def names(self, i: int) -> tuple[str, str]:
        return f"stages.{i}.downsample" if i else "stem", f"stages.{i}.blocks"

    def block(self, conv: Any, norm: Any, dense: Any) -> partial:
        if self.conv_mlp:
            dense = partial(_pointwise, conv=conv)
        return partial(self.rematerialised(ConvNeXtV2Block), conv, norm, dense, self.param_dtype)


def _pointwise(x, features, *, name, conv):
    return conv(features, 1, name=name)(x)


for _name, _depths, _widths, _small in (
    ("atto", (2, 2, 6, 2), (40, 80, 160, 320), True),
    ("femto", (2, 2, 6, 2), (48, 96, 192, 384), True),
    ("pico", (2, 2, 6, 2), (64, 128, 256, 512), True),
    ("nano", (2, 2, 8, 2), (80, 160, 320, 640), True),
    ("tiny", (3, 3, 9, 3), (96, 192, 384, 768), False),
    ("base", (3, 3, 27, 3), (128, 256, 512, 1024), False),
):
    register(partial(ConvNeXtV2, depths=_depths, widths=_widths, conv_mlp=_small), f"convnextv2_{_name}")
