"""VICReg: views alike, every feature's deviation at least 1, no two features correlated."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxcls.state import Aux, TrainState
from jaxcls.tasks.ssl.barlow_twins import see_both
from jaxcls.tasks.ssl.byol import cosine
from jaxcls.tasks.ssl.frame import TwoViews, everyone, spread
from jaxcls.tasks.ssl.heads import Mlp
from jaxcls.types import Batch, PyTree


def heads(projector: tuple[int, ...], types: dict[str, Any]) -> dict[str, Mlp]:
    """The authors' expander: three wide layers, BatchNorm before each ReLU, no bias at the end."""
    return {"_projector": Mlp(projector, norm=True, last_bias=False, **types)}


class VICReg(TwoViews):
    """Bardes, Ponce and LeCun, VICReg, equation 6, over the pictures of all devices, with the authors' normalisation
    (`vicreg`), which is not the paper's.

    Args:
      weights: of invariance, variance and covariance; 25, 25, 1 in the paper.
      **frame: of `TwoViews`.
    """

    def __init__(self, *args: Any, weights: tuple[float, float, float] = (25.0, 25.0, 1.0), **frame: Any):
        super().__init__(*args, **frame)
        self.weights = weights

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """The loss of the whole batch, times this device's pictures."""
        seen, model_state = see_both(self, params, state, batch, rng)
        n = len(batch["views"])
        count = jnp.float32(n)
        terms = vicreg(*(everyone(one.z, self.axis_name) for one in seen))
        loss = jnp.float32(0)
        for weight, term in zip(self.weights, terms, strict=True):
            loss += weight * term
        probe, hits = self.probing(seen, batch)
        names = ("invariance", "variance", "covariance")
        figures = {name: (term * count, count) for name, term in zip(names, terms, strict=True)}
        figures["positives"] = (jnp.sum(cosine(seen[0].z, seen[1].z)), count)
        return loss * n + probe, Aux(model_state, count, {**hits, **figures, "spread": spread(seen[0].z)})


def vicreg(a: Float[Array, "n d"], b: Float[Array, "n d"]) -> tuple[Array, Array, Array]:
    """(invariance, variance, covariance), as the authors' code and lightly have them: the mean square of all entries
    where equation 5 sums over features, the mean of both views' variance terms where equation 6 adds them, and the sum
    of both covariance terms. Variances are unbiased, with 1e-4 in the root."""
    n, d = a.shape
    variance, covariance = jnp.float32(0), jnp.float32(0)
    for x in (a, b):
        x = x - jnp.mean(x, axis=0, keepdims=True)
        variance += jnp.mean(jax.nn.relu(1 - jnp.sqrt(jnp.sum(x**2, axis=0) / (n - 1) + 1e-4))) / 2
        matrix = jnp.matmul(x.T, x, precision="highest") / (n - 1)
        covariance += (jnp.sum(matrix**2) - jnp.sum(jnp.diagonal(matrix) ** 2)) / d
    return jnp.mean((a - b) ** 2), variance, covariance
