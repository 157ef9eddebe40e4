"""Layers on graphs, dense and padded: `nodes` [b, n, f], `edges` [b, n, n], `mask` [b, n].

`edges[b, i, j]` is the weight of the edge from node j into node i, 0 for none; `mask` is 1 for nodes and 0 for padding,
into and from which no edge leads (`real_edges`). All of it is batched matrix products, of one shape, without a scatter:
for graphs of up to a few hundred nodes that is fast on every device, and nothing compiles twice. What layers give for
padding has no meaning; nothing else depends on it. Parameters bear the names of PyTorch Geometric (torch_geometric),
whose layers give the same numbers.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models.layers.dense import dense

READOUTS = ("sum", "mean", "max")
glorot = nn.initializers.glorot_uniform()


def plain(x: Array, name: str) -> Array:
    """No norm. (Layers take one when they are called; only GIN has a place for it.)"""
    del name
    return x


def real_edges(edges: Array, mask: Array, dtype: Any) -> Array:
    """The edges between nodes that are no padding, in a type to compute with."""
    return edges.astype(dtype) * (mask[:, :, None] * mask[:, None, :]).astype(dtype)


class GCNConv(nn.Module):
    """Graph convolution: Kipf, Welling 2017 (arXiv 1609.02907), equation 2: D^-1/2 (A + I) D^-1/2 X W + b.

    A node that has an edge into itself keeps its weight; others get one of weight 1. D: sums of weights that come in.
    A node whose sum is 0 (or below, with negative weights) gets nothing, as in PyTorch Geometric.
    """

    features: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, edges: Array, norm: Any = plain) -> Array:
        more = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = dense(x, self.features, use_bias=False, kernel_init=glorot, name="lin", **more)
        own = jnp.diagonal(edges, axis1=1, axis2=2)
        edges = edges + _on_diagonal(jnp.where(own == 0, 1, 0).astype(edges.dtype))
        degree = jnp.sum(edges, axis=2, dtype=jnp.float32)
        root = jnp.where(degree > 0, jax.lax.rsqrt(jnp.where(degree > 0, degree, 1.0)), 0.0).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        return root[..., None] * (edges @ (root[..., None] * x)) + bias.astype(x.dtype)[None, None]


class GINConv(nn.Module):
    """Graph isomorphism: Xu et al. 2019 (arXiv 1810.00826), equation 4.1: MLP((1 + eps) x + the sum over neighbours).

    The MLP has two layers of `features`, a ReLU between them, before it what `norm(x, name)` makes of x. Weights of
    edges weigh the sum; PyTorch Geometric's takes none.

    Fields:
      learn_eps: whether eps, which begins at 0, is learnt.
    """

    features: int
    learn_eps: bool = True
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, edges: Array, norm: Any = plain) -> Array:
        more = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        around = edges @ x
        if self.learn_eps:
            eps = self.param("eps", nn.initializers.zeros, (1,), self.param_dtype)
            x = x * (1 + eps.astype(x.dtype)[None, None])
        x = dense(x + around, self.features, name="nn.0", **more)
        x = nn.relu(norm(x, "nn.1"))
        return dense(x, self.features, name="nn.3", **more)


class GATConv(nn.Module):
    """Graph attention: Velickovic et al. 2018 (arXiv 1710.10903), equations 1 to 5, heads side by side.

    Attention of a node over those from which edges lead into it, and over itself: softmax of LeakyReLU(a_src of theirs
    + a_dst of its own), slope 0.2. Weights of edges count as 1, as in PyTorch Geometric without `edge_dim`. Scores and
    softmax are float32. Raises UserError where the heads don't divide the features.
    """

    features: int
    heads: int = 8
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, edges: Array, norm: Any = plain) -> Array:
        if self.features % self.heads:
            raise UserError(f"the width, {self.features}, must be a multiple of the heads, {self.heads}")
        more, each = {"dtype": self.dtype, "param_dtype": self.param_dtype}, self.features // self.heads
        x = dense(x, self.features, use_bias=False, kernel_init=glorot, name="lin", **more)
        x = x.reshape(*x.shape[:2], self.heads, each)
        vectors = [self.param(name, glorot, (1, self.heads, each), self.param_dtype) for name in ("att_src", "att_dst")]
        source, target = (jnp.sum(x.astype(jnp.float32) * vector[None], axis=-1) for vector in vectors)  # [b, n, heads]
        scores = nn.leaky_relu(target.swapaxes(1, 2)[..., None] + source.swapaxes(1, 2)[:, :, None], 0.2)
        linked = (edges != 0) | jnp.eye(edges.shape[1], dtype=bool)[None]
        weights = jax.nn.softmax(jnp.where(linked[:, None], scores, -jnp.inf), axis=-1).astype(x.dtype)
        y = jnp.einsum("bhij,bjhc->bihc", weights, x).reshape(*x.shape[:2], -1)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        return y + bias.astype(y.dtype)[None, None]


def read_out(x: Array, mask: Array, how: str) -> Array:
    """One row a graph of its nodes `[b, n, c]`: their sum, mean or greatest values (READOUTS), float32 `[b, c]`."""
    x, mask = x.astype(jnp.float32), mask[..., None].astype(jnp.float32)
    if how == "max":
        return jnp.max(jnp.where(mask > 0, x, -jnp.inf), axis=1)
    total = jnp.sum(x * mask, axis=1)
    return total if how == "sum" else total / jnp.maximum(jnp.sum(mask, axis=1), 1)


def _on_diagonal(values):
    """`[b, n]` as the diagonals of `[b, n, n]`."""
    return values[:, :, None] * jnp.eye(values.shape[1], dtype=values.dtype)[None]
