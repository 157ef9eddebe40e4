"""LiteRT files: erf without erf, what INT8 takes, the flow with made-up files; real files where TensorFlow is."""

import ast
import dataclasses
import json
import math
import os
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import files
from jaxcls.cli.command import main
from jaxcls.data.base import ArraySource
from jaxcls.errors import UserError
from jaxcls.export import candidates, check, erf, latency, pictures, subject, tflite, tflite_export
from jaxcls.export.asked import Options
from jaxcls.export.candidates import Candidate
from jaxcls.models.layers import convolve, gelu
from jaxcls.quantize import build as quantize
from jaxcls.runtime.predictor import FilePredictor

ROOT = Path(__file__).resolve().parents[2]
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def bare():
    return subject.of_model("lenet5", classes=4, size=28, note=lambda line: None)


@pytest.fixture(scope="module")
def run(bare, tmp_path_factory):
    """The bare model with pictures whose labels are what it answers."""
    rng, network = np.random.default_rng(0), bare.network
    images = rng.integers(0, 256, (160, *network.preprocessing.picture)).astype(np.uint8)
    labels = np.asarray(jax.jit(network.function())(images)).argmax(axis=1)
    sources = {
        split: ArraySource(images[at], labels[at], network.classes, [f"{split}{i}" for i in range(80)])
        for split, at in (("train", slice(0, 80)), ("validation", slice(80, 160)))
    }
    data = types.SimpleNamespace(sources=sources, evaluation=network.preprocessing, skipped=None)
    return dataclasses.replace(bare, data=data, folder=tmp_path_factory.mktemp("run"))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(latency.measure, "__defaults__", ((1,), 0.0))


def test_erf_is_that_of_the_c_library():
    x = np.concatenate([np.linspace(-6, 6, 4001), np.geomspace(1e-8, 1e-2, 50), [0, np.inf, -np.inf]])
    x = x.astype(np.float32)
    assert np.abs(np.asarray(erf.erf(x)) - [math.erf(v) for v in x]).max() < 5e-7


def test_programs_are_the_same_without_erf():
    """At any depth: the gelu here is a call within a call, with a derivative of its own."""
    function = lambda x: jax.jit(lambda x: gelu(x) * 2)(x) + jnp.max(x, axis=0)  # noqa: E731
    x = np.linspace(-5, 5, 100, dtype=np.float32).reshape(1, 100)
    with convolve.plain():
        rewritten = erf.without(lambda x: function(x), jax.ShapeDtypeStruct(x.shape, x.dtype))
    assert "erf" not in str(jax.make_jaxpr(rewritten)(x)) and "erf" in str(jax.make_jaxpr(lambda x: gelu(x))(x))
    assert np.abs(rewritten(x)[0] - function(x)).max() < 2e-6


