"""Keeps XLA:CPU from computing what stands in front and behind as one piece."""

import jax.numpy as jnp
from jax import Array, lax

from jaxcls.models.layers.convolve import reshapes


def apart(x: Array) -> Array:
    """x, to the bit, through which XLA:CPU hands nothing to YNNPACK as one piece.

    In inference it grows such pieces from a sum over places or channels through whatever is in front, convolutions and
    products included, and they can take several times as long as their parts (docs/results.md). The rounding to what a
    float32 has anyway is an operation that YNNPACK lacks; `lax.optimization_barrier` is gone before these are grown.
    """
    if x.dtype != jnp.float32 or not reshapes():
        return x
    return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=23)
