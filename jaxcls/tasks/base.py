"""The interface between the training step and whatever is trained."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxcls.criteria import Figure
from jaxcls.errors import UserError
from jaxcls.state import Aux, TrainState
from jaxcls.types import Batch, Figures, PyTree

# What the answer of a model means, and what predictions call it.
SOFTMAX, SIGMOID, FEATURES = "softmax", "sigmoid", "features"
ANSWERS = {SOFTMAX: "logits", SIGMOID: "logits", FEATURES: "features"}
Predictions = dict[str, Any]  # name -> array [n, ...] of a whole split: the answers, label, index


class Task:
    """What the step needs to know of a training method; subclasses and wrappers override what they change.

    A task holds configuration and pure functions, never arrays: those live in the `TrainState`. What changes the
    function that answers is no task but a model.

    Attributes:
      model: the Linen module that answers.
      output: what its answer means: "softmax" or "sigmoid" (of logits), or "features" (what the last layer would see).
      views, mean: test-time augmentation (tasks.tta).
      criteria: figures that may choose the best checkpoint, the first one unless config.eval.best names another; ()
        where nothing is measured.
      needs: splits whose predictions `figures` wants besides those of the split that is measured.
      transient: keys of `state.extra` that are left out of checkpoints (a frozen teacher comes from its own file).
      scratch: predictions that `figures` alone wants; they are not kept.
      multiple: what the number of pictures that `loss` sees is a multiple of, on each device, in each micro-batch.
    """

    model: Any = None
    output: str = SOFTMAX
    views: tuple[str, ...] = ()
    mean: str = "logits"
    criteria: tuple[Figure, ...] = ()
    needs: tuple[str, ...] = ()
    transient: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    multiple: int = 1

    def init(self, rng: Array, batch: Batch, weights: PyTree = None) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
        """Parameters, model state and extra (dicts of arrays) for batches of these shapes.

        `weights`: leaves of the model's variables to start from in place of fresh ones, as nested dicts. Copies of the
        parameters (averages, momentum encoders) are copies of these.
        """
        raise NotImplementedError

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """The float32 loss summed over the batch, and an `Aux`.

        `params` are the ones to differentiate by; `state` gives everything else.
        """
        raise NotImplementedError

    def after_update(self, state: TrainState, aux: Aux) -> TrainState:
        """The state after an update: momentum encoders, averages, queues. `aux` covers the global batch under jit, the
        device's share (in `carry`) under pmap."""
        del aux
        return state

    def with_statistics(self, state: TrainState, make: Callable[[PyTree, PyTree], PyTree]) -> TrainState:
        """The state with `make(params, model_state) -> model_state` for every set of weights that is evaluated: the
        trained ones, and averages of them."""
        return state.replace(model_state=make(state.params, state.model_state))

    def answering(self, state: TrainState, *, averaged: bool = True) -> dict[str, PyTree]:
        """The collections of `model` that answer, and nothing that belongs to learning alone.

        It selects and computes nothing: called on a state whose leaves are their own names, it says where each variable
        of the model is stored (`checkpoints.meta.Answer`).

        Args:
          state: its params, model_state and extra are looked at.
          averaged: whether an average answers, where there is one.
        """
        del averaged
        return {"params": state.params, **state.model_state}

    def predict(self, state: TrainState, batch: Batch) -> dict[str, Array]:
        """Predictions of a batch in evaluation mode, float32 [n, d] by name: "logits", or "features"."""
        return answer(self.model, self.output, self.answering(state), batch["image"], beside(self.model, batch))

    def figures(self, predictions: Predictions, others: Mapping[str, Predictions]) -> Figures:
        """Figures (floats and ints) of a whole split, "count" among them; those of `criteria` can be ranked by.

        Args:
          predictions: of `predict`, as host arrays, beside label and index.
          others: those of the splits in `needs`, e.g. the bank of nearest neighbours.
        """
        del others
        return {"count": len(predictions["index"])}

    def ranked(self, figures: Figures) -> bool:
        """Whether a state with these figures may be the best one, and what follows figures looks at them."""
        del figures
        return True

    def describe(self, figures: Figures) -> str:
        """One line about figures, for people."""
        if not self.criteria:
            return f"not measured ({figures['count']} examples)"
        shown = (shown_figure(each, figures[each.name]) for each in self.criteria if each.name in figures)
        return ", ".join([*shown, f"{figures['count']} examples"])

    def interval(self, figures: Figures) -> tuple[float, float] | None:
        """The 95 % interval of the first figure; None where none is known."""
        del figures
        return None

    def remark(self, means: Mapping[str, float], step: int) -> str:
        """A line for people about the metrics of training until `step`, where they show that something is wrong."""
        del means, step
        return ""


