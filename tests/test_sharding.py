"""A state that is cut over a mesh of devices by rules: the same numbers, in fewer bytes on each device."""

import contextlib
import functools
import re

import jax
import numpy as np
import pytest
import runs
from fixtures.toys import ConvNet, make_batch

from jaxcls import models, optim, pytree, sharding
from jaxcls import state as train_state
from jaxcls.checkpoints.meta import Meta
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.optim import schedules
from jaxcls.parallel import STATE, Parallel
from jaxcls.tasks.supervised import Supervised
from jaxcls.tasks.wrappers import Ema
from jaxcls.training import build, loop, preflight
from jaxcls.training.step import make_train_step

RNG = np.array([0, 3], np.uint32)
BATCH, STEPS = 32, 3
HYBRID, TENSOR = (("replica", 2), ("data", 4)), (("data", 4), ("model", 2))
WAYS = {
    "whole": {},
    "fsdp": {"shard": ("fsdp",)},
    "hybrid": {"mesh": HYBRID, "shard": ("fsdp",)},
    "tensor": {"mesh": TENSOR, "shard": (("fc1/kernel$", "-, model"), ("fc2/kernel$", "model"), "fsdp")},
}


def over(way, devices=8):
    return Parallel("jit", devices, **WAYS[way])


@functools.cache
def train(way, *, float64=False):
    """(losses, final state as host arrays, that on the devices) of a few steps of a net with BatchNorm."""
    here, task = over(way), Supervised(ConvNet(features=64))
    wide = lambda x: x.astype(np.float64) if float64 and x.dtype == np.float32 else x  # noqa: E731
    make = lambda seed: jax.tree.map(wide, make_batch(BATCH, channels=8, seed=seed))  # noqa: E731
    with jax.enable_x64(float64):
        tx = optim.sgd(schedules.constant(0.1), weight_decay=1e-3)
        first = jax.jit(functools.partial(train_state.create, task, tx))(RNG, make(0))
        step = make_train_step(task, tx, axis_name=here.axis_name)
        step = here.compile(step, (STATE, 0), out_axes=(STATE, None), donate=(0,))
        state, losses = here.place(jax.tree.map(wide, jax.device_get(first))), []
        for seed in range(STEPS):
            state, metrics = step(state, here.split(make(seed)))
            losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
        return losses, jax.device_get(state), state


def assert_same(run, expected, tolerance):
    np.testing.assert_allclose(run[0], expected[0], rtol=1e-6, atol=1e-7)  # a loss of 0.02 is made of terms of 10
    assert jax.tree.structure(run[1]) == jax.tree.structure(expected[1])
    for part in ("params", "model_state", "extra"):
        for x, y in zip(*(jax.tree.leaves(getattr(r[1], part)) for r in (run, expected)), strict=True):
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("way", ["fsdp", "hybrid", "tensor"])
def test_a_net_with_batchnorm_learns_the_same(way):
    assert_same(train(way), train("whole"), 1e-5)
    kernel = train(way)[2].params["conv1"]["kernel"]  # (3, 3, 8, 64)
    assert kernel.addressable_shards[0].data.shape == (3, 3, 8, 8 if way == "fsdp" else 16)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["fsdp", "hybrid", "tensor"])
def test_a_net_learns_the_same_in_double_precision(way):
    assert train("whole", float64=True)[1].params["fc"]["kernel"].dtype == np.float64
    assert_same(train(way, float64=True), train("whole", float64=True), 1e-6)


VIT = {"model.name": "vit_tiny_patch16_224", "optim.name": "adamw", "schedule.peak": 1e-3, "ema_decay": 0.9,
       "model.fields": {"patch": 4, "width": 64, "depth": 1, "heads": 2}}  # fmt: skip
MOCO = {"ssl.method": "moco", "ssl.projector": (32, 64), "ssl.queue": 128, "monitor.knn": "", "schedule.peak": 0.01}
KINDS = {
    "vit": VIT,
    "accumulate": {"accumulate": 2},
    "sam": {"optim.sam": 0.05},
    "distill": {"distill.teacher": "init", "distill.model": "simple_cnn_16_32"},
    "moco": MOCO,
}


