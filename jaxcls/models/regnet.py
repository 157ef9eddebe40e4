"""RegNet: Radosavovic et al. 2020, "Designing Network Design Spaces" (arXiv 2003.13678), section 3.3 and appendix.

Four stages whose widths follow from four numbers. X has plain bottlenecks, Y squeeze and excitation in each. As
torchvision builds them: a stage's width is rounded to a multiple of its groups, but not below nine tenths. Without the
latter, as in pycls, three have fewer parameters (X-400MF 5,157,512; Y-800MF 6,263,168; Y-8GF 39,180,068): timm calls
torchvision's `regnetx_004_tv`, `regnety_008_tv` and `regnety_080_tv`, and `regnetx_008`, ... otherwise.
"""

import math
from functools import partial
from itertools import groupby
from typing import Any, ClassVar, NamedTuple

from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register


class Stage(NamedTuple):
    """Its number of blocks, their features, and how many of these a group of the 3x3 convolution has."""

    blocks: int
    width: int
    group_width: int


def stages(depth: int, initial: int, slope: float, step: float, group_width: int) -> tuple[Stage, ...]:
    """The stages of a net with `depth` blocks: section 3.3's quantised linear widths.

    Block j gets `initial * step**k` features, where k is the whole number that brings it nearest (in the logarithm) to
    `initial + slope * j`, rounded to multiples of 8 and then to whole groups.
    """
    powers = [round(math.log((initial + slope * j) / initial) / math.log(step)) for j in range(depth)]
    widths = [8 * round(initial * step**power / 8) for power in powers]
    runs = [(width, len(list(run))) for width, run in groupby(widths)]
    return tuple(
        Stage(blocks, layers.make_divisible(width, min(group_width, width)), min(group_width, width))
        for width, blocks in runs
    )


