"""Dense layers."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models.layers.convolve import reshapes
from jaxcls.models.layers.init import torch_kernel, torch_uniform


def dense(
    x: Array,
    features: int,
    *,
    dtype: Any,
    param_dtype: Any,
    name: str,
    use_bias: bool = True,
    kernel_init: Any = torch_kernel,
    bias_init: Any = None,
) -> Array:
    """A dense layer applied to `[..., c]`, initialised as PyTorch's Linear unless told otherwise."""
    layer = nn.Dense(
        features,
        use_bias=use_bias,
        dtype=dtype,
        param_dtype=param_dtype,
        kernel_init=kernel_init,
        bias_init=bias_init or torch_uniform(x.shape[-1]),
        dot_general=_dot_general,
        name=name,
    )
    return layer(x)


def matmul(x: Array, kernel: Array, precision: Any = None) -> Array:
    """`[..., c]` times `[c, features]`. On the CPU as one matrix: else XLA copies the transposed gradient there."""
    if x.ndim == 2 or not reshapes():
        return jnp.matmul(x, kernel, precision=precision)
    y = jnp.matmul(x.reshape(-1, x.shape[-1]), kernel, precision=precision)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def _dot_general(x, kernel, dimension_numbers, precision=None, **_):
    """What nn.Dense asks for: its dimensions are always those of `matmul`."""
    return matmul(x, kernel, precision)


def logits_layer(x: Array, num_classes: int, *, param_dtype: Any, name: str, **inits: Any) -> Array:
    """The last layer: as `dense`, but always computed in float32, so that losses see no rounded logits."""
    return dense(x, num_classes, dtype=jnp.float32, param_dtype=param_dtype, name=name, **inits)


def flatten(x: Array) -> Array:
    """`[b, h, w, c]` to `[b, c * h * w]` in PyTorch's order, so that the kernel behind it has PyTorch's order too."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
