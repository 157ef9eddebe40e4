"""Numbers rounded to 8 bits and back, in float, as ONNX's QuantizeLinear and DequantizeLinear do it.

Jacob et al. 2018 (arXiv 1712.05877), sections 2 and 3: activations per tensor and asymmetric, with ranges that are
moving averages; kernels per output channel here, where the paper has one range for a kernel; the gradient is that of
the identity inside the range and 0 outside (straight-through).

BatchNorm behind a convolution scales its output channels, and a kernel's scales are one a channel and symmetric about
0: rounding before that factor goes into the kernel is rounding after it, (s q) f = (s |f|) (sign(f) q). So kernels need
not be folded while a net is trained, as the paper does (section 3.2), for what is exported to be what was trained.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

STEPS = 255  # of uint8
DECAY = 0.99  # of the averages of ranges, as PyTorch's MovingAverageMinMaxObserver has it


@jax.custom_jvp
def rounded(x: Array, scale: Float[Array, ""], zero: Float[Array, ""]) -> Array:
    """scale * (q - zero), q = round(x / scale) + zero cut to 0..255; halves go to the even neighbour.

    A scale of 0 rounds nothing. The derivative by x is 1 where nothing is cut, else 0; scale and zero have none.
    """
    q = jnp.clip(jnp.round(x / jnp.where(scale > 0, scale, 1)) + zero, 0, STEPS)
    return jnp.where(scale > 0, (q - zero) * scale, x)


@rounded.defjvp
def _rounded_jvp(primals, tangents):
    x, scale, zero = primals
    q = jnp.round(x / jnp.where(scale > 0, scale, 1)) + zero
    return rounded(x, scale, zero), jnp.where(((q >= 0) & (q <= STEPS)) | (scale == 0), tangents[0], 0.0)


def grid(ends: Float[Array, "2"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(scale, zero point, a whole number in 0..255) of a range (smallest, largest), so that 0 is exact.

    The range is one that holds 0; that of an empty one has the scale 0.
    """
    scale = (ends[1] - ends[0]) / STEPS
    return scale, jnp.clip(jnp.round(-ends[0] / jnp.where(scale > 0, scale, 1.0)), 0, STEPS)


def moved(ends: Float[Array, "2"], x: Array, axis_name: str | None = None) -> Float[Array, "2"]:
    """The moving average of a range after a batch; an empty one becomes that of the batch. It holds 0.

    `axis_name`: the mapped axis over which all devices' shares make the batch.
    """
    x = lax.stop_gradient(x).astype(jnp.float32)
    outer = jnp.stack([-jnp.minimum(x.min(), 0.0), jnp.maximum(x.max(), 0.0)])
    if axis_name is not None:
        outer = lax.pmax(outer, axis_name)
    new = outer * jnp.array([-1.0, 1.0])
    return jnp.where(ends[1] > ends[0], ends + (1 - DECAY) * (new - ends), new)


def kernel(weights: Array, axes: Sequence[int], levels: int) -> Array:
    """Weights rounded to -levels..levels times a scale of their own per output channel; 0 is exact, the largest, too.

    Args:
      weights: any shape.
      axes: those that are summed over: all but the output channels.
      levels: 127, or 63 where two products of 8 bits must fit into 16.

    Returns:
      as weights; the derivative is that of the identity, since nothing is cut.
    """
    held = lax.stop_gradient(weights)
    largest = jnp.max(jnp.abs(held), axis=tuple(axes), keepdims=True)
    scale = jnp.where(largest > 0, largest / levels, 1.0)
    return _straight(weights, jnp.round(held / scale) * scale)


@jax.custom_jvp
def _straight(x, value):
    """The value, with the derivative of x."""
    del x
    return value


@_straight.defjvp
def _straight_jvp(primals, tangents):
    return primals[1], tangents[0]
