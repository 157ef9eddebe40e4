"""MLP-Mixer: Tolstikhin et al. 2021 (arXiv 2105.01601), section 2 and table 1, with timm's names and initialisation.

Each patch of the picture becomes a token by one linear map; each block mixes the tokens of every channel by one MLP,
then the channels of every token by another.
"""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.base import Classifier, Outputs
from jaxcls.models.registry import register


class MixerBlock(nn.Module):
    """An MLP over the tokens, one over the channels, each after a LayerNorm and beside a shortcut: `[b, tokens, c]`.

    `dense` is a function like `layers.dense` with initialisers and dtypes filled in.
    """

    token_hidden: int
    channel_hidden: int
    norm: Any
    dense: Any
    drop: Any = lambda y: y  # dropout
    branch_drop: Any = lambda y: y  # stochastic depth

    @nn.compact
    def __call__(self, x: Array) -> Array:
        mlp = partial(layers.mlp, dense=self.dense, drop=self.drop)
        y = self.norm(name="norm1")(x).swapaxes(1, 2)
        y = mlp(y, self.token_hidden, names=("mlp_tokens.fc1", "mlp_tokens.fc2")).swapaxes(1, 2)
        x = x + self.branch_drop(y)
        y = self.norm(name="norm2")(x)
        return x + self.branch_drop(mlp(y, self.channel_hidden, names=("mlp_channels.fc1", "mlp_channels.fc2")))


class Mixer(Classifier):
    """A mixer of `depth` blocks for pictures of one size, the one that it is initialised with: a multiple of the patch.

    Fields:
      dropout: before the classifier. block_dropout: after both layers of every MLP.
      stochastic_depth: of the last block, rising linearly from 0 as in the paper (timm has the same rate everywhere).

    `out`: `stem` is the tokens, `stage1` to `stage4` cut the depth in four, the last one after the final LayerNorm; all
    `[b, tokens, c]`. Raises UserError for another size of picture and for one that is no multiple of the patch.
    """

    patch: int
    width: int
    depth: int
    block_dropout: float = 0.0
    stochastic_depth: float = 0.0
    epsilon: ClassVar = 1e-6
    head: ClassVar = ("head",)

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        x = self._embed(images)
        norm = layers.layer_norm(epsilon=self.epsilon, **self.dtypes)
        dense = partial(
            layers.dense,
            kernel_init=nn.initializers.xavier_uniform(),
            bias_init=nn.initializers.normal(1e-6),
            **self.dtypes,
        )
        block = partial(
            self.rematerialised(MixerBlock),
            self.width // 2,
            4 * self.width,
            norm,
            dense,
            drop=partial(layers.dropout, rate=self.block_dropout, train=train),
        )
        rates = layers.rising(self.stochastic_depth, self.depth)
        out = {"stem": x}
        for stage in range(4):
            for i in range(self.depth * stage // 4, self.depth * (stage + 1) // 4):
                branch_drop = partial(layers.stochastic_depth, rate=rates[i], train=train)
                x = block(branch_drop=branch_drop, name=f"blocks.{i}")(x)
            out[f"stage{stage + 1}"] = x
        out["stage4"] = x = norm(name="norm")(x)
        out["pre_logits"] = jnp.mean(x, axis=1, dtype=jnp.float32)
        zeros = nn.initializers.zeros
        return self.classify(out["pre_logits"], "head", train=train, kernel_init=zeros, bias_init=zeros), out

    def _embed(self, images):
        """`[b, patches, c]`."""
        patches = layers.embed_patches(
            images, self.width, self.patch, kernel_init=nn.initializers.lecun_normal(), name="stem.proj", **self.dtypes
        )
        x = patches.reshape(images.shape[0], -1, self.width)
        if not self.is_initializing() and self.depth:
            tokens = self.variables["params"]["blocks.0"]["mlp_tokens.fc1"]["kernel"].shape[0]
            if x.shape[1] != tokens:
                raise UserError(
                    f"this Mixer was initialised with pictures of {tokens} patches, not {x.shape[1]}: "
                    "resize them to that size"
                )
        return x


for _size, _width, _depth in (("s", 512, 8), ("b", 768, 12), ("l", 1024, 24)):
    for _patch in (16, 32):
        register(partial(Mixer, patch=_patch, width=_width, depth=_depth), f"mixer_{_size}{_patch}_224")
