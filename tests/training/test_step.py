"""The training step: sums divided by counts, accumulation, float16, loops on the device, keys."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixtures.toys import ConvNet, Linear, make_batch
from hypothesis import given
from hypothesis import strategies as st

from jaxcls import models, optim, parallel, pytree
from jaxcls import state as train_state
from jaxcls.optim import schedules
from jaxcls.parallel import Parallel
from jaxcls.state import Aux
from jaxcls.tasks.base import Task
from jaxcls.tasks.supervised import Supervised
from jaxcls.tasks.wrappers import Ema
from jaxcls.training import step as step_module
from jaxcls.training.step import make_eval_step, make_multi_step, make_train_step, merge_batch, split_batch

RNG = np.array([0, 7], np.uint32)


def sgd(rate=0.1, **options):
    return optim.sgd(schedules.constant(rate), **options)


@functools.cache
def setup(task, tx):
    """A compiled step of a task, and its first state."""
    state = train_state.create(task, tx, RNG, make_batch(4))
    return jax.jit(make_train_step(task, tx)), state


LINEAR, PLAIN = Supervised(Linear()), sgd()


def assert_close(a, b, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=atol), a, b)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


# Sums and counts


def test_the_update_is_the_gradient_of_the_mean_loss():
    """Closed form of one dense layer: the gradient of the logits is (softmax - one hot) / n."""
    step, state = setup(LINEAR, PLAIN)
    batch = make_batch(8)
    new, metrics = step(state, batch)
    x, fc = batch["image"].reshape(8, -1), state.params["fc"]
    logits = x @ fc["kernel"] + fc["bias"][None]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = (p - np.eye(3)[batch["label"]]) / 8
    expected = {"kernel": fc["kernel"] - 0.1 * x.T @ error, "bias": fc["bias"] - 0.1 * error.sum(0)}
    assert_close(dict(new.params["fc"]), expected)
    assert int(new.step) == 1
    loss, count = metrics["loss"]
    assert count == 8
    assert loss / count == pytest.approx(-np.log(p[np.arange(8), batch["label"]]).mean(), rel=1e-5)
    hits, count = metrics["accuracy"]
    assert (hits, count) == ((p.argmax(1) == batch["label"]).sum(), 8)
    norm = np.sqrt((x.T @ error).ravel() @ (x.T @ error).ravel() + error.sum(0) @ error.sum(0))
    assert metrics["grad_norm"][0] / metrics["grad_norm"][1] == pytest.approx(norm, rel=1e-5)


def test_masked_examples_have_no_influence():
    step, state = setup(LINEAR, PLAIN)
    batch = make_batch(8)
    batch["mask"][5:] = 0
    garbage = {**batch, "image": batch["image"].copy(), "label": batch["label"].copy()}
    garbage["image"][5:], garbage["label"][5:] = 1e3, 2
    with_garbage, metrics = step(state, garbage)
    assert_equal(step(state, batch)[0], with_garbage)
    without, _ = step(state, {k: v[:5] for k, v in batch.items()})
    assert_close(without.params, with_garbage.params)
    assert metrics["loss"][1] == metrics["accuracy"][1] == 5


def test_an_example_of_weight_two_counts_twice():
    step, state = setup(LINEAR, PLAIN)
    batch = make_batch(4)
    weighted, metrics = step(state, {**batch, "weight": np.array([2, 1, 1, 0], np.float32)})
    twice, _ = step(state, {k: v[[0, 0, 1, 2]] for k, v in batch.items()})
    assert_close(weighted.params, twice.params)
    assert metrics["loss"][1] == 4
    assert metrics["accuracy"][1] == 4  # the accuracy is that of the pictures, whatever they weigh


def test_a_batch_of_no_weight_changes_nothing():
    step, state = setup(LINEAR, PLAIN)
    new, metrics = step(state, {**make_batch(4), "mask": np.zeros(4, np.float32)})
    assert_equal(new.params, state.params)
    assert np.isfinite(metrics["loss"][0]) and metrics["grad_norm"][0] == 0


# Accumulation


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_changes_nothing_without_batchnorm(parts):
    """With masks and weights, so that the micro-batches have different counts."""
    tx = sgd(momentum=0.9, weight_decay=1e-2)
    batch = {**make_batch(16), "weight": np.linspace(0, 3, 16).astype(np.float32)}
    batch["mask"][3:9] = 0
    state = train_state.create(LINEAR, tx, RNG, batch)
    whole, expected = jax.jit(make_train_step(LINEAR, tx))(state, batch)
    new, metrics = jax.jit(make_train_step(LINEAR, tx, accumulate=parts))(state, batch)
    assert_close(new, whole)
    assert_close(metrics, expected, atol=1e-5)


def test_running_statistics_pass_from_one_micro_batch_to_the_next():
    """Closed form: mean <- 0.9 mean + 0.1 (mean of the micro-batch), twice."""
    task, tx = Supervised(ConvNet()), sgd(0.0)
    batch = make_batch(8)
    state = train_state.create(task, tx, RNG, batch)
    new, _ = jax.jit(make_train_step(task, tx, accumulate=2))(state, batch)
    conv = state.params["conv1"]
    x = jax.lax.conv_general_dilated(
        batch["image"], conv["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    x, expected = np.asarray(x + conv["bias"][None, None, None]), np.zeros(4)
    for rows in ([0, 1, 4, 5], [2, 3, 6, 7]):
        expected = 0.9 * expected + 0.1 * x[rows].mean((0, 1, 2))
    np.testing.assert_allclose(new.model_state["batch_stats"]["bn1"]["mean"], expected, atol=1e-6)


@given(parts=st.integers(1, 6), size=st.integers(1, 6))
def test_merge_is_the_inverse_of_split(parts, size):
    batch = {"a": np.arange(parts * size), "b": np.arange(parts * size * 3).reshape(-1, 3)}
    split = split_batch(batch, parts)
    assert split["a"].shape == (parts, size) and split["b"].shape == (parts, size, 3)
    np.testing.assert_array_equal(split["b"][..., 0], split["a"] * 3)
    assert_equal(merge_batch(split), batch)


@given(parts=st.integers(1, 6), pairs=st.integers(1, 6))
def test_neighbours_stay_together(parts, pairs):
    split = split_batch(np.arange(2 * parts * pairs), parts)
    assert np.all(split[:, ::2] % 2 == 0) and np.all(split[:, 1::2] == split[:, ::2] + 1)


@given(parts=st.integers(1, 4), devices=st.sampled_from([1, 2, 4, 8]), pairs=st.integers(1, 4))
def test_a_micro_batch_holds_the_same_examples_on_any_number_of_devices(parts, devices, pairs):
    """pmap splits each device's share, jit the global batch. It needs whole pairs for each device and micro-batch."""
    batch = np.arange(2 * parts * devices * pairs)
    whole = split_batch(batch, parts)
    shares = np.concatenate([split_batch(share, parts) for share in np.split(batch, devices)], axis=1)
    np.testing.assert_array_equal(whole, shares)


