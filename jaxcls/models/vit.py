"""Vision transformers: Dosovitskiy et al. 2020 (arXiv 2010.11929), section 3.1; DeiT: Touvron et al. 2020 (2012.12877).

Each patch of the picture becomes a token by one linear map; a class token joins them, a position embedding is added,
and after blocks of attention and a two-layer MLP the class token is classified. DeiT trains the same nets; its
distilled ones have a second token with a classifier of its own (section 4).

Two libraries publish such nets under different names of parameters: `vit_b_16` and its like are torchvision's,
`vit_base_patch16_224` and its like timm's. Apart from names and initialisation they are the same.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.layers.transformer import SCORES
from jaxcls.models.registry import register
from jaxcls.models.vit_names import SPELLINGS, Spelling, renames


class PackedDense(nn.Module):
    """A dense layer whose parameters have the names and layout of those in PyTorch's MultiheadAttention."""

    features: int
    kernel_init: Any
    bias_init: Any
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.features, x.shape[-1])
        weight = self.param("in_proj_weight", self.kernel_init, shape, self.param_dtype)
        bias = self.param("in_proj_bias", self.bias_init, shape[:1], self.param_dtype)
        x, weight, bias = nn.dtypes.promote_dtype(x, weight, bias, dtype=self.dtype)
        return layers.matmul(x, weight.T) + jnp.expand_dims(bias, range(x.ndim - 1))


def packed_dense(x: Array, features: int, **fields: Any) -> Array:
    """`PackedDense` with the signature of `layers.dense`."""
    return PackedDense(features, **fields)(x)


class Block(nn.Module):
    """Attention, then an MLP, each after a LayerNorm and beside a shortcut. `[b, tokens, c]` to the same.

    Also returns the weights of the attention, or None without `return_attention`. `qkv`, `proj` and `mlp` are functions
    like `layers.dense` with initialisers and dtypes filled in.
    """

    heads: int
    hidden: int
    names: Spelling
    scores: str
    norm: Any
    qkv: Any
    proj: Any
    mlp: Any
    drop: Any = lambda y: y  # dropout
    branch_drop: Any = lambda y: y  # stochastic depth
    return_attention: bool = False

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array | None]:
        names, width = self.names, x.shape[-1]
        y = self.qkv(self.norm(name=names.norm1)(x), 3 * width, name=names.qkv)
        y, weights = layers.attend(y, self.heads, self.scores)
        x = x + self.branch_drop(self.drop(self.proj(y, width, name=names.proj)))
        y = self.norm(name=names.norm2)(x)
        y = layers.mlp(y, self.hidden, self.mlp, names=(names.fc1, names.fc2), drop=self.drop)
        return x + self.branch_drop(y), weights if self.return_attention else None


