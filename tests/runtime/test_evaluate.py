"""`jaxcls eval MODEL.onnx --data D` scores what NumPy would, classes by name, and writes what an evaluation writes."""

import json
import re

import numpy as np
import pytest
from onnx_files import CLASSES, by_hand, model, told
from PIL import Image

from jaxcls.cli.command import main
from jaxcls.runtime import evaluate
from jaxcls.runtime.predictor import FilePredictor


def expected(path, pictures):
    """(float64 logits, labels) of all pictures, by class and name."""
    predictor = FilePredictor.load(path)
    paths = [path for name in CLASSES for path in sorted((pictures / name).iterdir())]
    images = np.stack([predictor.prepare(path.read_bytes()) for path in paths])
    return by_hand(images), np.array([CLASSES.index(path.parent.name) for path in paths])


def cross_entropy(logits, label):
    z = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), label]).mean())


def test_figures_and_logits_are_those_of_numpy(tmp_path, pictures, capsys):
    path = model(tmp_path / "net.onnx", told())
    assert main(["eval", str(path), "--data", str(pictures), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    logits, label = expected(path, pictures)
    accuracy = (logits.argmax(axis=1) == label).mean()
    assert f"accuracy {accuracy:.2%}" in out and "12 pictures, all of it" in out and "net, step 7" in out
    with np.load(tmp_path / "out" / "eval" / "pictures-0.npz") as file:
        assert np.allclose(file["logits"], logits, atol=1e-4)
        assert (file["label"] == label).all() and (file["index"] == np.arange(12)).all()
    figures = json.loads((tmp_path / "out" / "eval" / "pictures-0.json").read_text())
    assert figures["correct"] == round(12 * accuracy) and figures["classes"]["not_scored"] == 0
    assert figures["loss"] == pytest.approx(cross_entropy(logits, label), rel=1e-5)
    rows = json.loads((tmp_path / "out" / "eval" / "pictures-rows.json").read_text())
    assert rows["id"][:2] == ["cat/0.png", "cat/1.jpg"]


def test_classes_are_matched_by_name(tmp_path, pictures, capsys):
    """Another order, another way of writing, one that the model does not know."""
    path = model(tmp_path / "net.onnx", told())
    theirs = tmp_path / "theirs"
    for source, name in (("owl", "A owl"), ("cat", "CAT"), ("dog", "dog")):
        (theirs / name).mkdir(parents=True)
        for file in (pictures / source).iterdir():
            (theirs / name / file.name).write_bytes(file.read_bytes())
    notes = []
    figures = evaluate.run(path, f"folder/{theirs}", note=notes.append)
    logits, label = expected(path, pictures)
    known = label != 2
    assert figures["count"] == 8 and figures["correct"] == (logits.argmax(axis=1) == label)[known].sum()
    assert figures["classes"] == {"surplus": ["A owl"], "missing": ["owl"], "not_scored": 4}
    assert any("'CAT' as 'cat'" in note for note in notes)


def test_outputs_without_names_are_taken_for_the_sets_classes(tmp_path, pictures):
    path, notes = model(tmp_path / "other.onnx"), []
    figures = evaluate.run(path, f"folder/{pictures}", note=notes.append)
    assert figures["count"] == 12 and any("taken for the 3 classes" in note for note in notes)


def refusal(capsys, *arguments):
    assert main([*map(str, arguments)]) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1, err
    return err[0]


@pytest.mark.parametrize(
    "options, words",
    [
        ((), "give some with --data"),
        (("--data", "PICTURES", "--step", "3"), "--step is not for a file"),
        (("--data", "PICTURES", "--name", "x"), "--name is not for a file"),
        (("--data", "PICTURES", "--config.eval.tta=flip"), "--config.eval.tta is not for a file"),
        (("--data", "PICTURES", "--split", "test"), "no such split"),
        (("--data", "PICTURES", "--classes", "x"), "--classes is for files that jaxcls did not write"),
        (("--data", "nowhere"), "nowhere"),
        (("--data", "tfds/no_such_set_at_all"), "no set of this name"),
    ],
)
def test_what_a_file_can_not_be_scored_by_is_a_line(tmp_path, pictures, capsys, options, words):
    path = model(tmp_path / "net.onnx", told())
    options = [str(pictures) if word == "PICTURES" else word for word in options]
    assert re.search(words, refusal(capsys, "eval", path, *options))


def test_other_classes_other_outputs_and_broken_pictures_are_lines(tmp_path, pictures, capsys):
    for name in ("a", "b"):
        (tmp_path / "two" / name).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "two" / name / "0.png")
    other, own = model(tmp_path / "other.onnx"), model(tmp_path / "own.onnx", told())
    assert "3 outputs mean, and these pictures are of 2" in refusal(capsys, "eval", other, "--data", tmp_path / "two")
    assert "no class of these pictures" in refusal(capsys, "eval", own, "--data", tmp_path / "two")
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / "two" / "ab"[k]).rename(tmp_path / "two" / name)
    (tmp_path / "two" / "cat" / "1.jpg").write_bytes(b"\xff\xd8nothing")
    assert "cat/1.jpg" in refusal(capsys, "eval", own, "--data", tmp_path / "two")