def make_run(way="whole", devices=8, **changes):
    """A run of 4 steps on 64 pictures of 8x8 in 4 classes."""
    config = default_config()
    config.data.name, config.data.validation, config.model.name = "synthetic/64x8x1x4", 0.0, "simple_cnn_16_32"
    config.data.augment, config.data.workers = ("crop(8, pad=2)", "flip"), 0
    config.batch_size, config.duration, config.log_every = 32, "4 steps", "1 step"
    config.eval.every = config.checkpoint.every = "2 steps"
    config.schedule.name, config.schedule.peak, config.parallel.devices = "constant", 0.05, devices
    for key, value in {**{f"parallel.{k}": v for k, v in WAYS[way].items()}, **changes}.items():
        *sections, last = key.split(".")
        section = functools.reduce(getattr, sections, config)
        with section.unlocked():
            section[last] = value
    return build.build(config)


class Silent:
    """A Logger."""

    note = warn = staticmethod(lambda text: None)
    waiting = staticmethod(lambda text: contextlib.nullcontext())


def steps_of(run, workdir):
    """(losses, final state as host arrays, that on the devices) of a run's own feed."""
    state, _ = run.first_state()
    state = run.parallel.place(run.complete(state, {}, workdir, Silent()))
    feed, losses = run.train_feed(), []
    for step in range(4):
        state, metrics, _ = feed(state, step, 4)
        losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
    return losses, jax.device_get(state), state


@pytest.mark.parametrize(
    "kind, way",
    [(k, w) if (k, w) == ("vit", "fsdp") else pytest.param(k, w, marks=pytest.mark.slow)
     for k in KINDS for w in ("fsdp", "hybrid", "tensor")],
)  # fmt: skip
def test_every_kind_of_training_is_the_same(tmp_path, kind, way):
    """From the run's own first state, which is made where it lies."""
    expected, found = (steps_of(make_run(w, **KINDS[kind]), tmp_path) for w in ("whole", way))
    assert_same(found, expected, 1e-4 if kind == "vit" else 1e-5)
    assert any(not x.sharding.is_fully_replicated for x in jax.tree.leaves(found[2].params))


def test_a_first_state_is_made_where_it_lies_with_the_same_bits():
    made, whole = make_run("tensor"), make_run("whole").init_state()
    state = made.init_state()
    assert jax.tree.map(lambda x: x.sharding, state) == made.parallel.sharding(state)
    for x, y in zip(jax.tree.leaves(jax.device_get(state)), jax.tree.leaves(whole), strict=True):
        assert x.tobytes() == np.asarray(y).tobytes()


@pytest.mark.parametrize(
    "name, devices", [("resnet50", 8), ("vit_small_patch16_224", 8), ("vit_small_patch16_224", 64)]
)
def test_a_device_holds_its_share_of_the_state(name, devices):
    """Parameters, both moments and an average, by their shapes: nothing is computed."""
    module = models.create(name, num_classes=1000)
    task, tx = Ema(Supervised(module), 0.9), optim.adamw(schedules.constant(0.1))
    batch = {"image": np.zeros((2, 224, 224, 3), np.float32), "label": np.zeros(2, np.int32)}
    state = jax.eval_shape(
        functools.partial(train_state.create, task, tx), jax.ShapeDtypeStruct((2,), np.uint32), batch
    )
    whole, mesh = pytree.nbytes(state), {"data": devices}
    named, axes = pytree.flatten_names(state), sharding.axes(state, sharding.rules(("fsdp",), mesh), mesh)
    share = sum(pytree.nbytes(leaf) / (devices if "data" in axes[name] else 1) for name, leaf in named.items())
    assert whole > 4 * 4 * 10e6 and share <= whole / devices * (1.05 if devices == 8 else 1.3)
    if devices == 8:
        assert Parallel("jit", 8, shard=("fsdp",)).bytes_per_device(state) == share


