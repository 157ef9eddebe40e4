"""A convolution and the norm behind it."""

from typing import Any

from jax import Array


def conv_norm(
    x: Array,
    features: int,
    kernel_size: int | tuple[int, int],
    stride: int = 1,
    *,
    conv: Any,
    norm: Any,
    name: str,
    groups: int = 1,
) -> Array:
    """The convolution `name.0` of `[b, h, w, c]` and its norm `name.1`, called inside a compact method.

    `conv` and `norm` are constructors as those that blocks are given. The names are those of torchvision's
    Conv2dNormActivation, whose activation is left to the caller.
    """
    return norm(name=f"{name}.1")(conv(features, kernel_size, stride, groups=groups, name=f"{name}.0")(x))
