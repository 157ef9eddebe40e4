"""EfficientNet: Tan and Le 2019 (arXiv 1905.11946), table 1, and EfficientNetV2, 2021 (arXiv 2104.00298), table 4.

As torchvision builds them. timm's `efficientnet_b0` .. `b7` and `efficientnetv2_s`, `m`, `l` are the same nets, but
with 1e-5 as BatchNorm's epsilon throughout: give `epsilon=1e-5` with its weights for B5 and larger and for V2. Its
`tf_efficientnet_b*` and `tf_efficientnetv2_*` want `epsilon=1e-3` and `padding="same"`.
"""

import math
from functools import partial
from typing import Any, ClassVar, NamedTuple

from flax import linen as nn
from jax import Array

from jaxcls.models import layers, timm_names
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register


class Row(NamedTuple):
    """Blocks of one shape; `stride` is the first one's. `fused`: a full convolution instead of 1x1 and depthwise."""

    expansion: int
    kernel: int
    stride: int
    features: int
    repeats: int
    fused: bool = False


V1 = (
    Row(1, 3, 1, 16, 1),
    Row(6, 3, 2, 24, 2),
    Row(6, 5, 2, 40, 2),
    Row(6, 3, 2, 80, 3),
    Row(6, 5, 1, 112, 3),
    Row(6, 5, 2, 192, 4),
    Row(6, 3, 1, 320, 1),
)
V2_S = (
    Row(1, 3, 1, 24, 2, fused=True),
    Row(4, 3, 2, 48, 4, fused=True),
    Row(4, 3, 2, 64, 4, fused=True),
    Row(4, 3, 2, 128, 6),
    Row(6, 3, 1, 160, 9),
    Row(6, 3, 2, 256, 15),
)
V2_M = (
    Row(1, 3, 1, 24, 3, fused=True),
    Row(4, 3, 2, 48, 5, fused=True),
    Row(4, 3, 2, 80, 5, fused=True),
    Row(4, 3, 2, 160, 7),
    Row(6, 3, 1, 176, 14),
    Row(6, 3, 2, 304, 18),
    Row(6, 3, 1, 512, 5),
)
V2_L = (
    Row(1, 3, 1, 32, 4, fused=True),
    Row(4, 3, 2, 64, 7, fused=True),
    Row(4, 3, 2, 96, 7, fused=True),
    Row(4, 3, 2, 192, 10),
    Row(6, 3, 1, 224, 19),
    Row(6, 3, 2, 384, 25),
    Row(6, 3, 1, 640, 7),
)


class FusedBlock(nn.Module):
    """A full convolution that expands and a 1x1 projection without an activation, or, where nothing expands, one
    convolution with an activation; the input is added where the block keeps its shape. V2's "Fused-MBConv".
    """

    features: int
    expanded: int
    kernel: int
    stride: int
    conv: Any
    norm: Any
    act: Any = nn.silu
    drop: Any = lambda y: y  # stochastic depth of the residual branch

    @nn.compact
    def __call__(self, x: Array) -> Array:
        step = partial(layers.conv_norm, conv=self.conv, norm=self.norm)
        expands = self.expanded != x.shape[-1]
        y = self.act(step(x, self.expanded if expands else self.features, self.kernel, self.stride, name="block.0"))
        if expands:
            y = step(y, self.features, 1, name="block.1")
        return x + self.drop(y) if self.stride == 1 and x.shape[-1] == self.features else y


