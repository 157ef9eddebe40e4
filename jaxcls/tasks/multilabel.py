"""Sets of labels: every class a yes-or-no question of its own."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxcls import losses, set_metrics
from jaxcls.criteria import SETS
from jaxcls.tasks.base import SIGMOID, Predictions
from jaxcls.tasks.supervised import Supervised
from jaxcls.types import Figures


class MultiLabel(Supervised):
    """Minimises the binary cross entropy, or another binary loss, of sets of labels [n, classes] of 0 and 1, or numbers
    between them once mixed. The probability of a class is the sigmoid of its logit.

    Args:
      model, aux_weight: as of Supervised.
      loss: (logits, target [n, classes], label_smoothing=) -> [n], such as `losses.binary_cross_entropy`.
      label_smoothing: s of (1 - s) * label + s / 2 (losses.set_targets).
      sum_classes: whether the loss is a sum over the classes; what a teacher adds is one then, too.
    """

    output = SIGMOID
    criteria = SETS

    def __init__(
        self,
        model: Any,
        *,
        loss: Callable[..., Float[Array, " n"]] = losses.binary_cross_entropy,
        label_smoothing: float = 0.0,
        aux_weight: float = 0.0,
        sum_classes: bool = False,
    ):
        super().__init__(model, loss=loss, label_smoothing=label_smoothing, aux_weight=aux_weight)
        self.sum_classes = sum_classes

    def _target(self, label, classes):
        return losses.set_targets(label, label_smoothing=self.label_smoothing), 0.0, 1.0

    def measured(
        self, logits: Float[Array, "n classes"], label: Array, mask: Float[Array, " n"]
    ) -> dict[str, tuple[Array, Array]]:
        """exact (pictures whose whole set is right) and f1_micro (2 hits of 2 hits + alarms + misses, of all pairs of
        picture and class) at probability 0.5; of mixed labels those of at least 0.5 count as there."""
        said, there = logits >= 0, label >= 0.5
        finite = jnp.isfinite(jnp.max(logits, axis=-1))  # as set_metrics: all answers of others are wrong
        said = jnp.where(finite[:, None], said, ~there)
        right = jnp.all(said == there, axis=-1)
        twice_hits, named = 2 * jnp.sum(said & there, axis=-1), jnp.sum(said, axis=-1) + jnp.sum(there, axis=-1)
        return {
            "exact": (jnp.sum(mask * right), jnp.sum(mask)),
            "f1_micro": (jnp.sum(mask * twice_hits), jnp.sum(mask * named)),
        }

    def distance(
        self, logits: Float[Array, "n classes"], teacher: Float[Array, "n classes"], temperature: float
    ) -> Float[Array, " n"]:
        """losses.binary_distillation, a mean or a sum over the classes as the loss is."""
        return losses.binary_distillation(logits, teacher, temperature, sum_classes=self.sum_classes)

    def hard_loss(self, logits: Float[Array, "n classes"], teacher: Float[Array, "n classes"]) -> Float[Array, " n"]:
        """The binary cross entropy with the classes to which a teacher gives at least 0.5."""
        target = (teacher >= 0).astype(jnp.float32)
        return losses.binary_cross_entropy(logits, target, sum_classes=self.sum_classes)

    def figures(self, predictions: Predictions, others: Mapping[str, Predictions]) -> Figures:
        """set_metrics.of_sets."""
        del others
        return set_metrics.of_sets(predictions["logits"], predictions["label"])

    def ranked(self, figures: Figures) -> bool:
        """Where any picture has a label: without, there is no mAP."""
        return figures["mAP"] == figures["mAP"]

    def describe(self, figures: Figures) -> str:
        """set_metrics.describe."""
        return set_metrics.describe(figures)

    def interval(self, figures: Figures) -> tuple[float, float] | None:
        """Of the mAP, from its standard error over pictures."""
        return set_metrics.interval(figures)
