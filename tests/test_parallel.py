"""jit and pmap on 1, 2, 4 and 8 virtual devices give the same numbers; BatchNorm by device does so for as many."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures.toys import ConvNet, make_batch

from jaxcls import optim, parallel
from jaxcls import state as train_state
from jaxcls.errors import UserError
from jaxcls.optim import schedules
from jaxcls.parallel import AXIS, Parallel
from jaxcls.state import Aux
from jaxcls.tasks.base import Task
from jaxcls.tasks.supervised import Supervised
from jaxcls.training.step import make_eval_step, make_train_step

RNG = np.array([0, 3], np.uint32)
BATCH, STEPS = 32, 3
EVERY_WAY = [(mode, devices) for mode in ("jit", "pmap") for devices in (1, 2, 4, 8)]
QUICK = [("jit", 8), ("pmap", 4)]


def batches():
    """Batches with masks and weights that are spread unevenly over the devices."""
    for seed in range(STEPS):
        batch = {**make_batch(BATCH, seed=seed), "weight": np.linspace(0, 2, BATCH).astype(np.float32)}
        batch["mask"][: 3 * seed] = 0
        yield batch


@functools.cache
def train(mode, devices, *, batch_norm=True, setting="global", accumulate=1):
    """(losses, final state on the devices, the state of step 0 on the host) of a few steps."""
    over = Parallel(mode, devices)
    model = ConvNet(batch_norm=batch_norm, axis_name=over.batch_norm(setting, BATCH // accumulate))
    task, tx = Supervised(model), optim.sgd(schedules.constant(0.1), weight_decay=1e-3)
    first = jax.device_get(jax.jit(functools.partial(train_state.create, task, tx))(RNG, make_batch(2)))
    step = make_train_step(task, tx, accumulate=accumulate, axis_name=over.axis_name)
    step = over.compile(step, (None, 0), donate=(0,))
    state, losses = over.replicate(first), []
    for batch in batches():
        state, metrics = step(state, over.split(batch))
        losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
    return losses, state, first


def assert_same(run, expected):
    np.testing.assert_allclose(run[0], expected[0], rtol=1e-5)
    for part in ("params", "model_state", "opt_state"):
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5),
            jax.device_get(getattr(run[1], part)), jax.device_get(getattr(expected[1], part)),
        )  # fmt: skip


@pytest.mark.parametrize("mode, devices", EVERY_WAY[1:])
def test_any_number_of_devices_gives_the_same_with_synchronised_batchnorm(mode, devices):
    assert_same(train(mode, devices), train("jit", 1))


@pytest.mark.parametrize("mode, devices", [("jit", 8), ("pmap", 4)])
def test_any_number_of_devices_gives_the_same_without_batchnorm(mode, devices):
    assert_same(train(mode, devices, batch_norm=False), train("jit", 1, batch_norm=False))


@pytest.mark.parametrize("mode, devices", [("jit", 4), ("pmap", 4)])
def test_any_number_of_devices_gives_the_same_with_accumulation(mode, devices):
    """BatchNorm normalises by a micro-batch, so this holds only if micro-batches are made of the same examples."""
    expected = train("jit", 1, accumulate=2)
    assert_same(train(mode, devices, accumulate=2), expected)
    assert abs(expected[0][0] - train("jit", 1)[0][0]) > 1e-4  # it does matter which they are


@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_batchnorm_by_device_is_the_same_in_both_modes_and_something_else(accumulate):
    expected = train("pmap", 4, setting="local", accumulate=accumulate)
    assert_same(train("jit", 4, setting="local", accumulate=accumulate), expected)
    assert abs(expected[0][0] - train("jit", 1, accumulate=accumulate)[0][0]) > 1e-4


@pytest.mark.parametrize(
    "mode, devices", [way if way in QUICK else pytest.param(*way, marks=pytest.mark.slow) for way in EVERY_WAY[1:]]
)
def test_batchnorm_by_groups_is_the_same_on_any_number_of_devices(mode, devices):
    expected = train("jit", 1, setting="groups(8)")
    assert_same(train(mode, devices, setting="groups(8)"), expected)
    assert abs(expected[0][0] - train("jit", 1)[0][0]) > 1e-4


@pytest.mark.parametrize("setting, traffic", [("global", True), ("local", False), ("groups(8)", False)])
def test_batchnorm_by_groups_needs_no_traffic(setting, traffic):
    """In the compiled forward pass of pictures that are cut over devices."""
    over = Parallel("jit", 4)
    model, batch = ConvNet(axis_name=over.batch_norm(setting, BATCH)), make_batch(BATCH)["image"]
    variables, cut = model.init(jax.random.key(0), batch[:1], train=False), over.split(batch).sharding
    forward = lambda variables, x: model.apply(variables, x, train=True, mutable=["batch_stats"])[0][0]  # noqa: E731
    text = jax.jit(forward, in_shardings=(over.replicated, cut), out_shardings=cut).lower(variables, batch)
    found = re.findall(r"all-reduce|all-gather|all-to-all|collective-permute", text.compile().as_text())
    assert bool(found) == traffic


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_what_the_setting_of_batchnorm_tells_models(mode):
    def told(devices, setting, rows=16):
        return Parallel(mode, devices).batch_norm(setting, rows)

    pmap = mode == "pmap"
    assert told(4, "global") == (AXIS if pmap else None)
    assert told(4, "local") == (None if pmap else 4) and told(1, "local") is None
    assert told(4, "groups(8)") == (2 if pmap else 8) and told(1, "groups(8)") == 8 and told(1, "groups(1)") is None
    for setting in ("groups(0)", "groups(-8)", "groups(2.5)", "groups", "sync", "True", ""):
        with pytest.raises(UserError, match="batch_norm is '.*'; it can be 'global', 'local' or, .* 'groups.8.'"):
            told(1, setting)
    for devices, setting, rows, remedy in (
        (1, "groups(3)", 16, "use 'groups(2)'"), (4, "groups(6)", 48, "use 'groups(4)'"), (4, "groups(1)", 16, "(4)'"),
        (1, "groups(32)", 16, "use 'groups(16)'"), (4, "groups(8)", 18, "choose another config.batch_size"),
    ):  # fmt: skip
        with pytest.raises(
            UserError, match=rf"{rows} pictures on {devices} .* can't be cut into .*{re.escape(remedy)}"
        ):
            told(devices, setting, rows)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_the_state_is_replicated_without_an_axis_of_devices(mode):
    """Every device holds the whole of every array, and all hold the same: nothing was left unreduced."""
    for setting in ("global", "local"):
        _, state, first = train(mode, 4, setting=setting)
        assert jax.tree.map(jnp.shape, jax.device_get(state)) == jax.tree.map(jnp.shape, first)
        for x in jax.tree.leaves(state):
            assert x.sharding.is_fully_replicated and len(x.addressable_shards) == 4
            copies = [np.asarray(shard.data) for shard in x.addressable_shards]
            for copy in copies[1:]:
                np.testing.assert_array_equal(copy, copies[0])


def test_an_output_that_nobody_reduced_would_be_seen():
    """The test above could fail: a device's own number comes out differently on each."""
    over = Parallel("pmap", 4)
    out = over.compile(lambda x: jax.lax.axis_index(AXIS) + x.sum(), (0,))(over.split(np.zeros(4, np.int32)))
    assert len({int(shard.data) for shard in out.addressable_shards}) == 4


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_donating_the_state_leaves_the_host_arrays_alone(mode):
    over = Parallel(mode, 4)
    host = {"w": np.arange(64, dtype=np.float32), "n": np.zeros((), np.int32)}
    bump = over.compile(lambda tree, _: jax.tree.map(lambda x: x + 1, tree), (None, 0), donate=(0,))
    tree = over.replicate(host)
    for _ in range(3):
        tree = bump(tree, over.split(np.zeros(4)))
    np.testing.assert_array_equal(host["w"], np.arange(64))
    np.testing.assert_array_equal(tree["w"], np.arange(64) + 3)
    assert int(host["n"]) == 0


