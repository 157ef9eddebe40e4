"""The narrow residual networks for CIFAR: He et al. 2015 (arXiv 1512.03385), section 4.2.

6n + 2 layers: a 3x3 convolution, three stages of n basic blocks with 16, 32 and 64 features, mean, dense. Names are
those of akamaster/pytorch_resnet_cifar10, whose published weights load.
"""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

SHORTCUTS = ("A", "B")


class CifarBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is where the shape changes either parameter-free (option A: every
    second pixel, half of the new channels' zeros before the old ones and half after) or a 1x1 projection (option B).
    """

    features: int
    stride: int
    shortcut: str
    conv: Any
    norm: Any
    act: Any = nn.relu
    zero_init: bool = False
    drop: Any = lambda y: y  # stochastic depth of the residual branch

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale_init = nn.initializers.zeros_init() if self.zero_init else nn.initializers.ones_init()
        y = self.act(self.norm(name="bn1")(self.conv(self.features, 3, self.stride, name="conv1")(x)))
        y = self.norm(scale_init=scale_init, name="bn2")(self.conv(self.features, 3, name="conv2")(y))
        new = self.features - x.shape[-1]
        if (new or self.stride > 1) and self.shortcut == "A":
            x = x[:, :: self.stride, :: self.stride]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))
        elif new or self.stride > 1:
            x = self.norm(name="shortcut.1")(self.conv(self.features, 1, self.stride, name="shortcut.0")(x))
        return self.act(self.drop(y) + x)


class ResNetCifar(Classifier):
    """The net of section 4.2 with `depth` layers (6n + 2). Raises UserError for another depth or shortcut."""

    depth: int
    shortcut: str = "A"
    zero_init_residual: bool = False
    stochastic_depth: float = 0.0
    head: ClassVar = ("linear",)

    def __post_init__(self):
        if self.depth < 8 or self.depth % 6 != 2:
            raise UserError(f"a CIFAR ResNet has 6n + 2 layers (8, 14, 20, ...), not {self.depth}")
        layers.check_choice("shortcut", self.shortcut, SHORTCUTS)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        conv = partial(layers.conv, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes)
        block = self.rematerialised(CifarBlock)
        rates = iter(layers.rising(self.stochastic_depth, (self.depth - 2) // 2))
        x = nn.relu(norm(name="bn1")(conv(16, 3, name="conv1")(images)))
        out = {"stem": x}
        for i, features in enumerate((16, 32, 64)):
            for j in range((self.depth - 2) // 6):
                stride = 2 if i > 0 and j == 0 else 1
                x = block(
                    features,
                    stride,
                    self.shortcut,
                    conv,
                    norm,
                    zero_init=self.zero_init_residual,
                    drop=partial(layers.stochastic_depth, rate=next(rates), train=train),
                    name=f"layer{i + 1}.{j}",
                )(x)
            out[f"stage{i + 1}"] = x
        out["pre_logits"] = layers.global_mean(x)
        return self.classify(out["pre_logits"], "linear", train=train), out


for _depth in (20, 32, 44, 56, 110):
    register(partial(ResNetCifar, depth=_depth), f"resnet{_depth}_cifar")
    register(partial(ResNetCifar, depth=_depth, shortcut="B"), f"resnet{_depth}_cifar_b")
