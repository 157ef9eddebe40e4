"""MobileNetV3: Howard et al. 2019, "Searching for MobileNetV3" (arXiv 1905.02244), tables 1 and 2.

As torchvision builds it. timm's `mobilenetv3_large_100` and `mobilenetv3_small_100` are the same nets but for
BatchNorm's epsilon, 1e-5 there: give `epsilon=1e-5` with their weights. Its `tf_mobilenetv3_large_100` and
`tf_mobilenetv3_small_100` want `padding="same"`.
"""

from functools import partial
from itertools import groupby
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models import layers, timm_names
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register


class Row(NamedTuple):
    """One block. `act`: "RE" or "HS", as in the paper's tables."""

    kernel: int
    expanded: int
    features: int
    squeeze: bool
    act: str
    stride: int


LARGE = (
    Row(3, 16, 16, False, "RE", 1),
    Row(3, 64, 24, False, "RE", 2),
    Row(3, 72, 24, False, "RE", 1),
    Row(5, 72, 40, True, "RE", 2),
    Row(5, 120, 40, True, "RE", 1),
    Row(5, 120, 40, True, "RE", 1),
    Row(3, 240, 80, False, "HS", 2),
    Row(3, 200, 80, False, "HS", 1),
    Row(3, 184, 80, False, "HS", 1),
    Row(3, 184, 80, False, "HS", 1),
    Row(3, 480, 112, True, "HS", 1),
    Row(3, 672, 112, True, "HS", 1),
    Row(5, 672, 160, True, "HS", 2),
    Row(5, 960, 160, True, "HS", 1),
    Row(5, 960, 160, True, "HS", 1),
)
SMALL = (
    Row(3, 16, 16, True, "RE", 2),
    Row(3, 72, 24, False, "RE", 2),
    Row(3, 88, 24, False, "RE", 1),
    Row(5, 96, 40, True, "HS", 2),
    Row(5, 240, 40, True, "HS", 1),
    Row(5, 240, 40, True, "HS", 1),
    Row(5, 120, 48, True, "HS", 1),
    Row(5, 144, 48, True, "HS", 1),
    Row(5, 288, 96, True, "HS", 2),
    Row(5, 576, 96, True, "HS", 1),
    Row(5, 576, 96, True, "HS", 1),
)


class MobileNetV3(Classifier, kw_only=True):
    """A 3x3 convolution, inverted residuals by `rows`, a 1x1 convolution, mean, a hidden dense layer, dense.

    Fields: `hidden`, the width of the hidden layer; `width_mult` multiplies all widths, rounded to multiples of 8;
    `epsilon` and `momentum` of BatchNorm; `padding`, "torch" or "same" (`layers.conv`); `stochastic_depth`: rate of the
    last block, rising from 0 in the first.

    `out`: a stage begins where the picture is halved, `stem` is what stage1 sees. With `num_classes=0` there is no
    hidden layer either. Raises UserError for a width that is not positive or another `padding`.
    """

    rows: tuple[Row, ...]
    hidden: int
    width_mult: float = 1.0
    epsilon: float = 1e-3
    momentum: float = 0.99
    padding: str = "torch"
    dropout: float = 0.2
    stochastic_depth: float = 0.0
    head: ClassVar = ("classifier.3",)
    unused: ClassVar = (r"^classifier\.0\.",)

    def __post_init__(self):
        layers.check_positive("width_mult", self.width_mult)
        layers.check_positive("epsilon", self.epsilon)
        layers.check_choice("padding", self.padding, layers.PADDINGS)
        object.__setattr__(self, "rows", tuple(Row(*row) for row in self.rows))  # a config has plain tuples
        super().__post_init__()

    def scaled(self, features: int) -> int:
        return layers.make_divisible(features * self.width_mult)

    @property
    def renames(self) -> tuple[tuple[str, str], ...]:
        """timm's names to ours."""
        blocks: list[tuple] = []
        before = self.scaled(16)
        for s, (_, stage) in enumerate(groupby(self.rows, key=lambda row: row.features)):
            for i, row in enumerate(stage):
                names = layers.InvertedResidual.names(self.scaled(row.expanded) != before, row.squeeze)
                blocks.append((rf"{s}\.{i}", f"features.{len(blocks) + 1}", timm_names.inside(names)))
                before = self.scaled(row.features)
        last = (rf"{s + 1}\.0", f"features.{len(blocks) + 1}", timm_names.inside(("0", "1"), ("conv", "bn1")))
        return timm_names.renames([*blocks, last], ("features.0.0", "features.0.1", "classifier.0", "", "classifier.3"))

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        conv = partial(layers.conv, padding=self.padding, **self.dtypes)
        norm = layers.batch_norm(
            train=train, axis_name=self.axis_name, epsilon=self.epsilon, momentum=self.momentum, **self.dtypes
        )
        step = partial(layers.conv_norm, conv=conv, norm=norm)
        block = partial(self.rematerialised(layers.InvertedResidual), conv=conv, norm=norm, gate=nn.hard_sigmoid)
        rates = layers.rising(self.stochastic_depth, len(self.rows))
        x = nn.hard_swish(step(images, self.scaled(16), 3, 2, name="features.0"))
        out, part = {}, "stem"
        for n, (row, rate) in enumerate(zip(self.rows, rates, strict=True), 1):
            if row.stride == 2:
                out[part] = x
                part = f"stage{len(out)}"
            expanded = self.scaled(row.expanded)
            x = block(
                self.scaled(row.features),
                expanded,
                row.kernel,
                row.stride,
                act=nn.hard_swish if row.act == "HS" else nn.relu,
                squeezed=layers.make_divisible(expanded // 4) if row.squeeze else 0,
                drop=partial(layers.stochastic_depth, rate=rate, train=train),
                name=f"features.{n}",
            )(x)
        last = 6 * self.scaled(self.rows[-1].features)
        out[part] = x = nn.hard_swish(step(x, last, 1, name=f"features.{len(self.rows) + 1}"))
        return self.predict(layers.global_mean(x), out, train)

    def predict(self, mean: Array, out: dict[str, Any], train: bool) -> Outputs:
        inits: dict[str, Any] = {"kernel_init": nn.initializers.normal(0.01), "bias_init": nn.initializers.zeros}
        if self.num_classes:
            hidden = layers.dense(mean, self.scaled(self.hidden), name="classifier.0", **self.dtypes, **inits)
            mean = nn.hard_swish(hidden).astype(jnp.float32)
        out["pre_logits"] = mean
        return self.classify(mean, "classifier.3", train=train, **inits), out


register(partial(MobileNetV3, rows=LARGE, hidden=1280), "mobilenet_v3_large")
register(partial(MobileNetV3, rows=SMALL, hidden=1024), "mobilenet_v3_small")
