"""LiteRT files: what they say of themselves, and answers by an interpreter that NumPy stands in for where there is
none; tests/export/test_tflite.py has real ones."""

import json
import sys
import zipfile

import numpy as np
import pytest
from onnx_files import by_hand, model, told

from jaxcls.cli.command import main
from jaxcls.errors import UserError
from jaxcls.runtime import litert, session
from jaxcls.runtime.foreign import Given
from jaxcls.runtime.predictor import FilePredictor

MODEL = b"\x1c\0\0\0TFL3" + bytes(range(200))


class Interpreter:
    """`onnx_files.by_hand` with LiteRT's surface. Files of others give levels of 8 bits, of 1/4 each."""

    batch, scale = 1, 0.0

    def __init__(self, model_path, num_threads):
        self.threads, self.ready = num_threads, False
        self.image = {"name": "image", "index": 0, "dtype": np.uint8, "quantization": (0.0, 0)}
        self.image |= {"shape": np.array([1, 16, 16, 3]), "shape_signature": np.array([self.batch, 16, 16, 3])}
        self.answer = {"name": "Identity", "index": 7, "dtype": np.float32, "quantization": (self.scale, 100)}
        self.answer["shape"] = self.answer["shape_signature"] = np.array([1, 3])

    def get_input_details(self):
        return [self.image]

    def get_output_details(self):
        return [self.answer]

    def resize_tensor_input(self, index, shape):
        self.image["shape"], self.ready = np.array(shape), False

    def allocate_tensors(self):
        self.ready = True

    def set_tensor(self, index, array):
        if not self.ready or array.shape != tuple(self.image["shape"]):
            raise ValueError("Cannot set tensor: Dimension mismatch.")
        self.images = array

    def invoke(self):
        logits = by_hand(self.images).astype(np.float32)
        self.found = np.round(logits / self.scale + 100).clip(0, 255).astype(np.uint8) if self.scale else logits

    def get_tensor(self, index):
        return self.found


@pytest.fixture
def interpreter(monkeypatch):
    made = type("Made", (Interpreter,), {})
    monkeypatch.setattr(litert, "_runtime", lambda: made)
    return made


def write(path, about):
    path.write_bytes(litert.packed(MODEL, about))
    return path


def test_what_a_file_says_lies_behind_the_model(tmp_path):
    """So any unzip reads it, and a runtime the model."""
    path = write(tmp_path / "a.tflite", {"jaxcls": "1", "model": "näher"})
    assert path.read_bytes().startswith(MODEL) and path.read_bytes() == litert.packed(
        MODEL, {"jaxcls": "1", "model": "näher"}
    )
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("jaxcls.json")) == litert.read(path) == {"jaxcls": "1", "model": "näher"}
    (tmp_path / "other.tflite").write_bytes(MODEL)
    assert litert.read(tmp_path / "other.tflite") == {}


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b"no such file", "is no .tflite file"),
        (litert.packed(MODEL, {"a": "b"})[:-1], "lacks its last bytes"),
        (litert.packed(MODEL, {"a": "b"})[:-40], "lacks its last bytes"),
        (litert.packed(MODEL, {"a": 1}), "what it says about itself is damaged"),
        (litert.packed(MODEL, {"a": "b"}).replace(b"jaxcls.json", b"jaxcls.json\0", 1), "is damaged"),
        (None, "can't be read"),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_a_line(tmp_path, capsys, interpreter, content, words):
    path = tmp_path / "x.tflite"
    if content is not None:
        path.write_bytes(content)
    assert main(["predict", str(path), str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_the_answers_are_those_of_an_onnx_file(tmp_path, interpreter, pictures):
    """Of the same net, with the same metadata: class, probability, thresholds, outliers."""
    predictor = FilePredictor.load(write(tmp_path / "net.tflite", told()))
    theirs = FilePredictor.load(model(tmp_path / "net.onnx", told()))
    images = np.stack([predictor.prepare(path.read_bytes()) for path in sorted(pictures.rglob("*.*"))])
    assert predictor.sizes == (1,) and predictor.classes == theirs.classes and predictor.decision == theirs.decision
    assert np.allclose(predictor.logits(images), by_hand(images), atol=1e-5)
    ours, other = predictor(images), theirs(images)
    assert [row["class"] for row in ours] == [row["class"] for row in other] and ours[0].keys() == other[0].keys()
    assert [row["probability"] for row in ours] == pytest.approx([row["probability"] for row in other], abs=1e-5)


def test_the_commands(tmp_path, interpreter, pictures, capsys):
    path = write(tmp_path / "net.tflite", told())
    assert main(["predict", str(path), str(pictures), "--format", "jsonl", "--out", str(tmp_path / "rows.jsonl")]) == 0
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 12
    assert main(["eval", str(path), "--data", str(pictures), "--out", str(tmp_path / "scored")]) == 0
    assert json.loads((tmp_path / "scored" / "eval" / "pictures-0.json").read_text())["count"] == 12


def test_files_of_others(tmp_path, interpreter, pictures):
    """Levels of 8 bits are the numbers that they stand for; an open batch is as large as it is asked for."""
    interpreter.batch, interpreter.scale = -1, 0.25
    (tmp_path / "other.tflite").write_bytes(MODEL)
    predictor = FilePredictor.load(tmp_path / "other.tflite", foreign=Given(), batch=5)
    images = np.stack([predictor.prepare(path.read_bytes()) for path in sorted(pictures.rglob("*.*"))])
    assert predictor.session.inputs[0].shape == (None, 16, 16, 3) and predictor.session.runtime == "LiteRT"
    assert np.abs(predictor.logits(images) - by_hand(images)).max() <= 0.126


def test_what_litert_refuses_is_a_line(tmp_path, interpreter, monkeypatch):
    path = write(tmp_path / "net.tflite", told())
    with pytest.raises(UserError, match="computed on the CPU here, not by CUDAExecutionProvider"):
        session.open(path, providers=("CUDAExecutionProvider",))
    opened = session.open(path)
    with pytest.raises(UserError, match=r"LiteRT can't compute it for uint8 \[2, 3\]: .*mismatch"):
        interpreter.resize_tensor_input = lambda self, index, shape: None
        session.run(opened, np.zeros((2, 3), np.uint8))

    def refuse(self, *_, **__):
        raise RuntimeError("Encountered unresolved custom op: Odd.\nSee https://…")

    monkeypatch.setattr(interpreter, "__init__", refuse)
    with pytest.raises(UserError, match="net.tflite: LiteRT refuses it: Encountered unresolved custom op: Odd. See"):
        session.open(path)


def test_without_litert_the_line_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    assert main(["predict", str(write(tmp_path / "n.tflite", told())), str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "pip install ai-edge-litert" in err and err.count("\n") == 1
