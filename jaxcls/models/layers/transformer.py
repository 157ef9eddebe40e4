"""Pieces of transformers. Token lists are `[b, tokens, c]`."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxcls.errors import UserError
from jaxcls.models.layers.conv import conv


def embed_patches(images: Array, features: int, patch: int, **fields: Any) -> Array:
    """One linear map of every patch: `[b, h, w, *]` to `[b, h / patch, w / patch, features]`; fields as for `conv`.

    Raises UserError for pictures that the patches do not fill.
    """
    height, width = images.shape[1:3]
    if height % patch or width % patch:
        raise UserError(
            f"height and width of the pictures must be multiples of {patch}, the size of a patch, not "
            f"{height}x{width}: crop or resize them"
        )
    return conv(features, patch, patch, padding=0, use_bias=True, **fields)(images)


def attend(qkv: Array, heads: int) -> tuple[Array, Array]:
    """Scaled dot-product attention: `[b, tokens, 3 * c]` (queries, keys and values side by side) to `[b, tokens, c]`.

    Also returns the weights, float32 `[b, heads, tokens, tokens]`: scores and softmax are computed in float32.
    """
    b, tokens, width = qkv.shape
    qkv = qkv.reshape(b, tokens, 3, heads, width // (3 * heads))
    q, k, v = (qkv[:, :, i] for i in range(3))
    q = q * q.shape[-1] ** -0.5
    scores = jnp.einsum("bqhc,bkhc->bhqk", q, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores, axis=-1)
    mixed = jnp.einsum("bhqk,bkhc->bqhc", weights.astype(v.dtype), v)
    return mixed.reshape(b, tokens, width // 3), weights


def mlp(x: Array, hidden: int, dense: Any, *, names: tuple[str, str], drop: Any = lambda y: y) -> Array:
    """Dense, exact GELU, dense back to the width of `x`; dropout after both. `dense(x, features, name=...)`."""
    y = drop(jax.nn.gelu(dense(x, hidden, name=names[0]), approximate=False))
    return drop(dense(y, x.shape[-1], name=names[1]))
