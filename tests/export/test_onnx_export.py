"""The flow: files of a run and of a bare model, checked, named or set aside, recorded; what can't be is one line."""

import dataclasses
import json
import subprocess
import sys
import types

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from jaxcls import files
from jaxcls.data.base import ArraySource
from jaxcls.errors import UserError
from jaxcls.export import candidates, latency, onnx_export, openvino_check, quantise, subject
from jaxcls.export.asked import Options
from jaxcls.runtime import session

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch):
    """Few turns, and no other runtime."""
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    monkeypatch.setattr(latency.measure, "__defaults__", ((1, 16), 0.0))
    monkeypatch.setattr(openvino_check, "installed", lambda: False)


@pytest.fixture(scope="module")
def bare():
    return subject.of_model("lenet5", classes=4, size=28, note=lambda line: None)


@pytest.fixture(scope="module")
def run(bare, tmp_path_factory):
    """The bare model with pictures whose labels are what it answers."""
    import jax

    rng, network = np.random.default_rng(0), bare.network
    shape = network.preprocessing.picture
    images = rng.integers(0, 256, (240, *shape)).astype(np.uint8)
    labels = np.asarray(jax.jit(network.function())(images)).argmax(axis=1)
    sources = {
        split: ArraySource(images[at], labels[at], network.classes, [f"{split}{i}" for i in range(len(labels[at]))])
        for split, at in (("train", slice(0, 160)), ("validation", slice(160, 240)))
    }
    data = types.SimpleNamespace(sources=sources, evaluation=network.preprocessing, skipped=None)
    return dataclasses.replace(bare, data=data, folder=tmp_path_factory.mktemp("run"))


def export(what, path, **options):
    lines = []
    status = onnx_export.export(what, Options(out=path, **options), note=lines.append)
    return status, "\n".join(lines)


def test_a_run(run, tmp_path, capfd):
    status, text = export(run, tmp_path / "a.onnx", int8="auto", float16=True)
    assert status is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.float16.onnx", "a.int8.onnx", "a.onnx"]
    entries = files.read_json(run.folder / "export.json")
    assert [e["precision"] for e in entries] == ["float32", "int8", "float16"]
    assert [e["status"] for e in entries] == ["ok"] * 3
    assert entries[0]["check"]["run"]["accuracy"] == 1.0
    assert entries[0]["check"]["relative"] < 1e-5
    assert entries[1]["quantisation"]["pictures"] == 64
    assert entries[1]["quantisation"]["on"] == "64 of 160 training pictures"
    assert all(e["check"]["on"] == "80 of 80 validation pictures" for e in entries)
    assert entries[1]["bytes"] == (tmp_path / "a.int8.onnx").stat().st_size < entries[0]["bytes"]
    assert "a.int8.onnx" in text and "agrees" in text
    for entry in entries:  # the file says itself what it is
        said = session.open(entry["path"]).metadata
        assert said["precision"] == entry["precision"] and json.loads(said["check"]) == entry["check"]
        assert json.loads(said["classes"]) == list(run.network.classes)
    assert "onnxruntime" not in capfd.readouterr().err


def test_a_bare_model_and_probabilities(bare, tmp_path):
    status, text = export(bare, tmp_path / "b.onnx", output="probabilities")
    assert status is None
    (entry,) = files.read_json(tmp_path / "b.onnx.json")
    assert entry["check"]["on"] == "8 made pictures"
    assert entry["output"] == "probabilities"
    images = np.zeros((3, *bare.network.preprocessing.picture), np.uint8)
    given = session.run(session.open(tmp_path / "b.onnx"), images)
    assert given.sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_pictures_of_a_folder_calibrate_and_the_others_compare(bare, tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (28, 28), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.png")
    export(bare, tmp_path / "c.onnx", int8="static", calibration_folder=tmp_path / "pictures")
    entries = files.read_json(tmp_path / "c.onnx.json")
    assert entries[1]["quantisation"]["on"].startswith("3 of 6 pictures in ")
    assert entries[1]["check"]["on"].startswith("3 others of 6 pictures in ")
    assert entries[1]["status"] == "not judged"


def spoilt(model, **_):
    """Answers turned by a class."""
    out = quantise.labelled(model, model, "int8")
    node = next(node for node in out.graph.node if "logits" in node.output)
    node.output[0] = "turned"
    import onnx

    order = onnx.numpy_helper.from_array(np.array([1, 2, 3, 0]), "order")
    out.graph.initializer.append(order)
    out.graph.node.append(onnx.helper.make_node("Gather", ["turned", "order"], ["logits"], axis=1))
    return out


def test_a_file_that_is_worse_is_set_aside(run, tmp_path, monkeypatch):
    (tmp_path / "d.int8.onnx").write_text("that of before")
    monkeypatch.setattr(quantise, "quantised", lambda source, **_: spoilt(source.model))
    monkeypatch.setattr("jaxcls.export.sensitive.search", lambda build, *_, **__: _found(build()))
    status, text = export(run, tmp_path / "d.onnx", int8="static")
    assert status == 1
    assert "worse than the run by 100.00 points" in text and "set aside as" in text
    assert (tmp_path / "d.int8.onnx").read_text() == "that of before"
    assert (tmp_path / "d.int8.rejected.onnx").is_file()
    assert not list(tmp_path.glob("*unchecked*"))
    entry = files.read_json(run.folder / "export.json")[-1]
    assert (entry["file"], entry["status"]) == ("d.int8.rejected.onnx", "rejected")
    monkeypatch.undo()
    export(run, tmp_path / "d.onnx", int8="static")
    assert not (tmp_path / "d.int8.rejected.onnx").exists()
    assert "rejected" not in (run.folder / "export.json").read_text()


def _found(model):
    from jaxcls.export.sensitive import Found

    return Found(model, (), 0.0)


def test_a_target_without_its_instructions_is_not_judged(run, tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "lacks", lambda target: "this processor has no VNNI")
    monkeypatch.setattr(quantise, "quantised", lambda source, **_: spoilt(source.model))
    status, text = export(run, tmp_path / "e.onnx", int8="auto", target="vnni")
    assert status is None and "not judged: this processor has no VNNI" in text
    entry = next(e for e in files.read_json(run.folder / "export.json") if e["file"] == "e.int8.onnx")
    assert entry["status"] == "not judged" and entry["quantisation"]["reduce_range"] is False


def test_what_is_wrong_is_told_before_anything_is_computed(bare, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxcls.export.float_file.float_model", lambda *_, **__: pytest.fail("it was computed"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        export(bare, tmp_path / "file" / "f.onnx")
    monkeypatch.setattr(candidates.shutil, "disk_usage", lambda place: types.SimpleNamespace(free=1000))
    with pytest.raises(UserError, match="free some space"):
        export(bare, tmp_path / "f.onnx")
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install onnx onnxruntime"):
        export(bare, tmp_path / "f.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_int8_without_pictures(bare, tmp_path):
    with pytest.raises(UserError, match="--calibration DIR"):
        export(bare, tmp_path / "g.onnx", int8="auto")
    assert not list(tmp_path.iterdir())


def test_openvino_is_imported_without_its_statistics():
    pytest.importorskip("openvino")
    code = "import sys; from jaxcls.export import openvino_check; openvino_check._openvino();"
    code += "print('openvino_telemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["False"], done.stderr
