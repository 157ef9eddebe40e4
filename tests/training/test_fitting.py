"""The batch that fits the memory: which cuts there are, the first that fits, what a run stores, and out of memory."""

import functools
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import final_arrays

from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.settings import config_file
from jaxcls.state import Aux, TrainState
from jaxcls.training import fitting, loop, memory
from jaxcls.training.feed import MemoryTrainFeed
from jaxcls.training.fitting import cuts, largest
from jaxcls.training.step import make_train_step

MIB = 2**20


@given(st.integers(1, 4096), st.sampled_from([1, 2, 3, 8]), st.integers(1, 10**6), st.booleans())
def test_cuts_keep_the_batch_and_can_be_shared(batch, devices, pictures, scales):
    found = cuts(batch, devices, pictures, scales=scales)
    assert [x.together for x in found] == sorted({x.together for x in found}, reverse=True)
    assert all(x.batch % (devices * x.accumulate) == 0 for x in found)
    assert all(x.together // devices % 2 == 0 for x in found if x.accumulate > 1 or devices > 1)
    unit = 2 * devices if devices > 1 else 1
    whole = max(unit, batch - batch % unit)
    grown = [x for x in found if x.batch > whole]
    assert all(scales and x.accumulate == 1 and x.batch <= 8 * whole and 4 * x.batch <= pictures for x in grown)
    assert {x.batch for x in found if x not in grown} == {whole}


@given(st.integers(1, 12), st.integers(0, 10**6), st.integers(1, 10**4), st.integers(1, 10**8), st.booleans())
def test_the_first_that_fits_is_found_where_memory_goes_with_the_pictures(power, fixed, each, limit, scales):
    options = cuts(2**power, 1, 10**5, scales=scales)
    need = lambda cut: fixed + each * cut.together  # noqa: E731
    found, known = largest(options, limit, need)
    assert found == next((x for x in options if need(x) <= limit), None)
    assert found is None or len(known) <= 4


def devices(*stats, platform="gpu"):
    return [types.SimpleNamespace(memory_stats=lambda own=own: own, platform=platform) for own in stats]


def test_room_is_what_devices_say_and_the_host_for_cpus(tmp_path, monkeypatch):
    assert memory.room(devices({"bytes_limit": 9, "bytes_in_use": 2}, {"bytes_limit": 8, "bytes_in_use": 3})) == 5
    assert memory.room(devices(None)) is None
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert memory.host()["free"] == 600 and memory.room(devices(None, {}, platform="cpu")) == 300
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.host()["free"] == memory.host()["available"] and memory.host()["limit"] is None


def test_auto_leaves_the_recipe_s_batch():
    config = default_config()
    config_file.override(config, [("batch_size", "24"), ("batch_size", "auto")])
    assert (config.batch_size, config.auto_batch) == (24, True)


def digits(**more):
    pairs = {"data.name": "digits", "data.augment": "resize(28)", "data.eval_transform": "resize(28)"}
    pairs |= {"batch_size": "16", "duration": "3 steps", "parallel.devices": "1", "log_every": "1 steps"}
    config = default_config()
    config_file.override(config, [*pairs.items(), ("batch_size", "auto"), *more.items()])
    return config


def stored(workdir):
    config = json.loads((workdir / "config.json").read_text())
    return config["batch_size"], config["accumulate"], config["eval"]["batch_size"]


def test_a_step_is_cut_to_the_memory_and_a_run_that_goes_on_has_the_same_batches(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fitting, "needs", lambda run, cut: cut.together * MIB)
    monkeypatch.setattr(fitting, "room", lambda devices: 10 * MIB)
    loop.run(digits(), tmp_path / "a", final=False)
    assert stored(tmp_path / "a") == (16, 2, 8)
    assert "16 pictures a step in 2 micro-batches of 8" in capsys.readouterr().out
    monkeypatch.setattr(fitting, "room", lambda devices: 3 * MIB)  # another machine
    loop.run(digits(duration="5 steps", **{"schedule.name": "constant"}), tmp_path / "b", final=False)
    assert stored(tmp_path / "b") == (16, 8, 2)
    loop.run(digits(), tmp_path / "a", final=False)  # it has come to its end
    assert stored(tmp_path / "a") == (16, 2, 8)
    monkeypatch.setattr(fitting, "room", lambda devices: MIB)
    with pytest.raises(UserError, match="even with 2 pictures at once") as error:
        loop.run(digits(), tmp_path / "c", final=False)
    assert "\n" not in str(error.value) and not (tmp_path / "c").exists()


def test_the_batch_grows_where_the_rate_goes_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fitting, "needs", lambda run, cut: cut.together * MIB)
    monkeypatch.setattr(fitting, "room", lambda devices: 80 * MIB)
    config = digits(**{"schedule.per_batch": "16"})
    run = fitting.built(config, tmp_path)
    assert (run.training.batch_size, run.training.accumulate) == (64, 1)  # 72 MiB are safe
    assert "the recipe has 16; the rate goes with the batch" in capsys.readouterr().out
    assert float(run.training.learning_rate(0)) == pytest.approx(4 * config.schedule.peak)


