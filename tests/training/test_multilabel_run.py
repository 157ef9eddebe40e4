"""Whole runs on sets of labels: the same on any devices, the same after an interruption, from the loss to the files."""

import dataclasses
import json

import numpy as np
import pytest

from jaxcls.checkpoints import view
from jaxcls.data import stored_splits
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.logs.json_lines import read_metrics
from jaxcls.parallel import Parallel
from jaxcls.set_metrics import of_sets
from jaxcls.training import build, evaluate_other, loop, result


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Sets of three labels, each a bright band of the picture that says so; some have none."""
    rng = np.random.default_rng(0)
    labels = (rng.random((96, 3)) < [0.5, 0.3, 0.2]).astype(np.uint8)
    images = rng.integers(0, 120, (96, 9, 9, 1), np.uint8)
    for band in range(3):
        images[:, 3 * band : 3 * band + 3] += 100 * labels[:, band, None, None, None]
    path = tmp_path_factory.mktemp("sets") / "bands.npz"
    np.savez(path, images=images, labels=labels, classes=np.array(["a", "b|c", "d%"]))
    return f"arrays/{path}"


@pytest.fixture(autouse=True)
def without_a_report(monkeypatch):
    monkeypatch.setattr(result, "summarise", lambda *_: None)


def make(pictures, mode="jit", devices=1, **changes):
    config = default_config()
    config.data.name, config.data.validation, config.data.augment = pictures, 0.25, ("flip", "mixup(0.4)")
    config.data.workers, config.model.name, config.ema_decay = 0, "simple_cnn_16_32", 0.5
    config.loss.class_weight, config.loss.label_smoothing = "auto", 0.1
    config.batch_size, config.duration, config.log_every = 16, "6 steps", "1 step"
    config.eval.every = config.checkpoint.every = "2 steps"
    config.schedule.name, config.schedule.peak = "constant", 0.1
    config.parallel.mode, config.parallel.devices = mode, devices
    config.update_from_flattened_dict(changes)
    return build.build(config)


def arrays(workdir):
    return view.read_arrays(view.find_step(workdir))


@pytest.mark.slow
def test_a_run_is_the_same_on_any_devices_and_after_an_interruption(pictures, tmp_path):
    whole = loop.fit(make(pictures), tmp_path / "whole")
    for mode in ("jit", "pmap"):
        other = loop.fit(make(pictures, mode, 2), tmp_path / mode)
        assert other["test"]["mAP"] == pytest.approx(whole["test"]["mAP"], abs=1e-5)
        losses = [[line["loss"] for line in read_metrics(tmp_path / each)] for each in ("whole", mode)]
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    run = make(pictures)
    loop.fit(dataclasses.replace(run, training=dataclasses.replace(run.training, total_steps=3)), tmp_path / "two")
    loop.fit(run, tmp_path / "two")
    one, two = arrays(tmp_path / "whole"), arrays(tmp_path / "two")
    assert one.keys() == two.keys() and not [name for name in one if one[name].tobytes() != two[name].tobytes()]
    lines = [line for line in read_metrics(tmp_path / "whole") if line["split"] == "train"]
    assert lines[-1]["loss"] < lines[0]["loss"] and {"exact", "f1_micro"} <= lines[0].keys()


def test_what_a_run_leaves_behind(pictures, tmp_path):
    run = make(pictures, **{"data.augment": (), "eval.tta": ("flip",), "eval.tta_mean": "probabilities"})
    results = loop.fit(run, tmp_path)
    (path,) = (tmp_path / "eval").glob("test-*.npz")
    stored = np.load(path)
    assert stored["label"].dtype == np.uint8 and stored["label"].shape == stored["logits"].shape
    source = run.data.sources["test"]
    assert (stored["label"] == source.labels[stored["index"]]).all()
    figures = of_sets(stored["logits"], stored["label"])
    assert results["test"]["mAP"] == pytest.approx(figures["mAP"])
    low, high = json.loads((tmp_path / "results.json").read_text())["test"]["interval"]
    assert low <= figures["mAP"] <= high
    meta = view.find_step(tmp_path)
    assert view.read_meta(meta).answer.output == "sigmoid"


def test_splits_of_sets_are_stored_and_found_again(pictures, tmp_path):
    sources = make(pictures).data.sources
    stored = stored_splits.store(sources)
    stored_splits.write(tmp_path, stored)
    assert stored_splits.read(tmp_path) == stored and stored.classes == ("a", "b|c", "d%")
    for split, source in sources.items():
        sets = [tuple(np.flatnonzero(row)) for row in source.labels]
        assert list(stored.parts[split].labels) == sets
    again = build.build(make(pictures).stored, workdir=tmp_path).data.sources
    for split, source in sources.items():
        assert list(again[split].ids) == list(source.ids) and (again[split].labels == source.labels).all()


def test_other_pictures_are_scored_by_the_names_of_their_labels(pictures):
    run = make(pictures)
    network = run.network(run.init_state())
    source = run.data.sources["test"]
    scored = evaluate_other.score(network, source, Parallel("jit", 1), batch_size=8, note=lambda _: None)
    assert scored.figures["count"] == len(source) and scored.outputs["label"].shape == (len(source), 3)
    (line,) = evaluate_other.describe(scored)
    assert line.startswith("mAP ")
    with pytest.raises(UserError, match="one label each, but the model answers with sets"):
        single = build.build(run.stored | {"data": {**run.stored["data"], "name": "synthetic/64x9x1x3"}})
        evaluate_other.score(network, single.data.sources["test"], Parallel("jit", 1), batch_size=8)
