"""Initialisers as PyTorch and torchvision define them."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import ArrayLike

# torchvision's ResNet: He et al. 2015 (arXiv 1502.01852), preserving the backward signal. The fan of a grouped
# convolution is not divided by the groups, in PyTorch as here.
kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

# PyTorch's default for Conv and Linear: uniform within 1/sqrt(fan_in) of zero, a variance of 1/(3 fan_in).
torch_kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def uniform_within(bound: ArrayLike) -> nn.initializers.Initializer:
    """Uniform between -bound and bound: a number, or an array that broadcasts to the shape."""

    def init(key, shape, dtype=jnp.float32, **kwargs):
        return jax.random.uniform(key, shape, dtype, -bound, bound, **kwargs)

    return init


def torch_uniform(fan_in: int) -> nn.initializers.Initializer:
    """PyTorch's default for the biases of Conv and Linear."""
    return uniform_within(fan_in**-0.5)
