"""A file predicts what NumPy computes from prepared pictures, and decides as a run does; what doesn't fit is a line."""

import json
import re
import sys
import types

import numpy as np
import pytest
from onnx_files import CLASSES, DECISION, MEAN, STD, by_hand, model, told, weights
from PIL import Image

import jaxcls
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.cli.command import main
from jaxcls.errors import UserError
from jaxcls.predict.predictor import Predictor
from jaxcls.runtime.foreign import Given
from jaxcls.runtime.predictor import FilePredictor


def paths(folder):
    return sorted(folder.rglob("*.*"))


def prepared(predictor, folder):
    return np.stack([predictor.prepare(path.read_bytes(), path.name) for path in paths(folder)])


def of_run(decision, classes=CLASSES):
    """What a run's Predictor makes of logits, without a net."""
    predictor = Predictor.__new__(Predictor)
    predictor.decision, predictor.classes = decision, classes
    predictor.network = types.SimpleNamespace(bank=None)
    return predictor


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("batch", ["batch", 1, 5])
def test_the_answers_are_those_of_numpy_and_the_decision_is_the_runs(tmp_path, pictures, batch):
    predictor = jaxcls.load(model(tmp_path / "net.onnx", told(), shape=(batch, 16, 16, 3)))
    images = prepared(predictor, pictures)
    assert isinstance(predictor, FilePredictor) and images.shape == (12, 16, 16, 3) and predictor.picture == (16, 16, 3)
    expected = Preprocessing(("resize(20)", "center_crop(16)"), MEAN, STD)
    assert all(
        (image == expected.prepare(p.read_bytes())).all() for image, p in zip(images, paths(pictures), strict=True)
    )
    logits = predictor.logits(images)
    assert logits.dtype == np.float32 and np.allclose(logits, by_hand(images), atol=1e-4)
    assert np.allclose(predictor.probabilities(logits), softmax(logits.astype(np.float64) / 1.7), atol=1e-12)
    assert predictor(images) == of_run(DECISION).answers(logits)
    assert {"abstained", "set", "energy", "outlier"} <= predictor(images)[0].keys()
    assert predictor.logits(images[:0]).shape == (0, 3)
    assert predictor.title == f"net, step 7, averaged weights, float32, {tmp_path / 'net.onnx'}" and predictor.decides


def test_a_file_of_probabilities_decides_alike(tmp_path, pictures):
    """Its graph holds the temperature already; what needs logits is left out, and told."""
    kernel = weights() / np.float32(1.7)
    path = model(tmp_path / "p.onnx", told("probabilities"), kernel=kernel, softmax=True)
    predictor = FilePredictor.load(path)
    images = prepared(predictor, pictures)
    wanted = of_run({**DECISION, "outliers": None}).answers(by_hand(images).astype(np.float32))
    for found, row in zip(predictor(images), wanted, strict=True):
        assert [found[key] for key in ("class", "abstained", "set")] == [
            row[key] for key in ("class", "abstained", "set")
        ]
        assert found["probability"] == pytest.approx(row["probability"], abs=1e-5) and "energy" not in found
    assert any("outliers are not told" in note for note in predictor.notes)


def test_distances_are_left_out_and_told(tmp_path):
    far = {"threshold": 0.5, "k": 1, "count": 3, "validation": 3, "sha256": "0"}
    decision = {**DECISION, "outliers": {**DECISION["outliers"], "distance": far}}
    predictor = FilePredictor.load(model(tmp_path / "net.onnx", told(calibration=decision)))
    row = predictor(np.zeros((1, 16, 16, 3), np.uint8))[0]
    assert "distance" not in row and "outlier" in row and "by energy alone" in " ".join(predictor.notes)


def test_heat_maps_are_the_weighted_colours(tmp_path, pictures):
    """The last map of this net is the normalised picture itself, so its class activation map is the sum of colours."""
    predictor = FilePredictor.load(model(tmp_path / "net.onnx", told(), features=True))
    images = prepared(predictor, pictures)
    seen, maps = predictor.heatmaps(images, ["owl"] * len(images))
    normal = (images / 255 - np.array(MEAN)) / np.array(STD)
    wanted = np.maximum(normal @ weights()[:, CLASSES.index("owl")], 0)
    wanted /= np.maximum(wanted.max(axis=(1, 2), keepdims=True), 1e-9)
    assert predictor.explains == "CAM" and (seen == images).all() and np.allclose(maps, wanted, atol=1e-5)
    assert np.allclose(predictor.features(images), normal.mean(axis=(1, 2)), atol=1e-5)
    assert predictor.heatmaps(images[:0])[1].shape == (0, 16, 16)


