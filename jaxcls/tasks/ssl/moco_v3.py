"""MoCo, third version: no queue; queries go through a predictor and find their keys among those of the batch."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxcls import losses, parallel
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.ssl.frame import everyone, similarities, spread, unit
from jaxcls.tasks.ssl.heads import Mlp
from jaxcls.tasks.ssl.slow import SLOW_STATE, WithSlow
from jaxcls.types import Batch, PyTree


def heads(
    projector: tuple[int, ...], predictor: tuple[int, ...], types: dict[str, Any], *, norm: bool = False
) -> dict[str, Mlp]:
    """The authors' heads: no biases, BatchNorm before each ReLU and, without scale and shift, at the projector's end;
    `norm`: at the predictor's, too (their ViTs)."""
    own = {"norm": True, "bias": False, "last_bias": False, **types}
    return {
        "_projector": Mlp(projector, last_norm="plain", **own),
        "_predictor": Mlp(predictor, last_norm="plain" if norm else "", **own),
    }


class MoCoV3(WithSlow):
    """The symmetric loss of Chen, Xie and He, An Empirical Study of Training Self-Supervised Vision Transformers,
    algorithm 1: both directions added, each times 2 * temperature.

    Args:
      temperature: 1.0 for the authors' ResNet-50, 0.2 for their ViTs.
      **frame: of `WithSlow`; heads has a projector and a predictor.
    """

    def __init__(self, *args: Any, temperature: float = 0.2, **frame: Any):
        super().__init__(*args, **frame)
        self.temperature = temperature

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """The loss of both directions, summed over pictures."""
        seen, predicted, keys, model_state, slow_state = pass_both(self, params, state, batch, rng)
        n = len(batch["views"])
        own = parallel.axis_index(self.axis_name) * n + jnp.arange(n)
        total, told = jnp.float32(0), []
        for query, key in ((0, 1), (1, 0)):
            everything = everyone(unit(keys[key]), self.axis_name)
            similarity = similarities(unit(predicted[query]), everything)
            loss = losses.cross_entropy(similarity / self.temperature, own)
            total += jnp.sum(loss) * 2 * self.temperature
            told.append(jnp.sum(jnp.argmax(similarity, axis=1) == own))
        probe, hits = self.probing(seen, batch)
        count = jnp.float32(n)
        chance = 4 * self.temperature * jnp.log(jnp.float32(len(everything))) * count
        figures = {"found": (sum(told) / 2, count), "chance": (chance, count), "spread": spread(seen[0].z)}
        return total + probe, Aux(model_state, count, {**hits, **figures}, extra={SLOW_STATE: slow_state})


def pass_both(
    task: WithSlow, params: PyTree, state: TrainState, batch: Batch, rng: Array
) -> tuple[list[Any], list[Array], list[Array], PyTree, PyTree]:
    """Both views through the encoder, its projector and predictor, and through the slow encoder, one after the other.

    Returns:
      (what is seen of each view, predictions, slow projections, model state, the slow encoder's).
    """
    views, model_state, slow_state = batch["views"], state.model_state, state.extra[SLOW_STATE]
    seen: list[Any] = []
    predicted: list[Array] = []
    keys: list[Array] = []
    for v in range(2):
        one = task.see({"params": params, **model_state}, views[:, v], rng)
        prediction, model_state = task.predicted(params, one)
        slow = task.see_slowly(slow_state, state, views[:, v], rng)
        slow_state = slow.model_state
        seen, predicted, keys = [*seen, one], [*predicted, prediction], [*keys, slow.z]
    return seen, predicted, jax.lax.stop_gradient(keys), model_state, slow_state