def test_what_belongs_to_a_parameter_goes_as_it_does():
    mesh = {"data": 4, "model": 2}
    rules = sharding.rules((("fc/kernel$", "-, model"), ("skip", ""), "fsdp"), mesh)
    w = lambda *shape: jax.ShapeDtypeStruct(shape, np.float32)  # noqa: E731
    tree = {
        "params": {"fc": {"kernel": w(6, 8), "bias": w(8)}, "conv": {"kernel": w(3, 3, 64, 64)}, "skip": w(64, 64)},
        "opt_state": ({"fc": {"kernel": w(6, 8)}, "conv": {"kernel": w(3, 3, 64, 64)}}, {"fc": {"kernel": w(6)}}),
        "extra": {"queue": w(128, 100), "other": w(125, 7, 7)},
    }
    found = sharding.axes(tree, rules, mesh)
    assert found["params/fc/kernel"] == found["opt_state/0/fc/kernel"] == (None, "model")
    assert found["params/conv/kernel"] == found["opt_state/0/conv/kernel"] == (None, None, None, "data")
    assert found["extra/queue"] == ("data",)
    assert {name for name, axes in found.items() if not any(axes)} == {
        "params/fc/bias", "params/skip", "opt_state/1/fc/kernel", "extra/other",
    }  # fmt: skip
    assert pytree.flatten_names(tree).keys() == found.keys()


@pytest.mark.parametrize("way, gathers", [("whole", False), ("fsdp", True)])
def test_collectives_of_the_compiled_step(way, gathers):
    """Parameters are gathered before they are used, each about as often as there are passes; gradients are summed."""
    run = make_run(way)
    feed, state = run.train_feed(), run.parallel.place(run.init_state())
    compiled = feed.compiled.lower(state, feed.data, feed._put(0)).compile()
    text, donated = compiled.as_text(), compiled.memory_analysis().alias_size_in_bytes
    count = lambda name: len(re.findall(rf"= \S+ {name}(?:-start)?\(|\) {name}(?:-start)?\(", text))  # noqa: E731
    cut = sum(not x.sharding.is_fully_replicated for x in jax.tree.leaves(state.params))
    assert count("all-reduce") + count("reduce-scatter") > 0
    assert donated >= 0.95 * run.parallel.bytes_per_device(state)  # the new state takes the memory of the old one
    assert (0 < cut <= count("all-gather")) if gathers else count("all-gather") == cut == 0


PLACES = {"eight": ("fsdp", 8), "one": ("whole", 1), "four": ("fsdp", 4), "two by four": ("hybrid", 8)}


def test_checkpoints_go_from_any_mesh_to_any_other_to_the_bit(tmp_path):
    """8 -> 1 -> 4 -> (2, 4) devices, each restored straight into its shards and saved from there."""
    first, before, tried = None, "", 0
    for name, (way, devices) in PLACES.items():
        run = make_run(way, devices, ema_decay=0.9)
        here = run.parallel
        if first is None:
            state = run.init_state()
            first = jax.device_get(state)
        else:
            store = Checkpoints(tmp_path / before, read_only=True)
            state, _ = store.restore(run.blank_state, note=pytest.fail, places=here.places)
            if here.rules:
                assert jax.tree.map(lambda x: x.sharding, state) == here.sharding(state)
                tried += any(not x.sharding.is_fully_replicated for x in jax.tree.leaves(state.extra))
            for x, y in zip(jax.tree.leaves(jax.device_get(state)), jax.tree.leaves(first), strict=True):
                assert (x.dtype, x.tobytes()) == (y.dtype, y.tobytes())
        checkpoints = Checkpoints(tmp_path / name)
        checkpoints.save(here.place(state), Meta(0, {}))
        checkpoints.close()
        before = name
    assert tried == 2


