"""A model of a Triton repository: what Triton's own protobuf reads of it, and that it serves the checked file."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from jaxcls.export import latency, onnx_export, openvino_check, subject, triton
from jaxcls.export.asked import Options
from jaxcls.runtime import session
from jaxcls.runtime.predictor import FilePredictor

REFERENCE = Path(__file__).with_name("triton_reference.json")  # text of a config, and what tritonclient reads of it


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    monkeypatch.setattr(latency.measure, "__defaults__", ((1, 16), 0.0))
    monkeypatch.setattr(openvino_check, "installed", lambda: False)


@pytest.fixture(scope="module")
def bare():
    found = subject.of_model("lenet5", classes=3, size=28, note=lambda line: None)
    names = ("a b", "naïve", 'line\nend"')
    return dataclasses.replace(found, network=dataclasses.replace(found.network, classes=names))


def export(what, folder, device="cpu", instances=2, **options):
    lines = []
    status = triton.export(what, Options(out=folder, **options), device, instances, note=lines.append)
    return status, "\n".join(lines)


def parsed(text):
    """What Triton's `ModelConfig` holds after reading a config, as JSON; skips where tritonclient isn't installed."""
    found = importlib.util.find_spec("tritonclient")
    if found is None:
        pytest.skip("tritonclient is not installed")
    place = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"  # without the package: no grpcio
    spec = importlib.util.spec_from_file_location("model_config_pb2", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from google.protobuf import json_format, text_format

    return json_format.MessageToDict(text_format.Parse(text, module.ModelConfig()))


def test_the_config_is_what_triton_reads_it_as(bare, tmp_path):
    assert export(bare, tmp_path / "net")[0] is None
    text = (tmp_path / "net" / "config.pbtxt").read_text()
    reference = json.loads(REFERENCE.read_text())
    assert text == reference["text"]  # which was parsed when it was stored
    assert parsed(text) == reference["parsed"]


def test_the_folder_holds_the_checked_file_and_its_labels(bare, tmp_path):
    status, told = export(bare, tmp_path / "deep" / "net")
    folder = tmp_path / "deep" / "net"
    assert status is None and f"--model-repository={tmp_path / 'deep'}" in told
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == {
        "config.pbtxt", "labels.txt", "1/model.onnx", "1/model.onnx.json"}  # fmt: skip
    assert (folder / "labels.txt").read_text().splitlines() == ["a b", "naïve", r"line\nend" + '"']
    (entry,) = json.loads((folder / "1" / "model.onnx.json").read_text())
    assert entry["status"] == "ok" and entry["path"] == str(folder / "1" / "model.onnx")
    opened = session.open(folder / "1" / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (3, *opened.inputs[0].shape[1:])).astype(np.uint8)
    expected = np.asarray(bare.network.function()(images))
    np.testing.assert_allclose(session.run(opened, images), expected, rtol=1e-4, atol=1e-5)
    assert FilePredictor.load(folder / "1" / "model.onnx").classes == bare.network.classes


def test_a_gpu_has_no_threads_and_float16_is_served_where_it_is_asked_for(bare, tmp_path):
    assert export(bare, tmp_path / "net", "gpu", 1, float16=True, output="probabilities")[0] is None
    text = (tmp_path / "net" / "config.pbtxt").read_text()
    assert "thread_count" not in text and "count: 1 kind: KIND_GPU" in text
    assert 'default_model_filename: "model.float16.onnx"' in text and 'name: "probabilities"' in text
    assert (tmp_path / "net" / "1" / "model.float16.onnx").exists()
    assert parsed(text)["instanceGroup"] == [{"count": 1, "kind": "KIND_GPU"}]


def test_int8_of_pictures_that_calibrate_is_served(bare, tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for i in range(6):
        picture = np.random.default_rng(i).integers(0, 256, (28, 28)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{i}.png")
    given = {"int8": "static", "calibration_folder": tmp_path / "pictures", "max_drop": 100.0, "target": "any"}
    assert export(bare, tmp_path / "net", **given)[0] is None
    text = (tmp_path / "net" / "config.pbtxt").read_text()
    assert 'default_model_filename: "model.int8.onnx"' in text
    session.open(tmp_path / "net" / "1" / "model.int8.onnx")


def test_without_a_good_file_there_is_no_config(bare, tmp_path, monkeypatch):
    assert export(bare, tmp_path / "net")[0] is None
    monkeypatch.setattr(onnx_export, "export", lambda *_, **__: 1)
    status, told = export(bare, tmp_path / "net")
    assert status == 1 and "was set aside" in told and not (tmp_path / "net" / "config.pbtxt").exists()


def test_features_have_no_labels(tmp_path):
    found = session.Session(
        "f.onnx", (session.Tensor("image", "uint8", ("batch", 8, 9, 3)),),
        (session.Tensor("features", "float", ("batch", 7)),), {}, None,
    )  # fmt: skip
    text = triton.text("f", found, "features", "cpu", 4)
    assert "labels" not in text and "dims: [ 8, 9, 3 ]" in text and "dims: [ 7 ]" in text and "count: 4" in text
    parsed(text)
