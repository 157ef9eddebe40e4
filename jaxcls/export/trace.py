"""The program of a network as JAX sees it, for the writer."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jaxcls.models.layers import convolve
from jaxcls.models.layers.named import named
from jaxcls.types import PyTree


def trace(function: Callable[[PyTree, jax.Array], Any], variables: PyTree, shape: Any, dtype: Any) -> Any:
    """The jaxpr of function(variables, pictures [batch, *shape]), the batch symbolic, with XLA's own operations.

    The variables are arguments: what is computed from them alone would be compiled, operation by operation, otherwise.
    """
    (batch,) = jax.export.symbolic_shape("batch")
    pictures = jax.ShapeDtypeStruct((batch, *shape), dtype)
    with convolve.plain(), nn.intercept_methods(_named_norms):
        return jax.make_jaxpr(lambda variables, pictures: function(variables, pictures))(variables, pictures)


def _named_norms(next_function, args, kwargs, context):
    """LayerNorms over the last axis, as calls with a name: an operator of ONNX."""
    module = context.module
    ordinary = context.method_name == "__call__" and len(args) == 1 and not any(v is not None for v in kwargs.values())
    if type(module) is not nn.LayerNorm or not ordinary or module.reduction_axes not in (-1, (-1,)):
        return next_function(*args, **kwargs)
    parameters = module.variables.get("params", {})
    x = args[0]
    scale = parameters.get("scale", jnp.ones(x.shape[-1:]))
    bias = [parameters["bias"]] if "bias" in parameters else []
    y = named("layer_norm", _layer_norm, x.astype(jnp.float32), scale, *bias, epsilon=module.epsilon)
    return y.astype(module.dtype or x.dtype)


def _layer_norm(x, scale, bias: Any = 0.0, *, epsilon: float):
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    y = x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + np.float32(epsilon))
    broadcast = lambda array: jnp.reshape(array, (1,) * (x.ndim - 1) + (-1,)) if np.ndim(array) else array  # noqa: E731
    return y * broadcast(scale) + broadcast(bias)
