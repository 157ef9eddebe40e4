"""Normalisation."""

from functools import partial
from typing import Any

from flax import linen as nn


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
        nn.BatchNorm,
        use_running_average=not train,
        momentum=momentum,
        epsilon=epsilon,
        dtype=dtype,
        param_dtype=param_dtype,
        axis_name=axis_name,
    )


def layer_norm(*, dtype: Any, param_dtype: Any, epsilon: float = 1e-6) -> partial:
    """A constructor of LayerNorm layers over the last axis, to be called with a name; statistics in float32."""
    return partial(nn.LayerNorm, epsilon=epsilon, dtype=dtype, param_dtype=param_dtype, use_fast_variance=False)