def out_of_memory(monkeypatch, when):
    """Training steps raise what XLA does where `when(step, batch cut into micro-batches)`."""
    call, cut = MemoryTrainFeed.__call__, {}

    def raising(self, state, step, stop):
        if when(step, cut["parts"]):
            jax.tree.map(lambda x: x.delete(), state)  # as a donated state is
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 7406166528 bytes.")
        return call(self, state, step, stop)

    def steps(*args, accumulate, **options):
        cut["parts"] = accumulate
        return make_train_step(*args, accumulate=accumulate, **options)

    monkeypatch.setattr(MemoryTrainFeed, "__call__", raising)
    monkeypatch.setattr("jaxcls.training.feeds.make_train_step", steps)


def test_out_of_memory_halves_the_share_and_the_result_is_that_of_the_halves(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fitting, "room", lambda devices: None)  # a device that does not say
    loop.run(digits(accumulate="2", auto_batch="False"), tmp_path / "halves", final=False)
    with monkeypatch.context() as patch:
        out_of_memory(patch, lambda step, parts: parts == 1)
        loop.run(digits(), tmp_path / "auto", final=False)
        assert stored(tmp_path / "auto") == (16, 2, 8)
        told = capsys.readouterr().out
        assert (
            "6.898 GiB asked for" in told and "going on from the newest checkpoint with 16 pictures a step in 2" in told
        )
        with pytest.raises(memory.OutOfMemory, match=r"set config.accumulate=2 \(same batch\)") as error:
            loop.run(digits(auto_batch="False"), tmp_path / "not", final=False)
        assert "\n" not in str(error.value)
    same, ours = final_arrays(tmp_path / "halves"), final_arrays(tmp_path / "auto")
    assert same.keys() == ours.keys() and all(np.array_equal(same[key], ours[key]) for key in same)


def test_out_of_memory_for_good_ends_in_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "room", lambda devices: None)
    out_of_memory(monkeypatch, lambda step, parts: True)
    with pytest.raises(memory.OutOfMemory, match="config.batch_size=4"):
        loop.run(digits(batch_size="8", auto_batch="True"), tmp_path / "run", final=False)
    assert stored(tmp_path / "run")[1] == 4


def test_micro_batches_save_memory_on_a_cpu():
    """Held against what XLA says of the gradient of one micro-batch alone."""
    kernels = [jnp.zeros((3, 3, 3, 8)), jnp.zeros((3, 3, 8, 8)), jnp.zeros((3, 3, 8, 8))]
    convolve = functools.partial(jax.lax.conv_general_dilated, window_strides=(1, 1), padding="SAME")

    def loss(params, now, batch, rng):
        x = batch["image"].astype(jnp.float32)
        for kernel in params:
            x = jax.nn.relu(convolve(x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC")))
        return (x**2).sum(), Aux({}, jnp.float32(len(x)), {})

    tx, task = optax.sgd(0.1), types.SimpleNamespace(loss=loss, after_update=lambda state, aux: state)
    key = jax.random.PRNGKey(0)
    state = TrainState(jnp.int32(0), kernels, {}, tx.init(kernels), key, {}, {})

    def needs(rows, parts):
        batch = {"image": jax.ShapeDtypeStruct((rows, 32, 32, 3), jnp.uint8)}
        step = make_train_step(task, tx, accumulate=parts, platform="cpu")
        return jax.jit(step).lower(state, batch).compile().memory_analysis().temp_size_in_bytes

    assert needs(32, 4) < 1.5 * needs(8, 1) < 0.5 * needs(32, 1)


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError])
def test_an_evaluation_names_its_own_batch(kind):
    out, within = memory.OutOfMemory, memory.explained(64, 2, "float32", doing="an evaluation")
    with pytest.raises(out, match="set config.eval.batch_size lower") as error, within:
        raise kind("RESOURCE_EXHAUSTED: Out of memory")
    assert error.value.doing == "an evaluation" and "\n" not in str(error.value)