@pytest.mark.parametrize("mode, devices", EVERY_WAY)
def test_evaluation_returns_the_global_batch_in_its_order(mode, devices):
    over, task = Parallel(mode, devices), Supervised(ConvNet())
    batch = make_batch(16)
    state = train_state.create(task, optim.sgd(schedules.constant(0.1)), RNG, batch)
    evaluate = over.compile(make_eval_step(task, axis_name=over.axis_name), (None, 0))
    out = jax.device_get(evaluate(over.replicate(jax.device_get(state)), over.split(batch)))
    np.testing.assert_allclose(out["logits"], task.predict(state, batch)["logits"], atol=1e-5)
    np.testing.assert_array_equal(out["index"], np.arange(16))
    np.testing.assert_array_equal(out["label"], batch["label"])


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("axis", [0, 1])
def test_split_deals_out_rows_along_an_axis(devices, axis):
    x = np.arange(8 * 3).reshape(8, 3) if axis == 0 else np.arange(3 * 8).reshape(3, 8)
    np.testing.assert_array_equal(Parallel("jit", devices).split({"x": x}, axis)["x"], x)
    parts = np.asarray(Parallel("pmap", devices).split({"x": x}, axis)["x"])
    assert len(parts) == devices
    np.testing.assert_array_equal(np.concatenate(parts, axis=axis), x)


