"""Architecture search: the weights of a supernet and a controller of its choices learn in one run."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jaxcls import metrics, parallel
from jaxcls.nas import controller, costs
from jaxcls.nas.controller import Controller
from jaxcls.nas.supernet import Supernet, largest
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.base import Wrapper
from jaxcls.tasks.supervised import Supervised, example_weights
from jaxcls.types import Batch, PyTree

NAS = "nas"  # in state.extra: the controller's memory, and what is told of its last reward
PAIR = 2  # pictures for the reward that stand together, so that micro-batches hold the same on any number of devices


class Architecture(Wrapper):
    """A supernet's weights learn by one net of its space a step; the controller by that net's reward, with the weights
    after the step, on pictures that teach no weight: TuNAS (Bender et al. 2020, arXiv 2008.06120, section 3).

    The choice of a step is drawn from the controller by the step's own key, before micro-batches and devices differ.
    During the first quarter weights learn with all options on at times (`Controller.warm`). A batch is made of blocks
    of 2 pictures for the reward and 2 * ratio for the weights (data.sampling.TwoParts). The reward is of training's
    augmentation, where the paper's pictures are plain, and of as many pictures as a step has for it, where the paper
    takes four batches.

    In evaluation the most likely choice answers, with the statistics of each batch.

    Args:
      inner: a Supervised of a Supernet.
      control: the controller.
      cost: tables of what is to be near the target; None: the accuracy alone counts.
      target: T0, in the tables' unit.
      reward: one of controller.REWARDS.
      beta: of it.
      ratio: pictures for the weights for each one for the reward.
      axis_name: the mapped axis of the devices (pmap), else None.
    """

    inner: Supervised
    model: Supernet

    def __init__(
        self,
        inner: Supervised,
        control: Controller,
        *,
        cost: costs.Tables | None = None,
        target: float = 0.0,
        reward: str = "abs",
        beta: Any = -0.1,
        ratio: int = 1,
        axis_name: str | None = None,
    ):
        super().__init__(inner)
        self.control, self.cost, self.target = control, cost, target
        self.reward, self.beta, self.ratio, self.axis_name = reward, beta, ratio, axis_name
        self.multiple = PAIR * (1 + ratio)

    def init(self, rng: Array, batch: Batch, weights: PyTree = None) -> tuple[PyTree, PyTree, dict[str, PyTree]]:
        """The supernet's, with a controller that knows nothing."""
        params, model_state, extra = self.inner.init(rng, batch, weights)
        told = {name: jnp.zeros((), jnp.float32) for name in ("reward", "reward_accuracy", "cost")}
        return params, model_state, {**extra, NAS: {**self.control.fresh(), **told}}

    def loss(self, params: PyTree, state: TrainState, batch: Batch, rng: Array) -> tuple[Float[Array, ""], Aux]:
        """Summed loss of the pictures that teach weights.

        Metrics: accuracy on them, of the drawn nets; of the step before "reward", "reward_accuracy" and "cost" (by the
        target); "certain", the mean over the decisions of the largest probability.
        """
        held, own = self.cut(batch)
        choice, trained = self.choices(state, state.step)
        logits, out = self.run(params, own, trained, train=True, rng=rng)
        loss, label_weight = self.inner.example_loss(logits, out, own["label"])
        mask, weight = example_weights(own)
        memory = state.extra[NAS]
        certain = jnp.exp(self.control.log_probabilities(memory["logits"])).max(-1).mean()
        told = {name: memory[name] for name in ("reward", "reward_accuracy", *["cost"] * (self.cost is not None))}
        figures = {
            **self.inner.measured(logits, own["label"], mask),
            **{name: (value, jnp.float32(1)) for name, value in {**told, "certain": certain}.items()},
        }
        count = jnp.sum(weight * label_weight)
        return jnp.sum(weight * loss), Aux(state.model_state, count, figures, carry=held)

    def after_update(self, state: TrainState, aux: Aux) -> TrainState:
        """The state with a controller that has learnt from the step's choice."""
        step, memory = state.step - 1, state.extra[NAS]
        choice, _ = self.choices(state, step)
        held = aux.carry
        logits, _ = self.run(state.params, held, choice)
        mask, _ = example_weights(held)
        right = jnp.sum(mask * metrics.correct(logits, held["label"]))
        right, count = parallel.psum((right, jnp.sum(mask)), self.axis_name)
        accuracy = right / jnp.maximum(count, 1.0)
        ratio = jnp.float32(1)
        if self.cost is not None:
            ratio = costs.total(self.model.space, self.cost, choice) / self.target
        reward = controller.reward(self.reward, accuracy, ratio, self.beta)
        learnt = self.control.learn(memory, choice, reward, step)
        told = {"reward": reward, "reward_accuracy": accuracy, "cost": ratio}
        return state.replace(extra={**state.extra, NAS: {**learnt, **told}})

    def choices(self, state: TrainState, step: Array) -> tuple[Int[Array, " d"], Int[Array, " d"]]:
        """(the choice of a step, that whose weights learn in it), the same on all devices."""
        draw, warm = jax.random.split(jax.random.fold_in(state.rng, step))
        choice = self.control.draw(state.extra[NAS], draw)
        return choice, self.control.warm(choice, largest(self.model.space), step, warm)

    def run(
        self, params: PyTree, batch: Batch, choice: Any, *, train: bool = False, rng: Array | None = None
    ) -> tuple[Float[Array, "n classes"], dict[str, Any]]:
        """(logits, out) of a choice for pictures that `mask` counts."""
        rngs = None if rng is None else {"dropout": rng}
        mask, _ = example_weights(batch)
        net: Any = self.model
        return net.apply({"params": params}, batch["image"], train=train, choice=choice, mask=mask, rngs=rngs)

    def cut(self, batch: Batch) -> tuple[Batch, Batch]:
        """(what of a batch is for the reward, what for the weights)."""

        def part(x, first):
            blocks = x.reshape(-1, self.multiple, *x.shape[1:])
            chosen = blocks[:, :PAIR] if first else blocks[:, PAIR:]
            return chosen.reshape(-1, *x.shape[1:])

        held: Batch = {name: part(x, True) for name, x in batch.items() if name in ("image", "label", "mask")}
        return held, {name: part(x, False) for name, x in batch.items()}

    def predict(self, state: TrainState, batch: Batch) -> dict[str, Array]:
        """Logits of the most likely choice, with the statistics of this batch."""
        choice = self.control.best(state.extra[NAS])
        return {"logits": self.run(state.params, batch, choice)[0]}
