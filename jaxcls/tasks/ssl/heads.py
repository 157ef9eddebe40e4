"""The small networks behind an encoder that learning alone needs: projectors and predictors."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxcls.models import layers


class Mlp(nn.Module):
    """Dense layers with ReLU between them, each with or without BatchNorm: float32 [n, d] -> float32 [n, widths[-1]].

    Fields:
      widths: of the layers; 0 stands for the width of the input.
      norm: BatchNorm before each ReLU.
      last_norm: BatchNorm at the end: "" none, "plain" without scale and shift, "scale" without a shift, "full".
      bias: of the dense layers before a ReLU; beside BatchNorm, whose shift does the same, papers differ.
      last_bias: of the last dense layer.
      dtype, param_dtype, axis_name: as of a model.
    """

    widths: tuple[int, ...]
    norm: bool = False
    last_norm: str = ""
    bias: bool = True
    last_bias: bool = True
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    axis_name: str | int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], *, train: bool) -> Float[Array, "n e"]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        norm = layers.batch_norm(train=train, axis_name=self.axis_name, **types)
        width = x.shape[-1]
        for i, size in enumerate(self.widths):
            last = i == len(self.widths) - 1
            bias = self.last_bias if last else self.bias
            x = nn.Dense(size or width, use_bias=bias, name=f"dense{i}", kernel_init=layers.torch_kernel, **types)(x)
            if last and self.last_norm:
                only = {"full": {}, "scale": {"use_bias": False}, "plain": {"use_bias": False, "use_scale": False}}
                x = norm(name=f"norm{i}", **only[self.last_norm])(x)
            elif not last:
                x = nn.relu(norm(name=f"norm{i}")(x) if self.norm else x)
        return x.astype(jnp.float32)