class Draw(Task):
    """Tells numbers drawn from its key."""

    def init(self, rng, batch, weights=None):
        return {"w": jnp.zeros(())}, {}, {}

    def loss(self, params, state, batch, rng):
        x = jax.random.uniform(rng)
        return params["w"], Aux({}, jnp.float32(1), {"mean": (x, jnp.float32(1)), "square": (x * x, jnp.float32(1))})


def test_keys_differ_by_device():
    """Under pmap, where each has its own examples; so dropout is not the same on all of them."""
    over, tx = Parallel("pmap", 4), optim.sgd(schedules.constant(0.1))
    state = over.replicate(jax.device_get(train_state.create(Draw(), tx, RNG, make_batch(2))))
    step = over.compile(make_train_step(Draw(), tx, axis_name=over.axis_name), (None, 0))
    _, metrics = step(state, over.split(make_batch(8)))
    (total, count), (squares, _) = metrics["mean"], metrics["square"]
    assert count == 4 and squares / 4 - (total / 4) ** 2 > 1e-3


def test_collectives_are_identities_on_one_device():
    tree = {"a": jnp.arange(3.0), "n": jnp.int32(2)}
    for collective in (parallel.psum, parallel.pmean, parallel.all_gather):
        assert collective(tree, None) is tree
    assert parallel.axis_index(None) == 0


def test_collectives_over_devices():
    over = Parallel("pmap", 4)

    def fn(x):
        n = parallel.axis_index(AXIS)
        return {
            "sum": parallel.psum(x.sum(), AXIS),
            "mean": parallel.pmean({"x": x.sum(), "counter": n}, AXIS),
            "all": parallel.all_gather(x, AXIS),
        }

    out = jax.device_get(over.compile(fn, (0,))(over.split(np.arange(8.0, dtype=np.float32))))
    assert out["sum"] == 28 and out["mean"] == {"x": 7, "counter": 3}
    np.testing.assert_array_equal(out["all"], np.arange(8))


def test_what_cannot_work_is_named():
    with pytest.raises(UserError, match="config.parallel.mode is 'gpu'; it can be 'jit' or 'pmap'"):
        Parallel("gpu")
    with pytest.raises(UserError, match="asks for 9 devices, but JAX sees 8"):
        Parallel("jit", 9)


def test_one_process_provides_all_rows_and_two_provide_half_each(monkeypatch):
    over = Parallel("jit", 1)
    assert over.local_rows(8) == slice(0, 8)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert over.local_rows(8) == slice(4, 8)
