"""Normalisation."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from jaxcls.models.layers.convolve import reshapes


def batch_norm(
    *,
    train: bool,
    dtype: Any,
    param_dtype: Any,
    axis_name: str | None = None,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
) -> partial:
    """A constructor of BatchNorm layers, to be called with a name.

    `momentum` is the share that is kept (PyTorch's 0.1 is 0.9 here). Statistics are computed and stored in float32.
    The running variance is the biased one; PyTorch's is n/(n-1) times the batch's part of it.
    """
    return partial(
        BatchNorm,
        use_running_average=not train,
        momentum=momentum,
        epsilon=epsilon,
        dtype=dtype,
        param_dtype=param_dtype,
        axis_name=axis_name,
    )


class BatchNorm(nn.BatchNorm):
    """Flax's over the last axis, with the same values, fields and variables; on the CPU with a gradient in closed form.

    That one reads the input again, while the derivative of the single operations keeps another array of its size. It
    has no forward-mode derivative (`jax.jvp`); `convolve.plain()` where one is wanted. The statistics that are stored
    have no gradient. Masks, other axes and groups of devices are left out.
    """

    @nn.compact
    def __call__(self, x: Array, use_running_average: bool | None = None) -> Array:  # type: ignore[override]
        stored = nn.merge_param("use_running_average", self.use_running_average, use_running_average)
        shape = x.shape[-1:]
        means = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        variances = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", self.scale_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, shape, self.param_dtype)
        dtype = self.dtype or jnp.result_type(x, scale)
        if stored:
            return _normalised(x, means.value, variances.value, scale, bias, self.epsilon).astype(dtype)
        axis_name = None if self.is_initializing() else self.axis_name
        mean, variance = _statistics(x, axis_name)
        if not self.is_initializing():
            means.value = self.momentum * means.value + (1 - self.momentum) * mean
            variances.value = self.momentum * variances.value + (1 - self.momentum) * variance
        if not reshapes():
            return _normalised(x, mean, variance, scale, bias, self.epsilon).astype(dtype)
        mean, variance = lax.stop_gradient((mean, variance))
        return _by_batch(x, mean, variance, scale, bias, self.epsilon, axis_name).astype(dtype)


def _statistics(x, axis_name):
    """Mean and biased variance in float32 of each channel, over all devices of an axis."""
    x, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
    mean, square = x.mean(axes), lax.square(x).mean(axes)
    if axis_name is not None:
        mean, square = lax.pmean(jnp.stack([mean, square]), axis_name)
    return mean, jnp.maximum(0.0, square - lax.square(mean))


def _normalised(x, mean, variance, scale, bias, epsilon):
    return (x - mean) * (lax.rsqrt(variance + epsilon) * scale) + bias


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _by_batch(x, mean, variance, scale, bias, epsilon, axis_name):
    """`_normalised` by the statistics of `x`: its gradient holds what goes through them (Ioffe & Szegedy 2015, 3)."""
    return _normalised(x, mean, variance, scale, bias, epsilon)


def _by_batch_forward(x, mean, variance, scale, bias, epsilon, axis_name):
    return _normalised(x, mean, variance, scale, bias, epsilon), (x, mean, variance, scale, bias)


def _by_batch_backward(epsilon, axis_name, saved, grad):
    x, mean, variance, scale, bias = saved
    axes, inverse = tuple(range(x.ndim - 1)), lax.rsqrt(variance + epsilon)
    of_bias, of_scale = grad.sum(axes), (grad * (x - mean)).sum(axes) * inverse
    shares = jnp.stack([of_bias, of_scale]) / (x.size // x.shape[-1])
    if axis_name is not None:
        shares = lax.pmean(shares, axis_name)
    through_mean, through_variance = shares
    of_x = (grad - through_mean - (x - mean) * (inverse * through_variance)) * (inverse * scale)
    zeros = jnp.zeros_like(mean)
    return of_x.astype(x.dtype), zeros, zeros, of_scale.astype(scale.dtype), of_bias.astype(bias.dtype)


_by_batch.defvjp(_by_batch_forward, _by_batch_backward)


def layer_norm(*, dtype: Any, param_dtype: Any, epsilon: float = 1e-6) -> partial:
    """A constructor of LayerNorm layers over the last axis, to be called with a name; statistics in float32."""
    return partial(nn.LayerNorm, epsilon=epsilon, dtype=dtype, param_dtype=param_dtype, use_fast_variance=False)
