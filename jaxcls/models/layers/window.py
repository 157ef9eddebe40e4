"""Self-attention within shifted windows, with a bias for the relative position: both versions of Swin transformers.

Liu et al. 2021 (arXiv 2103.14030, section 3.2) and Liu et al. 2021 (arXiv 2111.09883, sections 3.2 and 3.3). Index
tables and masks are computed with NumPy while the model is traced: constants of the compiled program.
"""

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax

from jaxcls.models.layers.dense import matmul
from jaxcls.models.layers.softmax import softmax
from jaxcls.models.layers.transformer import heads_first, heads_last, scores_dtype

# The reference truncates at +-2, a hundred deviations out: a plain normal distribution.
_init = nn.initializers.normal(0.02)


@lru_cache
def position_index(window: int) -> np.ndarray:
    """For each pair of places of a window, the row of the bias table: int `[window**2, window**2]`.

    The row is that of the pair's offset, query minus key, among the (2 window - 1)**2 possible ones.
    """
    y, x = np.divmod(np.arange(window**2), window)
    down, right = (np.subtract.outer(place, place) + window - 1 for place in (y, x))
    return down * (2 * window - 1) + right


@lru_cache
def log_offsets(window: int, trained: int) -> np.ndarray:
    """The offsets in the order of the bias table, on a logarithmic scale: float32 `[(2 window - 1)**2, 2]`.

    Section 3.3 of version 2's paper: the largest offset of the window that was `trained` on is 8 before the logarithm
    (to base 8 of one plus the offset).
    """
    offset = np.arange(1 - window, window) * 8 / (trained - 1)
    offset = np.sign(offset) * np.log2(np.abs(offset) + 1) / 3
    return np.stack(np.meshgrid(offset, offset, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)


@lru_cache
def shift_mask(height: int, width: int, window: int, shift: tuple[int, int]) -> np.ndarray:
    """-100 for pairs of places that only the shift brought into one window: float32 `[windows, window**2, window**2]`.

    In a map that is rolled by `shift`, the last window of a row or column holds the far edge and the near one.
    """

    def parts(side, shift):
        place = np.arange(side)
        return (place >= side - window).astype(int) + (place >= side - shift) if shift else 0 * place

    rows, columns = parts(height, shift[0]), parts(width, shift[1])
    region = (3 * rows[:, None] + columns).reshape(height // window, window, width // window, window)
    region = region.transpose(0, 2, 1, 3).reshape(-1, window**2)
    return np.where(region[:, :, None] == region[:, None, :], 0, -100).astype(np.float32)


def resize_table(value: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A table of position biases `[(2 window - 1)**2, heads]` for another window: bicubic, as a picture of offsets.

    (Of Keys' kernel with -1/2; PyTorch's has -3/4.) A table for other heads is left as it is.
    """
    (places, heads), (new_places, new_heads) = value.shape, shape
    side, new_side = round(places**0.5), round(new_places**0.5)
    if heads != new_heads or side**2 != places:
        return value
    picture = jnp.asarray(value, jnp.float32).reshape(side, side, heads)
    resized = jax.image.resize(picture, (new_side, new_side, heads), "cubic", antialias=False)
    return np.asarray(resized.reshape(shape), value.dtype)


class QueryKeyValue(nn.Module):
    """A dense layer to three times the features; the middle third of its bias, that of the keys, counts as zero.

    (A part of version 2. The published files hold these numbers, so the parameter has room for them.)
    """

    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        c = x.shape[-1]
        kernel = self.param("kernel", _init, (c, 3 * c), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (3 * c,), self.param_dtype)
        bias = jnp.where(np.arange(3 * c) // c == 1, 0, bias)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return matmul(x, kernel) + jnp.expand_dims(bias, range(x.ndim - 1))


class WindowAttention(nn.Module):
    """Self-attention within windows of a map `[b, h, w, c]`, to the same shape.

    The map is filled up with zeros to a multiple of the window, and these take part in the attention, as in the
    reference. A side that one window covers is not shifted. `scores`: one of `transformer.SCORES`.
    """

    heads: int
    window: int
    shift: int
    version: int
    trained_window: int
    dense: Any
    dtypes: Any
    scores: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        (b, *sides, c), window = x.shape, self.window
        height, width = (-(-side // window) * window for side in sides)
        shift = tuple(self.shift if side > window else 0 for side in (height, width))
        x = jnp.pad(x, ((0, 0), (0, height - sides[0]), (0, width - sides[1]), (0, 0)))
        if any(shift):
            x = jnp.roll(x, (-shift[0], -shift[1]), (1, 2))
        x = x.reshape(b, height // window, window, width // window, window, c)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, window**2, c)
        mask = shift_mask(height, width, window, shift) if any(shift) else None
        x = self.attend(x, mask)
        x = x.reshape(b, height // window, width // window, window, window, c)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(b, height, width, c)
        if any(shift):
            x = jnp.roll(x, shift, (1, 2))
        return x[:, : sides[0], : sides[1]]

    def attend(self, x: Array, mask: np.ndarray | None) -> Array:
        """Attention in windows `[b * windows, places, c]`; the softmax and what it sees in the type of `scores`."""
        n, places, c = x.shape
        if self.version == 1:
            qkv = self.dense(x, 3 * c, name="qkv")
        else:
            qkv = QueryKeyValue(**self.dtypes, name="qkv")(x)
        q, k, v = heads_first(qkv, self.heads)
        dtype = scores_dtype(self.scores, q)
        scores = jnp.einsum("nhqd,nhkd->nhqk", q, k, preferred_element_type=dtype)
        if self.version == 1:
            scores = scores * (c // self.heads) ** -0.5 + self.bias_from_table()[None].astype(dtype)
        else:
            lengths = inverse_norm(q)[:, :, :, None] * inverse_norm(k)[:, :, None]
            scores = scores * lengths.astype(dtype) * self.scale()[None].astype(dtype)
            scores = scores + self.bias_from_offsets()[None].astype(dtype)
        if mask is not None:
            mask = mask.astype(dtype)
            scores = scores.reshape(-1, len(mask), self.heads, places, places) + mask[None, :, None]
        weights = softmax(scores.reshape(n, self.heads, places, places)).astype(v.dtype)
        x = heads_last(jnp.einsum("nhqk,nhkd->nhqd", weights, v))
        return self.dense(x, c, name="proj")

    def bias_from_table(self) -> Array:
        """Version 1: `[heads, places, places]`, float32."""
        shape = ((2 * self.window - 1) ** 2, self.heads)
        table = self.param("relative_position_bias_table", _init, shape, self.dtypes["param_dtype"])
        return spread(table.astype(jnp.float32), self.window)

    def bias_from_offsets(self) -> Array:
        """Version 2: the same, computed from the offsets by two dense layers and bounded by 16."""
        dense = partial(self.dense, dtype=jnp.float32)
        x = nn.relu(dense(log_offsets(self.window, self.trained_window), 512, name="cpb_mlp.0"))
        return spread(16 * nn.sigmoid(dense(x, self.heads, use_bias=False, name="cpb_mlp.2")), self.window)

    def scale(self) -> Array:
        """Version 2: what the cosines are multiplied by, `[heads, 1, 1]` float32, 10 at first and 100 at most."""
        init = nn.initializers.constant(np.log(10))
        scale = self.param("logit_scale", init, (self.heads, 1, 1), self.dtypes["param_dtype"])
        return jnp.exp(jnp.minimum(scale.astype(jnp.float32), np.log(100)))


def spread(table: Array, window: int) -> Array:
    """Rows of a bias table to the pairs of places: `[offsets, heads]` to `[heads, places, places]`."""
    return jnp.asarray(table).at[position_index(window)].get(mode="promise_in_bounds").transpose(2, 0, 1)


def inverse_norm(x: Array) -> Array:
    """1 over the length of each vector, `[..., c]` to float32 `[...]`.

    0, and no gradient, where the length is (nearly) 0, as in padding.
    """
    square = jnp.sum(jnp.square(x.astype(jnp.float32)), axis=-1)
    return jnp.where(square > 1e-24, lax.rsqrt(jnp.maximum(square, 1e-24)), 0)
