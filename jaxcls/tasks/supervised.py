"""Ordinary classification: a model, a loss of single examples, weights and masks."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxcls import losses, metrics
from jaxcls.criteria import CLASSIFICATION, Figure
from jaxcls.models import pretrained
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.base import Predictions, Task, beside
from jaxcls.types import Batch, Figures, PyTree


class Supervised(Task):
    """Minimises the cross entropy, or another loss, of a model that returns `(logits, out)`.

    Args:
      model: a Linen module as `models.create` builds it.
      loss: (logits, target, label_smoothing=) -> [n], one of `losses`.
      label_smoothing: of the loss.
      aux_weight: of the same loss of every auxiliary classifier, whose logits are in the model's `out["aux_logits"]`.
      class_weight: [classes], or None for equal ones. Each class's term of the cross entropy is multiplied by its
        weight, those of smoothed and mixed labels too, and the sum is divided by the summed weights of the labels:
        PyTorch's weighted `CrossEntropyLoss`, which for soft labels divides by their number instead. Only for losses
        that are linear in the target.
    """

    criteria: tuple[Figure, ...] = CLASSIFICATION

    def __init__(
        self,
        model: Any,
        *,
        loss: Callable[..., Float[Array, " n"]] = losses.cross_entropy,
        label_smoothing: float = 0.0,
        aux_weight: float = 0.0,
        class_weight: Float[np.ndarray, " classes"] | None = None,
    ):
        self.model = model
        self.loss_of = loss
        self.label_smoothing = label_smoothing
        self.aux_weight = aux_weight
        self.class_weight = class_weight

    def init(self, rng: Array, batch: Batch, weights: PyTree = None) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
        """Parameters and model state, fresh but for the given weights; no extra."""
        variables = dict(self.model.init(rng, batch["image"], train=False, **beside(self.model, batch)))
        if weights is not None:
            variables = pretrained.merge(variables, weights)
        return variables.pop("params"), variables, {}

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """Summed weighted loss; metrics: accuracy (unweighted, over the unmasked examples)."""
        (logits, out), model_state = self.forward(params, state, batch, rng)
        loss, label_weight = self.example_loss(logits, out, batch["label"])
        mask, weight = example_weights(batch)
        measured = self.measured(logits, batch["label"], mask)
        return jnp.sum(weight * loss), Aux(model_state, jnp.sum(weight * label_weight), measured)

    def measured(
        self, logits: Float[Array, "n classes"], label: Array, mask: Float[Array, " n"]
    ) -> dict[str, tuple[Array, Array]]:
        """Metrics of training as (sum, count) over the unmasked examples: accuracy."""
        return {"accuracy": (jnp.sum(mask * metrics.correct(logits, label)), jnp.sum(mask))}

    def distance(
        self, logits: Float[Array, "n classes"], teacher: Float[Array, "n classes"], temperature: float
    ) -> Float[Array, " n"]:
        """How far answers are from a teacher's: losses.distillation."""
        return losses.distillation(logits, teacher, temperature)

    def hard_loss(self, logits: Float[Array, "n classes"], teacher: Float[Array, "n classes"]) -> Float[Array, " n"]:
        """The cross entropy with what a teacher finds most likely as the label."""
        return losses.cross_entropy(logits, jnp.argmax(teacher, axis=-1))

    def forward(
        self, params: PyTree, state: TrainState, batch: Batch, rng: Array
    ) -> tuple[tuple[Float[Array, "n classes"], dict[str, Any]], PyTree]:
        """((logits, out), model state) of the model in training mode."""
        return self.model.apply(
            {"params": params, **state.model_state},
            batch["image"],
            **beside(self.model, batch),
            train=True,
            mutable=list(state.model_state),
            rngs={"dropout": rng},
        )

    def example_loss(
        self, logits: Float[Array, "n classes"], out: dict[str, Any], label: Array
    ) -> tuple[Float[Array, " n"], Float[Array, " n"] | float]:
        """(loss, what each example counts by its label: 1, or one weight each where classes have weights).

        `label`: int [n], or float [n, classes].
        """
        target, smoothing, label_weight = self._target(label, logits.shape[-1])
        loss = self.loss_of(logits, target, label_smoothing=smoothing)
        for auxiliary in out.get("aux_logits", ()):
            loss += self.aux_weight * self.loss_of(auxiliary, target, label_smoothing=smoothing)
        return loss, label_weight

    def _target(self, label, classes):
        """(target and smoothing for the loss, weight of each example by its label)."""
        if self.class_weight is None:
            return label, self.label_smoothing, 1.0
        # A target whose entries carry the weights: the loss multiplies them with its terms as they are.
        weight = jnp.asarray(self.class_weight)
        target = losses.targets(label, classes, label_smoothing=self.label_smoothing) * weight[None]
        return target, 0.0, losses.targets(label, classes) @ weight

    def figures(self, predictions: Predictions, others: Mapping[str, Predictions]) -> Figures:
        """metrics.of_logits."""
        del others
        return metrics.of_logits(predictions["logits"], predictions["label"])

    def describe(self, figures: Figures) -> str:
        """Accuracy with its 95 % Wilson interval, the number of examples, and of those that are not finite."""
        return metrics.describe(figures)

    def interval(self, figures: Figures) -> tuple[float, float] | None:
        """Wilson's, of the accuracy."""
        return metrics.wilson_interval(figures["correct"], figures["count"])


def example_weights(batch: Batch) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """(mask, mask * weight), float32; 1 where a batch has none."""
    mask = batch.get("mask", jnp.ones(batch["image"].shape[0]))
    return mask, mask * batch.get("weight", 1.0)
