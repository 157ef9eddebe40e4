"""MaxViT: Tu et al. 2022, "MaxViT: Multi-Axis Vision Transformer" (arXiv 2204.01697), section 3, with timm's names.

Each block is an inverted residual with squeeze and excitation, attention within windows of neighbours, and attention
within a grid: places as far apart as the window has cells, so that each reaches all of the picture.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.layers.transformer import SCORES
from jaxcls.models.layers.window import resize_table, spread
from jaxcls.models.registry import register

zeros = nn.initializers.zeros
gelu = partial(jax.nn.gelu, approximate=True)  # as the authors have it, and the published weights


def fan_out_normal(size: int, features: int) -> nn.initializers.Initializer:
    """EfficientNet's: normal with a variance of 2 over the kernel's places times the features of a group."""
    return nn.initializers.normal(math.sqrt(2 / (size * size * features)))


class MBConv(nn.Module):
    """BatchNorm, 1x1 expansion, depthwise 3x3, squeeze and excitation, 1x1: `[b, h, w, c]` to `features` channels.

    With stride 2 the shortcut is the mean of 2x2 places, and a 1x1 convolution where the channels change. `conv` and
    `norm` are constructors with padding and dtypes filled in.
    """

    features: int
    stride: int
    conv: Any
    norm: Any
    drop: Any = lambda y: y  # stochastic depth

    @nn.compact
    def __call__(self, x: Array) -> Array:
        inside, shortcut = layers.make_divisible(4 * self.features), x
        point = lambda c, **fields: self.conv(c, 1, kernel_init=fan_out_normal(1, c), **fields)  # noqa: E731
        if self.stride == 2:
            shortcut = layers.avg_pool(x, 2)
            if x.shape[-1] != self.features:
                shortcut = point(self.features, use_bias=True, name="shortcut.expand")(shortcut)
        x = self.norm(name="pre_norm")(x)
        x = gelu(self.norm(name="norm1")(point(inside, name="conv1_1x1")(x)))
        depthwise = partial(self.conv, groups=inside, kernel_init=fan_out_normal(3, 1))
        x = gelu(self.norm(name="norm2")(depthwise(inside, 3, self.stride, name="conv2_kxk")(x)))
        squeeze = partial(self.conv, kernel_init=layers.kaiming_normal)
        x = layers.SqueezeExcite(self.features // 4, squeeze, nn.silu, name="se")(x)
        return self.drop(point(self.features, use_bias=True, name="conv3_1x1")(x)) + shortcut


class PartitionAttention(nn.Module):
    """Attention among the places of a part of the map `[b, h, w, c]`, then an MLP, each beside a shortcut.

    `grid`: the places of a part lie `h / window` rows and `w / window` columns apart; else they are neighbours.
    """

    window: int
    heads: int
    grid: bool
    scores: str
    norm: Any
    dense: Any
    param_dtype: Any
    drop: Any = lambda y: y  # stochastic depth

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = x + self.drop(self._attend(self.norm(name="norm1")(x)))
        y = self.norm(name="norm2")(x)
        dense = partial(self.dense, bias_init=nn.initializers.normal(1e-6))
        return x + self.drop(layers.mlp(y, 4 * x.shape[-1], dense, names=("mlp.fc1", "mlp.fc2"), activation=gelu))

    def _attend(self, x):
        (b, h, w, c), n = x.shape, self.window
        cut = (b, n, h // n, n, w // n, c) if self.grid else (b, h // n, n, w // n, n, c)
        order = (0, 2, 4, 1, 3, 5) if self.grid else (0, 1, 3, 2, 4, 5)
        parts = x.reshape(cut).transpose(order)
        qkv = self.dense(parts.reshape(-1, n * n, c), 3 * c, name="attn.qkv")
        y, _ = layers.attend_heads(*layers.heads_first(qkv, self.heads), self.scores, self._bias())
        y = self.dense(y, c, name="attn.proj").reshape(parts.shape)
        return y.transpose(np.argsort(order)).reshape(x.shape)

    def _bias(self):
        """`[heads, places, places]`, float32; the table's offsets are key minus query."""
        shape = (self.heads, 2 * self.window - 1, 2 * self.window - 1)
        name = "attn.rel_pos.relative_position_bias_table"
        table = self.param(name, nn.initializers.normal(0.02), shape, self.param_dtype)
        flat = table.astype(jnp.float32).reshape(self.heads, -1).T
        return spread(flat, self.window).swapaxes(1, 2)


