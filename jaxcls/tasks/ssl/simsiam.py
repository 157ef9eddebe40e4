"""SimSiam: each view predicts what the same encoder makes of the other one, which is held still."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxcls.state import Aux, TrainState
from jaxcls.tasks.ssl.byol import cosine
from jaxcls.tasks.ssl.frame import TwoViews, spread
from jaxcls.tasks.ssl.heads import Mlp
from jaxcls.types import Batch, PyTree


def heads(projector: tuple[int, ...], predictor: tuple[int, ...], types: dict[str, Any]) -> dict[str, Mlp]:
    """The authors' heads: BatchNorm behind every layer of the projector, the last one without scale and shift, and
    behind the predictor's but the last; biases only there."""
    own = {"norm": True, "bias": False, **types}
    return {
        "_projector": Mlp(projector, last_norm="plain", last_bias=False, **own),
        "_predictor": Mlp(predictor, **own),
    }


class SimSiam(TwoViews):
    """Chen and He, Exploring Simple Siamese Representation Learning, algorithm 1.

    The predictor follows the schedule of the rest; the paper's holds its rate still (section 4.2, a gain of 0.6 %).
    """

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """Negative cosines, the mean of both directions, summed over pictures."""
        views, model_state = batch["views"], state.model_state
        seen: list[Any] = []
        predicted: list[Array] = []
        for v in range(2):
            one = self.see({"params": params, **model_state}, views[:, v], rng)
            prediction, model_state = self.predicted(params, one)
            seen, predicted = [*seen, one], [*predicted, prediction]
        held = [jax.lax.stop_gradient(one.z) for one in seen]
        total = jnp.sum(cosine(predicted[0], held[1]) + cosine(predicted[1], held[0])) / 2
        probe, hits = self.probing(seen, batch)
        count = jnp.float32(len(views))
        figures = {**hits, "positives": (total, count), "spread": spread(seen[0].z)}
        return probe - total, Aux(model_state, count, figures)
