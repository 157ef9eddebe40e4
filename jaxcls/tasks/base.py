"""The interface between the training step and whatever is trained."""

from collections.abc import Callable

from jax import Array
from jaxtyping import Float

from jaxcls.state import Aux, TrainState
from jaxcls.types import Batch, PyTree


class Task:
    """What the step needs to know of a training method; subclasses and wrappers override what they change.

    A task holds configuration and pure functions, never arrays: those live in the `TrainState`.

    Attributes:
      transient: keys of `state.extra` that are left out of checkpoints (a frozen teacher comes from its own file).
    """

    transient: tuple[str, ...] = ()

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

    def predict(self, state: TrainState, batch: Batch) -> dict[str, Array]:
        """Predictions of a batch in evaluation mode: `{"logits": float32 [n, classes], ...}`."""
        raise NotImplementedError


class Wrapper(Task):
    """A task around a task, passing on what it does not change."""

    def __init__(self, inner: Task):
        self.inner = inner
        self.transient = inner.transient

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

    def predict(self, state: TrainState, batch: Batch) -> dict[str, Array]:
        """As the inner task."""
        return self.inner.predict(state, batch)
