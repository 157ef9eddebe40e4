"""The checks that need no compilation, one by one."""

import dataclasses
import json
import re
import types

import jax
import numpy as np
import pytest
from fixtures.toys import Linear
from hypothesis import given
from hypothesis import strategies as st

from jaxcls.data import checks, pipeline, sources
from jaxcls.data.base import Leaf
from jaxcls.defaults import default_config, flatten
from jaxcls.errors import Problems, UserError
from jaxcls.settings import config_file
from jaxcls.tasks.supervised import Supervised
from jaxcls.training import build, preflight, same_run
from jaxcls.training.memory import size


def small_config(**changes):
    config = default_config()
    config.data.name = "synthetic/96x28x1x3"
    config.batch_size = 16
    config.update_from_flattened_dict(changes)
    return config


def test_a_good_run_passes_and_nothing_is_written(tmp_path):
    lines = []
    preflight.check(build.build(small_config()), tmp_path / "w", lines.append)
    assert not list(tmp_path.iterdir())
    assert lines[0] == "data synthetic/96x28x1x3: 3 classes; train 87, validation 9, test 24 pictures"
    assert "lenet5: 61,111 parameters; 50 steps of 16 pictures, 5 an epoch" in lines[1]  # 61,706 less 7 outputs of 85
    lines.clear()
    preflight.check(build.build(small_config(**{"data.validation": 0.0})), tmp_path, lines.append)
    assert "no validation split" in lines[-1]


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_the_model_is_traced_on_what_training_and_evaluation_give(mode):
    config = small_config(**{"parallel.mode": mode, "model.name": "resnet20_cifar"})
    shapes = preflight.check_model(build.build(config))
    assert all(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(shapes))


@pytest.mark.parametrize("changes, message", [
    ({"data.augment": ("crop(24)",)}, r"config.data.augment \('crop\(24\)',\) and model lenet5: .* not 24x24"),
    ({"data.eval_transform": ("resize(40)",)}, r"config.data.eval_transform .* not 40x40: resize them"),
    ({"data.augment": ("crop(40)",)}, "a crop of 40 does not fit into 28x28"),
    ({"data.normalize": "cifar10"}, "cifar10 .* has 3 channels, but the pictures have 1"),
    ({"data.mean": (0.5, 0.5), "data.std": (1.0, 1.0)}, "has 2 channels"),
    ({"model.name": "simple_cnn_16_32", "data.augment": ("crop(20)",)}, "don't fit: .*JAXCLS_TRACEBACK=1"),
])  # fmt: skip
def test_pictures_that_do_not_fit(changes, message):
    with pytest.raises(UserError, match=message):
        preflight.check_model(build.build(small_config(**changes)))


class Listed:
    """A source of items as they are given; it declares what it is told to."""

    def __init__(self, items, leaves):
        self.rows, self.leaves, self.classes, self.fingerprint = items, leaves, ("a", "b"), "0"
        self.labels = np.array([item["label"] for item in items], np.int32)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        return self.rows[row]


class Ages(Supervised):
    """Its loss is the mean of a further leaf."""

    def loss(self, params, state, batch, rng):
        total, aux = super().loss(params, state, batch, rng)
        return 0 * total + batch["age"].sum(), aux


def of_source(monkeypatch, source, **changes):
    """A config whose data are the rows of a source, all of them in every split."""
    monkeypatch.setattr(sources, "find", lambda name, **_: {"train": source, "test": source})
    return small_config(**{"data.workers": 0, "batch_size": 4, "eval.batch_size": 4, "parallel.devices": 1, **changes})


@pytest.mark.parametrize("key", ["augment", "eval_transform"])
def test_other_ranks_are_refused_by_what_would_take_another_axis_for_theirs(monkeypatch, key):
    nests = sources.ArraySource(np.zeros((8, 5, 2, 8, 8, 3), np.uint8), np.arange(8) % 2, ("a", "b"), list("abcdefgh"))
    name = {"augment": "flip", "eval_transform": "center_crop(20)"}[key]
    config = of_source(monkeypatch, nests, **{f"data.{key}": (name,)})
    run = build.build(config, task=lambda data, model: Supervised(Linear(num_classes=2)))  # which takes any shape
    message = rf"config.data.{key} .*'{name.split('(')[0]}' takes pictures of rank 4.*\(2, 5, 2, 8, 8, 3\)"
    with pytest.raises(UserError, match=message) as caught:
        preflight.check_model(run)
    assert "\n" not in str(caught.value)


def test_a_further_key_of_an_item_reaches_the_loss_or_is_refused(monkeypatch, tmp_path):
    picture, declared = np.zeros((28, 28, 1), np.uint8), {"image": Leaf(None, np.dtype(np.uint8))}
    declared |= {"label": Leaf((), np.dtype(np.int32)), "age": Leaf((), np.dtype(np.float32))}
    items = [{"image": picture, "label": i % 2, "id": str(i), "age": np.float32(i), "site": "x"} for i in range(8)]
    crops = dict.fromkeys(("data.augment", "data.eval_transform"), ("center_crop(28)",))
    config = of_source(monkeypatch, Listed(items, declared), **crops)
    run = build.build(config, task=lambda data, model: Ages(model.module))
    preflight.check(run, tmp_path, note=lambda line: None)
    _, values, _ = run.train_feed()(run.parallel.replicate(run.init_state()), 0, 1)
    rows = pipeline.train_rows(0, n=8, batch_size=4, seed=0)["index"]
    assert float(values["loss"][0] / values["loss"][1]) == pytest.approx(rows.mean())
    boxed = [{**item, "box": np.zeros(4)} for item in items]
    run = build.build(of_source(monkeypatch, Listed(boxed, declared), **crops))
    with pytest.raises(UserError, match="'box'.*leaves") as caught:
        preflight.check(run, tmp_path, note=lambda line: None)
    assert "\n" not in str(caught.value)


