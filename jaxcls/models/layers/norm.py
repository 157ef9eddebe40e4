"""Normalisation."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import canonicalize_dtype


def batch_norm(
    *,
    train: bool,
    dtype: Any,
    param_dtype: Any,
    axis_name: str | int | None = None,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
) -> partial:
    """A constructor of BatchNorm layers, to be called with a name.

    `momentum` is the share that is kept (PyTorch's 0.1 is 0.9 here). Statistics are computed and stored in float32.
    The running variance is the biased one; PyTorch's is n/(n-1) times the batch's part of it.

    `axis_name`, of what statistics are taken: None: the batch that is given; a name: the batches of all devices of that
    mapped axis; a number: so many groups of the batch, each apart (`GroupedBatchNorm`).
    """
    common = {"momentum": momentum, "epsilon": epsilon, "dtype": dtype, "param_dtype": param_dtype}
    if isinstance(axis_name, int) and axis_name > 1 and train:
        return partial(GroupedBatchNorm, use_running_average=False, groups=axis_name, **common)
    over = axis_name if isinstance(axis_name, str) else None
    return partial(nn.BatchNorm, use_running_average=not train, axis_name=over, **common)


class GroupedBatchNorm(nn.BatchNorm):
    """BatchNorm over each of `groups` groups of neighbours in the batch, [n, ..., c]; variables as of `nn.BatchNorm`.

    The groups are those that as many devices would have as their shares; cut over devices, they need no traffic but for
    the running statistics. These take the mean over groups of their means and (biased) variances, as MoCo's
    SplitBatchNorm does; PyTorch's DistributedDataParallel, per device, keeps those of rank 0. The spread of the groups'
    means is in no group's variance, and so not in the running one.

    Fields:
      groups: where they don't divide the batch, as many as divide both count: a trace of two examples has two.
        (`Parallel.batch_norm` refuses a run in which that would be.)
      pooled: the running variance takes that of the whole batch, in which the spread of the means is.
    """

    groups: int = 1
    pooled: bool = False

    def __call__(self, x: Any, use_running_average: bool | None = None, *, mask: jax.Array | None = None) -> jax.Array:
        inferred = nn.merge_param("use_running_average", self.use_running_average, use_running_average)
        if inferred or self.is_initializing():
            return super().__call__(x, use_running_average=use_running_average, mask=mask)
        groups = math.gcd(self.groups, len(x))
        grouped = x.reshape(groups, len(x) // groups, *x.shape[1:])
        axes = tuple(range(1, grouped.ndim - 1))
        wide = grouped.astype(jnp.promote_types(x.dtype, jnp.float32))
        real = None if mask is None else jnp.broadcast_to(mask, x.shape).reshape(grouped.shape) > 0
        mean, square = (y.mean(axes, keepdims=True, where=real) for y in (wide, jnp.square(wide)))  # flax's way
        var = jnp.maximum(0.0, square - jnp.square(mean))
        self._keep(mean, var)
        scale: jax.Array | None = self.get_variable("params", "scale")  # None where there is none
        bias: jax.Array | None = self.get_variable("params", "bias")
        shape = (*[1] * x.ndim, x.shape[-1])
        factor = jax.lax.rsqrt(var + self.epsilon)
        y = (grouped - mean) * (factor if scale is None else factor * scale.reshape(shape))
        y = y if bias is None else y + bias.reshape(shape)
        given = [array for array in (x, scale, bias) if array is not None]
        return y.reshape(x.shape).astype(canonicalize_dtype(*given, dtype=self.dtype))

    def _keep(self, mean, var):
        """Takes the groups' statistics, [groups, 1, ..., c], into the running ones."""
        axes = tuple(range(mean.ndim - 1))
        if self.pooled:
            var = var + jnp.square(mean - mean.mean(axes, keepdims=True))
        for name, new in (("mean", mean.mean(axes)), ("var", var.mean(axes))):
            old = self.get_variable("batch_stats", name)
            self.put_variable("batch_stats", name, self.momentum * old + (1 - self.momentum) * new)


def layer_norm(*, dtype: Any, param_dtype: Any, epsilon: float = 1e-6) -> partial:
    """A constructor of LayerNorm layers over the last axis, to be called with a name; statistics in float32."""
    return partial(nn.LayerNorm, epsilon=epsilon, dtype=dtype, param_dtype=param_dtype, use_fast_variance=False)
