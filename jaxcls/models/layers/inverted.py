"""The inverted residual of mobile networks, and how their widths are rounded."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

from flax import linen as nn
from jax import Array

from jaxcls.models.layers.attention import SqueezeExcite
from jaxcls.models.layers.conv_norm import conv_norm


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze and excitation, 1x1 projection without an activation.

    Sandler et al. 2018 (arXiv 1801.04381); with the attention, Howard et al. 2019 (arXiv 1905.02244). The input is
    added where the block keeps its shape. `expanded` equal to the input's width leaves the expansion away, `squeezed`
    of 0 the attention. Names: `block.0`, `block.1`, .. for those steps that are there, as in torchvision's MobileNetV3
    and EfficientNet.
    """

    features: int
    expanded: int
    kernel: int
    stride: int
    conv: Any
    norm: Any
    act: Callable = nn.relu
    squeezed: int = 0  # features inside the attention
    squeeze_act: Callable = nn.relu
    gate: Callable = nn.sigmoid
    drop: Any = lambda y: y  # stochastic depth of the residual branch

    @nn.compact
    def __call__(self, x: Array) -> Array:
        step = partial(conv_norm, conv=self.conv, norm=self.norm)
        names = map("block.{}".format, itertools.count())
        y = x
        if self.expanded != x.shape[-1]:
            y = self.act(step(y, self.expanded, 1, name=next(names)))
        y = self.act(step(y, self.expanded, self.kernel, self.stride, groups=self.expanded, name=next(names)))
        if self.squeezed:
            y = SqueezeExcite(self.squeezed, self.conv, self.squeeze_act, self.gate, name=next(names))(y)
        y = step(y, self.features, 1, name=next(names))
        return x + self.drop(y) if self.stride == 1 and x.shape[-1] == self.features else y

    @staticmethod
    def names(expands: bool, squeezes: bool) -> tuple[str, ...]:
        """The names inside such a block in order: convolution, norm, .., with the two layers of the attention."""
        steps = [("0", "1")] * expands + [("0", "1")] + [("fc1", "fc2")] * squeezes + [("0", "1")]
        return tuple(f"block.{n}.{name}" for n, step in enumerate(steps) for name in step)


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, at least one of it, and never below nine tenths of `value`."""
    nearest = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * value else nearest
