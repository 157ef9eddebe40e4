"""The unit of the Inception nets."""

from typing import Any

from flax import linen as nn
from jax import Array


class BasicConv(nn.Module):
    """A convolution without a bias, a norm and a ReLU, named `conv` and `bn`. Padding as in `layers.conv`."""

    features: int
    kernel_size: int | tuple[int, int]
    stride: int = 1
    padding: int | str = "torch"
    conv: Any = None
    norm: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = self.conv(self.features, self.kernel_size, self.stride, padding=self.padding, name="conv")(x)
        return nn.relu(self.norm(name="bn")(x))