def test_the_share_of_convolutions_is_counted():
    kernel, weights = np.ones((3, 3, 3, 4), np.float32), np.ones((256, 10), np.float32)

    def answer(images):
        x = jax.lax.conv_general_dilated(
            images.astype(np.float32), kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jax.jit(lambda x: x.reshape(1, -1) @ weights)(x)

    network = types.SimpleNamespace(function=lambda: answer)
    assert tflite.share_of_convolutions(network, (8, 8, 3)) == 64 * 4 * 27 / (64 * 4 * 27 + 2560)


def candidate(folder, name, turned=0, **more):
    """A file that says how far its answers are turned."""
    content = lambda told: json.dumps({"turned": turned, **told}).encode()  # noqa: E731
    return Candidate(folder / name, more.pop("precision", "float32"), content, **more)


def judged(subject, made):
    """Their entries: a file answers as the run does, its classes turned."""
    compared = pictures.of_split(subject.data, "validation", np.arange(80))
    ask = check.runner(subject.network)

    def asked(path):
        turned = json.loads(path.read_text())["turned"]
        return lambda images: np.roll(ask(images), turned, axis=1)

    with candidates.written(made):
        assert all(one.unchecked.exists() for one in made)
        known = {one.name: asked(one.unchecked) for one in made}
        entries, _ = candidates.judged(subject, Options(), made, known, compared, batches=(1,), note=lambda _: None)
        return entries, candidates.recorded(subject, made[0].path, entries, lambda _: None)


def test_files_are_named_as_they_deserve(run, tmp_path):
    (tmp_path / "a.int8.x").write_text("that of before")
    bad = candidate(tmp_path, "a.int8.x", 1, precision="int8", about={"way": "static"})
    entries, status = judged(run, [candidate(tmp_path, "a.x"), bad])
    assert status == 1 and [entry["status"] for entry in entries] == ["ok", "rejected"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.int8.rejected.x", "a.int8.x", "a.x"]
    assert (tmp_path / "a.int8.x").read_text() == "that of before"
    stored = files.read_json(run.folder / "export.json")
    assert [entry["file"] for entry in stored] == ["a.x", "a.int8.rejected.x"]
    assert stored[1]["check"]["drop"] == 1.0 and stored[1]["quantisation"] == {"way": "static"}
    assert json.loads(json.loads((tmp_path / "a.x").read_text())["check"]) == stored[0]["check"]
    entries, status = judged(run, [candidate(tmp_path, "a.x"), dataclasses.replace(bad, unjudged="no VNNI here")])
    assert status is None and entries[1]["status"] == "not judged" and "no VNNI here" in entries[1]["verdict"]
    assert not (tmp_path / "a.int8.rejected.x").exists() and "rejected" not in (run.folder / "export.json").read_text()


def test_what_can_not_be_written_leaves_nothing(bare, tmp_path):
    def broken(told):
        raise UserError("the disk is full")

    made = [candidate(tmp_path, "a.x"), Candidate(tmp_path / "b.x", "int8", broken)]
    with pytest.raises(UserError, match="disk is full"), candidates.written(made):
        pass
    with pytest.raises(UserError, match="free some space"):
        candidates.check_place(tmp_path / "a.x", 10**18)
    assert not list(tmp_path.iterdir())


def refused(options, subject, monkeypatch):
    monkeypatch.setattr(tflite_export.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(tflite, "program", lambda *_: pytest.fail("it was converted"))
    with pytest.raises(UserError) as caught:
        tflite_export.export(subject, options, note=lambda _: None)
    return str(caught.value)


def test_what_int8_can_not_be_is_told_before_anything_is_converted(bare, tmp_path, monkeypatch):
    options = Options(out=tmp_path / "a.tflite", int8="auto")
    assert "none: --calibration DIR" in refused(options, bare, monkeypatch)
    assert "--int8=dynamic is for --to onnx" in refused(dataclasses.replace(options, int8="dynamic"), bare, monkeypatch)
    trained = dataclasses.replace(bare.network, model=quantize.of_module(bare.network.model, "int8"))
    text = refused(Options(out=options.out), dataclasses.replace(bare, network=trained), monkeypatch)
    assert "was trained for INT8" in text and "--to onnx" in text
    assert "leave --answers out" in refused(dataclasses.replace(options, output="probabilities"), bare, monkeypatch)
    monkeypatch.setattr(tflite, "share_of_convolutions", lambda network, shape: 0.02)  # of a ViT
    text = refused(options, bare, monkeypatch)
    assert "is for nets of convolutions" in text and "answer rubbish" in text and "\n" not in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lacks", ["tensorflow", "ai_edge_litert"])
def test_without_tensorflow_the_line_says_how_to_get_it(capsys, tmp_path, monkeypatch, lacks):
    there = tflite_export.importlib.util.find_spec
    monkeypatch.setattr(
        tflite_export.importlib.util, "find_spec", lambda name: None if name == lacks else there("json")
    )
    assert main(["export", "--model", "lenet5", "--to", "tflite", "--out", str(tmp_path / "a.tflite")]) == 2
    err = capsys.readouterr().err
    line = "pip install 'tensorflow-cpu>=2.21,<2.22' ai-edge-litert"
    assert err == f"error: --to tflite needs {lacks}, which is not installed: {line}\n"


def export(what, path, **options):
    pytest.importorskip("tensorflow")
    pytest.importorskip("ai_edge_litert")
    lines = []
    status = tflite_export.export(what, Options(out=path, **options), note=lines.append)
    return status, "\n".join(lines)


@slow
def test_a_run(run, tmp_path, capfd):
    status, text = export(run, tmp_path / "a.tflite", int8="auto", float16=True)
    assert status is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.float16.tflite", "a.int8.tflite", "a.tflite"]
    entries = {e["precision"]: e for e in files.read_json(run.folder / "export.json") if e["file"].endswith(".tflite")}
    assert [entry["status"] for entry in entries.values()] == ["ok"] * 3
    assert entries["float32"]["check"]["relative"] < 1e-5 and entries["float16"]["check"]["agreement"] > 0.9
    assert entries["int8"]["quantisation"]["on"] == "40 of 80 training pictures"
    assert entries["int8"]["bytes"] < 0.35 * entries["float32"]["bytes"] < entries["float16"]["bytes"]
    assert "tensorflow" in entries["int8"]["machine"]["versions"] and "a.int8.tflite" in text
    assert "XNNPACK" not in (noise := capfd.readouterr().err) and "quantize" not in noise
    images = run.data.sources["validation"].images[:20]
    wanted = np.asarray(jax.jit(run.network.function())(images))
    for precision, near in (("float32", 1e-5), ("float16", 1e-2), ("int8", 0.2)):
        predictor = FilePredictor.load(entries[precision]["path"])
        assert predictor.precision == precision and predictor.checked == entries[precision]["check"]
        assert np.abs(predictor.logits(images) - wanted).max() < near * np.abs(wanted).max()


@slow
def test_probabilities_and_exact_gelu(tmp_path):
    """And files are answered where neither JAX nor TensorFlow can be imported."""
    vit = subject.of_model("vit_tiny_patch16_224", size=32, classes=5, note=lambda _: None)
    export(vit, tmp_path / "v.tflite", output="probabilities")
    shape = subject.prepared(vit.network.preprocessing)
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    code = """
import sys
for name in ("jax", "flax", "tensorflow", "onnxruntime", "onnx"):
    sys.modules[name] = None
import numpy as np
from jaxcls.runtime.predictor import FilePredictor
predictor = FilePredictor.load("v.tflite")
np.save("found.npy", predictor.probabilities(predictor.logits(np.load("images.npy"))))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    wanted = jax.nn.softmax(jax.jit(vit.network.function())(images))
    assert np.abs(np.load(tmp_path / "found.npy") - wanted).max() < 1e-5


@slow
@pytest.mark.parametrize("name", ["resnet20_cifar", "shufflenet_v2_x1_0", "resnext50_32x4d", "swin_t", "mixer_s16_224"])
def test_families(tmp_path, name):
    """float32 within rounding of the net: option-A shortcuts, shuffles, groups, windows that roll, mixers."""
    fields = {} if name == "resnet20_cifar" else {"size": 64 if "net" in name else 224}
    status, text = export(subject.of_model(name, classes=5, note=lambda _: None, **fields), tmp_path / "n.tflite")
    assert status is None and "answers as the run does" in text


def test_tensorflow_is_imported_when_something_is_converted():
    for path in sorted([*(ROOT / "jaxcls" / "export").rglob("*.py"), *(ROOT / "jaxcls" / "runtime").glob("*.py")]):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not any(name.startswith(("tensorflow", "ai_edge_litert", "jax.experimental")) for name in names)
