"""Vision transformers: Dosovitskiy et al. 2020 (arXiv 2010.11929), section 3.1; DeiT: Touvron et al. 2020 (2012.12877).

Each patch of the picture becomes a token by one linear map; a class token joins them, a position embedding is added,
and after blocks of attention and a two-layer MLP the class token is classified. DeiT trains the same nets; its
distilled ones have a second token with a classifier of its own (section 4). DINOv2 (Oquab et al. 2023, 2304.07193)
scales its branches, and has registers, tokens that are read by no one (Darcet et al. 2023, 2309.16588); CLIP (Radford
et al. 2021, 2103.00020) has a LayerNorm before the blocks; SigLIP (Zhai et al. 2023, 2303.15343) has no class token
and pools by attention: models/vit_variants.py.

Two libraries publish such nets under different names of parameters: `vit_b_16` and its like are torchvision's,
`vit_base_patch16_224` and its like timm's. Apart from names and initialisation they are the same.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.layers.transformer import SCORES
from jaxcls.models.registry import register
from jaxcls.models.vit_block import ACTIVATIONS, AttentionPool, Block, packed_dense
from jaxcls.models.vit_names import SPELLINGS, Spelling, renames

POOLS = ("token", "mean", "map")  # what is classified: the class token, the patches' mean, what attention makes of them


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
      class_token: whether there is one. registers: tokens between it and the patches. embed_prefix: whether the table
        of positions has rows for these tokens, too.
      layer_scale, activation ("gelu" or "quick_gelu"): of the blocks. pre_norm: a LayerNorm before the blocks, and no
        bias in the embedding of patches. pool: one of POOLS.

    `out`: `stem` is the tokens with their positions, `stage1` to `stage4` cut the depth in four, the last one after the
    final LayerNorm; all `[b, tokens, c]`. `pre_logits` is what is pooled (distilled: the mean of both tokens).
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
    class_token: bool = True
    registers: int = 0
    embed_prefix: bool = True
    layer_scale: float = 0.0
    activation: str = "gelu"
    pre_norm: bool = False
    pool: str = "token"
    epsilon: float = 1e-6

    def __post_init__(self):
        layers.check_choice("spelling", self.spelling, SPELLINGS)
        layers.check_choice("scores", self.scores, SCORES)
        layers.check_choice("activation", self.activation, ACTIVATIONS)
        layers.check_choice("pool", self.pool, POOLS)
        layers.check_positive("epsilon", self.epsilon)
        if not self.class_token and (self.pool == "token" or self.distilled):
            raise UserError("class_token=False leaves no token to classify: set pool='mean' or 'map', distilled=False")
        if self.distilled and self.pool != "token":
            raise UserError(f"distilled=True classifies its two tokens: set pool='token', not {self.pool!r}")
        if self.width % self.heads:
            raise UserError(f"width {self.width} must be a multiple of the number of heads, {self.heads}")
        super().__post_init__()

    @property
    def names(self) -> Spelling:
        return SPELLINGS[self.spelling]

    @property
    def prefix_tokens(self) -> int:
        """How many tokens come before the patches."""
        return self.class_token + self.distilled + self.registers

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
        return {rf"^{re.escape(self.names.position)}$": partial(layers.loaded_table, extra=self._table_prefix)}

    @property
    def _table_prefix(self):
        return self.prefix_tokens if self.embed_prefix else 0

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        drop = partial(layers.dropout, rate=self.block_dropout, train=train)
        block = partial(
            self.rematerialised(Block),
            self.heads,
            4 * self.width,
            self.names,
            self.scores,
            activation=self.activation,
            layer_scale=self.layer_scale,
            param_dtype=self.param_dtype,
            drop=drop,
            return_attention=self.return_attention,
            **self._layers(),
        )
        rates = layers.rising(self.stochastic_depth, self.depth)
        x = drop(self._embed(images))
        if self.pre_norm:
            x = layers.layer_norm(epsilon=self.epsilon, **self.dtypes)(name="norm_pre")(x)
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
            use_bias=not self.pre_norm,
            name=self.names.patches,
            **self.dtypes,
        )
        grid, patches = patches.shape[1:3], patches.reshape(patches.shape[0], -1, self.width)
        tokens = self._prefix()
        if not self.embed_prefix:
            return layers.with_prefix(tokens, self._positioned(patches, grid))
        return self._positioned(layers.with_prefix(tokens, patches), grid)

    def _prefix(self):
        """The tokens before the patches, `[1, n, c]` each."""
        names, normal = self.names, nn.initializers.normal
        token = lambda name, init, n=1: self.param(name, init, (1, n, self.width), self.param_dtype)  # noqa: E731
        tokens = [token(names.class_token, names.token_init)] if self.class_token else []
        tokens += [token(names.dist_token, normal(0.02))] if self.distilled else []
        return tokens + ([token("reg_token", normal(1e-6), self.registers)] if self.registers else [])

    def _positioned(self, x, grid):
        """Tokens with their positions added."""
        if self.has_variable("params", self.names.position):  # its shape may be that of another size of picture
            table = self.get_variable("params", self.names.position)
        else:
            table = self.param(self.names.position, nn.initializers.normal(0.02), (1, *x.shape[1:]), self.param_dtype)
        return x + layers.table_for(table, tuple(grid), extra=self._table_prefix).astype(x.dtype)

    def _pooled(self, x):
        """`[b, c]` float32 of the last tokens."""
        if self.pool == "map":
            dense = partial(layers.dense, kernel_init=nn.initializers.normal(0.02), bias_init=nn.initializers.zeros)
            norm = layers.layer_norm(epsilon=self.epsilon, **self.dtypes)
            pool = AttentionPool(
                self.heads,
                4 * self.width,
                partial(dense, **self.dtypes),
                norm,
                self.scores,
                self.activation,
                self.param_dtype,
                name="attn_pool",
            )
            return pool(x[:, self.prefix_tokens :]).astype(jnp.float32)
        return (
            x[:, 0].astype(jnp.float32)
            if self.pool == "token"
            else jnp.mean(x[:, self.prefix_tokens :], axis=1, dtype=jnp.float32)
        )

    def _classify(self, x, out, train):
        """(logits, out) from the last tokens."""
        kernel_init, bias_init = self.names.head_init
        classify = partial(self.classify, train=train, kernel_init=kernel_init, bias_init=bias_init)
        if not self.distilled:
            out["pre_logits"] = self._pooled(x)
            return classify(out["pre_logits"], self.names.head), out
        x = x.astype(jnp.float32)
        out["pre_logits"] = (x[:, 0] + x[:, 1]) / 2
        out["class_logits"] = classify(x[:, 0], self.names.head)
        out["distillation_logits"] = classify(x[:, 1], self.names.dist_head)
        return (out["class_logits"] + out["distillation_logits"]) / 2, out


SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}


def register_size(name: str, size: str, patch: int, **fields: Any) -> None:
    """Registers a ViT of one of SIZES, with other fields than the defaults."""
    width, depth, heads = SIZES[size]
    register(partial(ViT, patch=patch, width=width, depth=depth, heads=heads, **fields), name)


for _size in ("base", "large"):
    for _patch in (16, 32):
        register_size(f"vit_{_size[0]}_{_patch}", _size, _patch, spelling="torchvision")
for _size in SIZES:
    register_size(f"vit_{_size}_patch16_224", _size, 16)
for _size in ("small", "base"):
    register_size(f"vit_{_size}_patch32_224", _size, 32)
for _size in ("tiny", "small", "base"):
    register_size(f"deit_{_size}_patch16_224", _size, 16)
    register_size(f"deit_{_size}_distilled_patch16_224", _size, 16, distilled=True)
