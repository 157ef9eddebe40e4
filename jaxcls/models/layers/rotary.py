"""Rotary position embeddings of two axes: queries and keys are turned by angles that follow from their places.

Su et al. 2021 (arXiv 2104.09864, section 3.2), a half of the pairs of features for the rows and one for the columns.
The tables are computed with NumPy while the model is traced: constants of the compiled program.
"""

import math
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jax import Array

LAYOUTS = ("pairs", "halves")  # which two features are turned together: neighbours, or those half the features apart


@lru_cache
def index_angles(grid: tuple[int, int], features: int, trained: tuple[int, int], base: float = 1e4) -> np.ndarray:
    """EVA-02's (Fang et al. 2023, arXiv 2303.11331): float32 `[rows * columns, features / 2]`.

    Places count from 0, stretched to the `trained` grid where the `grid` is another.
    """
    frequencies = (1 / base ** (np.arange(features // 4) / (features // 4))).astype(np.float32)
    places = [np.arange(side, dtype=np.float32) / side * old for side, old in zip(grid, trained, strict=True)]
    return _angles(places, frequencies)


@lru_cache
def centred_angles(grid: tuple[int, int], features: int, base: float = 100.0) -> np.ndarray:
    """DINOv3's (Simeoni et al. 2025, arXiv 2508.10104): float32 `[rows * columns, features / 2]`.

    The middles of the patches lie on [-1, 1] along both axes, whatever their number.
    """
    frequencies = (2 * math.pi / base ** (np.arange(features // 4) / (features // 4))).astype(np.float32)
    places = [2 * (np.arange(side, dtype=np.float32) + 0.5) / side - 1 for side in grid]
    return _angles(places, frequencies)


def rotate(x: Array, angles: np.ndarray, layout: str, prefix: int) -> Array:
    """Turns `[b, heads, tokens, features]` but for the first `prefix` tokens, in float32; `angles` of the others.

    `layout`: one of LAYOUTS. The type of `x` comes back.
    """
    first, patches = x[:, :, :prefix], x[:, :, prefix:].astype(jnp.float32)
    if layout == "pairs":
        pairs = patches.reshape(*patches.shape[:-1], -1, 2)
        turned = jnp.concatenate([-pairs[..., 1:], pairs[..., :1]], axis=-1).reshape(patches.shape)
        angles = np.repeat(angles, 2, axis=-1)
    else:
        left, right = jnp.split(patches, 2, axis=-1)
        turned = jnp.concatenate([-right, left], axis=-1)
        angles = np.concatenate([angles, angles], axis=-1)
    patches = patches * np.cos(angles) + turned * np.sin(angles)
    return jnp.concatenate([first, patches.astype(x.dtype)], axis=2)


def _angles(places, frequencies):
    rows, columns = np.meshgrid(*places, indexing="ij")
    both = np.stack([rows, columns], axis=-1).reshape(-1, 2, 1) * frequencies
    return both.reshape(len(both), -1).astype(np.float32)