class Wrapper(Task):
    """A task around a task, passing on what it does not change."""

    def __init__(self, inner: Task):
        self.inner = inner
        self.model, self.output = inner.model, inner.output
        self.views, self.mean = inner.views, inner.mean
        self.criteria, self.needs, self.transient = inner.criteria, inner.needs, inner.transient
        self.scratch, self.multiple = inner.scratch, inner.multiple

    def init(self, rng: Array, batch: Batch, weights: PyTree = None) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
        """As the inner task."""
        return self.inner.init(rng, batch, weights)

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """As the inner task."""
        return self.inner.loss(params, state, batch, rng)

    def after_update(self, state: TrainState, aux: Aux) -> TrainState:
        """As the inner task."""
        return self.inner.after_update(state, aux)

    def with_statistics(self, state: TrainState, make: Callable[[PyTree, PyTree], PyTree]) -> TrainState:
        """As the inner task."""
        return self.inner.with_statistics(state, make)

    def answering(self, state: TrainState, *, averaged: bool = True) -> dict[str, PyTree]:
        """As the inner task."""
        return self.inner.answering(state, averaged=averaged)

    def predict(self, state: TrainState, batch: Batch) -> dict[str, Array]:
        """As the inner task."""
        return self.inner.predict(state, batch)

    def figures(self, predictions: Predictions, others: Mapping[str, Predictions]) -> Figures:
        """As the inner task."""
        return self.inner.figures(predictions, others)

    def ranked(self, figures: Figures) -> bool:
        """As the inner task."""
        return self.inner.ranked(figures)

    def describe(self, figures: Figures) -> str:
        """As the inner task."""
        return self.inner.describe(figures)

    def interval(self, figures: Figures) -> tuple[float, float] | None:
        """As the inner task."""
        return self.inner.interval(figures)

    def remark(self, means: Mapping[str, float], step: int) -> str:
        """As the inner task."""
        return self.inner.remark(means, step)


def beside(model: Any, batch: Batch) -> dict[str, Array]:
    """What a model takes of a batch beside its pictures: keyword arguments (`Classifier.inputs`).

    Raises:
      UserError: where the batch lacks one.
    """
    wanted = getattr(model, "inputs", ())
    if missing := [name for name in wanted if name not in batch]:
        raise UserError(lacking(model, missing[0]))
    return {name: batch[name] for name in wanted}


def lacking(model: Any, name: str) -> str:
    """The message for a model that takes a leaf beside the picture which data do not have."""
    what, remedy = getattr(model, "beside", repr(name)), getattr(model, "remedy", "")
    told = f"; {remedy}" if remedy else ""
    return f"{type(model).__name__} takes {what} beside the picture, which these data do not have{told}."


def answer(
    model: Any, output: str, variables: PyTree, image: Array, more: Mapping[str, Array] = MappingProxyType({})
) -> dict[str, Array]:
    """What a model says about normalised pictures [n, h, w, c], by the name in ANSWERS: float32 [n, d].

    `more`: what it takes beside them.
    """
    logits, out = model.apply(variables, image, train=False, **more)
    if output == FEATURES:
        return {ANSWERS[output]: out["pre_logits"].astype(jnp.float32)}
    return {ANSWERS[output]: logits}


def shown_figure(figure: Figure, value: float) -> str:
    """A figure for people: shares in percent, others with four digits."""
    name = figure.name.replace("_", " ")
    return f"{name} {value:.2%}" if figure.share else f"{name} {value:.4g}"