def test_all_problems_of_the_data_and_the_workdir_are_told_together(tmp_path):
    (tmp_path / "file").write_text("x")
    run = build.build(small_config())
    images = np.zeros((2, 28, 28, 1), np.uint8)
    test = sources.ArraySource(images, np.array([0, 7]), run.data.classes, ["a", "b"])
    data = dataclasses.replace(run.data, sources={**run.data.sources, "test": test})
    run = dataclasses.replace(run, data=data)
    with pytest.raises(UserError) as caught:
        preflight.check(run, tmp_path / "file", print)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2 and "is a file" in lines[0] and "labels such as 7" in lines[1]


class Labels(types.SimpleNamespace):
    """As much of a source as the check of labels reads."""

    def __len__(self):
        return len(self.labels)


def test_labels():
    def check(labels, n):
        checks.labels({"train": Labels(labels=np.array(labels, int), classes="abcdefghij"[:n])})

    check([0, 1, 2], 3)
    for labels, message in (
        ([0, 1, 2, 3], "1 picture.* labels such as 3, but there are 3 classes"),
        ([0, 1, -1], "labels such as -1"),
        ([0, 2], "no training examples of b"),
        ([], "the train split is empty"),
    ):
        with pytest.raises(UserError, match=message):
            check(labels, 3)
    with pytest.raises(UserError, match="of b, c, d, e, f and 4 more classes"):
        check([0], 10)


def test_what_has_no_influence_on_the_result_may_change_in_a_workdir(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(same_run.to_json(small_config())))
    free = {"checkpoint.keep": 5, "parallel.devices": 1, "data.workers": 2, "log_every": "1 step"}
    same_run.check(same_run.to_json(small_config(**free)), tmp_path)
    with pytest.raises(UserError, match="config.schedule.peak is 0.1 there and 0.2 now. Choose another --workdir"):
        same_run.check(same_run.to_json(small_config(**{"schedule.peak": 0.2})), tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json can't be read"):
        same_run.check(same_run.to_json(small_config()), tmp_path)


def test_a_run_from_before_a_key_existed_had_its_default(tmp_path):
    old = same_run.to_json(small_config())
    del old["data"]["repeats"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    same_run.check(same_run.to_json(small_config()), tmp_path)
    with pytest.raises(UserError, match="config.data.repeats is 1 there and 2 now"):
        same_run.check(same_run.to_json(small_config(**{"data.repeats": 2})), tmp_path)


def test_the_room_that_checkpoints_need(tmp_path, monkeypatch):
    """A state of 10,000 bytes, 2 newest, the best and one being written: 40,000 bytes."""
    shapes = {"w": jax.ShapeDtypeStruct((2500,), np.float32)}
    for free in (39_999, 40_000):
        monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _, free=free: types.SimpleNamespace(free=free))
        if free < 40_000:
            with pytest.raises(UserError, match="need 0.0 MiB"):
                preflight.check_disk(shapes, 2, tmp_path / "not" / "yet")
        else:
            preflight.check_disk(shapes, 2, tmp_path / "not" / "yet")


def test_problems_are_collected():
    problems = Problems()
    problems.refuse()
    for text in ("one", "two"):
        with problems.noted():
            raise UserError(text)
    with pytest.raises(ValueError), problems.noted():
        raise ValueError  # a bug is not a mistake of the user
    with pytest.raises(UserError, match="^one\ntwo$"):
        problems.refuse()


@given(st.sampled_from(["seed", "schedule.peak", "optim.nesterov", "data.mean", "duration"]), st.data())
def test_a_value_survives_the_command_line(path, data):
    kinds = {
        "seed": st.integers(), "schedule.peak": st.floats(allow_nan=False), "optim.nesterov": st.booleans(),
        "data.mean": st.lists(st.floats(0, 1)).map(tuple), "duration": st.text("abc 019%.,'\"()[]=-\\é", max_size=20),
    }  # fmt: skip
    value, config = data.draw(kinds[path]), default_config()
    config_file.override(config, [(path, str(value))])
    assert dict(flatten(config))[path] == value


def test_the_memory_of_a_device_is_told_and_a_state_that_does_not_fit_is_refused(monkeypatch):
    config = small_config()
    config.parallel.devices, config.batch_size, config.optim.name = 8, 8, "adamw"
    for shard, of, remedy in (((), "", "config.parallel.shard=fsdp"), (("fsdp",), " of ", "more devices")):
        config.parallel.shard = shard
        run = build.build(config)
        shapes = run.state_shapes
        line, state = preflight.check_memory(run, shapes), run.parallel.bytes_per_device(shapes)
        whole, params = (sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(t)) for t in (shapes, shapes.params))
        assert (state == whole) if not shard else (whole / 8 < state < whole)
        assert line.startswith(f"memory of a device: {size(state)}{of and of + size(whole)} of state, ")
        run.parallel.platform = "gpu"  # a device with memory of its own
        for free in (10 * whole, params // 8):
            monkeypatch.setattr(preflight, "room", lambda devices, free=free: free)
            if free > whole:
                assert preflight.check_memory(run, shapes) == line
                continue
            with pytest.raises(UserError, match=f"but {re.escape(size(free))} are free there; use {remedy}"):
                preflight.check_memory(run, shapes)
