"""Files of networks whose answers are sets of labels: what they give and say of themselves, how they are judged."""

import copy
import dataclasses
import json
import types

import numpy as np
import pytest
from fake_sets import BIAS, CLASSES, DECISION, SCALE
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import jax

from jaxcls import files
from jaxcls.data.base import ArraySource
from jaxcls.errors import UserError
from jaxcls.export import check, latency, onnx_export, openvino_check, quantise, set_check, stablehlo, subject, tflite
from jaxcls.export.asked import Options
from jaxcls.measure.multilabel import answers
from jaxcls.predict.predictor import Predictor
from jaxcls.runtime import evaluate, metadata, session
from jaxcls.runtime.predictor import FilePredictor


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    monkeypatch.setattr(latency.measure, "__defaults__", ((1, 16), 0.0))
    monkeypatch.setattr(openvino_check, "installed", lambda: False)


@pytest.fixture(scope="module")
def bare():
    """A small net, whose logits are spread over both sides of zero, with a calibration and thresholds."""
    found = subject.of_model("lenet5", classes=4, size=28, note=lambda line: None)
    network = dataclasses.replace(found.network, output="sigmoid", classes=CLASSES, calibration=DECISION)
    return dataclasses.replace(found, network=network)


@pytest.fixture(scope="module")
def images(bare):
    rng = np.random.default_rng(0)
    shape = bare.network.preprocessing.picture
    return (rng.integers(0, 256, (240, *shape)) // rng.integers(1, 9, (240, 1, 1, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def logits(bare, images):
    return np.asarray(jax.jit(bare.network.function())(images))


@pytest.fixture(scope="module")
def run(bare, images, logits, tmp_path_factory):
    """The bare model with pictures, whose labels are what it answers, but for some."""
    labels = (logits > np.median(logits, axis=0)).astype(np.uint8)
    labels[::7, 1] ^= 1
    sources = {
        split: ArraySource(images[at], labels[at], CLASSES, [f"{split}{i}" for i in range(len(labels[at]))])
        for split, at in (("train", slice(0, 120)), ("validation", slice(120, 240)))
    }
    data = types.SimpleNamespace(sources=sources, evaluation=bare.network.preprocessing, skipped=None)
    return dataclasses.replace(bare, data=data, folder=tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    """(folder of a.onnx, a.int8.onnx, a.float16.onnx, the lines about them)."""
    folder, lines = tmp_path_factory.mktemp("onnx"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency.measure, "__defaults__", ((1, 16), 0.0))
        patch.setattr(openvino_check, "installed", lambda: False)
        options = Options(out=folder / "a.onnx", int8="static", float16=True, max_drop=5)
        assert onnx_export.export(run, options, note=lines.append) is None
    return folder, lines


def test_a_file_answers_with_the_sets_of_the_run(bare, images, written):
    folder, _ = written
    ours, theirs = Predictor(bare.network, sizes=(16,)), FilePredictor.load(folder / "a.onnx")
    assert theirs.sets and theirs.decides and theirs.decision == json.loads(json.dumps(DECISION))
    for a, b in zip(ours(images[:16]), theirs(images[:16]), strict=True):
        assert a["labels"] == b["labels"]
        np.testing.assert_allclose(a["probabilities"], b["probabilities"], rtol=1e-3)
    assert metadata.read(session.open(folder / "a.onnx").metadata, "a").answer == "sigmoid"
    assert FilePredictor.load(folder / "a.int8.onnx").decision == theirs.decision


def test_a_file_of_probabilities_holds_calibrated_sigmoids_and_decides_alike(bare, images, logits, tmp_path):
    onnx_export.export(bare, Options(out=tmp_path / "p.onnx", output="probabilities"), note=lambda line: None)
    wanted = expit(logits[:16].astype(float) * SCALE + BIAS)
    found = session.run(session.open(tmp_path / "p.onnx"), images[:16])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    rows = FilePredictor.load(tmp_path / "p.onnx")(images[:16], top=0)
    plain = Predictor(bare.network, sizes=(16,))(images[:16], top=0)
    assert [row["labels"] for row in rows] == [row["labels"] for row in plain]
    stated = [{each["class"]: each["probability"] for each in row["top"]} for row in rows]
    np.testing.assert_allclose([[row[name] for name in CLASSES] for row in stated], wanted, rtol=1e-4, atol=1e-6)


def test_the_evaluation_of_a_file_has_the_figures_of_its_sets(run, images, logits, written, tmp_path):
    """And pictures with one label each are refused."""
    folder, _ = written
    labels = run.data.sources["validation"].labels
    given = {"images": images[120:], "classes": np.array(CLASSES)}
    np.savez(tmp_path / "sets.npz", labels=labels, **given)
    np.savez(tmp_path / "single.npz", labels=labels[:, 0].astype(int), **given)
    lines = []
    found = evaluate.run(folder / "a.onnx", f"arrays/{tmp_path}/sets.npz", out=tmp_path / "out", note=lines.append)
    assert found["mAP"] == pytest.approx(average_precision_score(labels, logits[120:], average="macro"))
    assert found["exact"] == pytest.approx(((logits[120:] >= 0) == labels).all(axis=1).mean())
    assert sum(line.count("mAP") for line in lines) == 1
    (path,) = (tmp_path / "out/eval").glob("*.npz")
    stored = np.load(path)
    assert stored["label"].dtype == np.uint8 and (stored["label"] == labels).all()
    with pytest.raises(UserError, match="one label each"):
        evaluate.run(folder / "a.onnx", f"arrays/{tmp_path}/single.npz", note=lines.append)


def test_programs_of_stablehlo_and_litert_end_in_the_same_sigmoids(bare, images, logits):
    wanted = expit(logits[:4].astype(float) * SCALE + BIAS)
    program = stablehlo.program(bare.network, "probabilities")
    found = jax.jit(program)(stablehlo.weights(bare.network), images[:4])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        jax.jit(tflite.function(bare.network, "probabilities"))(images[:4]), wanted, rtol=1e-4, atol=1e-6
    )
    plain = dataclasses.replace(bare.network, calibration=None)
    program = stablehlo.program(plain, "probabilities")
    np.testing.assert_allclose(
        jax.jit(program)(stablehlo.weights(plain), images[:4]), expit(logits[:4]), rtol=1e-4, atol=1e-6
    )


def test_the_record_has_the_map_of_run_and_file(run, logits, written):
    _, lines = written
    entries = files.read_json(run.folder / "export.json")
    labels = run.data.sources["validation"].labels
    for entry in entries:
        found = entry["check"]
        assert found["run"]["mAP"] == pytest.approx(average_precision_score(labels, logits[120:], average="macro"))
        assert found["run"]["interval"][0] < found["run"]["mAP"] <= found["run"]["interval"][1]
        assert found["labels"] >= found["agreement"] > 0.7 and entry["status"] == "ok"
    assert entries[0]["check"]["agreement"] == 1 and entries[0]["check"]["drop"] == pytest.approx(0, abs=1e-6)
    table = next(line for line in lines if "b1 p50" in line)
    assert "mAP (95 %)" in table


def test_the_limits_of_answers_name_what_the_decision_does(bare):
    z = np.random.default_rng(0).normal(0, 3, (500, 4)).astype(np.float32)
    p = answers.probabilities(z, DECISION)
    wanted = answers.chosen(p, DECISION)
    np.testing.assert_array_equal(z >= set_check.limits(bare.network), wanted)
    np.testing.assert_array_equal(p >= set_check.limits(bare.network, "probabilities"), wanted)
    plain = dataclasses.replace(bare.network, calibration=None)
    np.testing.assert_array_equal(set_check.limits(plain), np.zeros(4))
    assert set_check.limits(dataclasses.replace(plain, output="softmax")) is None


def compared(run, file, labels=None, limit=0.0):
    return check.compared(run, file, labels, limits=np.full(run.shape[1], limit))


def test_sets_are_compared_by_hand():
    run = np.array([[2.0, -1], [1, 1], [-1, -1e-4]], np.float32)
    file = np.array([[2.0, -1], [1, -1], [-1, 1e-4]], np.float32)
    found = compared(run, file)
    assert (found["agreement"], found["labels"]) == (pytest.approx(1 / 3), pytest.approx(4 / 6))
    assert found["changed"] == 1 and "drop" not in found  # the last one lies on the threshold
    status, sentence = check.verdict(found, "a.float16.onnx", "float16", max_drop=1)
    assert status == "not judged" and "the same set of labels on 33.3 %" in sentence
    assert compared(run, file, np.zeros((3, 2), np.uint8)).keys() == found.keys()  # without labels there is no mAP
    assert check.verdict(compared(run, run + 1e-6), "a", "float32", max_drop=1)[0] == "ok"


def test_a_drop_of_the_map_is_an_error_only_beyond_noise_and_what_was_allowed():
    rng = np.random.default_rng(1)
    labels = (rng.random((400, 3)) < 0.3).astype(np.uint8)
    run = (rng.normal(size=labels.shape) + 3 * labels).astype(np.float32)
    bad = run.copy()
    bad[:200] = rng.normal(size=(200, 3))
    found = compared(run, bad, labels, limit=1.5)
    drop = average_precision_score(labels, run) - average_precision_score(labels, bad)
    assert found["drop"] == pytest.approx(drop) and found["drop_interval"][0] < drop < found["drop_interval"][1]
    assert found["p"] < 0.01
    status, sentence = check.verdict(found, "a.int8.onnx", "int8", max_drop=1)
    assert status == "rejected" and f"{100 * drop:.2f} points" in sentence and "paired bootstrap" in sentence
    assert check.verdict(found, "a.int8.onnx", "int8", max_drop=90)[0] == "ok"
    noise = (run + rng.normal(size=run.shape) * 0.03).astype(np.float32)
    found = compared(run, noise, labels, limit=1.5)
    assert found["p"] > 0.05 and check.verdict(found, "a.int8.onnx", "int8", max_drop=0)[0] == "ok"


def test_layers_of_int8_are_chosen_by_the_map(run, tmp_path, monkeypatch):
    """Answers of another order of classes are worth nothing, and no layer in float mends that here."""
    from export.test_onnx_export import spoilt

    monkeypatch.setattr(quantise, "quantised", lambda source, **_: spoilt(copy.deepcopy(source.model)))
    lines = []
    status = onnx_export.export(run, Options(out=tmp_path / "d.onnx", int8="static"), note=lines.append)
    assert status == 1 and (tmp_path / "d.int8.rejected.onnx").is_file()
    cost = next(line for line in lines if line.startswith("all layers in INT8 cost"))
    assert float(cost.split()[5]) > 5


def test_metadata_with_a_damaged_decision_are_refused(bare):
    told = metadata.of(bare.network, output="logits", precision="float32")
    assert metadata.read(told, "a.onnx").decision == json.loads(json.dumps(DECISION))
    for damage in ({"scale": [1.0]}, {"thresholds": DECISION["thresholds"][:2]}, {"bias": None}):
        with pytest.raises(UserError, match="a.onnx: its metadata have a damaged 'decision'"):
            metadata.read({**told, "decision": json.dumps({**DECISION, **damage})}, "a.onnx")


def test_a_threshold_in_logits_is_that_in_probabilities(bare):
    limit = set_check.limits(bare.network)
    np.testing.assert_allclose(limit, (logit([0.3, 0.5, 0.8, 0.5]) - BIAS) / SCALE, atol=1e-12)
