"""BatchNorm that does otherwise within a context, in any model: by interceptors of Flax, and no model knows of it."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcls.models.layers.norm import GroupedBatchNorm

STATISTICS = "batch_stats"  # the collection of Flax's BatchNorm


def storing_the_batch() -> contextlib.AbstractContextManager[None]:
    """Within it a BatchNorm stores the statistics of the batch alone, not a running average; of all its groups."""

    def intercept(call, args, kwargs, context):
        if not isinstance(context.module, nn.BatchNorm):
            return call(*args, **kwargs)
        with contextlib.ExitStack() as changed:
            changed.enter_context(_field(context.module, "momentum", 0.0))
            if isinstance(context.module, GroupedBatchNorm):
                changed.enter_context(_field(context.module, "pooled", True))
            return call(*args, **kwargs)

    return nn.intercept_methods(intercept)


def held(first_step: Callable[[tuple[str, ...]], float], step: Array) -> contextlib.AbstractContextManager[None]:
    """Within it a BatchNorm works as in inference, and keeps its statistics, until its first step.

    Args:
      first_step: path of the module -> its first step: 0 for from the start, infinite for never.
      step: the number of this one, traced.
    """

    def intercept(call, args, kwargs, context):
        module = context.module
        if not isinstance(module, nn.BatchNorm) or context.method_name != "__call__":
            return call(*args, **kwargs)
        first = first_step(module.path)
        if not first or module.use_running_average or kwargs.get("use_running_average"):
            return call(*args, **kwargs)
        with _field(module, "use_running_average", None):  # Flax refuses to be told twice
            inferred = call(*args, **{**kwargs, "use_running_average": True})
        if first == math.inf:
            return inferred
        object.__setattr__(module, "scope", module.scope.rewound())  # a second call of the same layer, same parameters
        before = {name: module.get_variable(STATISTICS, name) for name in ("mean", "var")}
        trained = call(*args, **kwargs)
        for name, old in before.items():
            new = module.get_variable(STATISTICS, name)
            module.put_variable(STATISTICS, name, jnp.where(step >= first, new, old))
        return jnp.where(step >= first, trained, inferred)

    return nn.intercept_methods(intercept)


@contextlib.contextmanager
def _field(module: nn.Module, name: str, value: Any) -> Iterator[None]:
    """Another value for a field of a bound module, which is frozen."""
    own = getattr(module, name)
    object.__setattr__(module, name, value)
    try:
        yield
    finally:
        object.__setattr__(module, name, own)
