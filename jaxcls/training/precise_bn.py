"""BatchNorm statistics that belong to the weights: means over many batches in place of a running average.

Wu and Johnson, Rethinking "Batch" in BatchNorm, section 3: the running average lags behind weights that move, so before
an evaluation the statistics are computed anew, with fixed weights, over training batches. In the paper a thousand to
ten thousand pictures are enough.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxcls import parallel
from jaxcls.models import batch_norm
from jaxcls.models.batch_norm import STATISTICS
from jaxcls.state import TrainState
from jaxcls.tasks.base import Task
from jaxcls.training.feed import TrainFeed
from jaxcls.training.step import TrainStep


class Pass(flax.struct.PyTreeNode):
    """What goes from batch to batch: the feeds look up batch `step`, and `start` was the first."""

    step: Any
    start: Any
    state: Any


def refresher(
    task: Task, over: parallel.Parallel, batches: int, feed: TrainFeed
) -> Callable[[TrainState, int], TrainState]:
    """Returns `refresh(state, step) -> state` with new statistics; it may take the state's memory.

    The batches are those of the next training steps, from `step` on, augmented as in training, so the result depends on
    nothing but the state and is the same after a restart. A batch is taken whole, also where training accumulates
    micro-batches: the larger a batch, the better its statistics. Layers normalise by each
    batch's own statistics, as in training; those in inference mode (frozen ones) keep theirs. Of several devices whose
    BatchNorm is not synchronised the statistics are pooled.

    Args:
      task: a Task; `Task.with_statistics` says which weights have statistics.
      over: Parallel.
      batches: how many, at least 1.
      feed: the training feed, whose pictures are used.
    """
    own = feed.with_step(make_step(task, axis_name=over.axis_name))

    def refresh(state, step):
        at = over.replicate({"step": np.int32(step), "start": np.int32(step)})
        carry, stop = Pass(state=state, **at), step + batches
        while step < stop:
            carry, _, n = own(carry, step, stop)
            step += n
        own.close()
        return carry.state

    return refresh


def make_step(task: Task, *, axis_name: str | None = None) -> TrainStep:
    """Returns `step(Pass, batch) -> (Pass, {})`, which takes one batch into the statistics; for a training feed."""

    def step(carry, batch):
        state, number = carry.state, carry.step - carry.start + 1
        rng = jax.random.fold_in(jax.random.fold_in(state.rng, carry.step), parallel.axis_index(axis_name))

        def take(params, model_state):
            now = state.replace(params=params, model_state=model_state)
            with batch_norm.storing_the_batch():
                _, aux = task.loss(params, now, batch, rng)
            new = _pool_devices(aux.model_state[STATISTICS], axis_name)
            return {**model_state, STATISTICS: _merge(model_state[STATISTICS], new, number)}

        return carry.replace(step=carry.step + 1, state=task.with_statistics(state, take)), {}

    return step


def _merge(old, new, number):
    """Mean and variance of `number` batches: those of the ones before, `old`, with another one.

    The variance of a union is the mean of the variances and the variance of the means (Chan et al. 1979); written as
    corrections of `old`, so what is equal stays as it is to the bit. The first batch replaces `old`.
    """

    def merge(a, b):
        apart = b["mean"] - a["mean"]
        mean = a["mean"] + apart / number
        var = a["var"] + (b["var"] - a["var"]) / number + apart**2 * (number - 1) / number**2
        return {"mean": jnp.where(number == 1, b["mean"], mean), "var": jnp.where(number == 1, b["var"], var)}

    return _by_layer(merge, old, new)


def _pool_devices(statistics, axis_name):
    """Mean and variance over the shares of all devices."""
    if axis_name is None:
        return statistics

    def pool(a):
        mean = parallel.pmean(a["mean"], axis_name)
        return {"mean": mean, "var": parallel.pmean(a["var"] + (a["mean"] - mean) ** 2, axis_name)}

    return _by_layer(pool, statistics)


def _by_layer(fn, *trees):
    """fn on the `{"mean", "var"}` of every layer."""
    if "mean" in trees[0] and not hasattr(trees[0]["mean"], "keys"):
        return fn(*trees)
    return {name: _by_layer(fn, *(tree[name] for tree in trees)) for name in trees[0]}
