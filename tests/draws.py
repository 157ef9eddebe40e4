"""Values for a model's variables, drawn in NumPy: Flax's own initialisation would compile for seconds."""

import jax
import numpy as np


def draw(shapes, seed=0):
    """Variables as arrays, from abstract ones: kernels keep the scale of activations, no statistic is degenerate."""
    rng = np.random.default_rng(seed)

    def one(path, leaf):
        noise = rng.normal(size=leaf.shape)
        values = {"kernel": noise / np.sqrt(np.prod(leaf.shape[:-1])), "scale": 1 + noise / 9, "var": 1 + noise**2}
        return np.asarray(values.get(path[-1].key, noise / 9), leaf.dtype)

    return jax.tree_util.tree_map_with_path(one, shapes)
