"""The block of a vision transformer, and the pooling by attention that some end with."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models import layers
from jaxcls.models.vit_names import Spelling

ACTIVATIONS = {"gelu": layers.gelu, "quick_gelu": layers.quick_gelu}


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
    like `layers.dense` with initialisers and dtypes filled in. `layer_scale`: what each channel of both branches is
    multiplied by at first (Touvron et al. 2021, arXiv 2103.17239, section 2); 0: nothing.
    """

    heads: int
    hidden: int
    names: Spelling
    scores: str
    norm: Any
    qkv: Any
    proj: Any
    mlp: Any
    activation: str = "gelu"
    layer_scale: float = 0.0
    param_dtype: Any = jnp.float32
    drop: Any = lambda y: y  # dropout
    branch_drop: Any = lambda y: y  # stochastic depth
    return_attention: bool = False
    causal: bool = False  # a token sees none after it

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array | None]:
        names, width = self.names, x.shape[-1]
        y = self.qkv(self.norm(name=names.norm1)(x), 3 * width, name=names.qkv)
        y, weights = layers.attend(y, self.heads, self.scores, causal=self.causal)
        y = self.drop(self.proj(y, width, name=names.proj))
        x = x + self.branch_drop(self._scaled(y, names.scale1))
        y = self.norm(name=names.norm2)(x)
        activation = ACTIVATIONS[self.activation]
        y = layers.mlp(y, self.hidden, self.mlp, names=(names.fc1, names.fc2), drop=self.drop, activation=activation)
        return x + self.branch_drop(self._scaled(y, names.scale2)), weights if self.return_attention else None

    def _scaled(self, y, name):
        if not self.layer_scale:
            return y
        init = nn.initializers.constant(self.layer_scale)
        return y * self.param(name, init, y.shape[-1:], self.param_dtype).astype(y.dtype)


class AttentionPool(nn.Module):
    """One learned query attends to all tokens, `[b, tokens, c]` to `[b, c]`; an MLP with a shortcut follows.

    The head of Zhai et al. 2021 (arXiv 2106.04560, appendix on multihead attention pooling), as SigLIP has it and timm
    names it. `dense` and `norm` as in `Block`.
    """

    heads: int
    hidden: int
    dense: Any
    norm: Any
    scores: str = "float32"
    activation: str = "gelu"
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        b, tokens, c = x.shape
        latent = self.param("latent", nn.initializers.normal(c**-0.5), (1, 1, c), self.param_dtype)
        query = self.dense(latent.astype(x.dtype), c, name="q")
        keys_values = self.dense(x, 2 * c, name="kv")
        k, v = (y.reshape(b, tokens, self.heads, -1).swapaxes(1, 2) for y in jnp.split(keys_values, 2, axis=-1))
        query = jnp.broadcast_to(query, (b, 1, c)).reshape(b, 1, self.heads, -1).swapaxes(1, 2)
        x, _ = layers.attend_heads(query, k, v, self.scores)
        x = self.dense(x, c, name="proj")
        y = self.norm(name="norm")(x)
        activation = ACTIVATIONS[self.activation]
        return (x + layers.mlp(y, self.hidden, self.dense, names=("mlp.fc1", "mlp.fc2"), activation=activation))[:, 0]
