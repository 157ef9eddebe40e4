"""Residual networks: He et al. 2015, "Deep Residual Learning for Image Recognition" (arXiv 1512.03385), table 1.

As torchvision builds them: version 1.5, the bottleneck strides in its 3x3 convolution (in the paper: the first 1x1).
`stem="cifar"` is the usual change for pictures of 32x32: a 3x3 convolution of stride 1 and no pool.
"""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.registry import register

STEMS = ("imagenet", "cifar")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: `[b, h, w, *]` to `[b, h/stride, w/stride, features]`."""

    features: int
    stride: int
    conv: Any
    norm: Any
    act: Any = nn.relu
    zero_init: bool = False  # the last scale starts at zero, so the block starts as its shortcut
    expansion: ClassVar[int] = 1

    @nn.compact
    def __call__(self, x):
        y = self.act(self.norm(name="bn1")(self.conv(self.features, 3, self.stride, name="conv1")(x)))
        y = last_norm(self, "bn2")(self.conv(self.features, 3, name="conv2")(y))
        return self.act(y + shortcut(self, x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: to `[b, h/stride, w/stride, 4 * features]`."""

    features: int
    stride: int
    conv: Any
    norm: Any
    act: Any = nn.relu
    zero_init: bool = False
    expansion: ClassVar[int] = 4

    @nn.compact
    def __call__(self, x):
        y = self.act(self.norm(name="bn1")(self.conv(self.features, 1, name="conv1")(x)))
        y = self.act(self.norm(name="bn2")(self.conv(self.features, 3, self.stride, name="conv2")(y)))
        y = last_norm(self, "bn3")(self.conv(self.features * self.expansion, 1, name="conv3")(y))
        return self.act(y + shortcut(self, x))


def last_norm(block, name: str):
    """The norm that ends a block's residual branch."""
    init = nn.initializers.zeros_init() if block.zero_init else nn.initializers.ones_init()
    return block.norm(scale_init=init, name=name)


def shortcut(block, x):
    """`x` itself, or its 1x1 projection where the block changes the shape. Called inside the block."""
    features = block.features * block.expansion
    if block.stride == 1 and x.shape[-1] == features:
        return x
    return block.norm(name="downsample.1")(block.conv(features, 1, block.stride, name="downsample.0")(x))


class ResNet(nn.Module):
    """A stem, stages of blocks (each later stage halves the picture and doubles the features), mean, dense.

    `out`: `stem` is what the first stage sees. Raises UserError for an unknown `stem`.
    """

    stage_sizes: tuple[int, ...]
    block: Any
    num_classes: int = 1000
    width: int = 64
    stem: str = "imagenet"
    zero_init_residual: bool = False
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    def __post_init__(self):
        if self.stem not in STEMS:
            raise UserError(f"stem must be one of {', '.join(STEMS)}, not {self.stem!r}")
        super().__post_init__()

    @nn.compact
    def __call__(self, images, *, train: bool = False):
        kinds = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        conv = partial(layers.conv, **kinds)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **kinds)
        block = nn.remat(self.block) if self.remat else self.block
        kernel, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x = nn.relu(norm(name="bn1")(conv(self.width, kernel, stride, name="conv1")(images)))
        if self.stem == "imagenet":
            x = layers.max_pool(x, 3, 2, padding=1)
        out = {"stem": x}
        for i, size in enumerate(self.stage_sizes):
            for j in range(size):
                stride = 2 if i > 0 and j == 0 else 1
                x = block(self.width * 2**i, stride, conv, norm, zero_init=self.zero_init_residual,
                          name=f"layer{i + 1}.{j}")(x)  # fmt: skip
            out[f"stage{i + 1}"] = x
        out["pre_logits"] = layers.global_mean(x)
        logits = layers.logits_layer(out["pre_logits"], self.num_classes, param_dtype=self.param_dtype, name="fc")
        return logits, out


register(partial(ResNet, stage_sizes=(2, 2, 2, 2), block=BasicBlock), "resnet18")
register(partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BasicBlock), "resnet34")
register(partial(ResNet, stage_sizes=(3, 4, 6, 3), block=Bottleneck), "resnet50")
register(partial(ResNet, stage_sizes=(3, 4, 23, 3), block=Bottleneck), "resnet101")
register(partial(ResNet, stage_sizes=(3, 8, 36, 3), block=Bottleneck), "resnet152")
