"""EVA-02 and DINOv3: Fang et al. 2023 (arXiv 2303.11331, section 2) and Simeoni et al. 2025 (2508.10104), as in timm.

Vision transformers whose queries and keys are turned by their places (layers/rotary.py). EVA-02's MLP has a gate
(SwiGLU) and, in the larger nets, a LayerNorm inside; DINOv3 has registers, a scale of each branch and no table of
positions. Keys have no bias in either.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Dtypes, Outputs
from jaxcls.models.layers import rotary
from jaxcls.models.layers.transformer import SCORES
from jaxcls.models.registry import register

_init = nn.initializers.normal(0.02)
POOLS = ("token", "mean")  # what is classified: the class token, or the mean of the patches
MLPS = ("plain", "gated", "gated_norm")


class Attention(nn.Module):
    """Self-attention with turned queries and keys: `[b, tokens, c]` to the same, and the weights.

    `turn`: the function that turns them, of `[b, heads, tokens, c / heads]`. `bias`: whether queries and values have
    one. `split`: three dense layers in place of one. `dense` is a function like `layers.dense` with an initialiser and
    dtypes filled in; `out_init`: the last layer's initialiser.
    """

    heads: int
    bias: bool
    split: bool
    turn: Any
    scores: str
    dense: Any
    out_init: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        c = x.shape[-1]
        if self.split:
            biased = {"q_proj": self.bias, "k_proj": False, "v_proj": self.bias}
            parts = [self.dense(x, c, name=name, use_bias=bias) for name, bias in biased.items()]
            q, k, v = (y.reshape(*y.shape[:2], self.heads, -1).swapaxes(1, 2) for y in parts)
        else:
            y = self.dense(x, 3 * c, name="qkv", use_bias=False)
            q, k, v = layers.heads_first(y + self._bias(c).astype(y.dtype) if self.bias else y, self.heads)
        y, weights = layers.attend_heads(self.turn(q), self.turn(k), v, self.scores)
        return self.dense(y, c, name="proj", kernel_init=self.out_init), weights

    def _bias(self, c):
        q, v = (self.param(name, nn.initializers.zeros, (c,), self.param_dtype) for name in ("q_bias", "v_bias"))
        return jnp.concatenate([q, jnp.zeros_like(q), v])


class EvaBlock(nn.Module):
    """Attention, then an MLP of a kind in MLPS, each after a LayerNorm and beside a shortcut. `[b, tokens, c]` to the
    same; also returns the weights of the attention, or None without `return_attention`."""

    hidden: int
    mlp: str
    layer_scale: float
    norm: Any
    dense: Any
    attention: Any
    out_init: Any
    param_dtype: Any
    drop: Any = lambda y: y  # dropout
    branch_drop: Any = lambda y: y  # stochastic depth
    return_attention: bool = False

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array | None]:
        attention = self.attention(dense=self.dense, out_init=self.out_init, name="attn")
        y, weights = attention(self.norm(name="norm1")(x))
        x = x + self.branch_drop(self._scaled(self.drop(y), "gamma_1"))
        y = self._hidden(self.norm(name="norm2")(x))
        y = self.drop(self.dense(y, x.shape[-1], name="mlp.fc2", kernel_init=self.out_init))
        return x + self.branch_drop(self._scaled(y, "gamma_2")), weights if self.return_attention else None

    def _hidden(self, x):
        """The MLP without its last layer."""
        if self.mlp == "plain":
            return self.drop(layers.gelu(self.dense(x, self.hidden, name="mlp.fc1")))
        if self.mlp == "gated":
            gate, y = jnp.split(self.dense(x, 2 * self.hidden, name="mlp.fc1"), 2, axis=-1)
            return self.drop(nn.silu(gate) * y)
        gate, y = (self.dense(x, self.hidden, name=name) for name in ("mlp.fc1_g", "mlp.fc1_x"))
        return self.norm(name="mlp.norm")(self.drop(nn.silu(gate) * y))

    def _scaled(self, y, name):
        if not self.layer_scale:
            return y
        init = nn.initializers.constant(self.layer_scale)
        return y * self.param(name, init, y.shape[-1:], self.param_dtype).astype(y.dtype)


class Eva(Classifier):
    """A vision transformer with rotary positions, for pictures of any size that the patch divides (UserError else).

    Fields:
      block_dropout, stochastic_depth, scores, return_attention, registers, layer_scale: as `vit.ViT`.
      hidden: of the MLP. mlp: one of MLPS. qkv_bias, split_qkv: of the attention.
      trained: the side of the grid of patches to which places are stretched (EVA-02); 0: places on [-1, 1] (DINOv3).
      table: whether there is a table of positions, too, with rows for all tokens, resized as a ViT's.
      pool: one of POOLS. norm_last: the last LayerNorm comes after pooling, not before.

    `out`: as `vit.ViT`; the last stage is after the last LayerNorm only where that comes before pooling.
    """

    patch: int
    width: int
    depth: int
    heads: int
    hidden: int
    mlp: str = "plain"
    qkv_bias: bool = True
    split_qkv: bool = False
    trained: int = 0
    table: bool = False
    registers: int = 0
    layer_scale: float = 0.0
    pool: str = "mean"
    norm_last: bool = False
    scores: str = "float32"
    block_dropout: float = 0.0
    stochastic_depth: float = 0.0
    return_attention: bool = False
    epsilon: float = 1e-6
    head: ClassVar = ("head",)

    def __post_init__(self):
        for field, options in (("scores", SCORES), ("pool", POOLS), ("mlp", MLPS)):
            layers.check_choice(field, getattr(self, field), options)
        layers.check_positive("epsilon", self.epsilon)
        if self.width % (4 * self.heads):
            raise UserError(f"width {self.width} must be a multiple of four times the number of heads, {self.heads}")
        super().__post_init__()

    @property
    def prefix_tokens(self) -> int:
        """How many tokens come before the patches."""
        return 1 + self.registers

    @property
    def resized(self) -> dict[str, Callable]:
        return {r"^pos_embed$": partial(layers.loaded_table, extra=self.prefix_tokens)}

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        drop = partial(layers.dropout, rate=self.block_dropout, train=train)
        norm = layers.layer_norm(epsilon=self.epsilon, **self.dtypes)
        rates = layers.rising(self.stochastic_depth, self.depth)
        tokens, turn = self._embed(images)
        x = drop(tokens)
        out: dict[str, Any] = {"stem": x}
        attention = []
        for stage in range(4):
            for i in range(self.depth * stage // 4, self.depth * (stage + 1) // 4):
                branch_drop = partial(layers.stochastic_depth, rate=rates[i], train=train)
                x, weights = self._block(i, turn, norm, drop, branch_drop)(x)
                attention.append(weights)
            out[f"stage{stage + 1}"] = x
        if self.return_attention:
            out["attention"] = attention
        if not self.norm_last:
            out["stage4"] = x = norm(name="norm")(x)
        mean = partial(jnp.mean, axis=1, dtype=jnp.float32)
        x = x[:, 0].astype(jnp.float32) if self.pool == "token" else mean(x[:, self.prefix_tokens :])
        if self.norm_last:
            dtypes = Dtypes(dtype=jnp.float32, param_dtype=self.param_dtype)
            x = layers.layer_norm(epsilon=self.epsilon, **dtypes)(name="fc_norm")(x)
        out["pre_logits"] = x
        zeros = nn.initializers.zeros
        return self.classify(x, "head", train=train, kernel_init=nn.initializers.normal(2e-5), bias_init=zeros), out

    def _block(self, i, turn, norm, drop, branch_drop):
        """Block number i, with timm's smaller weights in its last layers."""
        out_init = nn.initializers.normal(0.02 / np.sqrt(2 * (i + 1)))
        attention = partial(
            Attention,
            self.heads,
            self.qkv_bias,
            self.split_qkv,
            turn,
            self.scores,
            param_dtype=self.param_dtype,
        )
        dense = partial(layers.dense, kernel_init=_init, bias_init=nn.initializers.zeros, **self.dtypes)
        return self.rematerialised(EvaBlock)(
            self.hidden,
            self.mlp,
            self.layer_scale,
            norm,
            dense,
            attention,
            out_init,
            self.param_dtype,
            drop=drop,
            branch_drop=branch_drop,
            return_attention=self.return_attention,
            name=f"blocks.{i}",
        )

    def _embed(self, images):
        """Tokens `[b, prefix + patches, c]`, and the function that turns those of the patches."""
        patches = layers.embed_patches(images, self.width, self.patch, name="patch_embed.proj", **self.dtypes)
        grid, patches = patches.shape[1:3], patches.reshape(patches.shape[0], -1, self.width)
        named = {"cls_token": 1, "reg_token": self.registers}
        tokens = [self.param(key, _init, (1, n, self.width), self.param_dtype) for key, n in named.items() if n]
        x = layers.with_prefix(tokens, patches)
        if self.table:
            if self.has_variable("params", "pos_embed"):  # its shape may be that of another size of picture
                table = self.get_variable("params", "pos_embed")
            else:
                table = self.param("pos_embed", _init, (1, *x.shape[1:]), self.param_dtype)
            x = x + layers.table_for(table, tuple(grid), extra=self.prefix_tokens).astype(x.dtype)
        features = self.width // self.heads
        if self.trained:
            angles, layout = rotary.index_angles(tuple(grid), features, (self.trained, self.trained)), "pairs"
        else:
            angles, layout = rotary.centred_angles(tuple(grid), features), "halves"
        return x, partial(rotary.rotate, angles=angles, layout=layout, prefix=self.prefix_tokens)


_EVA02: dict[str, Any] = {"patch": 14, "mlp": "gated", "trained": 16, "table": True, "norm_last": True}
_DINOV3: dict[str, Any] = {"patch": 16, "qkv_bias": False, "registers": 4, "layer_scale": 1e-5, "epsilon": 1e-5}
for _size, _width, _heads in (("tiny", 192, 3), ("small", 384, 6), ("base", 768, 12)):
    _fields: dict[str, Any] = {"width": _width, "depth": 12, "heads": _heads}
    _split: dict[str, Any] = {"split_qkv": True, "mlp": "gated_norm"} if _size == "base" else {}
    register(partial(Eva, **_fields, **{**_EVA02, **_split}, hidden=_width * 8 // 3), f"eva02_{_size}_patch14_224")
    if _size != "tiny":
        _name = f"vit_{_size}_patch16_dinov3"
        register(partial(Eva, **_fields, **_DINOV3, hidden=4 * _width), _name)
        register(partial(Eva, **_fields, **{**_DINOV3, "qkv_bias": True}, hidden=4 * _width), f"{_name}_qkvb")
