"""Supervised contrastive learning: SimCLR in which all views of a class are each other's positives."""

from typing import Any

import jax.nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxcls.tasks.ssl.frame import everyone
from jaxcls.tasks.ssl.heads import Mlp
from jaxcls.tasks.ssl.simclr import SimCLR, told, without


def heads(projector: tuple[int, ...], types: dict[str, Any]) -> dict[str, Mlp]:
    """The authors' projector: layers with biases and ReLU between them, no norms (features', 128)."""
    return {"_projector": Mlp(projector, **types)}


class SupCon(SimCLR):
    """L_out of Khosla et al., Supervised Contrastive Learning, equation 2. The authors' code multiplies it by
    temperature / 0.07 besides, which is a change of the learning rate. Pictures without a label (-1) have their own
    other view alone."""

    def contrast(
        self, similarity: Float[Array, "m all"], own: Int[Array, " m"], label: Int[Array, " n"]
    ) -> tuple[Float[Array, " m"], dict[str, Array]]:
        """See SimCLR."""
        label = jnp.repeat(label, 2)
        positives = same_class(label, everyone(label, self.axis_name), own)
        return sup_con(similarity, own, positives, self.temperature), told(similarity, own, positives)


def same_class(label: Int[Array, " m"], labels: Int[Array, " all"], own: Int[Array, " m"]) -> Bool[Array, "m all"]:
    """Which of all views are positives of each view: those of its class, and its picture's other one; not itself."""
    number = jnp.arange(len(labels))[None]
    alike = (label[:, None] == labels[None]) & (label >= 0)[:, None]
    return (alike | (number == (own ^ 1)[:, None])) & (number != own[:, None])


def sup_con(
    similarity: Float[Array, "m all"], own: Int[Array, " m"], positives: Bool[Array, "m all"], temperature: float
) -> Float[Array, " m"]:
    """Mean over the positives of each view of their cross entropy among all others, by cosines / temperature."""
    log_p = jax.nn.log_softmax(without(similarity / temperature, own), axis=1)
    return -jnp.sum(jnp.where(positives, log_p, 0.0), axis=1) / jnp.sum(positives, axis=1)
