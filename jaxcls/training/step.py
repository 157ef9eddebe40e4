"""The training step and the evaluation step: pure functions that serve every task, trick and number of devices.

A technique that seems to need a change here belongs in a task, a wrapper or the optax chain (docs/design.md, seams).
"""

import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int

from jaxcls import parallel
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.base import Task
from jaxcls.types import Batch, PyTree

# name -> (sum, count) over the global batch; one entry a step where a call does several
Metrics = dict[str, tuple[Float[Array, "*steps"], Float[Array, "*steps"]]]
TrainStep = Callable[[PyTree, Batch], tuple[PyTree, Metrics]]  # of any state that has a `step`
EvalStep = Callable[[PyTree, Batch], dict[str, Array]]

# Dynamic loss scaling for float16 (Micikevicius et al., Mixed Precision Training, section 3.2): halve at once when a
# gradient is not finite, double after this many finite steps in a row. The constants are those of PyTorch's GradScaler.
GROWTH_INTERVAL = 2000
MAX_SCALE = 2.0**24


def make_train_step(
    task: Task,
    tx: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    axis_name: str | None = None,
    platform: str | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Returns `step(state, batch) -> (state, metrics)`, pure and ready to be compiled.

    The loss and the gradients are sums over examples; they are added over micro-batches and devices and divided once by
    the summed count, so masks, weights and uneven shares are exact. With `accumulate > 1` BatchNorm normalises by each
    micro-batch alone and its running statistics pass from one micro-batch to the next.

    Args:
      task: a Task (tasks/base.py).
      tx: an optax transformation. Its update receives `value` (mean loss), `grad_fn(params, i)` (mean gradients of this
        batch at other parameters, for SAM) and every entry of `state.controls` as extra arguments.
      accumulate: number of micro-batches; must divide the batch of each device.
      axis_name: the mapped axis under pmap, None under jit.
      platform: "cpu", "gpu" or "tpu", what the step is compiled for; None for what JAX has by default.

    Returns:
      The step; `metrics` is name -> (sum, count) over the global batch, with "loss" and "grad_norm" always among them.
    """
    transform = optax.with_extra_args_support(tx)
    gradients = _make_gradients(task, accumulate, axis_name, platform or parallel.target().platform)

    def step(state, batch):
        grads, loss, aux = gradients(state.params, state, batch)
        updates, opt_state = transform.update(
            grads,
            state.opt_state,
            state.params,
            value=loss,
            grad_fn=lambda params, _: gradients(params, state, batch)[0],
            **state.controls,
        )
        new = state.replace(
            params=optax.apply_updates(state.params, updates),
            model_state=aux.model_state,
            opt_state=opt_state,
            extra={**state.extra, **aux.extra},
        )
        new = task.after_update(new.replace(step=state.step + 1), aux)
        metrics = {**aux.metrics, "grad_norm": (optax.tree.norm(grads), jnp.float32(1))}
        if state.loss_scale is not None:
            new, metrics = _keep_if_finite(state, new, grads, metrics)
        return new, metrics

    return step


def _make_gradients(task, accumulate, axis_name, platform):
    """Returns `gradients(params, state, batch) -> (mean gradients, mean loss, Aux of the global batch)`."""

    def gradients(params, state, batch):
        rng = jax.random.fold_in(jax.random.fold_in(state.rng, state.step), parallel.axis_index(axis_name))
        scale = 1.0 if state.loss_scale is None else state.loss_scale["scale"]

        def micro_step(moving, xs):
            (model_state, extra), (micro_batch, i) = moving, xs
            now = state.replace(model_state=model_state, extra={**state.extra, **extra})

            def scaled_loss(params):
                loss, aux = task.loss(params, now, micro_batch, jax.random.fold_in(rng, i))
                return loss * scale, (loss, aux)

            grads, (loss, aux) = jax.grad(scaled_loss, has_aux=True)(params)
            return (aux.model_state, aux.extra), (grads, loss, aux.count, aux.metrics), aux.carry

        moving, sums, carry = _accumulate(micro_step, state, batch, accumulate, platform)
        grads, loss, count, metrics = parallel.psum(sums, axis_name)
        count = jnp.where(count > 0, count, 1.0)  # a batch of zero weight has zero gradients
        grads = jax.tree.map(lambda g: g / (count * scale), grads)
        model_state, extra = parallel.pmean(moving, axis_name)
        return grads, loss / count, Aux(model_state, count, {**metrics, "loss": (loss, count)}, carry, extra)

    return gradients


def make_multi_step(
    step: TrainStep, batch_fn: Callable[[PyTree, Int[Array, ""]], Batch], length: int
) -> Callable[[PyTree, PyTree, Int[Array, ""]], tuple[PyTree, Metrics]]:
    """Returns `run(state, data, n) -> (state, metrics)`: n <= length steps in one compiled call.

    The trip count n is an argument, not a constant: every chunk of a run, short or long, executes the same machine
    code, so where the chunks are cut has no influence on a single bit of the result (and there is one compilation).

    Args:
      step: what `make_train_step` returned.
      batch_fn: (data, step number) -> batch.
      length: the most steps of a call.

    Returns:
      run; its metrics have a leading axis [length], zero from n on.
    """

    def run(state, data, n):
        _, shapes = jax.eval_shape(lambda: step(state, batch_fn(data, state.step)))
        log = jax.tree.map(lambda s: jnp.zeros((length, *s.shape), s.dtype), shapes)

        def body(i, carry):
            state, log = carry
            state, metrics = step(state, batch_fn(data, state.step))
            return state, jax.tree.map(lambda buffer, value: buffer.at[i].set(value), log, metrics)

        return jax.lax.fori_loop(0, n, body, (state, log))

    return run


def make_eval_step(task: Task, *, axis_name: str | None = None) -> EvalStep:
    """Returns `eval_step(state, batch) -> dict`: the task's predictions beside label, mask and index of the batch.

    Under pmap the shares of all devices are gathered, so both modes return the global batch [n, ...].
    """

    def eval_step(state, batch):
        out = {**task.predict(state, batch), **{k: batch[k] for k in ("label", "mask", "index")}}
        return parallel.all_gather(out, axis_name)

    return eval_step


def split_batch(batch: Batch, parts: int) -> Batch:
    """Every array [n, ...] as [parts, n / parts, ...], so that neighbours 2i and 2i+1 stay together.

    Pairs are dealt out in turn rather than in blocks: the leading part of the axis stays sharded as it was (no
    traffic between devices), and a micro-batch holds the same examples on any number of devices.
    """

    def split(x):
        group = 2 if x.shape[0] % (2 * parts) == 0 else 1
        x = x.reshape(x.shape[0] // (group * parts), parts, group, *x.shape[1:]).swapaxes(0, 1)
        return x.reshape(parts, -1, *x.shape[3:])

    return jax.tree.map(split, batch)


def merge_batch(batch: PyTree) -> PyTree:
    """The inverse of `split_batch`: [parts, n / parts, ...] as [n, ...] in the original order."""

    def merge(x):
        parts, n = x.shape[:2]
        group = 2 if n % 2 == 0 else 1
        return x.reshape(parts, n // group, group, *x.shape[2:]).swapaxes(0, 1).reshape(parts * n, *x.shape[2:])

    return jax.tree.map(merge, batch)


def _accumulate(micro_step, state, batch, parts, platform):
    """Runs `micro_step` on each part of the batch; returns what moves from part to part, the sums and all carries.

    What moves: (model state, the entries of `extra` that the task changes).
    """
    if parts == 1:
        return micro_step((state.model_state, {}), (batch, 0))
    micro_batches = split_batch(batch, parts)
    first = jax.tree.map(lambda x: x[0], micro_batches)
    (_, changed), shapes, _ = jax.eval_shape(micro_step, (state.model_state, {}), (first, 0))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    moving = state.model_state, {name: state.extra[name] for name in changed}

    def body(carry, xs):
        moving, total = carry
        moving, sums, passed = micro_step(moving, xs)
        return (moving, jax.tree.map(jnp.add, total, sums)), passed

    if platform == "cpu":
        (moving, sums), passed = _written_out(body, (moving, zeros), micro_batches, parts)
    else:
        (moving, sums), passed = jax.lax.scan(body, (moving, zeros), (micro_batches, jnp.arange(parts)))
    return moving, sums, merge_batch(passed)


def _written_out(body, carry, micro_batches, parts):
    """`lax.scan` without a loop, in which XLA:CPU computes weight gradients of convolutions 40 times slower.

    Each part waits for the gradients of the one before: else XLA:CPU has all of them under way, and needs the memory of
    all. It drops `optimization_barrier` before it decides on an order, so the wait is one by data: a zero is added.
    """
    passed = []
    for i in range(parts):
        part = jax.tree.map(operator.itemgetter(i), micro_batches)
        if i:
            bad = ~_first_finite(carry[1][0])  # where it is true the step is lost anyway
            part = jax.tree.map(lambda x, bad=bad: x + bad.astype(x.dtype), part)
        carry, out = body(carry, (part, i))
        passed.append(out)
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *passed)


def _first_finite(tree):
    """Whether the first number of every array is finite."""
    return jnp.all(jnp.stack([jnp.isfinite(x.ravel()[0]) for x in jax.tree.leaves(tree) if x.size]))


def _keep_if_finite(old, new, grads, metrics):
    """float16: a step whose gradients are not finite changes nothing but the step number and the scale."""
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(grads)]))
    scale, good_steps = old.loss_scale["scale"], old.loss_scale["good_steps"]
    grow = good_steps + 1 >= GROWTH_INTERVAL
    loss_scale = {
        "scale": jnp.where(finite, jnp.where(grow, jnp.minimum(scale * 2, MAX_SCALE), scale), scale / 2),
        "good_steps": jnp.where(finite & ~grow, good_steps + 1, 0),
    }
    kept = jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)
    one = jnp.float32(1)
    metrics = jax.tree.map(lambda x: jnp.where(finite, x, 0.0), metrics)  # a skipped step counts in no average
    metrics = {**metrics, "skipped": (1.0 - finite, one), "loss_scale": (scale, one)}
    return kept.replace(step=new.step, loss_scale=loss_scale), metrics