# float16


@functools.cache
def float16_setup():
    task, tx = Ema(Supervised(ConvNet()), 0.5), sgd(momentum=0.9)
    state = train_state.create(task, tx, RNG, make_batch(8), loss_scale=2.0**10)
    return task, tx, state


def test_an_overflow_skips_the_update_and_halves_the_scale():
    task, tx, state = float16_setup()
    step = jax.jit(make_train_step(task, tx))
    state, metrics = step(state, make_batch(8))  # so that momentum, average and statistics are not those of step 0
    assert metrics["skipped"] == (0, 1) and state.loss_scale == {"scale": 2.0**10, "good_steps": 1}
    batch = make_batch(8)
    batch["image"][0, 0, 0] = np.inf
    new, metrics = step(state, batch)
    for part in ("params", "model_state", "opt_state", "extra", "controls"):
        assert_equal(getattr(new, part), getattr(state, part))
    assert int(new.step) == 2
    assert new.loss_scale == {"scale": 2.0**9, "good_steps": 0}
    assert metrics["skipped"] == (1, 1)
    again, metrics = step(new, make_batch(8))  # and goes on as if nothing had been
    assert metrics["skipped"] == (0, 1) and metrics["loss_scale"][0] == 2.0**9
    assert np.any(again.params["fc"]["kernel"] != new.params["fc"]["kernel"])
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(again))


