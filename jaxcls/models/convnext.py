"""ConvNeXt: Liu et al. 2022, "A ConvNet for the 2020s" (arXiv 2201.03545), section 2 and appendix A, as in torchvision.

A residual network whose blocks follow a transformer's: a 7x7 depthwise convolution that mixes places, a LayerNorm, and
a hidden layer of four times the width that mixes channels. Weights with timm's or the authors' names load too.
"""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

# The reference truncates at +-2, a hundred deviations out: a plain normal distribution.
_init = nn.initializers.normal(0.02)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, LayerNorm, dense, GELU, dense, each channel scaled, and `x` itself: `[b, h, w, c]` to the same."""

    layer_scale: float
    conv: Any
    norm: Any
    dense: Any
    param_dtype: Any
    drop: Any = lambda y: y  # stochastic depth of the residual branch

    @nn.compact
    def __call__(self, x: Array) -> Array:
        c = x.shape[-1]
        y = self.norm(name="block.2")(layers.apart(self.conv(c, 7, groups=c, name="block.0")(x)))
        y = layers.mlp(layers.apart(y), 4 * c, self.dense, names=("block.3", "block.5"))
        init = nn.initializers.constant(self.layer_scale)
        scale = self.param("layer_scale", init, (c, 1, 1), self.param_dtype)
        return x + self.drop(y * scale.reshape(1, 1, 1, c).astype(y.dtype))


class Stages(Classifier):
    """Stages of `depths` blocks and `widths` channels at a 4th, 8th, 16th and 32nd of the picture; mean, LayerNorm,
    dense: what both versions of ConvNeXt are.

    `out`: `stem` is the 4x4 convolution with its LayerNorm, `pre_logits` what the last LayerNorm gives, which is
    the classifier's. Sides that are no multiple of 32 lose their far edge. Raises UserError for pictures below 32x32.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stochastic_depth: float = 0.0
    epsilon: ClassVar = 1e-6
    title: ClassVar[str]
    last_norm: ClassVar[str]

    def names(self, i: int) -> tuple[str, str]:
        """Of stage `i`: what its halving is called (of the first: the stem), and its list of blocks."""
        raise NotImplementedError

    def block(self, conv: Any, norm: Any, dense: Any) -> partial:
        """The constructor of a block."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        layers.check_size(images, 32, self.title)
        zeros = nn.initializers.zeros
        conv = partial(layers.conv, use_bias=True, kernel_init=_init, bias_init=zeros, **self.dtypes)
        dense = partial(layers.dense, kernel_init=_init, bias_init=zeros, **self.dtypes)
        norm = layers.layer_norm(epsilon=self.epsilon, **self.dtypes)
        block = self.block(conv, norm, dense)
        rates = iter(layers.rising(self.stochastic_depth, sum(self.depths)))
        stem = self.names(0)[0]
        x = norm(name=f"{stem}.1")(conv(self.widths[0], 4, 4, padding=0, name=f"{stem}.0")(images))
        out = {"stem": x}
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            halving, blocks = self.names(i)
            if i:
                x = layers.apart(norm(name=f"{halving}.0")(layers.apart(x)))
                x = conv(width, 2, 2, padding=0, name=f"{halving}.1")(x)
            for j in range(depth):
                drop = partial(layers.stochastic_depth, rate=next(rates), train=train)
                x = block(drop=drop, name=f"{blocks}.{j}")(x)
            out[f"stage{i + 1}"] = x
        out["pre_logits"] = layers.global_mean(x)
        if self.num_classes:
            last_norm = layers.layer_norm(epsilon=self.epsilon, dtype=jnp.float32, param_dtype=self.param_dtype)
            out["pre_logits"] = last_norm(name=self.last_norm)(out["pre_logits"])
        return self.classify(out["pre_logits"], self.head[0], train=train, kernel_init=_init, bias_init=zeros), out


class ConvNeXt(Stages):
    """`Stages` of blocks whose branches are scaled, by `layer_scale` at first."""

    layer_scale: float = 1e-6
    title: ClassVar = "ConvNeXt"
    last_norm: ClassVar = "classifier.0"
    head: ClassVar = ("classifier.2",)
    unused: ClassVar = (r"^classifier\.0\.",)
    renames: ClassVar = (
        (r"^(stem|downsample_layers\.0)\.", "features.0."),
        *((rf"^(stages\.{i}\.downsample|downsample_layers\.{i})\.", f"features.{2 * i}.") for i in range(1, 4)),
        *((rf"^stages\.{i}\.(blocks\.)?(\d+)\.", rf"features.{2 * i + 1}.\2.") for i in range(4)),
        (r"^(head\.)?norm\.", "classifier.0."),
        (r"^head\.(fc\.)?", "classifier.2."),
        (r"\.(conv_dw|dwconv)\.", ".block.0."),
        (r"\.norm\.", ".block.2."),
        (r"\.(mlp\.fc|pwconv)1\.", ".block.3."),
        (r"\.(mlp\.fc|pwconv)2\.", ".block.5."),
        (r"\.gamma$", ".layer_scale"),
    )

    def names(self, i: int) -> tuple[str, str]:
        return f"features.{2 * i}", f"features.{2 * i + 1}"

    def block(self, conv: Any, norm: Any, dense: Any) -> partial:
        return partial(self.rematerialised(ConvNeXtBlock), self.layer_scale, conv, norm, dense, self.param_dtype)


for _name, _depths, _widths, _rate in (
    ("tiny", (3, 3, 9, 3), (96, 192, 384, 768), 0.1),
    ("small", (3, 3, 27, 3), (96, 192, 384, 768), 0.4),
    ("base", (3, 3, 27, 3), (128, 256, 512, 1024), 0.5),
    ("large", (3, 3, 27, 3), (192, 384, 768, 1536), 0.5),
):
    register(partial(ConvNeXt, depths=_depths, widths=_widths, stochastic_depth=_rate), f"convnext_{_name}")
