"""Pictures and their captions learn to agree: CLIP, Radford et al. 2021 (arXiv 2103.00020, figure 3), and SigLIP, Zhai
et al. 2023 (2303.15343, section 3)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxcls import losses, metrics, parallel
from jaxcls.criteria import Figure
from jaxcls.models import pretrained
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.base import FEATURES, Predictions, Task
from jaxcls.tasks.ssl.frame import everyone, similarities, unit
from jaxcls.types import Batch, Figures, PyTree

TEXT, SCALE, BIAS = "_text", "_scale", "_bias"  # among the picture tower's parameters; no model has such names
METHODS = {"clip": (float(np.log(1 / 0.07)), None), "siglip": (float(np.log(10.0)), -10.0)}  # where they start
MOST = float(np.log(100.0))  # of the scale's logarithm, for CLIP (section 2.5)
CHUNK = 1024  # texts that pictures are compared with at once, for SigLIP
RECALL = Figure("recall", share=True)


class Pairs(Task):
    """Learns a tower of pictures and one of texts; `batch["text"]`, int32 [n, context], are the captions' tokens.

    Args:
      model: of pictures, with the neck `cosine`, without classes; its answer is a unit vector.
      tower: of texts (models.text_tower), whose `num_classes` is the size of that vector. Its parameters and those of
        scale and bias lie beside the model's, as TEXT, SCALE and BIAS.
      method: "clip" or "siglip".
      axis_name: the mapped axis over which pairs of other devices are seen; None under jit.
    """

    output = FEATURES
    criteria = (RECALL,)
    scratch = ("text",)

    def __init__(self, model: Any, tower: nn.Module, method: str = "clip", *, axis_name: str | None = None):
        self.model, self.tower, self.method, self.axis_name = model, tower, method, axis_name

    def init(self, rng: Array, batch: Batch, weights: PyTree = None) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
        """Both towers, that of pictures fresh but for the given weights; no extra."""
        variables = dict(self.model.init(rng, batch["image"], train=False))
        if weights is not None:
            variables = pretrained.merge(variables, weights)
        text = self.tower.init(jax.random.fold_in(rng, 1), batch["text"])["params"]
        scale, bias = METHODS[self.method]
        params = {**variables.pop("params"), TEXT: text, SCALE: jnp.float32(scale)}
        return params if bias is None else {**params, BIAS: jnp.float32(bias)}, variables, {}

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """Mean loss of the pairs, summed over them; metrics: the share of pictures whose caption is the nearest of the
        batch, and the scale."""
        (_, out), model_state = self.model.apply(
            {"params": _of_pictures(params), **state.model_state},
            batch["image"],
            train=True,
            mutable=list(state.model_state),
            rngs={"dropout": rng},
        )
        image, text = out["pre_logits"], self._read(params, batch["text"], train=True)
        first = parallel.axis_index(self.axis_name) * len(image)
        both = everyone(image, self.axis_name), everyone(text, self.axis_name)
        own = first + jnp.arange(len(image))
        if self.method == "clip":
            each = clip(image, text, both, own, jnp.minimum(params[SCALE], MOST))
        else:
            each = siglip(image, both[1], own, params[SCALE], params[BIAS])
        n = jnp.float32(len(image))
        hits = jnp.sum(jnp.argmax(similarities(image, both[1]), axis=1) == own)
        told = {"nearest": (hits.astype(jnp.float32), n), "scale": (jnp.exp(params[SCALE]) * n, n)}
        return jnp.sum(each), Aux(model_state, n, told)

    def _read(self, params, tokens, train=False):
        return unit(self.tower.apply({"params": params[TEXT]}, tokens, train=train)[0])

    def answering(self, state: TrainState, *, averaged: bool = True) -> dict[str, PyTree]:
        """The tower of pictures."""
        del averaged
        return {"params": _of_pictures(state.params), **state.model_state}

    def predict(self, state: TrainState, batch: Batch) -> dict[str, Array]:
        """ "features" of the pictures, and for `figures` those of the captions, "text"; all of length 1."""
        return {**super().predict(state, batch), "text": self._read(state.params, batch["text"])}

    def figures(self, predictions: Predictions, others: Mapping[str, Predictions]) -> Figures:
        """ "recall": the share of pictures whose nearest caption, among the different ones of the split, is theirs
        (recall at 1); "recall5": that it is among the nearest five; "captions": how many there are."""
        del others
        text, which = np.unique(predictions["text"], axis=0, return_inverse=True)
        cosine = predictions["features"] @ text.T
        ahead = (cosine > cosine[np.arange(len(cosine)), which.ravel()][:, None]).sum(axis=1)
        count = len(cosine)
        found = {"recall": float((ahead < 1).mean()), "recall5": float((ahead < 5).mean()), "captions": len(text)}
        return {"count": count, "correct": int((ahead < 1).sum()), **found}

    def interval(self, figures: Figures) -> tuple[float, float] | None:
        """Wilson's, of the recall."""
        return metrics.wilson_interval(figures["correct"], figures["count"])


def _of_pictures(params):
    return {name: tree for name, tree in params.items() if name not in (TEXT, SCALE, BIAS)}


def clip(
    image: Float[Array, "n d"],
    text: Float[Array, "n d"],
    both: tuple[Float[Array, "all d"], Float[Array, "all d"]],
    own: Array,
    scale: Float[Array, ""],
) -> Float[Array, " n"]:
    """Of each pair, the mean of two cross entropies: its caption among all, and its picture among all.

    Args:
      image, text: unit vectors of these pairs. both: those of all devices' pairs, pictures and texts.
      own: which of all these are.
      scale: the logarithm of what cosines are multiplied by.
    """
    times = jnp.exp(scale)
    captions = losses.cross_entropy(times * similarities(image, both[1]), own)
    return (captions + losses.cross_entropy(times * similarities(text, both[0]), own)) / 2


def siglip(
    image: Float[Array, "n d"], text: Float[Array, "all d"], own: Array, scale: Float[Array, ""], bias: Float[Array, ""]
) -> Float[Array, " n"]:
    """Of each picture, the summed binary cross entropies whether a text is its own, over all texts; in chunks, so that
    no matrix of all pairs is kept. Arguments as of `clip`."""

    @jax.checkpoint
    def part(texts, numbers):
        z = jnp.exp(scale) * similarities(image, texts) + bias
        return jnp.sum(jnp.logaddexp(0.0, jnp.where(numbers[None] == own[:, None], -z, z)), axis=1)

    numbers = jnp.arange(len(text))
    if len(text) <= CHUNK or len(text) % CHUNK:
        return part(text, numbers)
    chunks = text.reshape(-1, CHUNK, text.shape[1]), numbers.reshape(-1, CHUNK)
    return jnp.sum(jax.lax.map(lambda both: part(*both), chunks), axis=0)
