"""AugMix's consistency loss: the predictions for three views of a picture are made alike."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxcls import losses, metrics
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.base import Wrapper
from jaxcls.tasks.supervised import Supervised, example_weights
from jaxcls.types import Batch, PyTree


class Consistency(Wrapper):
    """Adds weight * JS(clean, first, second) to the loss of the clean picture (Hendrycks et al., AugMix, section 3).

    JS is the Jensen-Shannon divergence between the predictions for the three (losses.jensen_shannon). All views pass
    through the net in one batch, of which BatchNorm sees the whole, as in the authors' code. An example's weight, and
    that of its class, count for both parts.

    Args:
      inner: a Supervised.
      weight: 12 in the paper.
    """

    inner: Supervised

    def __init__(self, inner: Supervised, weight: float):
        super().__init__(inner)
        self.weight = weight

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """Summed loss of a batch whose further views are in `batch["views"]`, float [n, k, h, w, c] (augment.device).

        Metrics: accuracy of the clean pictures, and the divergence as "consistency".
        """
        images = jnp.concatenate([batch["image"][:, None], batch["views"]], axis=1)
        n, k = images.shape[:2]
        # The views of a picture are neighbours, so that a batch stays cut over devices where it was.
        images = images.reshape(n * k, *images.shape[2:])
        (logits, out), model_state = self.inner.forward(params, state, {**batch, "image": images}, rng)
        views = jnp.moveaxis(logits.reshape(n, k, -1), 1, 0)
        clean = {"aux_logits": [auxiliary[::k] for auxiliary in out.get("aux_logits", ())]}
        loss, label_weight = self.inner.example_loss(views[0], clean, batch["label"])
        divergence = losses.jensen_shannon(*views)
        mask, weight = example_weights(batch)
        full_weight = weight * label_weight
        count = jnp.sum(full_weight)
        figures = {
            "accuracy": (jnp.sum(mask * metrics.correct(views[0], batch["label"])), jnp.sum(mask)),
            "consistency": (jnp.sum(full_weight * divergence), count),
        }
        total = jnp.sum(weight * loss + self.weight * full_weight * divergence)
        return total, Aux(model_state, count, figures)