class ViT(Classifier):
    """A vision transformer for pictures of any size that the patch divides (UserError for others).

    The position embedding belongs to the size of picture that the model is initialised with; for others it is resized
    on the way, so a model can be trained at 160x160 and evaluated at 224x224 (`layers.table_for` has the limits).

    Fields:
      dropout: before the classifier. block_dropout: after the embedding, the attention and both layers of the MLP
        (torchvision's `dropout`; timm's `pos_drop_rate` and `proj_drop_rate`).
      distilled: a second token, whose classifier's logits are averaged with the first one's, in training as in
        evaluation; `out` then also has each: `class_logits` and `distillation_logits`.
      scores: in what the scores of attention and their softmax are computed, "float32" or "computation", the type of
        the computation (`dtype`).
      spelling: whose names the parameters bear, "torchvision" or "timm".
      return_attention: `out["attention"]` is then the list of every block's weights, `[b, heads, tokens, tokens]`.

    `out`: `stem` is the tokens with their positions, `stage1` to `stage4` cut the depth in four, the last one after the
    final LayerNorm; all `[b, tokens, c]`. `pre_logits` is the class token (distilled: the mean of both).
    """

    patch: int
    width: int
    depth: int
    heads: int
    distilled: bool = False
    scores: str = "float32"
    spelling: str = "timm"
    block_dropout: float = 0.0
    stochastic_depth: float = 0.0
    return_attention: bool = False
    epsilon: ClassVar = 1e-6

    def __post_init__(self):
        layers.check_choice("spelling", self.spelling, SPELLINGS)
        layers.check_choice("scores", self.scores, SCORES)
        if self.width % self.heads:
            raise UserError(f"width {self.width} must be a multiple of the number of heads, {self.heads}")
        super().__post_init__()

    @property
    def names(self) -> Spelling:
        return SPELLINGS[self.spelling]

    @property
    def head(self) -> tuple[str, ...]:
        return (self.names.head, self.names.dist_head) if self.distilled else (self.names.head,)

    @property
    def renames(self) -> tuple[tuple[str, str], ...]:
        other = next(name for name in SPELLINGS if name != self.spelling)
        old = ((r"\.mlp\.linear_1\.", ".mlp.0."), (r"\.mlp\.linear_2\.", ".mlp.3."))  # torchvision's published files
        return (*old, *renames(SPELLINGS[other], self.names))

    @property
    def resized(self) -> dict[str, Callable]:
        return {rf"^{re.escape(self.names.position)}$": partial(layers.loaded_table, extra=1 + self.distilled)}

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        drop = partial(layers.dropout, rate=self.block_dropout, train=train)
        block = partial(
            self.rematerialised(Block),
            self.heads,
            4 * self.width,
            self.names,
            self.scores,
            drop=drop,
            return_attention=self.return_attention,
            **self._layers(),
        )
        rates = layers.rising(self.stochastic_depth, self.depth)
        x = drop(self._embed(images))
        out: dict[str, Any] = {"stem": x}
        attention = []
        for stage in range(4):
            for i in range(self.depth * stage // 4, self.depth * (stage + 1) // 4):
                branch_drop = partial(layers.stochastic_depth, rate=rates[i], train=train)
                x, weights = block(branch_drop=branch_drop, name=self.names.block.format(i))(x)
                attention.append(weights)
            out[f"stage{stage + 1}"] = x
        if self.return_attention:
            out["attention"] = attention
        out["stage4"] = x = layers.layer_norm(epsilon=self.epsilon, **self.dtypes)(name=self.names.norm)(x)
        return self._classify(x, out, train)

    def _layers(self) -> dict[str, partial]:
        """The constructors that blocks receive."""
        names = self.names
        dense = {"qkv": packed_dense if names.packed else layers.dense, "proj": layers.dense, "mlp": layers.dense}
        inits = {"qkv": names.qkv_init, "proj": names.proj_init, "mlp": names.mlp_init}
        constructors: dict[str, partial] = {"norm": layers.layer_norm(epsilon=self.epsilon, **self.dtypes)}
        for part, (kernel, bias) in inits.items():
            constructors[part] = partial(dense[part], kernel_init=kernel, bias_init=bias, **self.dtypes)
        return constructors

    def _embed(self, images):
        """Tokens `[b, extra + patches, c]` with their positions."""
        kernel_init, bias_init = self.names.patches_init
        bias_init = bias_init or layers.torch_uniform(self.patch**2 * images.shape[-1])
        patches = layers.embed_patches(
            images,
            self.width,
            self.patch,
            kernel_init=kernel_init,
            bias_init=bias_init,
            name=self.names.patches,
            **self.dtypes,
        )
        b, *grid, _ = patches.shape
        tokens = [self.param(self.names.class_token, self.names.token_init, (1, 1, self.width), self.param_dtype)]
        if self.distilled:
            init = nn.initializers.normal(0.02)
            tokens.append(self.param(self.names.dist_token, init, (1, 1, self.width), self.param_dtype))
        tokens = [jnp.broadcast_to(token.astype(patches.dtype), (b, 1, self.width)) for token in tokens]
        x = jnp.concatenate([*tokens, patches.reshape(b, -1, self.width)], axis=1)
        if self.has_variable("params", self.names.position):  # its shape may be that of another size of picture
            table = self.get_variable("params", self.names.position)
        else:
            table = self.param(self.names.position, nn.initializers.normal(0.02), (1, *x.shape[1:]), self.param_dtype)
        return x + layers.table_for(table, tuple(grid), extra=len(tokens)).astype(x.dtype)

    def _classify(self, x, out, train):
        """(logits, out) from the last tokens."""
        kernel_init, bias_init = self.names.head_init
        classify = partial(self.classify, train=train, kernel_init=kernel_init, bias_init=bias_init)
        x = x.astype(jnp.float32)
        if not self.distilled:
            out["pre_logits"] = x[:, 0]
            return classify(x[:, 0], self.names.head), out
        out["pre_logits"] = (x[:, 0] + x[:, 1]) / 2
        out["class_logits"] = classify(x[:, 0], self.names.head)
        out["distillation_logits"] = classify(x[:, 1], self.names.dist_head)
        return (out["class_logits"] + out["distillation_logits"]) / 2, out


SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}


def _register(name: str, size: str, patch: int, **fields):
    width, depth, heads = SIZES[size]
    register(partial(ViT, patch=patch, width=width, depth=depth, heads=heads, **fields), name)


for _size in ("base", "large"):
    for _patch in (16, 32):
        _register(f"vit_{_size[0]}_{_patch}", _size, _patch, spelling="torchvision")
for _size in SIZES:
    _register(f"vit_{_size}_patch16_224", _size, 16)
for _size in ("small", "base"):
    _register(f"vit_{_size}_patch32_224", _size, 32)
for _size in ("tiny", "small", "base"):
    _register(f"deit_{_size}_patch16_224", _size, 16)
    _register(f"deit_{_size}_distilled_patch16_224", _size, 16, distilled=True)
