"""BYOL: each view predicts what a slow encoder makes of the other one; there are no negatives."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxcls.state import Aux, TrainState
from jaxcls.tasks.ssl.frame import spread, unit
from jaxcls.tasks.ssl.heads import Mlp
from jaxcls.tasks.ssl.moco_v3 import pass_both
from jaxcls.tasks.ssl.slow import SLOW_STATE, WithSlow
from jaxcls.types import Batch, PyTree


def heads(projector: tuple[int, ...], predictor: tuple[int, ...], types: dict[str, Any]) -> dict[str, Mlp]:
    """The paper's heads: BatchNorm before the ReLU, none at the end (section 3.3); no bias there, as in the authors'
    code."""
    own = {"norm": True, "last_bias": False, **types}
    return {"_projector": Mlp(projector, **own), "_predictor": Mlp(predictor, **own)}


class BYOL(WithSlow):
    """Grill et al., Bootstrap Your Own Latent, equation 2, both directions added: 2 - 2 cos each.

    Args:
      **frame: of `WithSlow`; heads has a projector and a predictor.
    """

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """The loss of both directions, summed over pictures."""
        seen, predicted, keys, model_state, slow_state = pass_both(self, params, state, batch, rng)
        cosines = [cosine(predicted[query], keys[key]) for query, key in ((0, 1), (1, 0))]
        probe, hits = self.probing(seen, batch)
        count = jnp.float32(len(batch["views"]))
        figures = {**hits, "positives": (sum(map(jnp.sum, cosines)) / 2, count), "spread": spread(seen[0].z)}
        total = jnp.sum(2 - 2 * jnp.stack(cosines))
        return total + probe, Aux(model_state, count, figures, extra={SLOW_STATE: slow_state})


def cosine(a: Float[Array, "n d"], b: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Cosine similarity of rows."""
    return jnp.sum(unit(a) * unit(b), axis=1)
