"""Dropout of values and of whole branches. The generator is called "dropout" in both."""

from flax import linen as nn
from jax import Array


def dropout(x: Array, rate: float, *, train: bool) -> Array:
    """Zeroes a share of the values and scales the others up; in evaluation, or with rate 0, nothing."""
    return nn.Dropout(rate, deterministic=not train)(x)


def stochastic_depth(x: Array, rate: float, *, train: bool) -> Array:
    """Zeroes a residual branch for a share of the examples and scales it up for the others.

    Huang et al. 2016 (arXiv 1603.09382), with the scaling of torchvision's and timm's: in training, not in evaluation.
    """
    return nn.Dropout(rate, broadcast_dims=tuple(range(1, x.ndim)), deterministic=not train)(x)


def rising(rate: float, n: int) -> list[float]:
    """Rates of stochastic depth for n blocks: from 0 for the first one in even steps to `rate` for the last."""
    return [rate * i / max(1, n - 1) for i in range(n)]
