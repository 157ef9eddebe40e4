"""SimCLR: the other view of a picture is to be told from all views of all other pictures."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxcls import losses, parallel
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.ssl.frame import TwoViews, everyone, similarities, spread, unit
from jaxcls.tasks.ssl.heads import Mlp
from jaxcls.types import Batch, PyTree


def heads(projector: tuple[int, ...], types: dict[str, Any]) -> dict[str, Mlp]:
    """The paper's projector: BatchNorm behind every layer, the last one without a shift, no other biases.

    `projector`: widths, two in the first paper (features', 128), three in the second (Chen et al., Big Self-Supervised
    Models, section 2; there fine-tuning begins at the first of them, here behind the encoder always).
    """
    return {"_projector": Mlp(projector, norm=True, last_norm="scale", bias=False, last_bias=False, **types)}


class SimCLR(TwoViews):
    """NT-Xent over the views of all devices (Chen et al., A Simple Framework for Contrastive Learning of Visual
    Representations, algorithm 1). Both views pass through the encoder in one batch, of which BatchNorm sees the whole,
    as in the authors' code, whose loss is twice this mean.

    Args:
      temperature: 0.1 on ImageNet, 0.5 on CIFAR-10.
      **frame: of `TwoViews`; heads has a projector.
    """

    def __init__(self, *args: Any, temperature: float = 0.1, **frame: Any):
        super().__init__(*args, **frame)
        self.temperature = temperature

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """Mean NT-Xent of both views, summed over pictures."""
        views = batch["views"]
        n, k = views.shape[:2]
        # The views of a picture are neighbours, so that a batch stays cut over devices where it was.
        seen = self.see({"params": params, **state.model_state}, views.reshape(n * k, *views.shape[2:]), rng)
        first = parallel.axis_index(self.axis_name) * n * k
        z = unit(seen.z)
        everything = everyone(z, self.axis_name)
        loss, told = self.contrast(similarities(z, everything), first + jnp.arange(n * k), batch["label"])
        each_view = [seen._replace(logits=seen.logits[v::k]) for v in range(k)]
        probe, hits = self.probing(each_view, batch)
        pictures = jnp.float32(n)
        chance = pictures * jnp.log(jnp.float32(len(everything) - 1))
        figures: dict[str, Any] = {name: (value * n, pictures) for name, value in told.items()}
        figures |= {**hits, "spread": spread(seen.z), "chance": (chance, pictures)}
        return jnp.mean(loss) * n + probe, Aux(seen.model_state, pictures, figures)

    def contrast(
        self, similarity: Float[Array, "m all"], own: Int[Array, " m"], label: Int[Array, " n"]
    ) -> tuple[Float[Array, " m"], dict[str, Array]]:
        """(loss of each view, means of what is told) from cosines with all views, of which `own` are these."""
        del label
        positive = own ^ 1  # views 2i and 2i + 1 are of one picture
        loss = nt_xent(similarity, own, positive, self.temperature)
        return loss, told(similarity, own, places(similarity) == positive[:, None])


def nt_xent(
    similarity: Float[Array, "m all"], own: Int[Array, " m"], positive: Int[Array, " m"], temperature: float
) -> Float[Array, " m"]:
    """Cross entropy of each view's positive among all others, by cosines / temperature.

    Args:
      similarity: of m views with all, float32.
      own, positive: which of all is the view itself, and which the other one of its picture.
    """
    return losses.cross_entropy(without(similarity / temperature, own), positive)


def without(logits: Float[Array, "m all"], own: Int[Array, " m"]) -> Float[Array, "m all"]:
    """Logits in which no view can choose itself."""
    return jnp.where(places(logits) == own[:, None], -1e9, logits)


def places(similarity: Float[Array, "m all"]) -> Int[Array, "1 all"]:
    """The numbers of all views."""
    return jnp.arange(similarity.shape[1])[None]


def told(similarity: Float[Array, "m all"], own: Int[Array, " m"], positives: Bool[Array, "m all"]) -> dict[str, Array]:
    """Mean cosine of positives and of negatives, and the share of views whose nearest one is a positive."""
    others = places(similarity) != own[:, None]
    negatives = others & ~positives

    def mean(of):
        return jnp.sum(jnp.where(of, similarity, 0.0)) / jnp.maximum(jnp.sum(of), 1)

    nearest = jnp.argmax(without(similarity, own), axis=1)
    found = jnp.take_along_axis(positives, nearest[:, None], axis=1)
    return {"positives": mean(positives & others), "negatives": mean(negatives), "found": jnp.mean(found)}