@pytest.mark.slow
def test_a_run_goes_on_with_another_mesh_and_reports(tmp_path):
    """Trained, stopped, on other devices, evaluated and looked at: nobody asks for the mesh that saved it."""
    for way, devices, steps in (("fsdp", 8, 2), ("tensor", 8, 3), ("hybrid", 8, 4)):
        run = make_run(way, devices, ema_decay=0.9)
        results = loop.fit(runs.changed(run, total_steps=steps), tmp_path / "moved")
    expected = loop.fit(make_run("whole", ema_decay=0.9), tmp_path / "whole")
    assert results["test"]["loss"] == pytest.approx(expected["test"]["loss"], rel=1e-5)
    assert (tmp_path / "moved" / "report.html").is_file()
    found, right = (runs.final_arrays(tmp_path / name) for name in ("moved", "whole"))
    for name, value in right.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("mesh, shard, line", [
    ((("data", 3),), (), "makes 3 devices, but there are 8; give one axis the size -1"),
    ((("data", 3), ("model", -1)), (), "makes a multiple of 3 devices, but there are 8"),
    ((("data", -1), ("model", -1)), (), "one of them may be -1"), ((("data", 0),), (), "sizes are from 1 on"),
    ((("model", 8),), (), "has no axis 'data'"), ((("data", 4), ("data", 2)), (), "names the axis 'data' twice"),
    (("data", -1), (), "'data' is no .name, size. pair"), ((("data", 8.0),), (), "is no .name, size. pair"),
    (TENSOR, ("fdsp",), "'fdsp' is no rule"), (TENSOR, (("fc", "-, modle"),), "'modle' is no axis .* mean 'model'"),
    (TENSOR, (("fc(", "model"),), "'fc.' is no regular expression"), (TENSOR, (("fc", "model, model"),), "twice"),
    (TENSOR, (("fc", 3),), "is no rule"),
])  # fmt: skip
def test_a_mesh_or_a_rule_that_cannot_be_is_a_line(mesh, shard, line):
    with pytest.raises(UserError, match=f"config.parallel.(mesh|shard).*{line}") as error:
        Parallel("jit", 8, mesh, shard)
    assert "\n" not in str(error.value)


def test_rules_that_name_no_parameter_or_cut_none_evenly_are_a_line(tmp_path):
    for shard, line in (
        ((("hed/kernel", "model"),), "config.parallel.shard 'hed/kernel' matches no name; the nearest are"),
        ((("fc/kernel$", "-, data"),), r"data of the rule 'fc/kernel\$' can't cut fc/kernel \(\d+, 3\) on the mesh"),
        ((("fc/bias", "-, model"),), "can't cut fc/bias"),
    ):
        over = Parallel("jit", 8, TENSOR, shard)
        params = {"fc": {"kernel": np.zeros((64, 3)), "bias": np.zeros(3)}}
        with pytest.raises(UserError, match=line):
            sharding.check(params, over.rules, over.shape)
    run = make_run("tensor", **{"model.name": "resnet18", "model.fields": {"stage_sizes": (1, 1), "width": 8}})
    with pytest.raises(UserError, match="config.parallel.shard 'fc1/kernel.' matches no name"):
        preflight.check(run, tmp_path, note=str)


def test_pmap_and_batches_that_do_not_divide_are_a_line():
    for way in ("fsdp", "hybrid"):
        with pytest.raises(UserError, match="'pmap' has one axis of devices, .* or use 'jit'"):
            Parallel("pmap", 8, **WAYS[way])
    with pytest.raises(UserError, match=r"config.batch_size 6 can't be divided by 4 \(4 device"):
        make_run("tensor", batch_size=6)
    assert make_run("tensor", batch_size=4).training.batch_size == 4  # of 8 devices, two of which have the same rows


def test_rows_of_processes_follow_the_mesh(monkeypatch):
    """Devices that differ along another axis than "data" have the same rows, in one process or in several."""

    class Device:
        platform = "cpu"

        def __init__(self, number, process):
            self.id, self.process_index = number, process

    def rows(mesh, processes, each):
        devices = [Device(i, i // each) for i in range(processes * each)]
        monkeypatch.setattr("jaxcls.placement.Mesh", lambda *_: None)
        monkeypatch.setattr("jaxcls.placement.NamedSharding", lambda *_: None)
        monkeypatch.setattr(jax, "process_count", lambda: processes)
        found = []
        for process in range(processes):
            monkeypatch.setattr(jax, "process_index", lambda p=process: p)
            part = Parallel("jit", devices, mesh).local_rows(24)
            found.append((part.start, part.stop))
        return found

    assert rows((("data", -1),), 2, 2) == [(0, 12), (12, 24)]
    assert rows((("data", 2), ("model", 2)), 2, 2) == [(0, 12), (12, 24)]
    assert rows((("data", 1), ("model", 4)), 2, 2) == [(0, 24), (0, 24)]
    assert rows((("model", 2), ("data", 2)), 2, 2) == [(0, 24), (0, 24)]
    assert rows((("replica", 2), ("data", 2)), 4, 1) == [(0, 6), (6, 12), (12, 18), (18, 24)]
    with pytest.raises(UserError, match="parts of a batch that are no neighbours; put the axis 'data' before"):
        rows((("model", 2), ("data", 3)), 3, 2)
