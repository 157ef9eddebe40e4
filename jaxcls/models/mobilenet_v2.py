"""MobileNetV2: Sandler et al. 2018, "Inverted Residuals and Linear Bottlenecks" (arXiv 1801.04381), table 2.

As torchvision builds it. timm's `mobilenetv2_100` is the same net; its `mobilenetv2_050`, `_075` and `_140` are that
with `width_mult` 0.5, 0.75 and 1.4.
"""

from functools import partial
from typing import Any, ClassVar

from flax import linen as nn
from jax import Array

from jaxcls.models import layers, timm_names
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

STEMS = ("imagenet", "cifar")

# expansion, features, blocks, stride of the first of them
ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class LinearBottleneck(nn.Module):
    """1x1 expansion (none for a factor of 1), 3x3 depthwise convolution, 1x1 projection without an activation; the
    input is added where the block keeps its shape. To `[b, h/stride, w/stride, features]`.
    """

    features: int
    expansion: int
    stride: int
    conv: Any
    norm: Any
    act: Any = nn.relu6
    drop: Any = lambda y: y  # stochastic depth of the residual branch

    @nn.compact
    def __call__(self, x: Array) -> Array:
        step = partial(layers.conv_norm, conv=self.conv, norm=self.norm)
        expanded = x.shape[-1] * self.expansion
        y, n = x, 0
        if self.expansion != 1:
            y, n = self.act(step(y, expanded, 1, name="conv.0")), 1
        y = self.act(step(y, expanded, 3, self.stride, groups=expanded, name=f"conv.{n}"))
        y = self.norm(name=f"conv.{n + 2}")(self.conv(self.features, 1, name=f"conv.{n + 1}")(y))
        return x + self.drop(y) if self.stride == 1 and x.shape[-1] == self.features else y


class MobileNetV2(Classifier):
    """A 3x3 convolution, inverted residuals by `rows`, a 1x1 convolution, mean, dense.

    Fields: `width_mult` multiplies all widths (that of the last 1x1 convolution only above 1), rounded to multiples of
    8; `stem="cifar"` leaves away the first two halvings, for pictures of 32x32 (as kuangliu's port does, whose
    blocks have further convolutions); `stochastic_depth`: rate of the last block, rising from 0 in the first;
    `epsilon` of BatchNorm and `padding`, "torch" or "same" (`layers.conv`), as the weights want them.

    `out`: a stage begins where the picture is halved, `stem` is what stage1 sees. With `stem="cifar"` the same blocks
    make a stage, and stage1 keeps the size. Raises UserError for another `stem` or `padding`, or a
    width that is not positive.
    """

    rows: tuple = ROWS
    width_mult: float = 1.0
    stem: str = "imagenet"
    dropout: float = 0.2
    stochastic_depth: float = 0.0
    epsilon: float = 1e-5
    padding: str = "torch"
    head: ClassVar = ("classifier.1",)

    def __post_init__(self):
        layers.check_choice("stem", self.stem, STEMS)
        layers.check_positive("epsilon", self.epsilon)
        layers.check_choice("padding", self.padding, layers.PADDINGS)
        layers.check_positive("width_mult", self.width_mult)
        super().__post_init__()

    @property
    def blocks(self) -> list[tuple[int, int, int, int, int]]:
        """(stage, position in it, expansion, features, stride) of each block."""
        return [
            (s, i, expansion, layers.make_divisible(features * self.width_mult), stride if i == 0 else 1)
            for s, (expansion, features, n, stride) in enumerate(self.rows)
            for i in range(n)
        ]

    @property
    def renames(self) -> tuple[tuple[str, str], ...]:
        """timm's names to ours."""
        plain = timm_names.inside(("conv.0.0", "conv.0.1", "conv.1", "conv.2"))
        expanding = timm_names.inside(("conv.0.0", "conv.0.1", "conv.1.0", "conv.1.1", "conv.2", "conv.3"))
        blocks = [
            (rf"{s}\.{i}", f"features.{n}", plain if expansion == 1 else expanding)
            for n, (s, i, expansion, _, _) in enumerate(self.blocks, 1)
        ]
        last = f"features.{len(blocks) + 1}"
        return timm_names.renames(blocks, ("features.0.0", "features.0.1", f"{last}.0", f"{last}.1", "classifier.1"))

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        conv = partial(layers.conv, padding=self.padding, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, epsilon=self.epsilon, **self.dtypes)
        step = partial(layers.conv_norm, conv=conv, norm=norm)
        block = self.rematerialised(LinearBottleneck)
        blocks = self.blocks
        rates = layers.rising(self.stochastic_depth, len(blocks))
        cifar = self.stem == "cifar"
        width = layers.make_divisible(32 * self.width_mult)
        x = nn.relu6(step(images, width, 3, 1 if cifar else 2, name="features.0"))
        out, part = {}, "stem"
        for n, (_, _, expansion, features, stride) in enumerate(blocks, 1):
            if stride == 2:
                stride = 1 if cifar and part == "stem" else 2
                out[part] = x
                part = f"stage{len(out)}"
            drop = partial(layers.stochastic_depth, rate=rates[n - 1], train=train)
            x = block(features, expansion, stride, conv, norm, drop=drop, name=f"features.{n}")(x)
        last = layers.make_divisible(1280 * max(1.0, self.width_mult))
        out[part] = x = nn.relu6(step(x, last, 1, name=f"features.{len(blocks) + 1}"))
        out["pre_logits"] = layers.global_mean(x)
        logits = self.classify(
            out["pre_logits"],
            "classifier.1",
            train=train,
            kernel_init=nn.initializers.normal(0.01),
            bias_init=nn.initializers.zeros,
        )
        return logits, out


register(MobileNetV2, "mobilenet_v2")
