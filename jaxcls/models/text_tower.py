"""The text half of two towers: CLIP, Radford et al. 2021 (arXiv 2103.00020, section 2.4), and SigLIP, Zhai et al. 2023
(2303.15343).

Tokens and their positions go through the blocks of a transformer (models/vit_block.py); one token's answer is projected
to the size that pictures are projected to. CLIP's tokens see none after them, and its end of text answers; SigLIP's see
each other, and the last one answers. Names of parameters are open_clip's.
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
from jaxcls.models.vit_block import ACTIVATIONS, Block, packed_dense
from jaxcls.models.vit_names import TORCHVISION

POOLS = ("end", "last")  # whose answer it is: the largest token number's, which ends a text, or the last one's
HEAD = 64  # channels of a head of attention, in all published towers

SIGLIP = {"causal": False, "pool": "last", "epsilon": 1e-6}  # fields of its towers
_NAMES = TORCHVISION._replace(
    block="transformer.resblocks.{}",
    norm1="ln_1",
    qkv="attn",
    proj="attn.out_proj",
    norm2="ln_2",
    fc1="mlp.c_fc",
    fc2="mlp.c_proj",
)


class TextTower(Classifier):
    """Rows of tokens, int32 `[b, context]` with zeros behind the end, to float32 `[b, num_classes]`, not normalised.

    Fields:
      num_classes: size of the projection. vocabulary: of the tokens. context: tokens of a row, for all rows.
      width, depth, heads: of the transformer. activation: "gelu" or "quick_gelu" (OpenAI's weights want it).
      causal: a token sees none after it. pool: one of POOLS. bias: of the projection.

    `out`: `pre_logits`, what is projected; `tokens`, all of them after the last norm.
    Raises UserError for rows of another length.
    """

    num_classes: int = 512
    vocabulary: int = 49408
    context: int = 77
    width: int = 512
    depth: int = 12
    heads: int = 8
    activation: str = "gelu"
    causal: bool = True
    pool: str = "end"
    bias: bool = False
    epsilon: float = 1e-5
    head: ClassVar = ("text_projection",)

    def __post_init__(self):
        layers.check_choice("activation", self.activation, ACTIVATIONS)
        layers.check_choice("pool", self.pool, POOLS)
        if self.width % self.heads:
            raise UserError(f"width {self.width} must be a multiple of the number of heads, {self.heads}")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Outputs:
        """`images` are tokens: the name is that of all models."""
        tokens, normal = images, nn.initializers.normal
        if tokens.ndim != 2 or tokens.shape[1] != self.context:
            raise UserError(f"a row of text has {self.context} tokens here, and these are {tokens.shape}")
        x = nn.Embed(self.vocabulary, self.width, embedding_init=normal(0.02), name="token_embedding", **self.dtypes)(
            tokens
        )
        shape = (self.context, self.width)
        x = x + self.param("positional_embedding", normal(0.01), shape, self.param_dtype)[None].astype(x.dtype)
        block = self.rematerialised(Block)
        for i in range(self.depth):
            x, _ = block(**self._block(), name=_NAMES.block.format(i))(x)
        x = layers.layer_norm(epsilon=self.epsilon, **self.dtypes)(name="ln_final")(x)
        place = jnp.argmax(tokens, axis=1) if self.pool == "end" else jnp.full(len(tokens), self.context - 1)
        out = {"tokens": x, "pre_logits": x[jnp.arange(len(x)), place].astype(jnp.float32)}
        if not self.num_classes:
            return out["pre_logits"], out
        project = nn.Dense(
            self.num_classes,
            use_bias=self.bias,
            kernel_init=normal(self.width**-0.5),
            dtype=jnp.float32,
            param_dtype=self.param_dtype,
            name="text_projection",
        )
        return project(out["pre_logits"]), out

    def _block(self) -> dict[str, Any]:
        """The fields of a block; initialised as the authors do."""
        zeros, normal = nn.initializers.zeros, nn.initializers.normal
        make = partial(layers.dense, bias_init=zeros, **self.dtypes)
        deep = self.width**-0.5 * (2 * self.depth) ** -0.5
        packed = partial(packed_dense, kernel_init=normal(self.width**-0.5), bias_init=zeros, **self.dtypes)

        def mlp(x, features, **fields):
            init = normal((2 * self.width) ** -0.5 if features > self.width else deep)
            return make(x, features, kernel_init=init, **fields)

        return {
            "heads": self.heads,
            "hidden": 4 * self.width,
            "names": _NAMES,
            "scores": "float32",
            "norm": layers.layer_norm(epsilon=self.epsilon, **self.dtypes),
            "qkv": packed,
            "proj": partial(make, kernel_init=normal(deep)),
            "mlp": mlp,
            "activation": self.activation,
            "param_dtype": self.param_dtype,
            "causal": self.causal,
        }


def of_tensors(tensors: Mapping[str, np.ndarray], **fields: Any) -> TextTower:
    """The tower that has tensors of these names and shapes (those of open_clip); other fields as given.

    Raises UserError where they are of none.
    """
    try:
        vocabulary, width = tensors["token_embedding.weight"].shape
        context = tensors["positional_embedding"].shape[0]
        features = tensors["text_projection.weight"].shape[0]
    except KeyError as error:
        raise UserError(f"there is no text tower among the weights: {error.args[0]} is missing") from error
    depth = 1 + max((int(key.split(".")[2]) for key in tensors if key.startswith("transformer.resblocks.")), default=-1)
    if not depth or width % min(HEAD, width):
        raise UserError(f"the text tower of these weights has {depth} blocks of width {width}: none that is known")
    sizes = {"vocabulary": vocabulary, "context": context, "width": width, "depth": depth, "num_classes": features}
    return TextTower(**{**sizes, "heads": max(1, width // HEAD), "bias": "text_projection.bias" in tensors, **fields})
