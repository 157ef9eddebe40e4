"""What a training run carries from step to step (`TrainState`), and what a task's loss reports (`Aux`)."""

from typing import TYPE_CHECKING, Any

import flax.struct
import jax
import jax.numpy as jnp

from jaxcls.types import Batch, PyTree

if TYPE_CHECKING:
    import optax


class TrainState(flax.struct.PyTreeNode):
    """Arrays only, so that it can be donated, replicated and saved as it is.

    Functions live in the task and the optimiser.

    Attributes:
      step: int32 scalar, the number of updates done.
      params: the trained parameters.
      model_state: the model's other collections, e.g. `{"batch_stats": ...}`.
      opt_state: the optax state.
      rng: uint32 key data of the run; keys of a step are folded from it, never carried.
      extra: dict owned by the task and its wrappers (ema, teacher, queue, mask).
      controls: dict of float32 scalars that the loop may set between steps and that reach the optimiser's update as
        keyword arguments (`lr_scale`, ...).
      loss_scale: `{"scale", "good_steps"}` for float16, else None.
    """

    step: Any
    params: Any
    model_state: Any
    opt_state: Any
    rng: Any
    extra: Any
    controls: Any
    loss_scale: Any = None


class Aux(flax.struct.PyTreeNode):
    """What `Task.loss` returns beside the summed loss.

    Attributes:
      model_state: the model's collections after this forward pass.
      count: float scalar, what the summed loss is divided by (the sum of mask * weight).
      metrics: dict name -> (sum, count), both float scalars.
      carry: arrays with a leading batch axis that pass through to `Task.after_update` untouched (e.g. MoCo's keys).
      extra: entries of `state.extra` as they are after this forward pass, without a batch axis (a key encoder's
        BatchNorm statistics). They go the way of `model_state`: the next micro-batch sees them, devices' are averaged.
    """

    model_state: Any
    count: Any
    metrics: dict
    carry: Any = None
    extra: dict = flax.struct.field(default_factory=dict)


def create(
    task: Any,
    tx: "optax.GradientTransformation",
    rng: jax.Array,
    batch: Batch,
    *,
    controls: dict[str, float] | None = None,
    loss_scale: float | None = None,
    weights: PyTree = None,
) -> TrainState:
    """The state of step 0: parameters and extras from `task.init`, the optimiser's state from `tx`.

    Args:
      task: a Task (tasks/base.py).
      rng: uint32 key data (`jax.random.PRNGKey`).
      batch: of the shapes of training, which alone matter.
      controls, loss_scale: initial values; a loss scale for float16 only.
      weights: leaves of the model's variables to start from in place of fresh ones, as nested dicts; None for none.
    """
    init_rng, run_rng = jax.random.split(rng)
    params, model_state, extra = task.init(init_rng, batch, weights)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=model_state,
        opt_state=tx.init(params),
        rng=run_rng,
        extra=extra,
        controls={k: jnp.asarray(v, jnp.float32) for k, v in (controls or {}).items()},
        loss_scale=None
        if loss_scale is None
        else {"scale": jnp.asarray(loss_scale, jnp.float32), "good_steps": jnp.zeros((), jnp.int32)},
    )
