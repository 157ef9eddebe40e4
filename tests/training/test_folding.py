"""A k-fold run: what its folds say together, its predictor, and that one that is killed ends as one that is not."""

import json
import os
import random
import re
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
import runs

import jaxcls
from jaxcls.cli import command
from jaxcls.defaults import default_config
from jaxcls.predict.pooling import averaged
from jaxcls.training import build, folding, loop

COUNT = 3
# The command without curves and the reports of single runs.
PLAIN = """
import sys

from jaxcls.cli import command
from jaxcls.report import curves, of_run

curves.write_curves, of_run.write = lambda workdir, *_: [workdir], lambda *_, **__: None
sys.exit(command.main(sys.argv[1:]))
"""


def small(**changes):
    """LeNet-5 on 100 synthetic pictures in 3 classes, with a test split of their own; `changes` are flat keys."""
    config = default_config()
    config.data.name = "synthetic/100x28x1x3"
    config.duration, config.batch_size, config.log_every = "8 steps", 16, "4 steps"
    config.eval.every, config.schedule.peak = "4 steps", 0.05
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(workdir, what its results are) of a run of three folds."""
    workdir = tmp_path_factory.mktemp("folds") / "run"
    return workdir, folding.run(small(), workdir, COUNT)


def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def softmax(z):
    e = np.exp(z.astype(np.float64) - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_every_picture_is_told_once_by_a_run_that_has_not_seen_it(finished):
    workdir, found = finished
    pooled = arrays(workdir / "eval/validation-0.npz")
    single = [json.loads((workdir / f"fold-{i}/results.json").read_text())["test"] for i in (1, 2, 3)]
    parts = [arrays(workdir / f"fold-{i + 1}/eval/validation-{one['step']}.npz") for i, one in enumerate(single)]
    np.testing.assert_array_equal(pooled["logits"], np.concatenate([part["logits"] for part in parts]))
    assert found["validation"]["count"] == 100
    assert found["validation"]["accuracy"] == np.mean(pooled["logits"].argmax(1) == pooled["label"])
    ids = json.loads((workdir / "eval/validation-rows.json").read_text())["id"]
    assert len(set(ids)) == 100


def test_mean_and_standard_deviation_are_of_the_folds(finished):
    workdir, found = finished
    values = [json.loads((workdir / f"fold-{i}/results.json").read_text())["test"]["accuracy"] for i in (1, 2, 3)]
    told = json.loads((workdir / "results.json").read_text())["folds"]["figures"]["accuracy"]
    assert told["values"] == values
    np.testing.assert_allclose((told["mean"], told["sd"]), (statistics.mean(values), statistics.stdev(values)))


def test_the_predictor_averages_calibrated_probabilities(finished):
    workdir, _ = finished
    predictor, temperature = (
        jaxcls.load(workdir),
        json.loads((workdir / "calibration/0.json").read_text())["temperature"],
    )
    pictures = np.random.default_rng(0).integers(0, 256, (5, *predictor.picture), np.uint8)
    single = [jaxcls.load(workdir / f"fold-{i}").logits(pictures) for i in (1, 2, 3)]
    expected = np.mean([softmax(z / temperature) for z in single], axis=0)
    np.testing.assert_allclose(predictor.probabilities(predictor.logits(pictures)), expected, rtol=1e-5)
    rows = predictor(pictures, top=0)
    assert [row["class"] for row in rows] == [predictor.classes[i] for i in expected.argmax(1)]
    stored = arrays(workdir / "eval/test-0.npz")
    parts = [arrays(next((workdir / f"fold-{i}/eval").glob("test-*.npz")))["logits"] for i in (1, 2, 3)]
    mean = np.mean([softmax(z / temperature) for z in parts], axis=0)
    np.testing.assert_allclose(softmax(stored["logits"] / temperature), mean, rtol=1e-5)


def test_averages_of_sets_are_of_each_class():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 4, 5)).astype(np.float32)
    decided = {"output": "sigmoid", "scale": [2.0, 1, 1, 1, 0.5], "bias": [0.5, 0, 0, 0, -1]}
    sigmoid = lambda z: 1 / (1 + np.exp(-z.astype(np.float64)))  # noqa: E731
    scaled = lambda z: z * np.array(decided["scale"]) + np.array(decided["bias"])  # noqa: E731
    np.testing.assert_allclose(sigmoid(averaged(logits, None, sets=True)), sigmoid(logits).mean(0), rtol=1e-5)
    found = averaged(logits, decided, sets=True)
    np.testing.assert_allclose(sigmoid(scaled(found)), sigmoid(scaled(logits)).mean(0), rtol=1e-5)


def test_report_calibrate_and_predict_take_it_as_a_run(finished, tmp_path, capsys):
    workdir, _ = finished
    assert command.main(["report", str(workdir), "--no-pictures"]) == 0
    page = (workdir / "report.html").read_text()
    assert "standard deviation" in page and "class 2" in page
    assert command.main(["calibrate", str(workdir)]) == 0
    assert "fitted on 100 pictures of validation" in capsys.readouterr().out
    from PIL import Image

    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "a.png")
    assert command.main(["predict", str(workdir), str(tmp_path / "a.png")]) == 0
    assert "mean of 3 folds" in (told := capsys.readouterr()).out + told.err


def test_what_can_not_be(finished, tmp_path, capsys):
    workdir, _ = finished
    base = ["train", "--config=lenet5_digits", "--config.data.name=synthetic/40x28x1x3"]
    (tmp_path / "single").mkdir()
    (tmp_path / "single/config.json").write_text("{}")
    for words, message in (
        (["train", f"--workdir={workdir}", "--folds=4"], "has 3 folds"),
        (["train", f"--workdir={workdir}", "--config.seed=1"], "folds of another config: config.seed"),
        ([*base, f"--workdir={tmp_path}/a", "--folds=1"], "--folds=1: there must be two or more"),
        ([*base, f"--workdir={tmp_path}/a", "--folds=50"], "there are 40 pictures for 50 folds"),
        ([*base, f"--workdir={tmp_path}/b", "--folds=2", "--config.data.fold=1/2"], "leave one of the two out"),
        ([*base, f"--workdir={tmp_path}/single", "--folds=2"], "has a run without folds"),
        (["predict", str(workdir), "--step=4", "x.png"], "has 3 folds and no step 4"),
        (["train", "--workdir=x", "--step=3"], "--step says which checkpoint of --from"),
        (["train", "--from=nowhere", f"--workdir={tmp_path}/c"], "nowhere is no folder"),
        (["train", f"--from={workdir}/fold-1"], "begins another run: say where"),
        (["train", f"--from={workdir}/fold-1", f"--workdir={workdir}/fold-1"], "is that of --from"),
    ):
        assert command.main(words) == 2, words
        assert message in (error := capsys.readouterr().err), error
        assert len(error.splitlines()) == 1
    with pytest.raises(jaxcls.errors.UserError, match="goes on with them"):
        loop.run(small(), workdir)


def test_folds_share_one_program():
    """Their training sets have 66 and 67 pictures."""
    texts, sizes = set(), set()
    for i in (1, 2, 3):
        run = build.build(small(**{"data.fold": f"{i}/3"}))
        feed = run.train_feed()
        sizes.add(len(run.data.sources["train"]))
        texts.add(feed.compiled.lower(run.init_state(), feed.data, feed._put(0)).as_text())
    assert sizes == {66, 67} and len(texts) == 1


def test_another_run_begins_with_the_weights_of_one(finished, tmp_path):
    source = finished[0] / "fold-1"
    words = ["train", f"--from={source}", "--step=4", f"--workdir={tmp_path}/new", "--config.duration=2 steps"]
    assert command.main([*words, "--config.schedule.peak=1e-12"]) == 0
    stored = json.loads((tmp_path / "new/config.json").read_text())
    assert stored["model"]["pretrained"] == str(source / "checkpoints/4") and stored["seed"] == 0
    before, after = (jaxcls.load(path).variables for path in (source / "checkpoints/4", tmp_path / "new"))
    np.testing.assert_allclose(before["params"]["conv1"]["kernel"], after["params"]["conv1"]["kernel"], atol=1e-6)


def start(workdir):
    words = [
        "train", f"--config={runs.ROOT}/configs/lenet5_digits.py", f"--workdir={workdir}", "--folds=5",
        "--config.data.name=synthetic/100x28x1x3", "--config.data.augment=('crop(28, pad=2)',)",
        "--config.data.eval_transform=()", "--config.batch_size=16", "--config.schedule.warmup=2 steps",
        "--config.duration=40 steps", "--config.checkpoint.every=10 steps", "--config.eval.every=20 steps",
    ]  # fmt: skip
    flags = re.sub(r"(device_count)=\d+", r"\1=1", os.environ["XLA_FLAGS"])
    log = open(f"{workdir}.log", "a")  # noqa: SIM115  the process keeps it
    program = [sys.executable, "-c", PLAIN, *words]
    environment = {**os.environ, "XLA_FLAGS": flags}
    return subprocess.Popen(program, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=runs.ROOT)


@pytest.mark.slow
def test_killed_twice_ends_as_one_that_was_not(tmp_path):
    runs.finish(start(tmp_path / "whole"), tmp_path / "whole", timeout=600)
    chance, killed = random.Random(0), 0
    for folder in ("fold-1", "fold-4"):
        process = start(tmp_path / "killed")
        while process.poll() is None and not list((tmp_path / "killed" / folder).glob("manifests/20.json")):
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.5))
        if process.poll() is None:
            killed += 1
            process.kill()
        process.wait(60)
    runs.finish(start(tmp_path / "killed"), tmp_path / "killed", timeout=600)
    assert killed == 2
    log = (tmp_path / "killed.log").read_text()
    assert "fold 3 of 5 is done" in log and "going on from step" in log
    assert (tmp_path / "whole/results.json").read_text() == (tmp_path / "killed/results.json").read_text()
    for fold in [f"fold-{i + 1}" for i in range(5)]:
        left, right = (runs.final_arrays(tmp_path / name / fold) for name in ("whole", "killed"))
        assert left.keys() == right.keys()
        assert not [name for name in left if left[name].tobytes() != right[name].tobytes()]
    for name in ("validation-0", "test-0"):
        left, right = (arrays(tmp_path / run / f"eval/{name}.npz") for run in ("whole", "killed"))
        assert all(left[key].tobytes() == right[key].tobytes() for key in left)
    pictures = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)
    left, right = (jaxcls.load(tmp_path / run).logits(pictures) for run in ("whole", "killed"))
    assert left.tobytes() == right.tobytes()
