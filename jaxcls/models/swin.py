"""Swin transformers: Liu et al. 2021 (arXiv 2103.14030) and, version 2, Liu et al. 2021 (arXiv 2111.09883).

As in torchvision. Attention runs inside of square windows; every second block shifts them by half a window. Between
the stages squares of 2x2 places are merged. Version 2 normalises what a branch gives instead of what it gets,
compares queries and keys by their cosine, and computes the position bias with a small network from the distances.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.layers.transformer import SCORES
from jaxcls.models.layers.window import WindowAttention, log_offsets, position_index, resize_table
from jaxcls.models.registry import register

# The reference truncates at +-2, a hundred deviations out: a plain normal distribution.
_init = nn.initializers.normal(0.02)


class SwinBlock(nn.Module):
    """Window attention and a hidden layer of four times the width, each with a shortcut: `[b, h, w, c]` to the same."""

    attention: Any
    norm: Any
    dense: Any
    version: int
    drop: Any = lambda y: y  # stochastic depth of the residual branches

    @nn.compact
    def __call__(self, x: Array) -> Array:
        mlp = partial(layers.mlp, hidden=4 * x.shape[-1], dense=self.dense, names=("mlp.0", "mlp.3"))
        for norm, branch in (("norm1", self.attention(name="attn")), ("norm2", mlp)):
            norm = self.norm(name=norm)
            x = x + self.drop(branch(norm(x)) if self.version == 1 else norm(branch(x)))
        return x


class PatchMerging(nn.Module):
    """Squares of 2x2 places as one, a dense layer and a norm: `[b, h, w, c]` to `[b, h/2, w/2, 2c]`, rounded up."""

    norm: Any
    dense: Any
    version: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        b, h, w, c = x.shape
        x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
        x = x.reshape(b, (h + 1) // 2, 2, (w + 1) // 2, 2, c)
        x = x.transpose(0, 1, 3, 4, 2, 5).reshape(b, (h + 1) // 2, (w + 1) // 2, 4 * c)
        norm, reduction = self.norm(name="norm"), partial(self.dense, use_bias=False, name="reduction")
        return reduction(norm(x), 2 * c) if self.version == 1 else norm(reduction(x, 2 * c))


class Swin(Classifier):
    """Four stages of `depths` blocks, of `width` channels and doubling, at a 4th to a 32nd of the picture; mean, dense.

    Fields: `window_size`, in places: weights of version 1 for another window are resized; version 2 then wants
    `trained_window`, that of the weights (None: the same). `scores`: in what the scores of attention and their softmax
    are computed, "float32" or "computation" (`dtype`). `out`: `stem` is the 4x4 convolution with its LayerNorm,
    `stage4` ends with the last LayerNorm; all are `[b, h, w, c]`. Any picture of 4x4 or more. timm's names load for
    version 1 (the authors' files put the mergings at the end of a stage and not at the begin of the next, with the
    same names; timm's version 2 lacks the biases of the keys). Raises UserError for a smaller picture or window.
    """

    depths: tuple[int, ...]
    width: int
    heads: tuple[int, ...]
    window_size: int = 7
    version: int = 1
    trained_window: int | None = None
    scores: str = "float32"
    stochastic_depth: float = 0.0
    epsilon: ClassVar = 1e-5
    head: ClassVar = ("head",)
    unused: ClassVar = (r"\.(relative_position_index|relative_coords_table|attn_mask)$",)
    renames: ClassVar = (
        (r"^patch_embed\.proj\.", "features.0.0."),
        (r"^patch_embed\.norm\.", "features.0.2."),
        *((rf"^layers\.{i}\.downsample\.", f"features.{2 * i}.") for i in range(1, 4)),
        *((rf"^layers\.{i}\.blocks\.", f"features.{2 * i + 1}.") for i in range(4)),
        (r"\.mlp\.fc1\.", ".mlp.0."),
        (r"\.mlp\.fc2\.", ".mlp.3."),
        (r"^head\.fc\.", "head."),
    )
    resized: ClassVar = {r"\.relative_position_bias_table$": resize_table}

    def for_library(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """With torchvision's buffers: which pairs of places share a bias, and for version 2 how far apart they are."""
        window, trained = self.window_size, self.trained_window or self.window_size
        found = dict(state)
        for name in state:
            block, dot, leaf = name.rpartition("attn.")
            if leaf in ("relative_position_bias_table", "logit_scale"):
                found[f"{block}{dot}relative_position_index"] = position_index(window).reshape(-1)
            if leaf == "logit_scale":
                offsets = log_offsets(window, trained).reshape(1, 2 * window - 1, 2 * window - 1, 2)
                found[f"{block}{dot}relative_coords_table"] = offsets
        return found

    def __post_init__(self):
        layers.check_choice("scores", self.scores, SCORES)
        if min(self.window_size, self.trained_window or self.window_size) < 2:
            raise UserError("window_size and trained_window of a Swin transformer must be 2 or more")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        layers.check_size(images, 4, "Swin")
        inits: dict[str, Any] = {"kernel_init": _init, "bias_init": nn.initializers.zeros}
        dense = partial(layers.dense, **inits, **self.dtypes)
        norm = layers.layer_norm(epsilon=self.epsilon, **self.dtypes)
        block = self.rematerialised(SwinBlock)
        rates = iter(layers.rising(self.stochastic_depth, sum(self.depths)))
        embed = layers.conv(
            self.width,
            4,
            4,
            padding=0,
            use_bias=True,
            kernel_init=layers.torch_kernel,
            bias_init=layers.torch_uniform(16 * images.shape[-1]),
            name="features.0.0",
            **self.dtypes,
        )
        x = norm(name="features.0.2")(embed(images))
        out = {"stem": x}
        for i, (depth, heads) in enumerate(zip(self.depths, self.heads, strict=True)):
            if i:
                x = PatchMerging(norm, dense, self.version, name=f"features.{2 * i}")(x)
            for j in range(depth):
                shift = self.window_size // 2 if j % 2 else 0
                attention = partial(
                    WindowAttention,
                    heads,
                    self.window_size,
                    shift,
                    self.version,
                    self.trained_window or self.window_size,
                    dense,
                    self.dtypes,
                    self.scores,
                )
                x = block(
                    attention,
                    norm,
                    dense,
                    self.version,
                    drop=partial(layers.stochastic_depth, rate=next(rates), train=train),
                    name=f"features.{2 * i + 1}.{j}",
                )(x)
            out[f"stage{i + 1}"] = x
        out[f"stage{len(self.depths)}"] = x = norm(name="norm")(x)
        out["pre_logits"] = layers.global_mean(x)
        return self.classify(out["pre_logits"], "head", train=train, **inits), out


for _size, _depths, _width, _heads, _rate in (
    ("t", (2, 2, 6, 2), 96, (3, 6, 12, 24), 0.2),
    ("s", (2, 2, 18, 2), 96, (3, 6, 12, 24), 0.3),
    ("b", (2, 2, 18, 2), 128, (4, 8, 16, 32), 0.5),
):
    _fields: dict[str, Any] = {"depths": _depths, "width": _width, "heads": _heads, "stochastic_depth": _rate}
    register(partial(Swin, **_fields), f"swin_{_size}")
    register(partial(Swin, **_fields, version=2, window_size=8), f"swin_v2_{_size}")
