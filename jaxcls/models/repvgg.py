"""RepVGG: Ding et al. 2021, "Making VGG-style ConvNets Great Again" (arXiv 2101.03697), table 2, as timm has them.

A block adds a 3x3 convolution, a 1x1 convolution and, where the shape stays, the input, each behind a BatchNorm of its
own. In evaluation that is one 3x3 convolution with a bias (section 3.3): `RepVGG.for_inference` makes it, and export
uses it.
"""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from flax import linen as nn
from flax import traverse_util
from jax import Array

from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register


class RepVGGBlock(nn.Module):
    """`[b, h, w, *]` to `[b, h/stride, w/stride, features]`. `fused`: one convolution, `reparam_conv`, in place of the
    branches `conv_kxk`, `conv_1x1` and `identity`."""

    features: int
    stride: int
    conv: Any
    norm: Any
    fused: bool = False
    drop: Any = lambda y: y  # stochastic depth of the two convolutions, where the input is added

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.fused:
            return nn.relu(self.conv(self.features, 3, self.stride, use_bias=True, name="reparam_conv")(x))
        y = self.norm(name="conv_1x1.bn")(self.conv(self.features, 1, self.stride, name="conv_1x1.conv")(x))
        y = y + self.norm(name="conv_kxk.bn")(self.conv(self.features, 3, self.stride, name="conv_kxk.conv")(x))
        if self.stride == 1 and x.shape[-1] == self.features:
            y = self.drop(y) + self.norm(name="identity")(x)
        return nn.relu(y)


class RepVGG(Classifier):
    """A block as stem and stages of `depths` blocks and `widths` features, each begun with a halving; mean, dense.

    Fields: `first`, the features of the stem; `fused`: each block is one convolution, for weights that are so already;
    `stochastic_depth`: rate of the last block, rising from 0 in the first. `out`: `stem` is at half of the picture.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    first: int = 64
    fused: bool = False
    stochastic_depth: float = 0.0
    head: ClassVar = ("head.fc",)

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        conv = partial(layers.conv, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes)
        block = partial(self.rematerialised(RepVGGBlock), conv=conv, norm=norm, fused=self.fused)
        rates = iter(layers.rising(self.stochastic_depth, sum(self.depths)))
        x = block(self.first, 2, name="stem")(images)
        out = {"stem": x}
        for s, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            for i in range(depth):
                drop = partial(layers.stochastic_depth, rate=next(rates), train=train)
                x = block(width, 2 if i == 0 else 1, drop=drop, name=f"stages.{s}.{i}")(x)
            out[f"stage{s + 1}"] = x
        out["pre_logits"] = layers.global_mean(x)
        logits = self.classify(
            out["pre_logits"],
            "head.fc",
            train=train,
            kernel_init=nn.initializers.normal(0.01),
            bias_init=nn.initializers.zeros,
        )
        return logits, out

    def for_inference(self, variables: Any) -> tuple[Classifier, Any]:
        """(the fused net, its variables): the same function in evaluation."""
        return self.clone(fused=True), fuse(variables, self.epsilon)


def fuse(variables: Any, epsilon: float) -> dict[str, Any]:
    """Variables of a RepVGG with one convolution a block, as NumPy arrays; a fused one's stay as they are."""
    params, stats = (traverse_util.flatten_dict(variables.get(name, {}), sep="/") for name in ("params", "batch_stats"))
    kernel = "/conv_kxk.conv/kernel"
    blocks = {name.removesuffix(kernel) for name in params if name.endswith(kernel)}
    fused = {block: {"reparam_conv": _one_kernel(block, params, stats, epsilon)} for block in blocks}
    rest = {name: values for name, values in variables.items() if name != "batch_stats"}
    return {**rest, "params": {**variables["params"], **fused}}


def _one_kernel(block, params, stats, epsilon):
    """Kernel and bias of the sum of a block's branches, computed in float64."""

    def behind(norm, kernel):
        """A kernel with the BatchNorm behind it, and the bias that is left."""
        scale, bias = (np.asarray(params[f"{block}/{norm}/{leaf}"], np.float64) for leaf in ("scale", "bias"))
        mean, var = (np.asarray(stats[f"{block}/{norm}/{leaf}"], np.float64) for leaf in ("mean", "var"))
        factor = scale / np.sqrt(var + epsilon)
        return np.asarray(kernel, np.float64) * factor, bias - mean * factor

    wide = params[f"{block}/conv_kxk.conv/kernel"]
    kernel, bias = behind("conv_kxk.bn", wide)
    points = [behind("conv_1x1.bn", params[f"{block}/conv_1x1.conv/kernel"])]
    if f"{block}/identity/scale" in params:
        points.append(behind("identity", np.eye(len(bias))[None, None]))
    for point, more in points:
        kernel[1, 1] += point[0, 0]
        bias = bias + more
    return {"kernel": kernel.astype(wide.dtype), "bias": bias.astype(wide.dtype)}


for _name, _depths, _widths, _first in (
    ("a0", (2, 4, 14, 1), (48, 96, 192, 1280), 48),
    ("a1", (2, 4, 14, 1), (64, 128, 256, 1280), 64),
    ("a2", (2, 4, 14, 1), (96, 192, 384, 1408), 64),
    ("b0", (4, 6, 16, 1), (64, 128, 256, 1280), 64),
):
    register(partial(RepVGG, depths=_depths, widths=_widths, first=_first), f"repvgg_{_name}")
