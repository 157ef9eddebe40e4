"""Precise-BN: the statistics of many batches against those of all their pictures at once, and through whole runs."""

import functools

import jax
import numpy as np
import pytest
import runs
from fixtures.toys import ConvNet, make_batch

from jaxcls import optim
from jaxcls import state as train_state
from jaxcls.checkpoints import view
from jaxcls.data import pipeline
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.optim import schedules
from jaxcls.optim.transfer import Timing
from jaxcls.tasks.frozen import Frozen
from jaxcls.tasks.supervised import Supervised
from jaxcls.tasks.wrappers import Ema
from jaxcls.training import build, loop, precise_bn, preflight
from jaxcls.training.step import make_train_step

RNG = np.array([0, 11], np.uint32)


def statistics(conv, images):
    """Mean and (biased) variance of what the 3x3 convolution gives over all pictures and places, in float64."""
    kernel, images = np.asarray(conv["kernel"], np.float64), np.asarray(images, np.float64)
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3))
    out = out + np.asarray(conv["bias"], np.float64)
    return out.mean((0, 1, 2)), out.var((0, 1, 2))


def assert_statistics(found, conv, images, rtol=1e-4):
    mean, var = statistics(conv, images)
    np.testing.assert_allclose(found["mean"], mean, rtol=rtol, atol=1e-5)
    np.testing.assert_allclose(found["var"], var, rtol=rtol, atol=1e-6)


@functools.cache
def trained():
    """(task with an average, state after two steps)."""
    task, tx = Ema(Supervised(ConvNet()), 0.5), optim.sgd(schedules.constant(0.2))
    state = train_state.create(task, tx, RNG, make_batch(8))
    step = jax.jit(make_train_step(task, tx))
    for t in (1, 2):
        state, _ = step(state, make_batch(8, seed=t))
    return task, jax.device_get(state)


def passed(task, state, batches):
    """The state after a pass over batches."""
    carry, step = precise_bn.Pass(np.int32(7), np.int32(7), state), jax.jit(precise_bn.make_step(task))
    for batch in batches:
        carry, _ = step(carry, batch)
    return jax.device_get(carry.state)


def test_statistics_are_those_of_all_pictures_for_the_weights_and_their_average():
    task, state = trained()
    batches = [make_batch(8, seed=10 + i) for i in range(4)]
    images = np.concatenate([batch["image"] for batch in batches])
    new = passed(task, state, batches)
    ema = new.extra["ema"]
    assert_statistics(new.model_state["batch_stats"]["bn1"], new.params["conv1"], images)
    assert_statistics(ema["model_state"]["batch_stats"]["bn1"], ema["params"]["conv1"], images)
    assert np.abs(ema["params"]["conv1"]["kernel"] - new.params["conv1"]["kernel"]).max() > 1e-3
    old = state.extra["ema"]["model_state"]["batch_stats"]["bn1"]["mean"]
    assert np.abs(old - ema["model_state"]["batch_stats"]["bn1"]["mean"]).max() > 1e-2


def test_nothing_but_the_statistics_changes():
    task, state = trained()
    new = passed(task, state, [make_batch(8, seed=3)])
    ema = {**new.extra["ema"], "model_state": state.extra["ema"]["model_state"]}
    back = new.replace(model_state=state.model_state, extra={"ema": ema})
    jax.tree.map(np.testing.assert_array_equal, back, state)


def test_frozen_layers_keep_their_statistics_to_the_bit():
    task, state = trained()
    frozen = Frozen(task, Timing(frozen=("^bn1/",)))
    new = passed(frozen, state, [make_batch(8, seed=10 + i) for i in range(3)])
    jax.tree.map(np.testing.assert_array_equal, new.model_state, state.model_state)
    waiting = Frozen(task, Timing(unfreeze_at=((state.step + 1, "^bn1/"),)))
    new = passed(waiting, state, [make_batch(8, seed=10 + i) for i in range(3)])
    jax.tree.map(np.testing.assert_array_equal, new.model_state, state.model_state)


# Runs


