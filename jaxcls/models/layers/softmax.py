"""Softmax."""

import jax
from jax import Array

from jaxcls.models.layers.named import named


def softmax(x: Array) -> Array:
    """The softmax over the last axis."""
    return named("softmax", jax.nn.softmax, x)
