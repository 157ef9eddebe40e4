"""The whole baseline through its command line: what it reads, what it writes, what it refuses."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcls import metrics
from jaxcls.classical import run, sift
from jaxcls.cli import command
from jaxcls.data import sources
from jaxcls.data.base import ArraySource

pytest.importorskip("skimage", reason="needs the extra 'classical'")
pytest.importorskip("cv2", reason="needs the extra 'classical'")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def baseline(capsys):
    """`baseline(*arguments) -> (status, output, error)`."""

    def call(*arguments):
        status = command.main(["baseline", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def stored(workdir, split):
    with np.load(workdir / "eval" / f"{split}-0.npz") as file:
        return dict(file)


@pytest.fixture
def folder(tmp_path):
    """Stripes that lie and stripes that stand, of many sizes, in split folders train and val."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 12), ("val", 6)):
        for name in ("lying", "standing"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for i in range(n):
                height, width = rng.integers(40, 60, 2)
                stripes = 128 + 100 * np.sin(np.arange(height) * rng.uniform(0.5, 0.7))[:, None]
                image = (stripes + rng.integers(-20, 21, (height, width))).clip(0, 255).astype(np.uint8)
                image = np.repeat((image.T if name == "standing" else image)[..., None], 3, axis=2)
                Image.fromarray(image).save(tmp_path / "set" / split / name / f"{i}.png")
    return tmp_path / "set"


def test_digits_end_to_end(baseline, tmp_path):
    """The rows are those that a training run tests on."""
    status, out, _ = baseline("--data=digits", "--C", 0.01, "--cell=8", "--seed=1", "--workdir", tmp_path / "w")
    assert status == 0
    test = sources.load("digits", validation=0.1, seed=1)["test"]
    got = stored(tmp_path / "w", "test")
    np.testing.assert_array_equal(got["label"], test.labels)
    np.testing.assert_array_equal(got["index"], np.arange(len(test)))
    assert got["logits"].dtype == np.float32 and got["label"].dtype == got["index"].dtype == np.int32
    results = json.loads((tmp_path / "w" / "results.json").read_text())
    assert list(results) == ["test"]
    figures = metrics.of_logits(got["logits"], got["label"])
    assert results["test"] == figures | {
        "step": 0,
        "interval": list(metrics.wilson_interval(figures["correct"], figures["count"])),
    }
    assert results["test"]["accuracy"] > 0.94
    assert f"test accuracy  {figures['accuracy']:.2%} (95 % interval" in out
    record = json.loads((tmp_path / "w" / "classical.json").read_text())
    assert record["C"] == 0.01 and record["classes"] == [str(i) for i in range(10)]


def test_a_config_gives_the_data_and_a_second_run_the_same_bits(baseline, tmp_path):
    config = f"--config={ROOT / 'configs' / 'lenet5_digits.py'}"
    logits = []
    for name in ("a", "b"):
        arguments = [config, "--config.seed=2", "--features=pixels", "--classifier=logistic", "--train-limit=200"]
        assert baseline(*arguments, "--C", 0.01, "--workdir", tmp_path / name)[0] == 0
        logits.append(stored(tmp_path / name, "test")["logits"])
    np.testing.assert_array_equal(*logits)
    kept = json.loads((tmp_path / "a" / "config.json").read_text())
    assert kept["seed"] == 2 and kept["data"]["name"] == "digits" and kept["model"]["name"] == "pixels+logistic"


@pytest.mark.parametrize("features", run.SIDES)
def test_a_folder_with_val_only_says_that_it_chose(baseline, folder, tmp_path, features):
    options = ("--words=8",) if features == "sift" else ()
    arguments = [f"--data=folder/{folder}", f"--features={features}", "--size=32", "--C", 1e-4, 1e-3, *options]
    status, out, err = baseline(*arguments, "--workdir", tmp_path / "w")
    assert (status, err) == (0, "")
    assert "it chose C, so this is optimistic" in out
    results = json.loads((tmp_path / "w" / "results.json").read_text())
    assert list(results) == ["validation"] and results["validation"]["count"] == 12
    if features == "hog":
        assert results["validation"]["accuracy"] == 1


def test_the_vocabulary_never_sees_other_than_training_pictures(baseline, tmp_path, monkeypatch):
    seen, learn = [], sift.learn

    def spy(images, **settings):
        seen.extend(images)
        return learn(seen, **settings)

    monkeypatch.setattr(sift, "learn", spy)
    data = "synthetic/24x64x1x3"
    arguments = [f"--data={data}", "--features=sift", "--words=8", "--C", 0.01, "--workdir", tmp_path / "w"]
    assert baseline(*arguments)[0] == 0
    train = sources.load(data, validation=0.1)["train"]
    assert {image.tobytes() for image in seen} == {image.tobytes() for image in train.images}


def test_the_choice_does_not_depend_on_the_test_split(baseline, tmp_path, monkeypatch):
    """With other pictures in the test split everything stays but the result on it."""
    arguments = ["--data=digits", "--features=pixels", "--train-limit=100", "--C", 0.01, 0.1]
    open_checked = run.open_checked

    def negative(*args):
        splits = open_checked(*args)
        test = splits["test"]
        return splits | {"test": ArraySource(255 - test.images, test.labels, test.classes, test.ids)}

    def measured(workdir):
        assert baseline(*arguments, "--workdir", workdir)[0] == 0
        record = json.loads((workdir / "classical.json").read_text())
        results = json.loads((workdir / "results.json").read_text())
        validation = dict(np.load(next((workdir / "eval").glob("validation-*.npz"))))
        return record["C"], results["test"]["accuracy"], validation["logits"]

    c, accuracy, logits = measured(tmp_path / "a")
    monkeypatch.setattr(run, "open_checked", negative)
    other_c, other_accuracy, other_logits = measured(tmp_path / "b")
    assert (c, logits.tobytes()) == (other_c, other_logits.tobytes()) and accuracy > 0.8 > other_accuracy


def test_a_limit_keeps_the_proportions_of_the_classes(baseline, tmp_path):
    status, out, _ = baseline(
        "--data=digits", "--features=pixels", "--train-limit=100", "--C", 0.01, "--workdir", tmp_path
    )
    assert status == 0 and "train 100, validation 270, test 268" in out


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give --data="),
        (["--data=digits", "--features=hogg", "--classifier=smv"], "--features is 'hogg'; did you mean 'hog'?"),
        (["--data=digits", "--classifier=smv"], "--classifier is 'smv'; did you mean 'svm'?"),
        (["--data=digits", "--features=hog", "--words=9"], "--words has no effect on --features hog"),
        (["--data=digits", "--features=sift", "--colour=strongest"], "--colour of sift is 'strongest'"),
        (["--data=digits", "--C", "0"], "--C 0: C must be above 0"),
        (["--data=digits", "--smote", "--class-weight=balanced"], "has no effect after --smote"),
        (["--data=digits", "--config.schedule.peak=1"], "--config.schedule.peak has no effect here"),
        (["--data=digits", "--config.sed=1"], "did you mean 'config.seed'?"),
        (["--data=digits", "--config.seed"], "write --config.seed=..."),
        (["--data=digitz"], "did you mean 'digits'?"),
        (["--data=digits", "--cell=20"], "hold no 2 x 2 cells of 20 pixels"),
    ],
)
def test_mistakes_are_told_in_a_line(baseline, tmp_path, arguments, message):
    status, _, err = baseline(*arguments, "--workdir", tmp_path / "w")
    assert status == 2 and message in err and "Traceback" not in err
    assert all(line.startswith("error: ") for line in err.splitlines())
    assert not (tmp_path / "w" / "config.json").exists()  # which would keep the workdir for this mistake


@pytest.mark.parametrize(
    "features, module, package", [("hog", "skimage.feature", "scikit-image"), ("sift", "cv2", "opencv-python-headless")]
)
def test_a_missing_package_is_named_with_the_command(baseline, tmp_path, monkeypatch, features, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    status, _, err = baseline("--data=digits", f"--features={features}", "--workdir", tmp_path)
    assert status == 2 and f"pip install {package}\n" in err


def test_unreadable_pictures_are_named(baseline, folder, tmp_path):
    (folder / "train" / "lying" / "3.png").write_bytes(b"no picture")
    status, _, err = baseline(f"--data=folder/{folder}", "--workdir", tmp_path / "w")
    assert status == 2 and "1 picture in train" in err and "train/lying/3.png" in err


def test_a_workdir_of_another_run_is_refused(baseline, tmp_path):
    arguments = ["--data=digits", "--features=pixels", "--train-limit=100", "--C", "0.01", "--workdir", tmp_path]
    assert baseline(*arguments)[0] == 0
    assert baseline(*arguments)[0] == 0
    status, _, err = baseline(*arguments, "--classifier=logistic")
    assert status == 2 and "holds a run of another config: config.model.fields" in err
