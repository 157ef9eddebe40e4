"""MNASNet-B1: Tan et al. 2018, "MnasNet: Platform-Aware Neural Architecture Search" (arXiv 1807.11626), section 5.

The variant without squeeze and excitation, as torchvision builds it. timm's `mnasnet_050`, `_075` and `_100` are the
same nets.
"""

from functools import partial
from typing import Any, ClassVar

from flax import linen as nn
from jax import Array

from jaxcls.models import layers, timm_names
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register

# features, kernel, stride of the first block, expansion, blocks
ROWS = ((24, 3, 2, 3, 3), (40, 5, 2, 3, 3), (80, 5, 2, 6, 3), (96, 3, 1, 6, 2), (192, 5, 2, 6, 4), (320, 3, 1, 6, 1))


class MnasBlock(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection without an activation; the input is added where the block
    keeps its shape. To `[b, h/stride, w/stride, features]`.
    """

    features: int
    kernel: int
    stride: int
    expansion: int
    conv: Any
    norm: Any
    act: Any = nn.relu
    drop: Any = lambda y: y  # stochastic depth of the residual branch

    @nn.compact
    def __call__(self, x: Array) -> Array:
        conv, norm, width = self.conv, self.norm, x.shape[-1] * self.expansion
        y = self.act(norm(name="layers.1")(conv(width, 1, name="layers.0")(x)))
        y = conv(width, self.kernel, self.stride, groups=width, name="layers.3")(y)
        y = self.act(norm(name="layers.4")(y))
        y = norm(name="layers.7")(conv(self.features, 1, name="layers.6")(y))
        return x + self.drop(y) if self.stride == 1 and x.shape[-1] == self.features else y


class MNASNet(Classifier):
    """A 3x3 convolution, a depthwise separable one, inverted residuals by `rows`, a 1x1 convolution, mean, dense.

    Fields: `width_mult` multiplies all widths (not that of the last 1x1 convolution), rounded to multiples of 8;
    `stochastic_depth`: rate of the last block, rising from 0 in the first; `epsilon` of BatchNorm and `padding`,
    "torch" or "same" (`layers.conv`), as the weights want them. BatchNorm keeps 0.9997 of its old statistics a step, as
    the paper's does.

    `out`: a stage begins where the picture is halved, `stem` is what stage1 sees. Raises UserError for a width that is
    not positive or another `padding`.
    """

    width_mult: float = 1.0
    rows: tuple = ROWS
    dropout: float = 0.2
    stochastic_depth: float = 0.0
    epsilon: float = 1e-5
    padding: str = "torch"
    head: ClassVar = ("classifier.1",)
    versions: ClassVar = {"": 2}  # since when torchvision's first layers follow the width

    def __post_init__(self):
        layers.check_positive("width_mult", self.width_mult)
        layers.check_positive("epsilon", self.epsilon)
        layers.check_choice("padding", self.padding, layers.PADDINGS)
        super().__post_init__()

    def scaled(self, features: int) -> int:
        return layers.make_divisible(features * self.width_mult)

    @property
    def last(self) -> int:
        """Where the last convolution comes in the reference's list of layers, behind the stem's eight and the rows."""
        return 8 + len(self.rows)

    @property
    def renames(self) -> tuple[tuple[str, str], ...]:
        """timm's names to ours."""
        names = tuple(f"layers.{n}" for n in (0, 1, 3, 4, 6, 7))
        separable = timm_names.inside(("3", "4", "6", "7"))
        blocks = [(r"0\.0", "layers", separable)]
        for s in range(1, len(self.rows) + 1):
            blocks.append((rf"{s}\.(\d+)", rf"layers.{7 + s}.\1", timm_names.inside(names)))
        last = (f"layers.{self.last}", f"layers.{self.last + 1}")
        return timm_names.renames(blocks, ("layers.0", "layers.1", *last, "classifier.1"))

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        conv = partial(layers.conv, padding=self.padding, **self.dtypes)
        norm = layers.batch_norm(
            train=train, axis_name=self.axis_name, epsilon=self.epsilon, momentum=0.9997, **self.dtypes
        )
        block = partial(self.rematerialised(MnasBlock), conv=conv, norm=norm)
        rates = iter(layers.rising(self.stochastic_depth, sum(row[-1] for row in self.rows)))
        width = self.scaled(32)
        x = nn.relu(norm(name="layers.1")(conv(width, 3, 2, name="layers.0")(images)))
        x = nn.relu(norm(name="layers.4")(conv(width, 3, groups=width, name="layers.3")(x)))
        x = norm(name="layers.7")(conv(self.scaled(16), 1, name="layers.6")(x))
        out, part = {}, "stem"
        for s, (features, kernel, stride, expansion, repeats) in enumerate(self.rows, 8):
            if stride == 2:
                out[part] = x
                part = f"stage{len(out)}"
            for i in range(repeats):
                drop = partial(layers.stochastic_depth, rate=next(rates), train=train)
                x = block(
                    self.scaled(features), kernel, stride if i == 0 else 1, expansion, drop=drop, name=f"layers.{s}.{i}"
                )(x)
        out[part] = x = nn.relu(norm(name=f"layers.{self.last + 1}")(conv(1280, 1, name=f"layers.{self.last}")(x)))
        out["pre_logits"] = layers.global_mean(x)
        logits = self.classify(
            out["pre_logits"],
            "classifier.1",
            train=train,
            bias_init=nn.initializers.zeros,
            kernel_init=nn.initializers.variance_scaling(1.0, "fan_out", "uniform"),
        )
        return logits, out


for _name, _width in (("0_5", 0.5), ("0_75", 0.75), ("1_0", 1.0), ("1_3", 1.3)):
    register(partial(MNASNet, width_mult=_width), f"mnasnet{_name}")
