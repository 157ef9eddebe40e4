"""What is done with all folds of a run: their mean as one network, as files, served; what is of one fold says so."""

import json
import types

import jax
import numpy as np
import pytest
from scipy.special import expit, softmax

import jaxcls
from jaxcls.checkpoints import folds
from jaxcls.cli import command
from jaxcls.defaults import default_config
from jaxcls.predict.pooling import averaged
from jaxcls.serve import artefacts
from jaxcls.tasks import fold_networks
from jaxcls.tasks.networks import Network


def tiny(**changes):
    """A small net on 60 made pictures in 3 classes, without an average of weights; `changes` are flat keys."""
    config = default_config()
    config.data.name, config.data.validation = "synthetic/60x12x1x3", 0.25
    config.model.name, config.model.fields = "simple_cnn_16_32", {"channels": (3, 4), "hidden": 5}
    config.duration, config.batch_size, config.schedule.peak = "2 steps", 16, 0.1
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Of two folds, trained from Python."""
    workdir = tmp_path_factory.mktemp("used") / "run"
    found = jaxcls.train(tiny(), workdir=workdir, folds=2)
    assert folds.count(workdir) == 2 and len(found["folds"]["figures"]["accuracy"]["values"]) == 2
    return workdir


@pytest.fixture(scope="module")
def images(workdir):
    return np.random.default_rng(0).integers(0, 256, (7, *jaxcls.load(workdir).picture), np.uint8)


class Given:
    """A model whose logits are its weights."""

    @staticmethod
    def apply(variables, image, train):
        return variables["z"], {}


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("calibrated", [False, True])
def test_one_network_answers_by_the_mean_of_calibrated_probabilities(output, calibrated):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 8, (3, 40, 5)).astype(np.float32)
    decided, stated = None, expit if output == "sigmoid" else lambda z: softmax(z, axis=-1)
    scale, bias = 1.0, 0.0
    if calibrated and output == "softmax":
        decided, scale = {"temperature": 1.7}, 1 / 1.7
    elif calibrated:
        scale, bias = np.array([2, 1, 1, 0.5, 1]), np.array([0.5, 0, -1, 0, 0])
        decided = {"scale": scale.tolist(), "bias": bias.tolist(), "output": "sigmoid"}
    made = {"model": Given, "classes": tuple("abcde"), "preprocessing": None, "output": output}
    parts = [Network("n", "n", variables={"z": z}, source={"sha256": "0"}, **made) for z in logits]
    whole = fold_networks.together(parts, decided)
    found = np.asarray(whole.answer(whole.variables, None), np.float64)
    expected = stated(logits.astype(np.float64) * scale + bias).mean(0)
    np.testing.assert_allclose(stated(found * scale + bias), expected, rtol=3e-5, atol=1e-12)
    np.testing.assert_allclose(found, averaged(logits, decided, sets=output == "sigmoid"), rtol=1e-4, atol=1e-4)


def test_the_function_and_the_file_answer_as_the_predictor(workdir, images, tmp_path, monkeypatch):
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name)
    from jaxcls.export import latency

    monkeypatch.setattr(latency.measure, "__defaults__", ((1,), 0.0))
    predictor, out = jaxcls.load(workdir), tmp_path / "mean.onnx"
    expected = predictor.logits(images)
    np.testing.assert_allclose(jax.jit(predictor.function())(images), expected, rtol=1e-5, atol=1e-5)
    assert command.main(["export", str(workdir), "--to=onnx", f"--out={out}"]) == 0
    file = jaxcls.load(out)
    assert np.linalg.norm(file.logits(images) - expected) <= 1e-5 * np.linalg.norm(expected)
    ours, theirs = (np.array([[r["probability"] for r in row["top"]] for row in p(images)]) for p in (predictor, file))
    np.testing.assert_allclose(theirs, ours, rtol=1e-5)
    assert file.classes == predictor.classes and file.step == folds.STEP
    assert json.loads((workdir / "export.json").read_text())


def test_it_is_served_and_another_calibration_or_fold_is_another_version(workdir, images):
    opened = artefacts.open_model(workdir)
    assert opened.answer(images, 2) == jaxcls.load(workdir)(images, 2)
    assert opened.version.startswith("0-") and "fold-1" in opened.unexplained and str(workdir) not in opened.unexplained
    before = artefacts.stamp(workdir)
    assert len(before) == len(set(before)) == 7  # of each fold manifest, calibration, distances; calibration of all
    path = workdir / "calibration/0.json"
    text = path.read_text()
    path.write_text(json.dumps({**json.loads(text), "temperature": 1.5}))
    again = artefacts.open_model(workdir)
    assert again.stamp != before and again.version != opened.version
    path.write_text(text)
    assert artefacts.open_model(workdir).version == opened.version


def test_what_is_of_one_network_says_which_folder_has_one(workdir, tmp_path, capsys, monkeypatch):
    run, fold = str(workdir), str(workdir / "fold-1")
    of_one = f"{run} has 2 folds, and this is done with one of them: {fold}"
    for words, message in (
        (["eval", run], of_one),
        (["export", run, f"--out={tmp_path}/a.safetensors"], of_one),
        (["summarize", run], of_one),
        (["inspect", run], of_one),
        (["train", f"--from={run}", f"--workdir={tmp_path}/a"], of_one),
        (["train", "--config=lenet5_digits", f"--config.model.pretrained={run}", f"--workdir={tmp_path}/a"], of_one),
        (["export", run, "--to=onnx", "--features", f"--out={tmp_path}/a.onnx"], "export the folder of a fold"),
        (["predict", run, f"--heatmaps={tmp_path}/maps", "a.png"], "take the folder of a fold, such as its fold-1"),
    ):
        assert command.main(words) == 2, words
        assert message in (error := capsys.readouterr().err), error
        assert len(error.splitlines()) == 1
    with pytest.raises(jaxcls.errors.UserError, match="features are of one network; load the folder of a fold"):
        jaxcls.load(workdir).features(np.zeros((1, 12, 12, 1), np.uint8))
    monkeypatch.setattr(folds, "count", lambda path: 3)  # as of a run that was killed
    with pytest.raises(jaxcls.errors.UserError, match="has 2 of its 3 folds: let it come to its end"):
        artefacts.open_model(workdir)


def test_the_same_call_goes_on_with_folds_of_pictures_in_memory(tmp_path, monkeypatch):
    from jaxcls.training import folding

    seen = []
    kept = lambda config, place, count, **how: seen.append((config.data.name, count)) or {}  # noqa: E731
    monkeypatch.setattr(folding, "run", kept)
    pictures = np.zeros((6, 8, 8, 1), np.uint8), np.arange(6) % 2
    jaxcls.train(tiny(), data={"train": pictures}, workdir=tmp_path / "a", folds=3)
    monkeypatch.setattr(folds, "count", lambda path: 3)
    jaxcls.train(tiny(), data={"train": pictures}, workdir=tmp_path / "a")
    assert seen == [("arrays", 3)] * 2
    with pytest.raises(jaxcls.errors.UserError, match="--folds=4: .* has 3 folds"):
        jaxcls.train(tiny(), workdir=tmp_path / "a", folds=4)


def test_folds_of_a_recipe_that_is_chosen(tmp_path, monkeypatch):
    """The config is the one that was chosen, and is kept."""
    from jaxcls.training import chosen, folding

    seen, config = [], tiny()
    monkeypatch.setattr(folding, "run", lambda made, place, count, **how: seen.append((made, count)) or {})
    found = types.SimpleNamespace(config=config, lines=lambda: ["why"])
    monkeypatch.setattr(chosen, "chosen", lambda settings: found)
    monkeypatch.setattr(chosen, "text", lambda *_: "config")
    words = ["train", "--data=synthetic/60x12x1x3", f"--workdir={tmp_path}/new"]
    assert command.main([*words, "--folds=3"]) == 0
    assert seen == [(config, 3)]
    assert command.main([*words, "--folds=1"]) == 2
