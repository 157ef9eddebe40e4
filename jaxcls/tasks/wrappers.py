"""Wrappers that any task can be put into: transforms of the batch, an average of the weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxcls import hyperparameters
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.base import Task, Wrapper
from jaxcls.types import Batch, PyTree


class Transformed(Wrapper):
    """Transforms batches on the device before the inner task sees them (the batch seam).

    Args:
      inner: the task.
      train: (keys [n], batch) -> batch for training. An example's key (`example_keys`) depends on no worker, device,
        process or restart.
      evaluate: pictures -> pictures, for prediction and initialisation.
      seed: the run's seed.
    """

    def __init__(
        self,
        inner: Task,
        train: Callable[[Array, Batch], Batch],
        evaluate: Callable[[Array], Array],
        *,
        seed: int,
    ):
        super().__init__(inner)
        self.train = train
        self.evaluate = evaluate
        self.seed = seed

    def init(self, rng: Array, batch: Batch, weights: PyTree = None) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
        """The inner task's, on an evaluation batch."""
        return self.inner.init(rng, self._evaluated(batch), weights)

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """The inner task's, on a transformed batch."""
        return self.inner.loss(params, state, self.train(example_keys(self.seed, batch), batch), rng)

    def predict(self, state: TrainState, batch: Batch) -> dict[str, Array]:
        """The inner task's, on an evaluation batch."""
        return self.inner.predict(state, self._evaluated(batch))

    def _evaluated(self, batch):
        return {**batch, "image": self.evaluate(batch["image"])}


class Gathered(Wrapper):
    """The inner task, whose parameters are made whole where they are used (`Parallel.gathered`).

    Left to itself XLA computes with the parts of cut parameters, and sends activations about for it: of ResNet-50
    compiled for 8 TPU chips that took twice the memory.
    """

    def __init__(self, inner: Task, gather: Callable[[PyTree], PyTree]):
        super().__init__(inner)
        self.gather = gather

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """The inner task's; gradients lie as the parameters do."""
        return self.inner.loss(self.gather(params), state, batch, rng)

    def predict(self, state: TrainState, batch: Batch) -> dict[str, Array]:
        """The inner task's."""
        return self.inner.predict(state.replace(params=self.gather(state.params)), batch)


def example_keys(seed: int, batch: Batch) -> Array:
    """One key an example, [n]: `fold_in(fold_in(key(seed), epoch), draw)`."""
    base = hyperparameters.key(seed)

    def key(epoch, draw):
        return jax.random.fold_in(jax.random.fold_in(base, epoch), draw)

    return jax.vmap(key)(batch["epoch"], batch["draw"])


class Ema(Wrapper):
    """Keeps an exponential moving average of parameters and model state, and predicts with it.

    BatchNorm statistics are averaged too: an average of weights with the statistics of the last step is a broken model.
    The decay is min(decay, (1 + t) / (10 + t)) after t updates, as TensorFlow's `ExponentialMovingAverage(num_updates)`
    has it, so that the initial weights are soon forgotten. The average lies in `state.extra["ema"]`.
    """

    def __init__(self, inner: Task, decay: float):
        super().__init__(inner)
        self.decay = decay

    def init(self, rng: Array, batch: Batch, weights: PyTree = None) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
        """The inner task's, with a copy as the first average (a copy: a buffer cannot be donated twice)."""
        params, model_state, extra = self.inner.init(rng, batch, weights)
        average = jax.tree.map(jnp.copy, {"params": params, "model_state": model_state})
        return params, model_state, {**extra, "ema": average}

    def after_update(self, state: TrainState, aux: Aux) -> TrainState:
        """Moves the average towards the new parameters."""
        state = self.inner.after_update(state, aux)
        decay = jnp.minimum(self.decay, (1.0 + state.step) / (10.0 + state.step))
        now = {"params": state.params, "model_state": state.model_state}

        def move(a, x):
            return a + (1 - decay) * (x - a) if jnp.issubdtype(x.dtype, jnp.inexact) else x  # counters are no averages

        average = jax.tree.map(move, state.extra["ema"], now)
        return state.replace(extra={**state.extra, "ema": average})

    def with_statistics(self, state: TrainState, make: Callable[[PyTree, PyTree], PyTree]) -> TrainState:
        """The inner task's, and for the average."""
        state = self.inner.with_statistics(state, make)
        average = dict(state.extra["ema"])
        average["model_state"] = make(average["params"], average["model_state"])
        return state.replace(extra={**state.extra, "ema": average})

    def answering(self, state: TrainState, *, averaged: bool = True) -> dict[str, PyTree]:
        """The inner task's, of the average."""
        return self.inner.answering(state.replace(**state.extra["ema"]) if averaged else state, averaged=averaged)

    def predict(self, state: TrainState, batch: Batch) -> dict[str, Array]:
        """The inner task's prediction with the averaged weights."""
        return self.inner.predict(state.replace(**state.extra["ema"]), batch)
