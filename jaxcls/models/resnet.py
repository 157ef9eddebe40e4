"""Residual networks: He et al. 2015, "Deep Residual Learning for Image Recognition" (arXiv 1512.03385), table 1.

As torchvision builds them: version 1.5, the bottleneck strides in its 3x3 convolution (in the paper: the first 1x1).
`stem="cifar"` is the usual change for pictures of 32x32: a 3x3 convolution of stride 1 and no pool. Variants:

* ResNeXt, Xie et al. 2016 (arXiv 1611.05431): the 3x3 convolution of a bottleneck works in groups (`groups`,
  `base_width`); wide ResNets, Zagoruyko and Komodakis 2016 (arXiv 1605.07146): it has more features (`base_width`).
  torchvision's.
* ResNet-D, He et al. 2018, "Bag of Tricks" (arXiv 1812.01187), section 4.2: three 3x3 convolutions as the stem, and a
  mean over 2x2 before the 1x1 projection (`stem="deep"`, `avg_down`). timm's.
* `attention` in every block, before the sum: "se" (Hu et al. 2017, arXiv 1709.01507), "eca" (Wang et al. 2019, arXiv
  1910.03151) or "cbam" (Woo et al. 2018, arXiv 1807.06521). timm's; the SE-ResNets have names of their own.

The nets that are timm's begin with `zero_init_residual`, as they do there.

With `taps` any of them is a net of clips: Carreira and Zisserman 2017, "Quo Vadis, Action Recognition?" (arXiv
1705.07750), section 2.4 ("inflating"): `layers.inflated`. Weights of the net of pictures load into it.
"""

from functools import partial
from typing import Any, ClassVar

from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

STEMS = ("imagenet", "cifar", "deep")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: `[b, h, w, *]` to `[b, h/stride, w/stride, features]`."""

    features: int
    stride: int
    conv: Any
    norm: Any
    act: Any = nn.relu
    zero_init: bool = False  # the last scale starts at zero, so the block starts as its shortcut
    avg_down: bool = False
    attention: Any = lambda y, name: y
    drop: Any = lambda y: y  # stochastic depth of the residual branch
    expansion: ClassVar[int] = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = self.act(self.norm(name="bn1")(self.conv(self.features, 3, self.stride, name="conv1")(x)))
        y = last_norm(self, "bn2")(self.conv(self.features, 3, name="conv2")(y))
        return self.act(self.drop(self.attention(y, name="se")) + shortcut(self, x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: to `[b, h/stride, w/stride, 4 * features]`.

    The 3x3 convolution has `groups` groups, with `features * base_width / 64` (rounded down) features each.
    """

    features: int
    stride: int
    conv: Any
    norm: Any
    act: Any = nn.relu
    zero_init: bool = False
    avg_down: bool = False
    attention: Any = lambda y, name: y
    drop: Any = lambda y: y
    groups: int = 1
    base_width: int = 64
    expansion: ClassVar[int] = 4

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = self.features * self.base_width // 64 * self.groups
        y = self.act(self.norm(name="bn1")(self.conv(width, 1, name="conv1")(x)))
        y = self.act(self.norm(name="bn2")(self.conv(width, 3, self.stride, groups=self.groups, name="conv2")(y)))
        y = last_norm(self, "bn3")(self.conv(self.features * self.expansion, 1, name="conv3")(y))
        return self.act(self.drop(self.attention(y, name="se")) + shortcut(self, x))


def last_norm(block: Any, name: str) -> nn.Module:
    """The norm that ends a block's residual branch."""
    init = nn.initializers.zeros_init() if block.zero_init else nn.initializers.ones_init()
    return block.norm(scale_init=init, name=name)


def shortcut(block: Any, x: Array) -> Array:
    """`x` itself, or its 1x1 projection where the block changes the shape. Called inside the block."""
    features, stride = block.features * block.expansion, block.stride
    if stride == 1 and x.shape[-1] == features:
        return x
    if not block.avg_down:
        return block.norm(name="downsample.1")(block.conv(features, 1, stride, name="downsample.0")(x))
    if stride > 1:
        x = layers.per_frame(layers.avg_pool, x, window=stride, ceil=True)
        x = x[:, ::stride] if x.ndim == 5 else x  # frames are left out, as a projection with a stride does
    return block.norm(name="downsample.2")(block.conv(features, 1, name="downsample.1")(x))


