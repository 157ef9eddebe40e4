"""Blocks of timm's mobile nets, by its notation and with its names (`_efficientnet_blocks.py`, release 1.0.31).

A row such as "ir_r2_k3_s2_e6_c24_se0.25" is a kind and what it has: `r` blocks, of which the first has the stride `s`;
`k`, the kernel; `e`, how many times wider the blocks are inside; `c` features; `se`, the share of squeeze and
excitation; `a`, the kernel before the expansion; "nre": with ReLU; "skip": the input is added.
"""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers


class Row(NamedTuple):
    """Blocks of one shape; the module says what stands for what."""

    kind: str
    repeats: int = 1
    kernel: int = 3
    stride: int = 1
    expansion: float = 1.0
    features: int = 0
    squeeze: float = 0.0
    start: int = 0
    relu: bool = False
    skip: bool = False


_FIELDS = {"r": "repeats", "k": "kernel", "s": "stride", "e": "expansion", "c": "features", "se": "squeeze",
           "a": "start"}  # fmt: skip


def parse(text: str) -> Row:
    """A row from timm's notation. Raises UserError for what is none."""
    kind, *options = text.split("_") if isinstance(text, str) else ("",)
    found: dict[str, Any] = {"kind": kind}
    for option in options:
        if option in ("nre", "skip"):
            found["relu" if option == "nre" else "skip"] = True
        elif (match := re.fullmatch(r"(se|[rkseca])(\d+(?:\.\d+)?)", option)) is not None:
            name = _FIELDS[match[1]]
            fraction = name in ("expansion", "squeeze")
            found[name] = float(match[2]) if fraction else int(match[2]) if match[2].isdigit() else -1
        else:
            found["kind"] = ""
    row = Row(**found)
    strides = row.stride == 1 or (row.stride == 2 and (row.kind != "uir" or row.kernel > 0 or row.start > 0))
    sizes = min(row.repeats, row.features) >= 1 and row.kernel >= (row.kind != "uir") and row.start >= 0
    if row.kind not in KINDS or not strides or not sizes or row.expansion <= 0:
        raise UserError(f"rows: {text!r} is no row of blocks, as 'ir_r2_k3_s2_e6_c24' is one")
    return row


class _Block(nn.Module):
    """What all kinds have: `[b, h, w, *]` to `[b, h/stride, w/stride, features]`.

    `expanded`: features inside; `squeezed`: those inside the attention, 0 for none, with `squeeze_act` and `gate`.
    """

    row: Row
    features: int
    stride: int
    expanded: int
    conv: Any
    norm: Any
    act: Callable = nn.relu
    squeezed: int = 0
    squeeze_act: Callable = nn.relu
    gate: Callable = nn.sigmoid
    drop: Any = lambda y: y  # stochastic depth of the residual branch

    def depthwise(self, y: Array, kernel: int, stride: int, name: str) -> Array:
        """Its initialisation is Google's: by what one group puts out."""
        init = nn.initializers.normal(math.sqrt(2) / kernel)
        return self.conv(y.shape[-1], kernel, stride, groups=y.shape[-1], kernel_init=init, name=name)(y)

    def attend(self, y: Array) -> Array:
        if not self.squeezed:
            return y
        names = ("conv_reduce", "conv_expand")
        return layers.SqueezeExcite(self.squeezed, self.conv, self.squeeze_act, self.gate, names=names, name="se")(y)

    def add(self, x: Array, y: Array) -> Array:
        return x + self.drop(y) if self.stride == 1 and x.shape[-1] == y.shape[-1] else y


class Plain(_Block):
    """The kind "cn": a convolution, norm and activation."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = self.conv(self.features, self.row.kernel, self.stride, name="conv")(x)
        y = self.act(self.norm(name="bn1")(y))
        return self.add(x, y) if self.row.skip else y


class Separable(_Block):
    """The kind "ds": a depthwise convolution, attention, a 1x1 projection without an activation."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = self.act(self.norm(name="bn1")(self.depthwise(x, self.row.kernel, self.stride, "conv_dw")))
        return self.add(x, self.norm(name="bn2")(self.conv(self.features, 1, name="conv_pw")(self.attend(y))))


class Inverted(_Block):
    """The kind "ir": a 1x1 expansion, a depthwise convolution, attention, a 1x1 projection without an activation."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = self.act(self.norm(name="bn1")(self.conv(self.expanded, 1, name="conv_pw")(x)))
        y = self.act(self.norm(name="bn2")(self.depthwise(y, self.row.kernel, self.stride, "conv_dw")))
        return self.add(x, self.norm(name="bn3")(self.conv(self.features, 1, name="conv_pwl")(self.attend(y))))


class Edge(_Block):
    """The kind "er": a full convolution that expands, attention, a 1x1 projection without an activation."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = self.conv(self.expanded, self.row.kernel, self.stride, name="conv_exp")(x)
        y = self.attend(self.act(self.norm(name="bn1")(y)))
        return self.add(x, self.norm(name="bn2")(self.conv(self.features, 1, name="conv_pwl")(y)))


class Universal(_Block):
    """The kind "uir", MobileNetV4's: a depthwise convolution without an activation (where `start`), a 1x1 expansion, a
    depthwise convolution (where `kernel`), a 1x1 projection without an activation. The last of the depthwise ones
    strides.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y, kernel = x, self.row.kernel
        if self.row.start:
            stride = 1 if kernel else self.stride
            y = self.norm(name="dw_start.bn")(self.depthwise(y, self.row.start, stride, "dw_start.conv"))
        y = self.act(self.norm(name="pw_exp.bn")(self.conv(self.expanded, 1, name="pw_exp.conv")(y)))
        if kernel:
            y = self.act(self.norm(name="dw_mid.bn")(self.depthwise(y, kernel, self.stride, "dw_mid.conv")))
        return self.add(x, self.norm(name="pw_proj.bn")(self.conv(self.features, 1, name="pw_proj.conv")(y)))


KINDS = {"cn": Plain, "ds": Separable, "ir": Inverted, "er": Edge, "uir": Universal}