class EfficientNet(Classifier):
    """A 3x3 convolution, inverted residuals by `rows`, a 1x1 convolution, mean, dense.

    Fields: `width_mult` multiplies all widths, rounded to multiples of 8, `depth_mult` the blocks of a row, rounded
    up; `first` and `last`, the widths of the first and the last convolution (`last` of 0: four times the last row's);
    `epsilon` and `momentum` of BatchNorm; `padding`, "torch" or "same" (`layers.conv`); `stochastic_depth`: block i of
    n is dropped with i/n of that rate.

    The attention squeezes to a quarter of the block's input, not of the expanded features. `out`: a stage begins where
    the picture is halved, `stem` is what stage1 sees. Raises UserError for a multiplier that is not positive or another
    `padding`.
    """

    rows: tuple[Row, ...] = V1
    width_mult: float = 1.0
    depth_mult: float = 1.0
    first: int = 32
    last: int = 0
    epsilon: float = 1e-5
    momentum: float = 0.9
    padding: str = "torch"
    dropout: float = 0.2
    stochastic_depth: float = 0.2
    head: ClassVar = ("classifier.1",)

    def __post_init__(self):
        for field in ("width_mult", "depth_mult"):
            layers.check_positive(field, getattr(self, field))
        layers.check_positive("epsilon", self.epsilon)
        layers.check_choice("padding", self.padding, layers.PADDINGS)
        object.__setattr__(self, "rows", tuple(Row(*row) for row in self.rows))  # a config has plain tuples
        super().__post_init__()

    def scaled(self, features: int) -> int:
        return layers.make_divisible(features * self.width_mult)

    @property
    def renames(self) -> tuple[tuple[str, str], ...]:
        """timm's names to ours."""
        blocks = []
        for s, row in enumerate(self.rows):
            if row.fused and row.expansion == 1:
                inside = timm_names.inside(("block.0.0", "block.0.1"), ("conv", "bn1"))
            elif row.fused:
                names = ("block.0.0", "block.0.1", "block.1.0", "block.1.1")
                inside = timm_names.inside(names, ("conv_exp", "bn1", "conv_pwl", "bn2"))
            else:
                inside = timm_names.inside(layers.InvertedResidual.names(row.expansion != 1, True))
            blocks.append((rf"{s}\.(\d+)", rf"features.{s + 1}.\1", inside))
        last = f"features.{len(blocks) + 1}"
        return timm_names.renames(blocks, ("features.0.0", "features.0.1", f"{last}.0", f"{last}.1", "classifier.1"))

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        conv = partial(layers.conv, padding=self.padding, **self.dtypes)
        norm = layers.batch_norm(
            train=train, axis_name=self.axis_name, epsilon=self.epsilon, momentum=self.momentum, **self.dtypes
        )
        step = partial(layers.conv_norm, conv=conv, norm=norm)
        repeats = [math.ceil(row.repeats * self.depth_mult) for row in self.rows]
        rates = (self.stochastic_depth * i / sum(repeats) for i in range(sum(repeats)))
        x = nn.silu(step(images, self.scaled(self.first), 3, 2, name="features.0"))
        out, part = {}, "stem"
        for s, row in enumerate(self.rows):
            if row.stride == 2:
                out[part] = x
                part = f"stage{len(out)}"
            for i in range(repeats[s]):
                drop = partial(layers.stochastic_depth, rate=next(rates), train=train)
                block = self.block(row, i, x.shape[-1], conv=conv, norm=norm, drop=drop)
                x = block(name=f"features.{s + 1}.{i}")(x)
        last = self.last or 4 * self.scaled(self.rows[-1].features)
        out[part] = x = nn.silu(step(x, last, 1, name=f"features.{len(self.rows) + 1}"))
        out["pre_logits"] = layers.global_mean(x)
        logits = self.classify(
            out["pre_logits"],
            "classifier.1",
            train=train,
            bias_init=nn.initializers.zeros,
            kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform"),
        )
        return logits, out

    def block(self, row: Row, i: int, width: int, **fields: Any) -> partial:
        """The constructor of block `i` of a row, whose input is `width` channels wide."""
        expanded, stride = layers.make_divisible(width * row.expansion), row.stride if i == 0 else 1
        shape = (self.scaled(row.features), expanded, row.kernel, stride)
        if row.fused:
            return partial(self.rematerialised(FusedBlock), *shape, act=nn.silu, **fields)
        return partial(
            self.rematerialised(layers.InvertedResidual),
            *shape,
            act=nn.silu,
            squeezed=max(1, width // 4),
            squeeze_act=nn.silu,
            **fields,
        )


# Width, depth, dropout: "compound scaling". The pictures grow, too: 224, 240, 260, 300, 380, 456, 528 and 600 pixels.
SCALES = (
    (1.0, 1.0, 0.2),
    (1.0, 1.1, 0.2),
    (1.1, 1.2, 0.3),
    (1.2, 1.4, 0.3),
    (1.4, 1.8, 0.4),
    (1.6, 2.2, 0.4),
    (1.8, 2.6, 0.5),
    (2.0, 3.1, 0.5),
)
for _n, (_width, _depth, _dropout) in enumerate(SCALES):
    _fields: dict[str, Any] = {"width_mult": _width, "depth_mult": _depth, "dropout": _dropout}
    _fields |= {"epsilon": 1e-3, "momentum": 0.99} if _n >= 5 else {}
    register(partial(EfficientNet, **_fields), f"efficientnet_b{_n}")
for _name, _rows, _first, _dropout in (("s", V2_S, 24, 0.2), ("m", V2_M, 24, 0.3), ("l", V2_L, 32, 0.4)):
    _fields = {"rows": _rows, "first": _first, "last": 1280, "epsilon": 1e-3, "dropout": _dropout}
    register(partial(EfficientNet, **_fields), f"efficientnet_v2_{_name}")