class ResNet(Classifier):
    """A stem, stages of blocks (each later stage halves the picture and doubles the features), mean, dense.

    Fields: `groups` and `base_width` of the bottlenecks; `avg_down`, shortcuts with a mean before the projection;
    `attention`, "se", "eca" or "cbam" in every block; `zero_init_residual`, blocks start as their shortcuts;
    `stochastic_depth`, the rate of the last block, rising linearly from 0; `taps`, of the kernels over time: the net
    takes clips then, whose frames each stage but the first halves; 0 for pictures.
    `out`: `stem` is what the first stage sees. Raises UserError for a value that a field cannot have.
    """

    stage_sizes: tuple[int, ...]
    block: Any
    width: int = 64
    stem: str = "imagenet"
    groups: int = 1
    base_width: int = 64
    avg_down: bool = False
    attention: str = ""
    zero_init_residual: bool = False
    stochastic_depth: float = 0.0
    taps: int = 0
    head: ClassVar = ("fc",)

    def __post_init__(self):
        layers.check_choice("stem", self.stem, STEMS)
        layers.check_attention(self.attention)
        if self.taps and not self.taps % 2:
            raise UserError(f"taps={self.taps}: kernels over time need an odd number, such as 3 (0: pictures)")
        if self.taps and self.attention == "cbam":
            raise UserError("attention='cbam' is for pictures: use 'se' or 'eca' with taps")
        if self.block.expansion == 1 and (self.groups, self.base_width) != (1, 64):
            raise UserError("groups and base_width are for nets of bottlenecks (50 layers and more): leave them away")
        if self.groups < 1 or self.width * self.base_width < 64:
            raise UserError(f"groups={self.groups} and base_width={self.base_width} leave no features for a group")
        super().__post_init__()

    @property
    def clips(self) -> bool:
        return self.taps > 0

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        conv = stem_conv = partial(layers.conv, **self.dtypes)
        if self.clips:
            layers.check_clips(images, f"{type(self).__name__} with taps")
            conv = partial(layers.inflated, taps=self.taps, **self.dtypes)
            stem_conv = partial(conv, every_frame=True)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes)
        x = self.stem_features(images, stem_conv, norm)
        out = {"stem": x}
        rates = iter(layers.rising(self.stochastic_depth, sum(self.stage_sizes)))
        block = partial(
            self.rematerialised(self.block),
            conv=conv,
            norm=norm,
            avg_down=self.avg_down,
            attention=partial(layers.attention, kind=self.attention, conv=conv, norm=norm, **self.dtypes),
            zero_init=self.zero_init_residual,
        )
        if self.block.expansion > 1:
            block = partial(block, groups=self.groups, base_width=self.base_width)
        for i, size in enumerate(self.stage_sizes):
            for j in range(size):
                drop = partial(layers.stochastic_depth, rate=next(rates), train=train)
                stride = 2 if i > 0 and j == 0 else 1
                x = block(self.width * 2**i, stride, drop=drop, name=f"layer{i + 1}.{j}")(x)
            out[f"stage{i + 1}"] = x
        out["pre_logits"] = layers.global_mean(x)
        return self.classify(out["pre_logits"], "fc", train=train), out

    def stem_features(self, images: Array, conv: Any, norm: Any) -> Array:
        """What the first stage sees."""
        if self.stem == "cifar":
            return nn.relu(norm(name="bn1")(conv(self.width, 3, name="conv1")(images)))
        if self.stem == "imagenet":
            x = conv(self.width, 7, 2, name="conv1")(images)
        else:
            x = nn.relu(norm(name="conv1.1")(conv(self.width // 2, 3, 2, name="conv1.0")(images)))
            x = nn.relu(norm(name="conv1.4")(conv(self.width // 2, 3, name="conv1.3")(x)))
            x = conv(self.width, 3, name="conv1.6")(x)
        x = nn.relu(norm(name="bn1")(x))
        return layers.max_pool_clips(x, (1, 3), (1, 2), (0, 1)) if self.clips else layers.max_pool(x, 3, 2, padding=1)


NETS = {
    18: partial(ResNet, stage_sizes=(2, 2, 2, 2), block=BasicBlock),
    34: partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BasicBlock),
    50: partial(ResNet, stage_sizes=(3, 4, 6, 3), block=Bottleneck),
    101: partial(ResNet, stage_sizes=(3, 4, 23, 3), block=Bottleneck),
    152: partial(ResNet, stage_sizes=(3, 8, 36, 3), block=Bottleneck),
}
for _depth, _net in NETS.items():
    register(_net, f"resnet{_depth}")
    register(partial(_net, stem="deep", avg_down=True, zero_init_residual=True), f"resnet{_depth}d")
    register(partial(_net, attention="se", zero_init_residual=True), f"seresnet{_depth}")
register(partial(NETS[50], base_width=128), "wide_resnet50_2")
register(partial(NETS[101], base_width=128), "wide_resnet101_2")
register(partial(NETS[50], groups=32, base_width=4), "resnext50_32x4d")
register(partial(NETS[101], groups=32, base_width=8), "resnext101_32x8d")
register(partial(NETS[101], groups=64, base_width=4), "resnext101_64x4d")
_SE: dict[str, Any] = {"attention": "se", "zero_init_residual": True}
register(partial(NETS[50], groups=32, base_width=4, **_SE), "seresnext50_32x4d")
register(partial(NETS[101], groups=32, base_width=8, **_SE), "seresnext101_32x8d")
