"""Dense layers."""

import jax.numpy as jnp
from flax import linen as nn

from jaxcls.models.layers.init import torch_kernel, torch_uniform


def dense(x, features: int, *, dtype, param_dtype, name: str, use_bias: bool = True, kernel_init=torch_kernel,
          bias_init=None):  # fmt: skip
    """A dense layer applied to `[..., c]`, initialised as PyTorch's Linear unless told otherwise."""
    layer = nn.Dense(
        features,
        use_bias=use_bias,
        dtype=dtype,
        param_dtype=param_dtype,
        kernel_init=kernel_init,
        bias_init=bias_init or torch_uniform(x.shape[-1]),
        name=name,
    )
    return layer(x)


def logits_layer(x, num_classes: int, *, param_dtype, name: str, **inits):
    """The last layer: as `dense`, but always computed in float32, so that losses see no rounded logits."""
    return dense(x, num_classes, dtype=jnp.float32, param_dtype=param_dtype, name=name, **inits)


def flatten(x):
    """`[b, h, w, c]` to `[b, c * h * w]` in PyTorch's order, so that the kernel behind it has PyTorch's order too."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
