"""AugMix's consistency loss: the predictions for three views of a picture are made alike."""

import jax.numpy as jnp

from jaxcls import losses, metrics
from jaxcls.state import Aux
from jaxcls.tasks.base import Wrapper
from jaxcls.tasks.supervised import example_weights


class Consistency(Wrapper):
    """Adds weight * JS(clean, first, second) to the loss of the clean picture (Hendrycks et al., AugMix, section 3).

    JS is the Jensen-Shannon divergence between the predictions for the three (losses.jensen_shannon). All views pass
    through the net in one batch, of which BatchNorm sees the whole, as in the authors' code. An example's weight, and
    that of its class, count for both parts.

    Args:
      inner: a Supervised.
      weight: 12 in the paper.
    """

    def __init__(self, inner, weight):
        super().__init__(inner)
        self.weight = weight

    def loss(self, params, state, batch, rng):
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
        own, by_label = self.inner.example_loss(views[0], clean, batch["label"])
        apart = losses.jensen_shannon(*views)
        mask, weight = example_weights(batch)
        count, both = jnp.sum(weight * by_label), weight * by_label
        found = {
            "accuracy": (jnp.sum(mask * metrics.correct(views[0], batch["label"])), jnp.sum(mask)),
            "consistency": (jnp.sum(both * apart), count),
        }
        return jnp.sum(weight * own + self.weight * both * apart), Aux(model_state, count, found)