def test_a_set_in_memory_takes_files_squeezed(tmp_path):
    path = model(tmp_path / "net.onnx", told(preprocessing=Preprocessing((), MEAN, STD, 3, (8, 8, 3))),
                 shape=("batch", 8, 8, 3))  # fmt: skip
    predictor = FilePredictor.load(path)
    assert predictor.prepare(np.zeros((40, 30, 3), np.uint8)).shape == (8, 8, 3)
    assert "squeezed to 8x8 pixels" in predictor.notes[0]


def test_the_command_writes_the_rows_of_a_run(tmp_path, pictures, capsys):
    path = model(tmp_path / "net.onnx", told())
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    arguments = [str(path), str(pictures), str(tmp_path / "broken.jpg"), "--batch", "5", "--top", "2"]
    assert main(["predict", *arguments, "--format", "jsonl"]) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    predictor = FilePredictor.load(path)
    assert [{k: v for k, v in row.items() if k != "path"} for row in rows[:-1]] == predictor(
        prepared(predictor, pictures), 2
    )
    assert [row["path"] for row in rows[:-1]] == list(map(str, paths(pictures))) and "error" in rows[-1]
    assert "the class is what the stored thresholds decide" in err and "calibrated (temperature 1.7)" in err


def test_answers_that_are_not_finite_are_errors_of_their_pictures(tmp_path, capsys):
    path = model(tmp_path / "net.onnx", told(calibration=None), kernel=np.full((3, 3), np.nan, np.float32))
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    assert main(["predict", str(path), str(tmp_path / "a.png"), "--format", "jsonl"]) == 1
    assert json.loads(capsys.readouterr().out)["error"] == "the model's answer to this picture is not finite"


@pytest.mark.parametrize(
    "shape, dtype, given",
    [
        (("n", 16, 16, 3), "uint8", Given()),
        (("n", 3, 16, 16), "uint8", Given()),
        (("n", 16, 16, 3), "float32", Given(mean=MEAN, std=STD)),
        ((2, 3, 16, 16), "float32", Given(mean=MEAN, std=STD, transforms=("resize(20)", "center_crop(16)"))),
    ],
)
def test_files_of_others_are_asked_as_they_want(tmp_path, pictures, shape, dtype, given):
    path = model(tmp_path / "other.onnx", shape=shape, dtype=dtype, inside=dtype == "uint8")
    predictor = FilePredictor.load(path, foreign=given)
    images = prepared(predictor, pictures)
    expected = Preprocessing(given.transforms or ("resize(16, 16)",), MEAN, STD)
    assert (images[0] == expected.prepare(paths(pictures)[0].read_bytes())).all()
    assert np.allclose(predictor.logits(images), by_hand(images), atol=1e-4)
    assert predictor.classes == ("class_0", "class_1", "class_2") and predictor.title == f"other.onnx, {path}"


def test_outputs_that_sum_to_one_are_probabilities(tmp_path, pictures):
    (tmp_path / "names").write_text("x\ny\nz\n")
    path = model(tmp_path / "other.onnx", softmax=True)
    predictor = FilePredictor.load(path, foreign=Given(classes=str(tmp_path / "names")))
    images = prepared(predictor, pictures)
    found = predictor(images, 3)
    assert [row["class"] for row in found] == ["xyz"[k] for k in by_hand(images).argmax(axis=1)]
    assert np.allclose([row["probability"] for row in found], softmax(by_hand(images)).max(axis=1), atol=1e-5)


def refusal(capsys, *arguments):
    assert main([*map(str, arguments)]) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1, err
    return err[0]


