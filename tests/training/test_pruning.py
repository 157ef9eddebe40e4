"""A pruned run is a run: it begins with what was kept, goes on, is pruned again; and config.prune does the same."""

import json

import jax
import numpy as np
import pytest

from jaxcls.cli import command
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.prune import kept
from jaxcls.pytree import flatten_names
from jaxcls.settings.reader import resolve
from jaxcls.tasks import networks
from jaxcls.training import build, loop, prune_run, pruning, run_weights


def small(**changes):
    config = default_config()
    config.data.name, config.data.validation = "synthetic/48x8x1x3", 0.25
    config.model.name = "simple_cnn_16_32"
    config.model.fields = {"channels": (8, 8), "hidden": 16, "dropout": 0.2}
    config.parallel.devices = 1
    config.duration, config.batch_size, config.eval.batch_size = "4 steps", 12, 12
    config.checkpoint.every = config.eval.every = "2 steps"
    for key, value in changes.items():
        config.update_from_flattened_dict({key: value})
    return config


def pruned(**settings):
    config = small()
    for key, value in {"multiple": 2, **settings}.items():
        config.prune[key] = value
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    loop.run(small(), folder)
    return folder


@pytest.fixture(scope="module")
def half(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("half") / "run"
    told = []
    report = prune_run.prune(pruned(ratio=0.5), str(run), str(folder), note=told.append)
    return folder, report, told


def test_it_begins_with_what_was_kept(run, half):
    folder, report, told = half
    whole, part = networks.from_run(run), networks.from_run(folder)
    before, after = flatten_names(whole.variables["params"]), flatten_names(part.variables["params"])
    assert {name: leaf.shape for name, leaf in after.items()} == {
        "conv1/bias": (4,), "conv1/kernel": (3, 3, 1, 4), "conv2/bias": (4,), "conv2/kernel": (3, 3, 4, 4),
        "fc1/bias": (8,), "fc1/kernel": (16, 8), "fc2/bias": (3,), "fc2/kernel": (8, 3),
    }  # fmt: skip
    # The half with the larger mean weights, by hand: the makers' kernel and bias, and the kernel that reads them.
    mean = lambda name, axis: np.abs(before[name]).mean(tuple({*range(before[name].ndim)} - {axis}))  # noqa: E731
    score = mean("conv1/kernel", 3) + np.abs(before["conv1/bias"]) + mean("conv2/kernel", 2)
    best = np.sort(np.argsort(score)[4:])
    np.testing.assert_array_equal(after["conv1/kernel"], before["conv1/kernel"][..., best])
    assert report["parameters"] == [sum(x.size for x in tree.values()) for tree in (before, after)]
    assert report["groups"]["conv1"] == {"units": 8, "kept": 4}
    assert any("before any fine-tuning" in line for line in told)
    assert json.loads((folder / "prune.json").read_text())["of"] == str(run)


def test_it_trains_stops_and_goes_on(half, tmp_path):
    folder, *_ = half
    config = json.loads((folder / "config.json").read_text())
    straight = tmp_path / "straight"
    for out in (straight, tmp_path / "halved"):
        out.mkdir()
        prune_run.prune(resolve(config), config["model"]["pretrained"], str(out / "run"), note=lambda line: None)
    loop.run(resolve(config), straight / "run")
    first = lambda step, figures: "enough" if step == 2 else ""  # noqa: E731
    with pytest.raises(Exception, match="enough"):
        loop.run(resolve(config), tmp_path / "halved" / "run", follow=first)
    loop.run(resolve(config), tmp_path / "halved" / "run")
    ours, theirs = (networks.from_run(out / "run", 4).variables for out in (straight, tmp_path / "halved"))
    for name, leaf in flatten_names(ours).items():
        np.testing.assert_array_equal(leaf, flatten_names(theirs)[name], err_msg=name)


def test_it_is_pruned_again(half, tmp_path):
    folder, *_ = half
    report = prune_run.prune(pruned(ratio=0.5), str(folder), str(tmp_path / "run"), note=lambda line: None)
    assert report["groups"]["conv1"] == {"units": 8, "kept": 2} and report["parameters"][1] < report["parameters"][0]
    first, second = (networks.from_run(place).model for place in (folder, tmp_path / "run"))
    for name, bits in dict(second.kept).items():
        assert int(bits, 16) & int(dict(first.kept)[name], 16) == int(bits, 16)  # nothing comes back


def test_settings_of_a_config_do_the_same(run, half, tmp_path):
    folder, *_ = half
    config = pruned(ratio=0.5)
    config.model.pretrained = str(run)
    made = build.build(config, workdir=tmp_path)
    wanted = networks.from_run(folder)
    assert made.model.module == wanted.model and kept.of_lines(made.stored["model"]["kept"]) == dict(wanted.model.kept)
    state, _ = made.first_state()
    jax.tree.map(np.testing.assert_array_equal, state.params, wanted.variables["params"])
    (tmp_path / "config.json").write_text(json.dumps(made.stored))
    config.model.pretrained = "gone"  # a run that goes on never looks at it
    assert build.build(config, workdir=tmp_path).model.module == wanted.model
    config.prune.ratio = 0.25
    with pytest.raises(UserError, match="pruned with other settings"):
        build.build(config, workdir=tmp_path)


def test_a_run_that_starts_from_a_pruned_one_is_pruned(half):
    folder, *_ = half
    made = build.build(small(**{"model.pretrained": str(folder)}))
    assert made.model.module == networks.from_run(folder).model


def test_targets_are_met(run, tmp_path):
    for key, share in (("macs", 0.5), ("params", 0.3)):
        report = prune_run.prune(
            pruned(**{key: share}, multiple=1), str(run), str(tmp_path / key), note=lambda line: None
        )
        old, new = report["multiply_adds" if key == "macs" else "parameters"]
        assert new <= share * old < new + 0.25 * old
    size = lambda network: sum(leaf.size for leaf in jax.tree.leaves(network.variables))  # noqa: E731  for milliseconds
    report = prune_run.prune(
        pruned(multiple=1), str(run), str(tmp_path / "ms"), latency=600, measure=size, note=lambda line: None
    )
    assert 500 < report["parameters"][1] <= 600


@pytest.mark.parametrize(
    "settings, latency, message",
    [
        ({}, 0.0, "nothing says how much shall go"),
        ({"ratio": 0.5, "macs": 0.5}, 0.0, "exclude each other"),
        ({"ratio": 0.5}, 3.0, "--latency excludes"),
        ({"macs": 0.001}, 0.0, "can't be met: with the least of every group"),
        ({"ratio": 0.5, "keep": ("frog",)}, 0.0, "layer to keep 'frog' matches no name"),
        ({"ratio": 0.5, "importance": "l3"}, 0.0, "importance must be one of"),
        ({"ratio": 0.5, "importance": "bn"}, 0.0, "has no BatchNorm"),
        ({"ratio": 0.01}, 0.0, "nothing goes with these settings"),
        ({"ratio": 0.5, "scope": "here"}, 0.0, "scope must be one of"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(run, tmp_path, settings, latency, message):
    with pytest.raises(UserError, match=message) as raised:
        prune_run.prune(
            pruned(**settings), str(run), str(tmp_path / "out"), latency=latency, measure=lambda network: 99.0,
            note=lambda line: None,
        )  # fmt: skip
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


def test_what_was_trained_for_int8_is_not_pruned(run, tmp_path, monkeypatch):
    monkeypatch.setattr(run_weights, "spec_of", lambda name: {"quantize": "int8"})
    config = pruned(ratio=0.5)
    config.model.pretrained = str(run)
    with pytest.raises(UserError, match="was trained for INT8; prune the float run"):
        build.build(config)
    with pytest.raises(UserError, match="was trained for INT8; prune the float run"):
        prune_run.prune(pruned(ratio=0.5), str(run), str(tmp_path / "out"), note=lambda line: None)
    assert not (tmp_path / "out").exists()


def test_without_weights_nothing_can_go():
    with pytest.raises(UserError, match="takes channels away from trained weights"):
        build.build(pruned(ratio=0.5))


def test_gradients_are_of_the_mean_loss(run):
    made, network = build.build(small(), workdir=run), networks.from_run(run)
    found = pruning.gradients_of(network.model, made.data, network.variables)
    source = made.data.sources["train"]
    images = np.stack([source[row]["image"] for row in range(len(source))])
    labels = np.array(source.labels)
    logits = np.asarray(network.function()(images))
    chance = np.exp(logits - logits.max(1, keepdims=True))
    chance /= chance.sum(1, keepdims=True)
    wanted = (chance - np.eye(3)[labels]).mean(0)  # of the last bias
    np.testing.assert_allclose(found["params/fc2/bias"], wanted, atol=1e-5)


@pytest.mark.parametrize(
    "options, kept",
    [
        ("--ratio 0.75 --multiple 1 --rounds 2", {1: 4, 2: 2}),
        ("--ratio 0.75 --multiple 2 --rounds 4", {1: 6, 2: 4, 3: 4, 4: 2}),  # 5.7, 4, 2.8 and 2 of 8, rounded up
        (
            "--ratio 0.5 --multiple 4 --rounds 3",
            {2: 8, 3: 4},
        ),  # 6.3 and 5 of 8, rounded up: of no layer goes anything in the first
    ],
)
def test_rounds_together_do_what_one_says(run, tmp_path, capsys, options, kept):
    out = tmp_path / "out"
    assert not command.main(["prune", str(run), *options.split(), "--finetune", "2 steps", "--out", str(out)])
    assert "jaxcls train --workdir" in capsys.readouterr().out
    places = {number: tmp_path / f"out.round{number}" for number in range(1, max(kept))} | {max(kept): out}
    found = {number: place / "prune.json" for number, place in places.items() if place.exists()}
    assert {n: json.loads(path.read_text())["groups"]["conv1"]["kept"] for n, path in found.items()} == kept
