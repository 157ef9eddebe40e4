"""MoCo's queue and slow encoder against loops in NumPy, and the order of shuffled keys."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from ssl_nets import WIDTH, Encoder, batch_of

from jaxcls import state as train_state
from jaxcls.parallel import Parallel
from jaxcls.state import Aux
from jaxcls.tasks.ssl import byol, moco

HEADS = moco.heads((WIDTH,), {})


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_queue_is_the_loop_for_three_rounds(symmetric):
    """Pointer, overwriting; what a step sees are the keys of earlier ones. The keys are made up, the step is real."""
    size, n, width = 12, 2, 3
    per = n * (2 if symmetric else 1)
    task = moco.MoCo(Encoder(num_classes=0), HEADS, queue=size, symmetric=symmetric)
    rng = np.random.default_rng(0)
    queue = rng.normal(size=(size, width)).astype(np.float32)
    leaf = {"a": jnp.ones(1)}
    state = train_state.TrainState(jnp.int32(0), leaf, {}, (), None, {"slow": leaf, "queue": jnp.asarray(queue)}, {})
    pointer, steps = 0, 3 * size // per
    for step in range(1, steps + 2):
        keys = rng.normal(size=(n, 2 if symmetric else 1, width)).astype(np.float32)
        state = task.after_update(state.replace(step=jnp.int32(step)), Aux({}, n, {}, jnp.asarray(keys)))
        for picture in keys:
            for key in picture:
                queue[pointer], pointer = key, (pointer + 1) % size
        np.testing.assert_array_equal(state.extra["queue"], queue)
    assert pointer == per  # it has gone round three times


@pytest.mark.slow
def test_the_queue_is_read_before_the_keys_of_the_batch_enter():
    """A queue that holds the batch's own keys makes another loss; the task's is that of the old queue."""
    task = moco.MoCo(Encoder(num_classes=0), HEADS, queue=8, temperature=0.5)
    batch = batch_of(0)
    state = train_state.create(task, optax.sgd(0.1), jax.random.PRNGKey(0), batch)
    loss, aux = jax.jit(task.loss)(state.params, state, batch, jax.random.key(0))
    keys, queue = np.asarray(aux.carry)[:, 0], np.asarray(state.extra["queue"])
    np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(queue, axis=1), 1, atol=1e-5)

    def of(queries, bank):
        logits = np.concatenate([np.sum(queries * keys, 1, keepdims=True), queries @ bank.T], 1) / 0.5
        return np.sum(np.log(np.exp(logits).sum(1)) - logits[:, 0])

    variables = {"params": state.params, **state.model_state}
    seen = jax.jit(lambda image: task.see(variables, image, jax.random.key(0)).z)(batch["views"][:, 0])
    queries = np.asarray(seen) / np.linalg.norm(seen, axis=1, keepdims=True)
    assert float(loss) == pytest.approx(of(queries, queue), rel=1e-5)
    assert abs(float(loss) - of(queries, keys)) > 0.1
    np.testing.assert_array_equal(task.after_update(state.replace(step=jnp.int32(1)), aux).extra["queue"], keys)


def test_a_slow_encoder_begins_as_a_copy_and_has_statistics_of_its_own():
    task = byol.BYOL(Encoder(num_classes=0), byol.heads((8, WIDTH), (8, WIDTH), {}), momentum=1.0)
    batch = batch_of(0)
    state = train_state.create(task, optax.sgd(0.1), jax.random.PRNGKey(0), batch)
    slow = state.extra["slow"]
    assert set(state.params) - set(slow) == {"_predictor"} and "_projector" in slow
    jax.tree.map(np.testing.assert_array_equal, slow, {name: state.params[name] for name in slow})
    changed = jax.tree.map(lambda x: x + 1, state.params)
    _, aux = jax.jit(task.loss)(changed, state, batch, jax.random.key(0))
    own = aux.extra["slow_state"]["batch_stats"]
    assert "_predictor" not in own
    assert np.abs(own["bn1"]["mean"] - aux.model_state["batch_stats"]["bn1"]["mean"]).max() > 1e-3
    new = task.after_update(state.replace(step=jnp.int32(1), params=changed), aux)
    jax.tree.map(np.testing.assert_array_equal, new.extra["slow"], slow)  # m = 1: still


def test_the_momentum_grows_along_a_cosine():
    leaf = {"a": jnp.float32(2.0)}
    for total, expected in ((0, (0.9, 0.9, 0.9)), (100, (0.9, 0.95, 1.0))):
        task = byol.BYOL(Encoder(num_classes=0), {}, momentum=0.9, total=total)
        assert [float(task.momentum_at(jnp.int32(s))) for s in (0, 50, 100)] == pytest.approx(expected, abs=1e-6)
        m = float(task.momentum_at(jnp.int32(30)))
        assert m == pytest.approx(1 - 0.1 * (1 + math.cos(0.3 * math.pi)) / 2 if total else 0.9)
        state = train_state.TrainState(jnp.int32(30), leaf, {}, (), None, {"slow": {"a": jnp.float32(1.0)}}, {})
        assert float(task.after_update(state, None).extra["slow"]["a"]) == pytest.approx(m + (1 - m) * 2)


class Mean(nn.Module):
    """Beside each picture the mean of those that pass with it: of a device's share."""

    head = ()

    def __call__(self, images, *, train):
        x = images.reshape(len(images), -1)
        x = jnp.concatenate([x, jnp.broadcast_to(jnp.mean(x, 0), x.shape)], axis=1)
        return x, {"pre_logits": x}


