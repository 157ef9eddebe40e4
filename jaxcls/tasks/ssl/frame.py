"""What all methods that learn from two views of a picture share: an encoder, heads that learning alone needs, and how
its features are watched."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxcls import losses, metrics, parallel
from jaxcls.criteria import CLASSIFICATION, Figure
from jaxcls.models import pretrained
from jaxcls.state import TrainState
from jaxcls.tasks.base import FEATURES, SOFTMAX, Predictions, Task
from jaxcls.types import Batch, Figures, PyTree

PROJECTOR, PREDICTOR = "_projector", "_predictor"  # among the encoder's parameters; no model has such a name
HEADS = (PROJECTOR, PREDICTOR)
BANK = "bank"  # the pictures whose neighbours vote
KNN = Figure("knn", share=True)
COLLAPSED = 0.05  # spread of unit vectors below which they are one point, nearly


@dataclasses.dataclass(frozen=True)
class Monitor:
    """How features are watched.

    Attributes:
      probe: the model's last layer learns the labels beside, of features that it does not change.
      k, temperature: of the neighbours' vote (`neighbours.Neighbours`); k = 0: no vote.
    """

    probe: bool = False
    k: int = 0
    temperature: float = 0.1


class Seen(NamedTuple):
    """What an encoder with its projector makes of pictures.

    Attributes:
      logits: of the probe, float32 [n, classes].
      z: projections, float32 [n, d].
      model_state: the collections after this forward pass.
    """

    logits: Array
    z: Array
    model_state: PyTree


class TwoViews(Task):
    """The frame. A subclass has `loss`; `batch["views"]`, float [n, 2, h, w, c], are the two views.

    Args:
      model: the encoder, any Classifier; its `pre_logits` are the features. Where there is a probe it has classes.
      heads: name (HEADS) -> Linen module [n, d] -> [n, e]. They lie beside the encoder's parameters, under their names.
      axis_name: the mapped axis over which examples of other devices are seen; None under jit.
      monitor: Monitor.
    """

    def __init__(
        self, model: Any, heads: Mapping[str, nn.Module], *, axis_name: str | None = None, monitor: Monitor = Monitor()
    ):
        self.model, self.heads, self.axis_name, self.monitor = model, dict(heads), axis_name, monitor
        self.output = SOFTMAX if monitor.probe else FEATURES
        self.needs = (BANK,) if monitor.k else ()
        self.scratch = ("features",) if monitor.probe else ()
        self.criteria = (CLASSIFICATION if monitor.probe else ()) + ((KNN,) if monitor.k else ())

    def init(self, rng: Array, batch: Batch, weights: PyTree = None) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
        """Parameters and model state of the encoder, fresh but for the given weights, and of the heads; no extra."""
        encoder = dict(self.model.init(rng, batch["image"], train=False))
        if weights is not None:
            encoder = pretrained.merge(encoder, weights)
        x = self.model.apply(encoder, batch["image"], train=False)[1]["pre_logits"]
        variables: dict[str, dict[str, Any]] = {name: dict(tree) for name, tree in encoder.items()}
        for i, (name, head) in enumerate(self.heads.items()):
            x, own = head.init_with_output(jax.random.fold_in(rng, i), x, train=False)
            for collection, tree in own.items():
                variables.setdefault(collection, {})[name] = tree
        return variables.pop("params"), variables, {}

    def see(self, variables: PyTree, image: Array, rng: Array) -> Seen:
        """Pictures [n, h, w, c] through an encoder and its projector in training mode.

        `variables`: collections with the heads' among them. No gradient of the logits reaches the encoder.
        """
        encoder = of_encoder(variables)
        stopped = nn.intercept_methods(_stop_before(self.model.head))
        with stopped:
            (logits, out), new = self.model.apply(
                encoder, image, train=True, mutable=_mutable(encoder), rngs={"dropout": rng}
            )
        if not self.model.head:  # outputs of fixed weights (LeNet-5 of 1998): there is no layer to stop before
            logits = jax.lax.stop_gradient(logits)
        z, more = self.head(PROJECTOR, variables, out["pre_logits"])
        return Seen(logits, z, joined(moving(variables), new, more))

    def head(self, name: str, variables: PyTree, x: Float[Array, "n d"]) -> tuple[Float[Array, "n e"], PyTree]:
        """(what a head makes of vectors in training mode, its collections after that, under its name)."""
        own = {collection: tree[name] for collection, tree in variables.items() if name in tree}
        y, new = self.heads[name].apply(own, x, train=True, mutable=_mutable(own))
        return y, {collection: {name: tree} for collection, tree in new.items()}

    def predicted(self, params: PyTree, seen: Seen) -> tuple[Float[Array, "n e"], PyTree]:
        """(the predictor's output for projections, all collections after that)."""
        y, more = self.head(PREDICTOR, {"params": params, **seen.model_state}, seen.z)
        return y, joined(seen.model_state, more)

    def probing(self, seen: list[Seen], batch: Batch) -> tuple[Array, dict[str, Any]]:
        """(0 with the gradient of the probe's mean cross entropy of all views, times n; its metrics).

        So the loss that is shown is the method's own. Pictures without a label (-1) count in neither.
        """
        if not self.monitor.probe:
            return jnp.float32(0), {}
        label = batch["label"]
        known = (label >= 0).astype(jnp.float32)
        each = [losses.cross_entropy(one.logits, jnp.maximum(label, 0)) for one in seen]
        loss = jnp.sum(known[None] * jnp.stack(each)) / len(each)
        hits = jnp.sum(known * metrics.correct(seen[0].logits, label))
        return loss - jax.lax.stop_gradient(loss), {"accuracy": (hits, jnp.sum(known))}

    def answering(self, state: TrainState, *, averaged: bool = True) -> dict[str, PyTree]:
        """The encoder's collections: no heads."""
        del averaged
        return of_encoder({"params": state.params, **state.model_state})

    def predict(self, state: TrainState, batch: Batch) -> dict[str, Array]:
        """ "features", and the probe's "logits"."""
        logits, out = self.model.apply(self.answering(state), batch["image"], train=False)
        features = {"features": out["pre_logits"].astype(jnp.float32)}
        return {"logits": logits, **features} if self.monitor.probe else features

    def figures(self, predictions: Predictions, others: Mapping[str, Predictions]) -> Figures:
        """Those of the probe (metrics.of_logits), and "knn", the accuracy of the neighbours' vote."""
        from jaxcls.tasks.neighbours import Neighbours

        figures = (
            metrics.of_logits(predictions["logits"], predictions["label"])
            if self.monitor.probe
            else super().figures(predictions, others)
        )
        if self.monitor.k:
            bank, label = others[BANK], np.asarray(predictions["label"])
            votes = Neighbours(
                bank["features"],
                bank["label"],
                classes=int(max(bank["label"].max(), label.max())) + 1,
                k=self.monitor.k,
                temperature=self.monitor.temperature,
            ).logits(predictions["features"])
            figures["knn"] = float((votes.argmax(axis=1) == label).mean())
        return figures

    def describe(self, figures: Figures) -> str:
        """Accuracy of the linear probe with its interval, and the share that the neighbours' vote gets right."""
        vote = f"k-NN {figures['knn']:.2%}" if "knn" in figures else ""
        if self.monitor.probe:
            return f"{metrics.describe(figures)}, by the linear probe{'; ' if vote else ''}{vote}"
        return f"{figures['knn']:.2%}, {figures['count']} examples" if vote else super().describe(figures)

    def interval(self, figures: Figures) -> tuple[float, float] | None:
        """Wilson's, of the probe's accuracy."""
        return metrics.wilson_interval(figures["correct"], figures["count"]) if self.monitor.probe else None

    def remark(self, means: Mapping[str, float], step: int) -> str:
        """A line where the features fall together."""
        spread = means.get("spread", 1.0)
        if spread < COLLAPSED:
            return (
                f"collapse: at step {step} the projections of all pictures are nearly one point (spread {spread:.3f} "
                "of 1); lower config.schedule.peak, or look at the heads and their norms (docs/self-supervised.md)"
            )
        chance = means.get("chance", np.inf)
        if step >= PATIENCE and means["loss"] > 0.995 * chance:
            return (
                f"at step {step} the loss {means['loss']:.3f} is no better than guessing ({chance:.3f}); see "
                "docs/self-supervised.md, how to tell that it works"
            )
        return ""


PATIENCE = 200  # steps after which a loss should be better than guessing


def of_encoder(variables: PyTree) -> PyTree:
    """Collections without the heads; those that the encoder does not have are left out."""
    own = {c: {name: x for name, x in tree.items() if name not in HEADS} for c, tree in variables.items()}
    return {collection: tree for collection, tree in own.items() if tree}


def moving(variables: PyTree) -> PyTree:
    """Collections but the parameters."""
    return {collection: tree for collection, tree in variables.items() if collection != "params"}


def joined(*parts: PyTree) -> PyTree:
    """Collections of several, each with entries of its own; of one name the last counts."""
    out: dict[str, dict[str, Any]] = {}
    for part in parts:
        for collection, tree in part.items():
            out[collection] = {**out.get(collection, {}), **tree}
    return out


def _mutable(variables):
    """The collections that a forward pass in training mode changes."""
    return [collection for collection in variables if collection != "params"]


def _stop_before(head):
    """An interceptor that lets no gradient through the inputs of the modules of these names."""

    def intercept(call, args, kwargs, context):
        if context.method_name == "__call__" and ".".join(context.module.path) in head:
            args = (jax.lax.stop_gradient(args[0]), *args[1:])
        return call(*args, **kwargs)

    return intercept


# What losses are made of


def unit(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Rows of length 1, float32 (PyTorch's `F.normalize`: divided by at least 1e-12)."""
    x = x.astype(jnp.float32)
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jnp.where(square > 1e-24, jax.lax.rsqrt(jnp.maximum(square, 1e-24)), 1e12)


def everyone(x: Array, axis_name: str | None) -> Array:
    """The rows [n / devices, ...] of all devices as [n, ...], with their gradients: each device gets back what all
    others ask of its rows."""
    return parallel.all_gather(x, axis_name)


def similarities(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """Dot products in float32, of full precision on every device."""
    return jnp.matmul(a, b.T, precision="highest")


def spread(z: Float[Array, "n d"]) -> tuple[Array, Array]:
    """(sum, count) of a metric: the standard deviation over examples of unit vectors, times sqrt(d): 1 where they are
    spread evenly, 0 where they are one point (SimSiam, figure 2)."""
    z = jax.lax.stop_gradient(unit(z))
    value = jnp.mean(jnp.std(z, axis=0)) * jnp.sqrt(jnp.float32(z.shape[1]))
    return value * len(z), jnp.float32(len(z))