def test_the_scale_doubles_after_finite_steps_in_a_row_up_to_its_limit(monkeypatch):
    monkeypatch.setattr(step_module, "GROWTH_INTERVAL", 2)
    monkeypatch.setattr(step_module, "MAX_SCALE", 2.0**11)
    task, tx, state = float16_setup()
    step = jax.jit(make_train_step(task, tx))
    seen = []
    for _ in range(5):
        state, _ = step(state, make_batch(8))
        seen.append((float(state.loss_scale["scale"]), int(state.loss_scale["good_steps"])))
    assert seen == [(2.0**10, 1), (2.0**11, 0), (2.0**11, 1), (2.0**11, 0), (2.0**11, 1)]


def test_the_scale_is_divided_out_again():
    step, state = setup(LINEAR, PLAIN)
    scaled = state.replace(loss_scale={"scale": jnp.float32(2.0**16), "good_steps": jnp.int32(0)})
    new, metrics = step(scaled, make_batch(8))
    expected, plain = step(state, make_batch(8))
    assert_close(new.params, expected.params)
    assert_close({k: metrics[k] for k in plain}, plain)


def test_float16_gradients_that_would_vanish_survive():
    """A loss of weight 1e-8: its float16 gradients are zero without the scale."""

    class Faint(Supervised):
        def loss(self, params, state, batch, rng):
            loss, aux = super().loss(params, state, batch, rng)
            return loss * 1e-8, aux

    task, tx = Faint(Linear(dtype=jnp.float16)), sgd()
    state = train_state.create(task, tx, RNG, make_batch(8), loss_scale=2.0**20)
    step = jax.jit(make_train_step(task, tx))
    _, metrics = step(state, make_batch(8))
    _, exact = jax.jit(make_train_step(Faint(Linear()), tx))(state.replace(loss_scale=None), make_batch(8))
    assert metrics["grad_norm"][0] == pytest.approx(float(exact["grad_norm"][0]), rel=1e-2)
    _, lost = step(state.replace(loss_scale=None), make_batch(8))
    assert lost["grad_norm"][0] == 0


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_parameters_and_logits_stay_float32(precision):
    task, tx = Supervised(models.create("lenet5", num_classes=10, dtype=precision)), sgd()
    batch = {**make_batch(4, size=28), "weight": np.ones(4, np.float32)}
    create = functools.partial(train_state.create, task, tx, batch=batch, loss_scale=2.0**16)
    state = jax.eval_shape(create, jax.ShapeDtypeStruct((2,), np.uint32))
    new, metrics = jax.eval_shape(make_train_step(task, tx), state, batch)
    floats = [x for x in jax.tree.leaves((new.params, new.opt_state, metrics)) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert {x.dtype for x in floats} == {np.dtype(np.float32)}
    assert jax.eval_shape(make_eval_step(task), state, batch)["logits"].dtype == np.float32
    text = jax.jit(make_train_step(task, tx)).lower(state, batch).as_text()
    assert {"bfloat16": "xbf16>", "float16": "xf16>"}[precision] in text  # and yet the work is done in half precision


# Many steps in one call


def test_a_loop_on_the_device_equals_single_steps():
    task, tx = LINEAR, sgd(momentum=0.9)
    state = train_state.create(task, tx, RNG, make_batch(4))
    data = make_batch(16)
    rows = jnp.asarray(np.random.default_rng(1).integers(0, 16, (5, 4)))

    def batch_fn(data, number):
        return {k: v[rows[number]] for k, v in data.items()}

    step = make_train_step(task, tx)
    run, single = jax.jit(make_multi_step(step, batch_fn, 5)), jax.jit(step)
    data = jax.tree.map(jnp.asarray, data)
    looped, log = run(state, data, 3)
    expected, losses = state, []
    for number in range(3):
        expected, metrics = single(expected, batch_fn(data, number))
        losses.append(metrics["loss"][0])
    assert int(looped.step) == 3
    assert_close(looped, expected)
    np.testing.assert_allclose(log["loss"][0][:3], losses, rtol=1e-5)
    assert log["loss"][0].shape == (5,) and not np.any(log["loss"][1][3:])
    # where the chunks are cut has no influence on a single bit
    rest, _ = run(looped, data, 2)
    assert_equal(rest, run(state, data, 5)[0])


# What the optimiser is told


def test_the_optimiser_gets_value_controls_and_gradients_elsewhere():
    seen = {}

    def update(updates, state, params, *, value, grad_fn, lr_scale):
        seen.update(value=value, lr_scale=lr_scale, here=updates, again=grad_fn(params, 0))
        seen["elsewhere"] = grad_fn(jax.tree.map(lambda p: p + 1, params), 0)
        return updates, state

    tx = optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
    batch = {**make_batch(8), "weight": np.linspace(0, 2, 8).astype(np.float32)}
    state = train_state.create(LINEAR, tx, RNG, batch, controls={"lr_scale": 0.25})
    _, metrics = make_train_step(LINEAR, tx)(state, batch)
    assert seen["lr_scale"] == 0.25 and seen["lr_scale"].dtype == jnp.float32
    assert seen["value"] == pytest.approx(float(metrics["loss"][0] / metrics["loss"][1]))
    assert_close(seen["here"], seen["again"])

    def mean_loss(params):
        loss, aux = LINEAR.loss(params, state, batch, RNG)
        return loss / aux.count

    assert_close(seen["elsewhere"], jax.grad(mean_loss)(jax.tree.map(lambda p: p + 1, state.params)))


# Keys, and what the task is told


class Spy(Task):
    """Has one parameter; tells a number drawn from its key; counts updates; passes the labels through `carry`."""

    def init(self, rng, batch, weights=None):
        return {"w": jnp.zeros(())}, {}, {"seen": jnp.zeros((), jnp.int32), "label": jnp.zeros_like(batch["label"])}

    def loss(self, params, state, batch, rng):
        number, n = jax.random.uniform(rng), jnp.float32(len(batch["label"]))
        carry = {"label": batch["label"]}
        return params["w"] * n, Aux(state.model_state, n, {"number": (number, jnp.float32(1))}, carry)

    def after_update(self, state, aux):
        return state.replace(extra={"seen": state.step, "label": aux.carry["label"]})


def test_keys_differ_by_step_and_micro_batch_and_are_the_same_again():
    task, tx = Spy(), sgd()
    batch = make_batch(8)
    state = train_state.create(task, tx, RNG, batch)
    step, halves = make_train_step(task, tx), make_train_step(task, tx, accumulate=2)
    one, two = step(state, batch), step(state.replace(step=jnp.int32(1)), batch)
    number = float(one[1]["number"][0])
    assert float(two[1]["number"][0]) != number
    assert float(step(state, batch)[1]["number"][0]) == number
    total, count = halves(state, batch)[1]["number"]
    assert count == 2 and total != 2 * number
    other = state.replace(rng=np.array([0, 8], np.uint32))
    assert float(step(other, batch)[1]["number"][0]) != number


def test_dropout_differs_by_step_and_is_the_same_again():
    task, tx = Supervised(Linear(dropout=0.5)), sgd(0.0)
    step, state = setup(task, tx)
    batch = make_batch(8)
    new, first = step(state, batch)
    _, second = step(new, batch)
    assert_equal(new.params, state.params)  # the rate is zero: only the key has changed
    assert first["loss"][0] != second["loss"][0]
    assert_equal(step(state, batch)[1], first)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_after_update_sees_the_new_step_and_the_carry_in_the_order_of_the_batch(parts):
    task, tx = Spy(), sgd()
    batch = {**make_batch(8), "label": np.arange(8, dtype=np.int32)}
    state = train_state.create(task, tx, RNG, batch)
    new, _ = make_train_step(task, tx, accumulate=parts)(state, batch)
    assert int(new.extra["seen"]) == 1
    assert new.extra["label"].tolist() == list(range(8))
    assert new.params["w"] == pytest.approx(-0.1)


class Following(Task):
    """Keeps a running mean of the labels, as a key encoder keeps statistics; they are no part of the model."""

    def init(self, rng, batch, weights=None):
        return {"w": jnp.zeros(())}, {}, {"mean": jnp.zeros(()), "queue": jnp.arange(3.0)}

    def loss(self, params, state, batch, rng):
        mean = 0.5 * state.extra["mean"] + 0.5 * batch["label"].astype(jnp.float32).mean()
        return params["w"] * 0, Aux({}, jnp.float32(len(batch["label"])), {}, extra={"mean": mean})

    def after_update(self, state, aux):
        seen = jnp.roll(state.extra["queue"], 1).at[0].set(state.extra["mean"])
        return state.replace(extra={**state.extra, "queue": seen})


@pytest.mark.parametrize("mode, devices, parts", [("jit", 1, 1), ("jit", 1, 4), ("jit", 4, 2), ("pmap", 4, 2)])
def test_state_that_a_loss_changes_goes_the_way_of_the_models(mode, devices, parts):
    """From micro-batch to micro-batch, the mean over devices, and `after_update` sees it."""
    over, task, batch = Parallel(mode, devices), Following(), make_batch(32)
    state = train_state.create(task, PLAIN, RNG, batch)
    step = over.compile(make_train_step(task, PLAIN, accumulate=parts, axis_name=over.axis_name), (None, 0))
    new, _ = step(over.replicate(jax.device_get(state)), over.split(batch))
    means = []
    for share in np.split(batch["label"], devices if mode == "pmap" else 1):
        mean = 0.0
        for part in split_batch({"label": jnp.asarray(share)}, parts)["label"] if parts > 1 else [share]:
            mean = 0.5 * mean + 0.5 * float(np.mean(part))
        means.append(mean)
    assert new.extra["mean"] == pytest.approx(np.mean(means), rel=1e-6)
    np.testing.assert_allclose(new.extra["queue"], [np.mean(means), 0, 1], rtol=1e-6)


def test_a_step_takes_the_forms_of_the_devices_that_it_is_compiled_for():
    """Which need not be attached: on CPUs 1x1 convolutions are products, and micro-batches are written out."""
    over, squeezenet = Parallel(devices=1), Supervised(models.create("squeezenet1_1", num_classes=3))
    big, small = make_batch(4, size=32, channels=3), make_batch(4)

    def text(task, batch, lowering, **options):
        state = jax.eval_shape(lambda: train_state.create(task, PLAIN, RNG, batch))
        step = over.aimed(make_train_step(task, PLAIN, platform=over.platform, **options))
        return jax.jit(step).trace(state, batch).lower(lowering_platforms=(lowering,)).as_text()

    pointwise, loops = {}, {}
    for platform, lowering in (("cpu", "cpu"), ("gpu", "cuda")):
        over.platform = platform
        found = re.findall(r"stablehlo.convolution.*tensor<1x1x\d+x\d+xf32>", text(squeezenet, big, lowering))
        pointwise[platform] = len(found)
        loops[platform] = text(LINEAR, small, lowering, accumulate=4).count("stablehlo.while")
    assert pointwise["cpu"] == 0 < pointwise["gpu"] and loops["gpu"] == loops["cpu"] + 1
    assert parallel.target().platform == "cpu"


def test_the_evaluation_step_returns_logits_beside_what_joins_them_with_the_data():
    _, state = setup(LINEAR, PLAIN)
    batch = make_batch(5)
    out = make_eval_step(LINEAR)(state, batch)
    assert sorted(out) == ["index", "label", "logits", "mask"]
    fc = state.params["fc"]
    expected = batch["image"].reshape(5, -1) @ fc["kernel"] + fc["bias"][None]
    np.testing.assert_allclose(out["logits"], expected, atol=1e-5)


def test_the_state_of_step_0():
    tx = sgd(momentum=0.9)
    state = train_state.create(LINEAR, tx, RNG, make_batch(2), controls={"lr_scale": 1}, loss_scale=8)
    assert int(state.step) == 0 and state.controls["lr_scale"].dtype == jnp.float32
    assert state.loss_scale == {"scale": 8.0, "good_steps": 0}
    assert pytree.count(state.params) == 16 * 3 + 3
    assert np.any(state.rng != RNG)  # the key of initialisation is not used again
    other = train_state.create(LINEAR, tx, np.array([0, 8], np.uint32), make_batch(2))
    assert np.any(other.params["fc"]["kernel"] != state.params["fc"]["kernel"]) and other.loss_scale is None
