"""Mobile nets with timm's names: MobileNetV2, V3, EfficientNet, EfficientNetV2 (papers: see the nets of torchvision).

The same nets as `mobilenet_v2`, `mobilenet_v3_large`, `efficientnet_b0` and so on, which bear torchvision's names and
read timm's weights, too; and timm's other widths and depths. `tf_` stands for weights trained in TensorFlow, whose
convolutions pad by the picture's size (`padding="same"`) and whose BatchNorm has 1e-3 as epsilon.
"""

import math
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models import layers, timm_blocks
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.efficientnet import SCALES
from jaxcls.models.registry import register

ACTS = {"relu": nn.relu, "relu6": nn.relu6, "silu": nn.silu, "hard_swish": nn.hard_swish}
SQUEEZES = ("input", "expanded")
TAILS = ("map", "mean", "mean_norm")


class TimmMobile(Classifier, kw_only=True):
    """A 3x3 convolution, stages of blocks, a 1x1 convolution, mean, dense.

    Fields:
      rows: of each stage, in timm's notation (`timm_blocks`). `width_mult` multiplies all widths, rounded to multiples
        of 8, `depth_mult` the blocks of a row, rounded up.
      first, last: widths of the first and of the last convolution, this one multiplied by 1 at least; with `fixed_ends`
        neither these nor the depths of the first and last stage are multiplied.
      act: one of ACTS. squeeze: the attention is a share of a block's "input" (EfficientNet's), or of the "expanded"
        features, rounded to multiples of 8, with ReLU and a hard sigmoid (MobileNetV3's).
      tail: the last convolution sees the "map", with a norm, or the "mean", with a bias (MobileNetV3), or with a norm
        (MobileNetV4: "mean_norm").
      epsilon of BatchNorm; padding, "torch" or "same" (`layers.conv`).
      stochastic_depth: block i of n is dropped with i/n of that rate.

    `out`: a stage begins where the picture is halved, `stem` is what stage1 sees. With `num_classes=0` a last
    convolution of the mean is left away, too. Raises UserError for values that can't be.
    """

    rows: tuple[tuple[str, ...], ...]
    width_mult: float = 1.0
    depth_mult: float = 1.0
    first: int = 32
    last: int = 1280
    fixed_ends: bool = False
    act: str = "silu"
    squeeze: str = "input"
    tail: str = "map"
    epsilon: float = 1e-5
    padding: str = "torch"
    dropout: float = 0.2
    stochastic_depth: float = 0.0
    head: ClassVar = ("classifier",)

    def __post_init__(self):
        for field in ("width_mult", "depth_mult", "epsilon", "first", "last"):
            layers.check_positive(field, getattr(self, field))
        for field, options in (("act", ACTS), ("squeeze", SQUEEZES), ("tail", TAILS), ("padding", layers.PADDINGS)):
            layers.check_choice(field, getattr(self, field), options)
        for row in (row for stage in self.rows for row in stage):
            timm_blocks.parse(row)
        super().__post_init__()

    @property
    def unused(self) -> tuple[str, ...]:
        """The hidden layer behind the mean, without a classifier."""
        return () if self.tail == "map" else (r"^(conv|norm)_head\.",)

    def scaled(self, features: int) -> int:
        return layers.make_divisible(features * self.width_mult)

    @property
    def blocks(self) -> list[tuple[str, timm_blocks.Row, int]]:
        """(name, row, stride) of each block."""
        found = []
        for s, stage in enumerate(self.rows):
            ends = self.fixed_ends and s in (0, len(self.rows) - 1)
            rows = [timm_blocks.parse(row) for row in stage]
            deep = [row for row in rows for _ in range(math.ceil(row.repeats * (1.0 if ends else self.depth_mult)))]
            found += [(f"blocks.{s}.{i}", row, 1 if i else row.stride) for i, row in enumerate(deep)]
        return found

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        conv = partial(layers.conv, padding=self.padding, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, epsilon=self.epsilon, **self.dtypes)
        act, blocks = ACTS[self.act], self.blocks
        first, last = self.first, self.last
        if not self.fixed_ends:
            first, last = self.scaled(first), layers.make_divisible(last * max(1.0, self.width_mult))
        x = act(norm(name="bn1")(conv(first, 3, 2, name="conv_stem")(images)))
        out, part = {}, "stem"
        for n, (name, row, stride) in enumerate(blocks):
            if stride == 2:
                out[part] = x
                part = f"stage{len(out)}"
            rate = self.stochastic_depth * n / len(blocks)
            drop = partial(layers.stochastic_depth, rate=rate, train=train)
            x = self.block(row, stride, x.shape[-1])(conv=conv, norm=norm, drop=drop, name=name)(x)
        if self.tail == "map":
            x = act(norm(name="bn2")(conv(last, 1, name="conv_head")(x)))
        out[part] = x
        out["pre_logits"] = layers.global_mean(x)
        if self.num_classes and self.tail != "map":
            out["pre_logits"] = self.hidden(out["pre_logits"].astype(x.dtype), conv, norm)
        logits = self.classify(
            out["pre_logits"],
            "classifier",
            train=train,
            bias_init=nn.initializers.zeros,
            kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform"),
        )
        return logits, out

    def block(self, row: timm_blocks.Row, stride: int, width: int) -> partial:
        """The constructor of a block whose input is `width` channels wide."""
        expanded = layers.make_divisible(width * row.expansion) if row.kind not in ("cn", "ds") else width
        fields: dict[str, Any] = {}
        if self.squeeze == "input":
            fields = {"squeezed": round(expanded * row.squeeze / row.expansion), "squeeze_act": nn.silu}
        elif row.squeeze:
            fields = {"squeezed": layers.make_divisible(expanded * row.squeeze), "gate": nn.hard_sigmoid}
        return partial(
            self.rematerialised(timm_blocks.KINDS[row.kind]),
            row,
            self.scaled(row.features),
            stride,
            expanded,
            act=nn.relu if row.relu else ACTS[self.act],
            **fields,
        )

    def hidden(self, mean: Array, conv: Any, norm: Any) -> Array:
        """The last convolution on the mean, `[b, c]` to `[b, last]`. It is not multiplied."""
        biased = self.tail == "mean"
        y = conv(self.last, 1, use_bias=biased, name="conv_head")(mean[:, None, None])
        y = y if biased else norm(name="norm_head")(y)
        return ACTS[self.act](y)[:, 0, 0].astype(jnp.float32)