class Block(nn.Module):
    """`MBConv`, attention within windows, attention within a grid."""

    conv: Any
    partition: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = self.conv(name="conv")(x)
        x = self.partition(grid=False, name="attn_block")(x)
        return self.partition(grid=True, name="attn_grid")(x)


def resized_table(value: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A table of position biases `[heads, 2 window - 1, 2 window - 1]` for another window."""
    flat = np.moveaxis(value.reshape(len(value), -1), 0, 1)
    return np.moveaxis(resize_table(flat, (shape[1] * shape[2], shape[0])), 1, 0).reshape(shape)


class MaxViT(Classifier):
    """Stages of `stage_sizes` blocks and `widths` channels at a 4th, 8th, .. of the picture; mean, LayerNorm, a dense
    layer of `hidden` features with tanh, dense.

    Fields: head_features: of a head of attention. window: places along a side of a part; sides of pictures are
    multiples of it times the stride of the last stage (UserError for others). padding: "same", as the published weights
    want it, or "torch". epsilon: of BatchNorm. scores: as `vit.ViT`.

    `out`: `stem` is the two convolutions; `pre_logits` follows the tanh.
    """

    stage_sizes: tuple[int, ...]
    widths: tuple[int, ...]
    stem_width: int = 64
    head_features: int = 32
    window: int = 7
    hidden: int = 512
    stochastic_depth: float = 0.0
    scores: str = "float32"
    padding: str = "same"
    epsilon: float = 1e-3
    head: ClassVar = ("head.fc",)

    def __post_init__(self):
        layers.check_choice("scores", self.scores, SCORES)
        layers.check_choice("padding", self.padding, layers.PADDINGS)
        layers.check_positive("epsilon", self.epsilon)
        layers.check_positive("window", self.window)
        super().__post_init__()

    @property
    def resized(self) -> dict[str, Callable]:
        return {r"relative_position_bias_table$": resized_table}

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        self._check_size(images)
        conv = partial(layers.conv, padding=self.padding, **self.dtypes)
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, epsilon=self.epsilon, **self.dtypes)
        stem = lambda name, stride: conv(  # noqa: E731
            self.stem_width, 3, stride, use_bias=True, kernel_init=fan_out_normal(3, self.stem_width), name=name
        )
        x = gelu(norm(name="stem.norm1")(stem("stem.conv1", 2)(images)))
        x = stem("stem.conv2", 1)(x)
        out = {"stem": x}
        rates = iter(layers.rising(self.stochastic_depth, sum(self.stage_sizes)))
        for i, (size, width) in enumerate(zip(self.stage_sizes, self.widths, strict=True)):
            for j in range(size):
                drop = partial(layers.stochastic_depth, rate=next(rates), train=train)
                stride = 1 if j else 2
                mbconv = partial(MBConv, width, stride, conv, norm, drop=drop)
                block = self.rematerialised(Block)(mbconv, self._partition(width, drop), name=f"stages.{i}.blocks.{j}")
                x = block(x)
            out[f"stage{i + 1}"] = x
        x = layers.global_mean(x)
        last_norm = layers.layer_norm(epsilon=1e-5, dtype=jnp.float32, param_dtype=self.param_dtype)
        dense = partial(layers.dense, dtype=jnp.float32, param_dtype=self.param_dtype)
        x = jnp.tanh(dense(last_norm(name="head.norm")(x), self.hidden, name="head.pre_logits.fc"))
        out["pre_logits"] = x
        return self.classify(x, "head.fc", train=train), out

    def _partition(self, width, drop):
        """The constructor of both kinds of attention of a stage."""
        if width % self.head_features:
            raise UserError(f"widths {self.widths} must be multiples of the features of a head, {self.head_features}")
        dense = partial(layers.dense, kernel_init=nn.initializers.xavier_uniform(), **self.dtypes)
        return partial(
            PartitionAttention,
            self.window,
            width // self.head_features,
            scores=self.scores,
            norm=layers.layer_norm(epsilon=1e-5, **self.dtypes),
            dense=partial(dense, bias_init=zeros),
            param_dtype=self.param_dtype,
            drop=drop,
        )

    def _check_size(self, images):
        multiple = self.window * 2 ** (1 + len(self.stage_sizes))
        height, width = images.shape[1:3]
        if height % multiple or width % multiple:
            raise UserError(
                f"height and width of the pictures must be multiples of {multiple} (window {self.window}), not "
                f"{height}x{width}: crop or resize them, or set another window"
            )


register(partial(MaxViT, stage_sizes=(2, 2, 5, 2), widths=(64, 128, 256, 512)), "maxvit_tiny_tf_224")
