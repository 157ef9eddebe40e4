"""Ordinary classification: a model, a loss of single examples, weights and masks."""

import jax.numpy as jnp

from jaxcls import losses, metrics
from jaxcls.models import pretrained
from jaxcls.state import Aux
from jaxcls.tasks.base import Task


class Supervised(Task):
    """Minimises the cross entropy of a model that returns `(logits, out)`.

    Args:
      model: a Linen module as `models.create` builds it.
      label_smoothing: see `losses.cross_entropy`.
      aux_weight: of the same loss of every auxiliary classifier, whose logits are in the model's `out["aux_logits"]`.
    """

    def __init__(self, model, *, label_smoothing=0.0, aux_weight=0.0):
        self.model = model
        self.label_smoothing = label_smoothing
        self.aux_weight = aux_weight

    def init(self, rng, batch, weights=None):
        """Parameters and model state, fresh but for the given weights; no extra."""
        variables = dict(self.model.init(rng, batch["image"], train=False))
        if weights is not None:
            variables = pretrained.merge(variables, weights)
        return variables.pop("params"), variables, {}

    def loss(self, params, state, batch, rng):
        """Summed weighted cross entropy; metrics: accuracy (unweighted, over the unmasked examples)."""
        (logits, out), model_state = self.model.apply(
            {"params": params, **state.model_state},
            batch["image"],
            train=True,
            mutable=list(state.model_state),
            rngs={"dropout": rng},
        )
        mask = batch.get("mask", jnp.ones(logits.shape[0]))
        weight = mask * batch.get("weight", 1.0)
        loss = losses.cross_entropy(logits, batch["label"], label_smoothing=self.label_smoothing)
        for auxiliary in out.get("aux_logits", ()):
            more = losses.cross_entropy(auxiliary, batch["label"], label_smoothing=self.label_smoothing)
            loss += self.aux_weight * more
        hits = (jnp.sum(mask * metrics.correct(logits, batch["label"])), jnp.sum(mask))
        return jnp.sum(weight * loss), Aux(model_state, jnp.sum(weight), {"accuracy": hits})

    def predict(self, state, batch):
        """`{"logits"}` with BatchNorm and dropout in inference mode."""
        logits, _ = self.model.apply({"params": state.params, **state.model_state}, batch["image"], train=False)
        return {"logits": logits}
