"""Barlow Twins: the correlation matrix of two views' projections is made the identity."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxcls.state import Aux, TrainState
from jaxcls.tasks.ssl.byol import cosine
from jaxcls.tasks.ssl.frame import TwoViews, everyone, spread
from jaxcls.tasks.ssl.heads import Mlp
from jaxcls.types import Batch, PyTree


def heads(projector: tuple[int, ...], types: dict[str, Any]) -> dict[str, Mlp]:
    """The paper's projector: three wide layers without biases, BatchNorm before each ReLU."""
    return {"_projector": Mlp(projector, norm=True, bias=False, last_bias=False, **types)}


class BarlowTwins(TwoViews):
    """Zbontar et al., Barlow Twins, equation 1, over the pictures of all devices.

    Args:
      off_diagonal: lambda, 0.005 in the paper.
      scale: of the loss; 0.024 in the authors' code, 0.1 in solo-learn's recipes for CIFAR.
      **frame: of `TwoViews`.
    """

    def __init__(self, *args: Any, off_diagonal: float = 0.005, scale: float = 1.0, **frame: Any):
        super().__init__(*args, **frame)
        self.off_diagonal, self.scale = off_diagonal, scale

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """The loss of the whole batch, times this device's pictures."""
        seen, model_state = see_both(self, params, state, batch, rng)
        n = len(batch["views"])
        z = [everyone(one.z, self.axis_name) for one in seen]
        loss = self.scale * barlow_twins(z[0], z[1], self.off_diagonal)
        probe, hits = self.probing(seen, batch)
        count, near = jnp.float32(n), cosine(seen[0].z, seen[1].z)
        figures = {**hits, "positives": (jnp.sum(near), count), "spread": spread(seen[0].z)}
        return loss * n + probe, Aux(model_state, count, figures)


def see_both(task: TwoViews, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[list[Any], PyTree]:
    """(what is seen of each view, model state): one after the other, each with BatchNorm statistics of its own."""
    model_state = state.model_state
    seen: list[Any] = []
    for v in range(2):
        one = task.see({"params": params, **model_state}, batch["views"][:, v], rng)
        seen, model_state = [*seen, one], one.model_state
    return seen, model_state


def barlow_twins(a: Float[Array, "n d"], b: Float[Array, "n d"], off_diagonal: float) -> Float[Array, ""]:
    """Squared distance of the correlation matrix from the identity, what is off the diagonal times a factor.

    Columns are standardised by the biased deviation with 1e-5 in the root, as the authors' last BatchNorm does.
    """
    a, b = (standardised(x) for x in (a, b))
    correlation = jnp.matmul(a.T, b, precision="highest") / len(a)
    diagonal = jnp.diagonal(correlation)
    return jnp.sum((diagonal - 1) ** 2) + off_diagonal * (jnp.sum(correlation**2) - jnp.sum(diagonal**2))


def standardised(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Columns with mean 0 and deviation 1."""
    x = x - jnp.mean(x, axis=0, keepdims=True)
    return x / jnp.sqrt(jnp.mean(x**2, axis=0, keepdims=True) + 1e-5)