MOBILENET_V2 = (("ds_r1_k3_s1_c16",), ("ir_r2_k3_s2_e6_c24",), ("ir_r3_k3_s2_e6_c32",), ("ir_r4_k3_s2_e6_c64",),
                ("ir_r3_k3_s1_e6_c96",), ("ir_r3_k3_s2_e6_c160",), ("ir_r1_k3_s1_e6_c320",))  # fmt: skip
MOBILENET_V3_LARGE = (
    ("ds_r1_k3_s1_e1_c16_nre",),
    ("ir_r1_k3_s2_e4_c24_nre", "ir_r1_k3_s1_e3_c24_nre"),
    ("ir_r3_k5_s2_e3_c40_se0.25_nre",),
    ("ir_r1_k3_s2_e6_c80", "ir_r1_k3_s1_e2.5_c80", "ir_r2_k3_s1_e2.3_c80"),
    ("ir_r2_k3_s1_e6_c112_se0.25",),
    ("ir_r3_k5_s2_e6_c160_se0.25",),
    ("cn_r1_k1_s1_c960",),
)
MOBILENET_V3_SMALL = (
    ("ds_r1_k3_s2_e1_c16_se0.25_nre",),
    ("ir_r1_k3_s2_e4.5_c24_nre", "ir_r1_k3_s1_e3.67_c24_nre"),
    ("ir_r1_k5_s2_e4_c40_se0.25", "ir_r2_k5_s1_e6_c40_se0.25"),
    ("ir_r2_k5_s1_e3_c48_se0.25",),
    ("ir_r3_k5_s2_e6_c96_se0.25",),
    ("cn_r1_k1_s1_c576",),
)
EFFICIENTNET = (("ds_r1_k3_s1_e1_c16_se0.25",), ("ir_r2_k3_s2_e6_c24_se0.25",), ("ir_r2_k5_s2_e6_c40_se0.25",),
                ("ir_r3_k3_s2_e6_c80_se0.25",), ("ir_r3_k5_s1_e6_c112_se0.25",), ("ir_r4_k5_s2_e6_c192_se0.25",),
                ("ir_r1_k3_s1_e6_c320_se0.25",))  # fmt: skip
EFFICIENTNET_V2 = {
    "s": (("cn_r2_k3_s1_e1_c24_skip",), ("er_r4_k3_s2_e4_c48",), ("er_r4_k3_s2_e4_c64",),
          ("ir_r6_k3_s2_e4_c128_se0.25",), ("ir_r9_k3_s1_e6_c160_se0.25",), ("ir_r15_k3_s2_e6_c256_se0.25",)),
    "m": (("cn_r3_k3_s1_e1_c24_skip",), ("er_r5_k3_s2_e4_c48",), ("er_r5_k3_s2_e4_c80",),
          ("ir_r7_k3_s2_e4_c160_se0.25",), ("ir_r14_k3_s1_e6_c176_se0.25",), ("ir_r18_k3_s2_e6_c304_se0.25",),
          ("ir_r5_k3_s1_e6_c512_se0.25",)),
}  # fmt: skip
_TENSORFLOW: dict[str, Any] = {"padding": "same", "epsilon": 1e-3}

for _name, _width, _depth, _fixed in (
    ("050", 0.5, 1.0, False),
    ("100", 1.0, 1.0, False),
    ("110d", 1.1, 1.2, True),
    ("120d", 1.2, 1.4, True),
    ("140", 1.4, 1.0, False),
):
    _fields: dict[str, Any] = {"width_mult": _width, "depth_mult": _depth, "fixed_ends": _fixed, "act": "relu6"}
    register(partial(TimmMobile, rows=MOBILENET_V2, **_fields), f"mobilenetv2_{_name}")
for _name, _rows, _last in (("large", MOBILENET_V3_LARGE, 1280), ("small", MOBILENET_V3_SMALL, 1024)):
    _fields = {"act": "hard_swish", "squeeze": "expanded", "tail": "mean", "first": 16, "last": _last, **_TENSORFLOW}
    register(partial(TimmMobile, rows=_rows, **_fields), f"tf_mobilenetv3_{_name}_100")
for _n, (_width, _depth, _dropout) in enumerate(SCALES[:5]):
    _fields = {"width_mult": _width, "depth_mult": _depth, "dropout": _dropout, "stochastic_depth": 0.2, **_TENSORFLOW}
    register(partial(TimmMobile, rows=EFFICIENTNET, **_fields), f"tf_efficientnet_b{_n}")
for _name, _dropout in (("s", 0.2), ("m", 0.3)):
    _fields = {"first": 24, "dropout": _dropout, "stochastic_depth": 0.2, **_TENSORFLOW}
    register(partial(TimmMobile, rows=EFFICIENTNET_V2[_name], **_fields), f"tf_efficientnetv2_{_name}")
