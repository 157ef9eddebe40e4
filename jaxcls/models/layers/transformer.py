"""Pieces of transformers. Token lists are `[b, tokens, c]`."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models.layers.conv import conv
from jaxcls.models.layers.gelu import gelu
from jaxcls.models.layers.softmax import softmax

SCORES = ("float32", "computation")  # in what the scores of attention and their softmax are computed


def embed_patches(images: Array, features: int, patch: int, *, use_bias: bool = True, **fields: Any) -> Array:
    """One linear map of every patch: `[b, h, w, *]` to `[b, h / patch, w / patch, features]`; fields as for `conv`.

    Raises UserError for pictures that the patches do not fill.
    """
    height, width = images.shape[1:3]
    if height % patch or width % patch:
        raise UserError(
            f"height and width of the pictures must be multiples of {patch}, the size of a patch, not "
            f"{height}x{width}: crop or resize them"
        )
    return conv(features, patch, patch, padding=0, use_bias=use_bias, **fields)(images)


def attend(qkv: Array, heads: int, scores: str = "float32", *, causal: bool = False) -> tuple[Array, Array]:
    """Scaled dot-product attention: `[b, tokens, 3 * c]` (queries, keys and values side by side) to `[b, tokens, c]`.

    Also returns the weights, `[b, heads, tokens, tokens]`. They, the scores and the softmax are float32, or with
    `scores="computation"` of the type of `qkv` (sums of the softmax are float32 in either case). `causal`: a token sees
    itself and those before it.
    """
    q, k, v = heads_first(qkv, heads)
    return attend_heads(q, k, v, scores, _causal(q.shape[2]) if causal else None)


def _causal(tokens):
    """What is added to scores, `[1, n, n]`: a large negative number (no infinity: 16-bit types have it) ahead."""
    ahead = jnp.triu(jnp.ones((tokens, tokens), bool), 1)
    return jnp.where(ahead, -1e4, 0.0)[None]


def attend_heads(
    q: Array, k: Array, v: Array, scores: str = "float32", bias: Array | None = None
) -> tuple[Array, Array]:
    """As `attend`, of queries `[b, heads, n, c / heads]` and keys and values `[b, heads, tokens, c / heads]`: to
    `[b, n, c]`, and the weights `[b, heads, n, tokens]`. `bias`, `[heads, n, tokens]`, is added to the scores."""
    q = q * q.shape[-1] ** -0.5
    products = jnp.einsum("bhqc,bhkc->bhqk", q, k, preferred_element_type=scores_dtype(scores, q))
    weights = softmax(products if bias is None else products + bias[None].astype(products.dtype))
    return heads_last(jnp.einsum("bhqk,bhkc->bhqc", weights.astype(v.dtype), v)), weights


def with_prefix(tokens: list[Array], patches: Array) -> Array:
    """Tokens that are no patches (class, registers), `[1, n, c]` each, before the patches `[b, patches, c]`."""
    b, _, c = patches.shape
    spread = [jnp.broadcast_to(token.astype(patches.dtype), (b, token.shape[1], c)) for token in tokens]
    return jnp.concatenate([*spread, patches], axis=1) if spread else patches


def scores_dtype(scores: str, queries: Array) -> Any:
    """The type of the scores of attention, by one of `SCORES`."""
    return jnp.float32 if scores == "float32" else queries.dtype


def heads_first(qkv: Array, heads: int) -> tuple[Array, ...]:
    """Queries, keys and values, `[b, heads, tokens, c / heads]` each, of `[b, tokens, 3 * c]`.

    The products of attention are batched over heads; with tokens first every one of them begins with a copy. Split
    before: the gradient of a split is one concatenation, that of an index a sum of padded arrays.
    """
    return tuple(y.reshape(*y.shape[:2], heads, -1).swapaxes(1, 2) for y in jnp.split(qkv, 3, axis=-1))


def heads_last(x: Array) -> Array:
    """`[b, heads, tokens, c / heads]` to `[b, tokens, c]`."""
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def mlp(
    x: Array, hidden: int, dense: Any, *, names: tuple[str, str], drop: Any = lambda y: y, activation: Any = gelu
) -> Array:
    """Dense, exact GELU, dense back to the width of `x`; dropout after both. `dense(x, features, name=...)`."""
    y = drop(activation(dense(x, hidden, name=names[0])))
    return drop(dense(y, x.shape[-1], name=names[1]))
