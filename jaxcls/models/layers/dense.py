"""Dense layers."""

import jax.numpy as jnp
from flax import linen as nn

from jaxcls.models.layers.init import torch_kernel, torch_uniform


def dense(x, features: int, *, dtype, param_dtype, name: str):
    """A dense layer applied to `[b, c]`, initialised as PyTorch's Linear."""
    layer = nn.Dense(
        features,
        dtype=dtype,
        param_dtype=param_dtype,
        kernel_init=torch_kernel,
        bias_init=torch_uniform(x.shape[-1]),
        name=name,
    )
    return layer(x)


def logits_layer(x, num_classes: int, *, param_dtype, name: str):
    """The last layer: as `dense`, but always computed in float32, so that losses see no rounded logits."""
    return dense(x, num_classes, dtype=jnp.float32, param_dtype=param_dtype, name=name)


def flatten(x):
    """`[b, h, w, c]` to `[b, c * h * w]` in PyTorch's order, so that the kernel behind it has PyTorch's order too."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
