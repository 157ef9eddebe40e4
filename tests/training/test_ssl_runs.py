"""Whole runs without labels: stopped and continued, on any devices in both modes, through config.ssl."""

import itertools
import time

import jax
import numpy as np
import pytest
import runs
from fixtures.toys import registered
from ssl_nets import Encoder

from jaxcls.checkpoints import view
from jaxcls.defaults import default_config
from jaxcls.logs.records import read_metrics
from jaxcls.training import build, loop

CONFIGS = {
    "simclr": {"ssl.projector": (0, 6), "ssl.temperature": 0.5},
    "supcon": {"ssl.projector": (0, 6)},
    "moco": {"ssl.projector": (6,), "ssl.queue": 48, "ssl.momentum": 0.9},
    "moco_v3": {"ssl.projector": (8, 6), "ssl.predictor": (8, 6), "ssl.momentum_schedule": "cosine"},
    "byol": {"ssl.projector": (8, 6), "ssl.predictor": (8, 6), "ssl.momentum_schedule": "cosine"},
    "simsiam": {"ssl.projector": (0, 0, 6), "ssl.predictor": (4, 6)},
    "barlow_twins": {"ssl.projector": (8, 8, 6), "ssl.scale": 0.1},
    "vicreg": {"ssl.projector": (8, 8, 6)},
}


def make_run(method, mode="jit", devices=1, **changes):
    """A run of 6 steps on 64 pictures of 8x8 in 4 classes, with crops and flips."""
    config = default_config()
    config.data.name, config.data.validation, config.model.name = "synthetic/64x8x1x4", 0.0, "ssl_encoder"
    config.data.augment, config.data.workers = ("crop(8, pad=2)", "flip"), 0
    config.batch_size, config.duration, config.log_every = 16, "6 steps", "1 step"
    config.eval.every = config.checkpoint.every = "2 steps"
    config.schedule.name, config.schedule.peak, config.monitor.knn = "constant", 0.01, ""
    config.parallel.mode, config.parallel.devices = mode, devices
    config.ssl.method = method
    config.update_from_flattened_dict({**CONFIGS[method], **changes})
    with registered(ssl_encoder=Encoder):
        return build.build(config)


def six_steps(run):
    """(losses, final state) of a run's own feed, without the loop around it."""
    feed, state, told = run.train_feed(), run.parallel.replicate(run.init_state()), []
    for step in range(6):
        state, metrics, _ = feed(state, step, 6)
        told.append(float(metrics["loss"][0] / metrics["loss"][1]))
    return told, jax.device_get(state)


def assert_same_bits(a, b):
    left, right = runs.final_arrays(a), runs.final_arrays(b)
    assert left.keys() == right.keys()
    assert not [name for name in left if left[name].tobytes() != right[name].tobytes()]
    losses = [[(x["step"], x["loss"]) for x in read_metrics(w) if x["split"] == "train"] for w in (a, b)]
    assert losses[0] == losses[1]
    return left


@pytest.mark.slow
@pytest.mark.parametrize("method", ["moco", "simclr"])
def test_a_run_that_is_stopped_twice_ends_with_the_same_bits(tmp_path, method):
    loop.fit(make_run(method), tmp_path / "whole")
    run = make_run(method)
    for steps in (2, 5, 6):
        loop.fit(runs.changed(run, total_steps=steps), tmp_path / "stopped")
    names = assert_same_bits(tmp_path / "whole", tmp_path / "stopped")
    if method == "moco":
        assert {"extra/queue", "extra/slow/conv1/kernel", "extra/slow_state/batch_stats/bn1/mean"} <= names.keys()
        start = run.init_state().extra["queue"]
        assert np.all(np.any(names["extra/queue"] != start, axis=1))  # all keys are new


@pytest.mark.slow
def test_a_run_that_is_killed_twice_ends_with_the_same_bits(tmp_path):
    """SIGKILL after a checkpoint, with the queue and the slow encoder in it."""
    arguments = ["--config.ssl.method=moco", "--config.ssl.queue=64", "--config.loss.label_smoothing=0.0"]
    arguments += ["--config.duration=120 steps", "--config.checkpoint.every=20 steps"]
    arguments += ["--config.eval.every=60 steps", "--config.monitor.knn=5, 0.1"]

    def newest():
        return max((int(p.stem) for p in (tmp_path / "killed" / "manifests").glob("*.json")), default=0)

    runs.finish(runs.start(tmp_path / "whole", *arguments, report=False), tmp_path / "whole")
    for _ in range(2):
        before, process = newest(), runs.start(tmp_path / "killed", *arguments, report=False)
        while process.poll() is None and newest() <= before:
            time.sleep(0.02)
        process.kill()
        process.wait(60)
    assert 0 < newest() < 120
    runs.finish(runs.start(tmp_path / "killed", *arguments, report=False), tmp_path / "killed")
    assert_same_bits(tmp_path / "whole", tmp_path / "killed")


def assert_same_on(method, places, **changes):
    """Losses and parameters of a run on (mode, devices) and on one device."""
    told, state = six_steps(make_run(method, **changes))
    assert np.ptp(told) > 1e-3
    for mode, devices in places:
        told_n, state_n = six_steps(make_run(method, mode, devices, **changes))
        np.testing.assert_allclose(told_n, told, rtol=1e-5, err_msg=f"{mode} {devices}")
        for kind in ("params", "extra"):
            near = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)  # noqa: E731
            jax.tree.map(near, getattr(state_n, kind), getattr(state, kind))


def test_negatives_are_seen_over_all_devices():
    assert_same_on("simclr", [("pmap", 4)])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["simclr", "moco_v3", "barlow_twins", "vicreg", "supcon", "byol", "simsiam"])
def test_a_run_is_the_same_on_any_devices_in_both_modes(method):
    assert_same_on(method, [p for p in itertools.product(("jit", "pmap"), (1, 2, 4, 8)) if p != ("jit", 1)])


@pytest.mark.slow
@pytest.mark.parametrize("symmetric", [False, True])
def test_moco_with_groups_and_shuffled_keys_is_the_same_on_any_devices(symmetric):
    places = [p for p in itertools.product(("jit", "pmap"), (1, 2, 4, 8)) if p != ("jit", 1)]
    changes = {"parallel.batch_norm": "groups(8)", "ssl.symmetric": symmetric, "ssl.queue": 96}
    assert make_run("moco", **changes).task.inner.shuffle
    assert_same_on("moco", places, **changes)
    alike = six_steps(make_run("moco", **{**changes, "parallel.batch_norm": "global"}))[0]
    assert abs(alike[0] - six_steps(make_run("moco", **changes))[0][0]) > 1e-4  # groups are another thing


@pytest.mark.slow
@pytest.mark.parametrize("method", CONFIGS)
def test_every_method_goes_through_the_loop(tmp_path, method):
    """With a probe and neighbours: they are measured, and what is saved answers without heads."""
    run = make_run(method, **{"monitor.knn": "5, 0.1", "data.validation": 0.25, "duration": "2 steps"})
    results = loop.fit(run, tmp_path)
    assert 0 <= results["test"]["knn"] <= 1 and 0 <= results["test"]["accuracy"] <= 1
    lines = [x for x in read_metrics(tmp_path) if x["split"] == "train"]
    assert all(np.isfinite(x["loss"]) and 0 < x["spread"] < 2 for x in lines)
    assert len(view.list_steps(tmp_path)) >= 1