class Same(nn.Module):
    """A projector that does nothing."""

    def __call__(self, x, *, train):
        return x


@pytest.mark.parametrize("mode, devices", [("jit", 1), ("pmap", 4)])
def test_shuffled_keys_come_back_in_the_order_of_the_pictures(mode, devices):
    """And each was made among other pictures than those of its share."""
    over = Parallel(mode, devices)
    task = moco.MoCo(Mean(), {"_projector": Same()}, queue=8, shuffle=True, axis_name=over.axis_name)
    rows = np.random.default_rng(0).normal(size=(8, 1, 1, 5)).astype(np.float32)
    leaf = jnp.int32(0)
    state = train_state.TrainState(leaf, {}, {}, (), jax.random.PRNGKey(3), {"slow": {}, "slow_state": {}}, {})

    def keys(state, image):
        made, _ = task.keys({}, state, image, jax.random.key(0))
        whole = jax.lax.all_gather(made, over.axis_name, tiled=True) if over.axis_name else made
        return whole, moco.shuffled(state, 8)

    made, order = over.compile(keys, (None, 0))(over.replicate(jax.device_get(state)), over.split(rows))
    made, order, flat = np.asarray(made), np.asarray(order), rows.reshape(8, 5)
    scale = flat[:, :1] / made[:, :1]
    np.testing.assert_allclose(made[:, :5] * scale, flat, rtol=1e-4)
    share = np.argsort(order) // (8 // devices)  # which device had a picture's key
    means = np.stack([flat[order].reshape(devices, -1, 5)[s].mean(0) for s in share])
    np.testing.assert_allclose(made[:, 5:] * scale, means, rtol=1e-3, atol=1e-5)
    assert sorted(order) != list(order)
    if devices > 1:
        assert not np.array_equal(share, np.arange(8) // (8 // devices))


def test_every_step_has_an_order_of_its_own():
    states = [train_state.TrainState(jnp.int32(s), {}, {}, (), jax.random.PRNGKey(3), {}, {}) for s in (0, 1)]
    orders = [np.asarray(moco.shuffled(state, 16)) for state in states]
    assert not np.array_equal(*orders) and all(sorted(order) == list(range(16)) for order in orders)