def make_run(mode="jit", devices=1, setting="global", memory=2**20, validation=0.0, batches=3):
    """6 steps on 64 pictures of 8x8 without augmentation, evaluated every second step."""
    config = default_config()
    config.data.name, config.data.validation, config.data.device_memory = "synthetic/64x8x1x4", validation, memory
    config.data.workers = 0
    config.model.name = "simple_cnn_16_32"
    config.batch_size, config.duration, config.precise_bn = 16, "6 steps", batches
    config.eval.every = config.checkpoint.every = "2 steps"
    config.parallel.mode, config.parallel.devices, config.parallel.batch_norm = mode, devices, setting
    config.schedule.name, config.schedule.peak = "constant", 0.2
    config.ema_decay = 0.9
    return build.build(
        config, task=lambda data, model: Supervised(ConvNet(num_classes=4, axis_name=model.module.axis_name))
    )


def pictures(run, step, batches):
    """float pictures of the batches of steps from `step` on, as the net sees them."""
    n = len(run.data.sources["train"])
    rows = [pipeline.train_rows(s, n=n, batch_size=16, seed=0)["index"] for s in range(step, step + batches)]
    return run.data.sources["train"].images[np.concatenate(rows)] / 255


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"length": 4},
        {"devices": 4},
        {"mode": "pmap", "devices": 4},
        {"mode": "pmap", "devices": 4, "setting": "local"},
        {"mode": "jit", "devices": 4, "setting": "local"},
        {"mode": "pmap", "devices": 2, "setting": "groups(8)"},
        {"memory": 0},
    ],
    ids=str,
)
def test_a_run_takes_the_batches_of_the_next_steps_on_any_devices(options):
    """Over the end of an epoch of 4 steps; from device memory, also with several steps in a call, or a stream."""
    options = dict(options)
    length = options.pop("length", 1)
    run = make_run(**options)
    feed = run.train_feed()
    feed.length = length
    state = run.parallel.replicate(run.init_state())
    state = jax.device_get(run.refresher(feed)(state, 2))
    images = pictures(run, 2, 3)
    ema = state.extra["ema"]
    assert_statistics(state.model_state["batch_stats"]["bn1"], state.params["conv1"], images)
    assert_statistics(ema["model_state"]["batch_stats"]["bn1"], ema["params"]["conv1"], images)
    feed.close()


def test_checkpoints_have_the_new_statistics_and_a_restart_changes_no_bit(tmp_path):
    run = make_run(validation=0.25)
    results = loop.fit(run, tmp_path / "whole")
    loop.fit(runs.changed(run, total_steps=4), tmp_path / "twice")
    loop.fit(run, tmp_path / "twice")
    left, right = (view.read_arrays(view.find_step(tmp_path / name)) for name in ("whole", "twice"))
    assert left.keys() == right.keys()
    assert not [name for name in left if left[name].tobytes() != right[name].tobytes()]
    conv = {name: left[f"params/conv1/{name}"] for name in ("kernel", "bias")}
    found = {name: left[f"model_state/batch_stats/bn1/{name}"] for name in ("mean", "var")}
    assert_statistics(found, conv, pictures(run, 6, 3))
    assert results["test"]["count"] == 16


def test_without_a_validation_split_the_last_state_has_them(tmp_path):
    run = make_run()
    loop.fit(runs.changed(run, total_steps=2), tmp_path)
    arrays = view.read_arrays(view.find_step(tmp_path))
    conv = {name: arrays[f"extra/ema/params/conv1/{name}"] for name in ("kernel", "bias")}
    found = {name: arrays[f"extra/ema/model_state/batch_stats/bn1/{name}"] for name in ("mean", "var")}
    assert_statistics(found, conv, pictures(run, 2, 3))


def test_a_model_without_batchnorm_is_refused(tmp_path):
    config = default_config()
    config.data.name, config.model.name = "synthetic/64x28x1x4", "lenet5"
    config.batch_size, config.precise_bn = 16, 2
    with pytest.raises(UserError, match="lenet5 has no BatchNorm"):
        preflight.check(build.build(config), tmp_path, note=print)