class RegNetBlock(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolutions of one width and a shortcut, which is projected where the shape changes.

    `squeeze`: the attention's inner width as a share of the block's input (0: no attention). The names are
    torchvision's, `f.a`, `f.b`, `f.se`, `f.c` and `proj`.
    """

    features: int
    stride: int
    group_width: int
    squeeze: float
    conv: Any
    norm: Any
    act: Any = nn.relu
    drop: Any = lambda y: y  # stochastic depth of the residual branch

    @nn.compact
    def __call__(self, x: Array) -> Array:
        step = partial(layers.conv_norm, conv=self.conv, norm=self.norm)
        y = self.act(step(x, self.features, 1, name="f.a"))
        groups = self.features // self.group_width
        y = self.act(step(y, self.features, 3, self.stride, groups=groups, name="f.b"))
        if self.squeeze:
            squeezed = round(self.squeeze * x.shape[-1])
            y = layers.SqueezeExcite(squeezed, self.conv, self.act, bias_init=layers.torch_uniform, name="f.se")(y)
        y = step(y, self.features, 1, name="f.c")
        if self.stride > 1 or x.shape[-1] != self.features:
            x = step(x, self.features, 1, self.stride, name="proj")
        return self.act(x + self.drop(y))


class RegNet(Classifier):
    """A 3x3 convolution of stride 2, stages that halve the picture and grow as `stages` says, mean, dense.

    Fields: `depth`, the number of blocks; `initial`, `slope`, `step` (w_0, w_a and w_m in the paper) and `group_width`,
    as in `stages`; `squeeze`, see RegNetBlock; `stochastic_depth`: rate of the last block, rising from 0 in the first.
    Raises UserError for numbers outside of the design space.
    """

    depth: int
    initial: int
    slope: float
    step: float
    group_width: int
    squeeze: float = 0.0
    stochastic_depth: float = 0.0
    head: ClassVar = ("fc",)

    def __post_init__(self):
        if self.depth < 1 or self.initial < 8 or self.initial % 8 or self.slope < 0 or not self.step > 1:
            raise UserError(
                "a RegNet has depth >= 1, initial a multiple of 8, slope >= 0 and step > 1, not "
                f"{self.depth}, {self.initial}, {self.slope} and {self.step}"
            )
        super().__post_init__()

    @property
    def stages(self) -> tuple[Stage, ...]:
        return stages(self.depth, self.initial, self.slope, self.step, self.group_width)

    @property
    def renames(self) -> tuple[tuple[str, str], ...]:
        """timm's names to ours."""
        rules = [(r"^stem\.conv\.", "stem.0."), (r"^stem\.bn\.", "stem.1."), (r"^head\.fc\.", "fc.")]
        inside = {"conv1": "f.a", "conv2": "f.b", "conv3": "f.c", "se": "f.se", "downsample": "proj"}
        rules += [(rf"^(s\d+\.b\d+)\.{old}\.", rf"\1.{new}.") for old, new in inside.items()]
        rules += [(r"^(s\d+\.b\d+\..*)\.conv\.", r"\1.0."), (r"^(s\d+\.b\d+\..*)\.bn\.", r"\1.1.")]
        for s, stage in enumerate(self.stages, 1):
            rules += [(rf"^s{s}\.b{i + 1}\.", f"trunk_output.block{s}.block{s}-{i}.") for i in range(stage.blocks)]
        return tuple(rules)

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        conv = partial(layers.conv, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **self.dtypes)
        block = partial(self.rematerialised(RegNetBlock), squeeze=self.squeeze, conv=conv, norm=norm)
        rates = iter(layers.rising(self.stochastic_depth, self.depth))
        x = nn.relu(layers.conv_norm(images, 32, 3, 2, conv=conv, norm=norm, name="stem"))
        out = {"stem": x}
        for s, stage in enumerate(self.stages, 1):
            for i in range(stage.blocks):
                drop = partial(layers.stochastic_depth, rate=next(rates), train=train)
                x = block(
                    stage.width,
                    2 if i == 0 else 1,
                    stage.group_width,
                    drop=drop,
                    name=f"trunk_output.block{s}.block{s}-{i}",
                )(x)
            out[f"stage{s}"] = x
        out["pre_logits"] = layers.global_mean(x)
        logits = self.classify(
            out["pre_logits"],
            "fc",
            train=train,
            kernel_init=nn.initializers.normal(0.01),
            bias_init=nn.initializers.zeros,
        )
        return logits, out


# depth, initial, slope, step, group width: appendix of the paper, as the authors' pycls has them.
X = {
    "400mf": (22, 24, 24.48, 2.54, 16),
    "800mf": (16, 56, 35.73, 2.28, 16),
    "1_6gf": (18, 80, 34.01, 2.25, 24),
    "3_2gf": (25, 88, 26.31, 2.25, 48),
    "8gf": (23, 80, 49.56, 2.88, 120),
    "16gf": (22, 216, 55.59, 2.1, 128),
    "32gf": (23, 320, 69.86, 2.0, 168),
}
Y = {
    "400mf": (16, 48, 27.89, 2.09, 8),
    "800mf": (14, 56, 38.84, 2.4, 16),
    "1_6gf": (27, 48, 20.71, 2.65, 24),
    "3_2gf": (21, 80, 42.63, 2.66, 24),
    "8gf": (17, 192, 76.82, 2.19, 56),
    "16gf": (18, 200, 106.23, 2.48, 112),
    "32gf": (20, 232, 115.89, 2.53, 232),
    "128gf": (27, 456, 160.83, 2.52, 264),
}
for _kind, _variants, _squeeze in (("x", X, 0.0), ("y", Y, 0.25)):
    for _size, _numbers in _variants.items():
        _fields: dict[str, Any] = dict(zip(("depth", "initial", "slope", "step", "group_width"), _numbers, strict=True))
        register(partial(RegNet, squeeze=_squeeze, **_fields), f"regnet_{_kind}_{_size}")
