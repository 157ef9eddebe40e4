"""What is opened answers as `jaxcls predict` does, says which version it is, and shows no path of the server."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from fake_served import Fake, save_step, served
from onnx_files import CLASSES, model, told

import jaxcls
from jaxcls.errors import UserError
from jaxcls.measure import decision
from jaxcls.serve import artefacts
from jaxcls.serve.artefacts import named, open_model, stamp


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return str(model(tmp_path_factory.mktemp("artefacts") / "net.onnx", told()))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("artefacts") / "run"
    save_step(workdir, 0)
    return str(workdir)


def pictures(predictor, n=3):
    return np.random.default_rng(1).integers(0, 256, (n, *predictor.picture), np.uint8)


@pytest.mark.parametrize("which", ["file", "run"])
def test_answers_are_those_of_the_predictor(which, request):
    path = request.getfixturevalue(which)
    opened, expected = open_model(path), jaxcls.load(path)
    images = pictures(expected)
    assert opened.answer(images, 2) == expected(images, 2)
    raw = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    assert (opened.prepare(raw) == expected.prepare(raw)).all()
    assert opened.backend == {"file": "onnxruntime", "run": "jax"}[which]
    assert opened.describe()["classes"] == list(expected.classes)


@pytest.mark.parametrize("which", ["file", "run"])
def test_a_description_is_json_and_without_paths(which, request):
    path = request.getfixturevalue(which)
    text = json.dumps(open_model(path, "mine").describe())
    assert os.path.dirname(path) not in text
    assert json.loads(text)["name"] == "mine" and json.loads(text)["picture"][2] == 3


def test_no_message_has_the_path_of_the_server():
    class Broken(Fake):
        def __call__(self, images, top=5):
            raise UserError("/somewhere/fake.onnx: its output is strange")

    with pytest.raises(UserError) as caught:
        served(Broken()).answer(np.zeros((1, 1, 1, 1), np.uint8))
    assert str(caught.value) == "fake: its output is strange"


def test_whatever_preparing_raises_is_the_pictures_own_line():
    class Broken(Fake):
        def prepare(self, image, name=""):
            raise ZeroDivisionError("by zero")

    with pytest.raises(UserError, match="^x.png: it can't be used .ZeroDivisionError by zero"):
        served(Broken()).prepare(b"", "x.png")


def test_the_version_of_a_file_is_its_step_and_its_bytes(tmp_path):
    first = model(tmp_path / "a.onnx", told())
    version = open_model(first).version
    copied = tmp_path / "b.onnx"
    copied.write_bytes(first.read_bytes())
    assert open_model(copied).version == version and version.startswith("7-")
    assert open_model(model(tmp_path / "a.onnx", told(calibration=None))).version != version
    assert open_model(model(tmp_path / "a.onnx")).version.isalnum()  # nobody's, without a step


def test_the_version_of_a_run_changes_with_its_step_and_its_calibration(tmp_path):
    workdir = tmp_path / "run"
    classes = save_step(workdir, 0)
    found, stamps = [open_model(workdir).version], [stamp(workdir)]
    assert open_model(workdir).version == found[0] and stamp(workdir) == stamps[0]
    logits = np.random.default_rng(0).normal(size=(30, len(classes)))
    decision.path(workdir, 0).parent.mkdir()
    decided = decision.fit(logits, logits.argmax(1), classes)
    decision.path(workdir, 0).write_text(json.dumps({**decided, "step": 0, "split": "validation"}))
    found, stamps = [*found, open_model(workdir).version], [*stamps, stamp(workdir)]
    save_step(workdir, 3, scale=2)
    found, stamps = [*found, open_model(workdir).version], [*stamps, stamp(workdir)]
    assert len(set(found)) == 3 == len(set(stamps))
    assert [version.partition("-")[0] for version in found] == ["0", "0", "3"]
    assert open_model(workdir / "checkpoints" / "0").version == found[1]  # one step, and no newer one


@pytest.mark.parametrize(
    "argument, name, path",
    [
        ("runs/digits", "digits", "runs/digits"),
        ("runs/digits/", "digits", "runs/digits/"),
        ("runs/digits/checkpoints/120", "digits", "runs/digits/checkpoints/120"),
        ("x/pets v2.onnx", "pets-v2", "x/pets v2.onnx"),
        ("pets=x/y.onnx", "pets", "x/y.onnx"),
        ("a=b=c.onnx", "a", "b=c.onnx"),
        ("runs/lr=0.1", "lr-0.1", "runs/lr=0.1"),
    ],
)
def test_names(argument, name, path):
    assert named(argument) == (name, path)


def test_a_path_that_is_there_is_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1").mkdir()
    assert named("lr=1") == ("lr-1", "lr=1") and named("lr=2") == ("lr", "2")


@pytest.mark.parametrize("argument", ["=x.onnx", "a b=x.onnx", "name=", "/", "x/ä.onnx", f"{'n' * 101}=x.onnx"])
def test_what_is_no_name(argument):
    if argument == "x/ä.onnx":  # a path's own name is mended
        argument = "x/.onnx"
    with pytest.raises(UserError, match="NAME=") as caught:
        named(argument)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["missing.onnx", "missing", "empty.onnx", "noise.onnx", "features.onnx", "folder"])
def test_what_can_not_be_served(kind, tmp_path):
    path = tmp_path / kind
    if kind == "empty.onnx":
        path.touch()
    if kind == "noise.onnx":
        path.write_bytes(b"noise" * 100)
    if kind == "features.onnx":
        model(path, told("features"))
    if kind == "folder":
        path.mkdir()
    with pytest.raises(UserError) as caught:
        open_model(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_run(tmp_path):
    workdir = tmp_path / "run"
    save_step(workdir, 0)
    largest = max((p for p in (workdir / "checkpoints").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    with pytest.raises(UserError, match="is damaged"):
        open_model(str(workdir))


def test_a_file_that_changes_all_the_time(file, monkeypatch):
    numbers = iter(range(100))
    monkeypatch.setattr(artefacts, "stamp", lambda path: next(numbers))
    with pytest.raises(UserError, match="changed while it was read"):
        open_model(file)


@pytest.mark.parametrize("device", ["tpu", "cuda"])
def test_a_device_that_is_not_there(file, device):
    with pytest.raises(
        UserError, match={"tpu": "--device=tpu: ONNX files", "cuda": "no CUDAExecutionProvider"}[device]
    ):
        open_model(file, device=device)


def test_heat_maps(file, run):
    opened = open_model(run)
    image = pictures(opened.predictor, 1)[0]
    assert opened.explains == "Grad-CAM" == opened.describe()["heatmaps"]
    maps = [opened.heatmap(image, name) for name in (None, *opened.predictor.classes)]
    assert all(found.dtype == np.uint8 and found.shape[2] == 3 and min(found.shape[:2]) >= 224 for found in maps)
    best = opened.answer(image[None])[0]["class"]
    assert (maps[0] == maps[1 + opened.predictor.classes.index(best)]).all()
    assert any((maps[1] != other).any() for other in maps[2:])
    with pytest.raises(UserError, match="has no class 'cow'"):
        opened.heatmap(image, "cow")
    with pytest.raises(UserError, match="^net has no heat maps: .* `jaxcls export --features`"):
        open_model(file).heatmap(np.zeros((16, 16, 3), np.uint8))


def test_heat_maps_of_a_file(tmp_path):
    """Of the class that is asked for, beside the picture, as `jaxcls predict --heatmaps` draws them."""
    opened = open_model(model(tmp_path / "net.onnx", told(), features=True))
    image = pictures(opened.predictor, 1)[0]
    assert opened.explains == "CAM" == opened.describe()["heatmaps"]
    maps = [opened.heatmap(image, name) for name in (None, *CLASSES)]
    best = CLASSES[opened.predictor.logits(image[None])[0].argmax()]
    assert (maps[0] == maps[1 + CLASSES.index(best)]).all() and (maps[1] != maps[2]).any()
    assert maps[0].shape == (224, 224, 3) and maps[0].dtype == np.uint8


def test_a_file_is_opened_and_draws_without_jax(tmp_path):
    file = str(model(tmp_path / "net.onnx", told(), features=True))
    code = (
        f"import sys, numpy; from jaxcls.serve import registry as r; found = r.Registry.open([{file!r}]).get();"
        "found.heatmap(numpy.zeros((16, 16, 3), numpy.uint8)); print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr
