"""Probes of a frozen network: nearest neighbours, logistic regression on features, and the command line."""

import json

import jax
import numpy as np
import pytest

from jaxcls import metrics, models
from jaxcls.cli import command
from jaxcls.data import sources
from jaxcls.errors import UserError
from jaxcls.models import weight_files
from jaxcls.models.pretrained import load, to_state_dict
from jaxcls.tasks import neighbours


def draw(n, d=9, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(np.float32), rng.integers(0, classes, n).astype(np.int32)


@pytest.mark.parametrize("k", [1, 5, 300])
def test_unweighted_neighbours_are_those_of_scikit_learn(k, monkeypatch):
    neighbors = pytest.importorskip("sklearn.neighbors")
    monkeypatch.setattr(neighbours, "KNOWN", 64)  # several blocks, the last one short
    monkeypatch.setattr(neighbours, "QUERIES", 16)
    (train, labels), (test, _) = draw(150), draw(41, seed=1)
    ours = neighbours.Neighbours(train, labels, classes=4, k=k, temperature=0)
    theirs = neighbors.KNeighborsClassifier(min(k, 150), metric="cosine", algorithm="brute").fit(train, labels)
    np.testing.assert_array_equal(ours.logits(test).argmax(axis=1), theirs.predict(test))
    np.testing.assert_allclose(np.exp(ours.logits(test)), theirs.predict_proba(test), atol=2e-6)
    distance, _ = theirs.kneighbors(test)
    np.testing.assert_allclose(1 - ours.nearest(test)[0], distance, atol=1e-5)


def test_votes_are_weighted_by_similarity():
    neighbors = pytest.importorskip("sklearn.neighbors")
    (train, labels), (test, _) = draw(150), draw(41, seed=1)
    ours = neighbours.Neighbours(train, labels, classes=4, k=20, temperature=0.07)
    weights = lambda distance: np.exp((1 - distance) / 0.07)  # noqa: E731
    theirs = neighbors.KNeighborsClassifier(20, metric="cosine", algorithm="brute", weights=weights).fit(train, labels)
    np.testing.assert_allclose(np.exp(ours.logits(test)), theirs.predict_proba(test), rtol=1e-3, atol=2e-6)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of a random net for 10 classes and grey pictures."""
    model = models.create("simple_cnn_16_32", num_classes=10, channels=(16, 32), hidden=64)
    variables = jax.jit(lambda key: model.init(key, np.zeros((1, 8, 8, 1), np.float32), train=False))(jax.random.key(0))
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    weight_files.write(path, to_state_dict(jax.device_get(variables)), {})
    return path


def run(weights, workdir, *arguments):
    fields = ("--config.model.fields.hidden=64", "--config.model.fields.channels=(16, 32)")
    given = ["--model=simple_cnn_16_32", "--data=digits", f"--workdir={workdir}"]
    return command.main(["probe", str(weights), *given, *fields, *arguments])


def test_probes_of_a_random_net_are_better_than_chance_and_use_its_features_again(weights, tmp_path, capsys):
    linear_model = pytest.importorskip("sklearn.linear_model")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    assert run(weights, tmp_path / "run", "--C", "0.01", "0.1") == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    record = json.loads((tmp_path / "run" / "probe.json").read_text())
    assert list(results) == ["test"] and results["test"]["accuracy"] > 0.8
    with np.load(tmp_path / "run" / "eval" / "test-0.npz") as file:
        assert metrics.of_logits(file["logits"], file["label"])["correct"] == results["test"]["correct"]
        stored = dict(file)
    table = {split: np.load(tmp_path / "run" / f"features-{split}.npz") for split in ("train", "validation", "test")}
    assert results["test"]["count"] == len(table["test"]["label"]) and table["train"]["features"].shape[1] == 64
    scaler = preprocessing.StandardScaler().fit(table["train"]["features"])
    theirs = linear_model.LogisticRegression(C=record["C"], max_iter=500)
    theirs.fit(scaler.transform(table["train"]["features"]), table["train"]["label"])
    guess = theirs.predict(scaler.transform(table["test"]["features"]))
    assert (guess == stored["logits"].argmax(axis=1)).all()
    assert list(results["test"]["interval"]) == list(
        metrics.wilson_interval(results["test"]["correct"], results["test"]["count"])
    )
    capsys.readouterr()
    assert run(weights, tmp_path / "run", "--method=knn") == 0
    assert capsys.readouterr().out.count("features from") == 3
    assert json.loads((tmp_path / "run" / "results.json").read_text())["test"]["accuracy"] > 0.8


def test_features_are_those_of_the_model_on_every_picture_in_order(weights, tmp_path):
    assert run(weights, tmp_path / "run", "--method=knn") == 0
    found = np.load(tmp_path / "run" / "features-test.npz")
    source = sources.load("digits", validation=0.1, split_ratios=(0.7, 0.15, 0.15), seed=0)["test"]
    model = models.create("simple_cnn_16_32", num_classes=10, channels=(16, 32), hidden=64)
    variables = jax.eval_shape(lambda k: model.init(k, np.zeros((1, 8, 8, 1), np.float32)), jax.random.key(0))
    variables, _ = load(
        model, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), variables), weight_files.read(weights)
    )
    images = source.images.astype(np.float32) / 255
    _, out = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    np.testing.assert_allclose(found["features"], out["pre_logits"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["label"], source.labels)


def test_few_labels_are_drawn_stored_and_read_again(weights, tmp_path, capsys):
    """Accuracy of each draw, its mean and deviation; a list that is changed in the workdir counts as it is."""
    arguments = ("--labels=2%", "--draws=2", "--protocol=lightly")
    assert run(weights, tmp_path / "run", *arguments) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())["test"]
    each = [json.loads((tmp_path / "run" / f"draw{i}" / "probe.json").read_text()) for i in range(2)]
    assert len(results["draws"]) == 2
    assert results["accuracy"] == pytest.approx(np.mean(results["draws"]))
    assert results["accuracy_sd"] == pytest.approx(abs(np.diff(results["draws"])[0]) / 2**0.5)
    assert [x["labels"] for x in each] == [25, 25] and each[0]["augmented"] is False
    assert each[0]["best_epoch"]["accuracy"] >= results["draws"][0]
    lists = [(tmp_path / "run" / f"labels-2%-draw{i}.csv").read_text().split() for i in range(2)]
    assert len(set(lists[0])) == 25 and set(lists[0]) != set(lists[1])
    (tmp_path / "run" / "labels-2%-draw1.csv").write_text("\n".join(lists[0]))
    assert run(weights, tmp_path / "run", *arguments) == 0
    again = json.loads((tmp_path / "run" / "results.json").read_text())["test"]["draws"]
    assert again == [results["draws"][0]] * 2
    given = tmp_path / "run" / "labels-2%-draw0.csv"
    assert run(weights, tmp_path / "run", f"--rows={given}", "--knn=lightly") == 0
    record = json.loads((tmp_path / "run" / "probe.json").read_text())
    assert (record["labels"], record["k"], record["temperature"]) == (25, 200, 0.1)
    capsys.readouterr()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--protocol=simclr", "--method=knn"], "leave --method, --C"),
        (["--protocol=simlcr"], "--protocol is 'simlcr'; did you mean"),
        (["--knn=lightly", "--k=3"], "leave these options out"),
        (["--knn=byol"], "--knn is 'byol'"),
        (["--draws=2"], "--draws has no effect without --labels"),
        (["--labels=1%", "--rows=list.csv"], "give one of them"),
        (["--labels=some"], "can be a share such as 1%"),
        (["--rows=none.csv"], "none.csv can't be read"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(weights, arguments, message, tmp_path, capsys):
    assert run(weights, tmp_path / "run", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["none.safetensors"], "of a file of weights name the model"),
        (["none.safetensors", "--model=resnet18"], "name the pictures"),
        (["none.safetensors", "--model=simple_cnn_16_32", "--data=digits"], "there is no such file"),
        (["none.safetensors", "--model=simple_cnn_16_32", "--data=digits", "--method=svm"], "it can be linear, knn"),
        (["none.safetensors", "--model=simple_cnn_16_32", "--data=digits", "--method=knn", "--smote"], "remove it"),
        (["none.safetensors", "--model=simple_cnn_16_32", "--data=digits", "--config.optim.name=adam"], "no effect"),
        (["none.safetensors", "--model=resnet_18", "--data=digits"], "did you mean"),
    ],
)
def test_what_cannot_work_is_one_line(arguments, message, tmp_path, capsys):
    assert command.main(["probe", *arguments, f"--workdir={tmp_path}/run"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_k_and_temperature_are_checked():
    features, labels = draw(10)
    with pytest.raises(UserError, match="k must be at least 1"):
        neighbours.Neighbours(features, labels, classes=4, k=0)
    with pytest.raises(UserError, match="temperature not negative"):
        neighbours.Neighbours(features, labels, classes=4, temperature=-1)