@pytest.mark.parametrize(
    "changes, options, words",
    [
        ({"dtype": "float32"}, (), "float32: say how they are normalised"),
        ({}, ("--mean", "0.5"), "--mean: .* normalises them itself"),
        ({"dtype": "float32"}, ("--mean", "0,1", "--std", "1"), "--mean: it takes one or 3 numbers"),
        ({"dtype": "float32"}, ("--mean", "0", "--std", "0"), "--std: it takes one or 3 positive"),
        ({"dtype": "float32"}, ("--mean", "x", "--std", "0"), "'x' is no list of numbers"),
        ({"dtype": "float16"}, (), "input 'image' is float16 .n, 16, 16, 3.: it must take"),
        ({"shape": ("n", "h", "w", 3)}, (), "of no fixed height and width"),
        ({"shape": ("n", 16, 16, 5), "kernel": np.ones((5, 3), np.float32)}, (), "without 1 or 3 channels"),
        ({}, ("--eval-transform", "resize(20)", "--eval-transform", "center_crop(12)"), "makes pictures of 12x12 "),
        ({}, ("--eval-transform", "random_resized_crop(16)"), "random"),
        ({}, ("--eval-transform", "flip"), "no transform of evaluation 'flip'"),
        ({}, ("--eval-transform", "resize(-3, 3)"), "arguments of 'resize' don't fit"),
        ({}, ("--eval-transform", "resize(20)"), "--eval-transform: pictures of a folder differ in size"),
        ({}, ("--classes", "NAMES"), "has 2 names; .* has 3 outputs"),
        ({}, ("--classes", "nowhere"), "--classes=nowhere can't be read"),
    ],
)  # fmt: skip
def test_what_does_not_fit_of_a_file_of_others_is_a_line(tmp_path, capsys, changes, options, words):
    (tmp_path / "names").write_text("x\ny\n")
    path = model(tmp_path / "o.onnx", **{"shape": ("n", 16, 16, 3), "inside": False, **changes})
    options = [str(tmp_path / "names") if word == "NAMES" else word for word in options]
    assert re.search(words, refusal(capsys, "predict", path, tmp_path, *options))


@pytest.mark.parametrize(
    "name, words",
    [
        ("missing.onnx", "missing.onnx can't be read: No such file"),
        ("empty.onnx", "empty.onnx is empty"),
        ("text.onnx", "text.onnx is no ONNX file"),
        ("newer.onnx", "Unsupported model IR version: 99"),
        ("two.onnx", "two.onnx has 2 inputs"),
        ("folder.onnx", "folder.onnx"),
        ("wide.onnx", "wide.onnx has 4 outputs for 3 class names"),
        ("picture.onnx", r"input is uint8 \['n', 16, 16, 3\], not one input, uint8 \[batch, 8, 8, 3\]"),
        ("damaged.onnx", "metadata lack 'classes'"),
    ],
)
def test_what_is_no_such_file_is_a_line(tmp_path, capsys, name, words):
    import onnx
    from onnx import TensorProto, helper

    path, shape = tmp_path / name, ("n", 16, 16, 3)
    if name == "empty.onnx":
        path.touch()
    elif name == "text.onnx":
        path.write_text("hello")
    elif name == "folder.onnx":
        path.mkdir()
    elif name == "wide.onnx":
        model(path, told(), kernel=weights(4))
    elif name == "picture.onnx":
        model(path, told() | {"picture": "[8, 8, 3]"}, shape=shape)
    elif name == "damaged.onnx":
        model(path, {k: v for k, v in told().items() if k != "classes"})
    elif name == "newer.onnx":
        made = onnx.load(model(path))
        made.ir_version = 99
        onnx.save(made, path)
    elif name == "two.onnx":
        tensors = [helper.make_tensor_value_info(x, TensorProto.FLOAT, (1, 4)) for x in "abc"]
        graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "g", tensors[:2], tensors[2:])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    assert re.search(words, refusal(capsys, "predict", path, tmp_path))


@pytest.mark.parametrize(
    "options, words",
    [
        (("--heatmaps", "maps"), "--heatmaps: net has none: they need .* `jaxcls export --features`"),
        (("--step", "3"), "--step: .* a file is of one step"),
        (("--classes", "x"), "--classes is for files that jaxcls did not write"),
        (("--mean", "0"), "--mean is for files that jaxcls did not write"),
        (("--eval-transform", "resize(3)"), "--eval-transform is for files that jaxcls did not write"),
    ],
)
def test_options_that_a_file_of_ours_knows_itself_are_refused(tmp_path, capsys, options, words):
    path = model(tmp_path / "net.onnx", told())
    assert re.search(words, refusal(capsys, "predict", path, tmp_path, *options))


def test_options_of_files_are_refused_for_a_run(tmp_path, capsys):
    assert "--std is for an ONNX file" in refusal(capsys, "predict", tmp_path, tmp_path, "--std", "1")
    with pytest.raises(UserError, match="is a file, of one step"):
        jaxcls.load(tmp_path / "x.onnx", step=3)


def test_without_onnx_runtime_the_line_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install onnxruntime" in refusal(capsys, "predict", model(tmp_path / "net.onnx", told()), tmp_path)
