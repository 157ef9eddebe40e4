"""The benchmark of label errors on digits with planted ones."""

import json

import numpy as np
import pytest

from jaxcls.data import sources
from scripts import load

bench = load("bench/cleaning.py")


@pytest.fixture
def noisy(tmp_path):
    """The true labels of the training digits in the order of their ids, and the same with a tenth of them wrong."""
    train = sources.load("digits")["train"]
    clean = train.labels[np.argsort(train.ids)]
    rng = np.random.default_rng(0)
    wrong = rng.random(len(clean)) < 0.1
    other = (clean + rng.integers(1, 10, len(clean))) % 10
    np.savez(tmp_path / "noisy.npz", none=clean, tenth=np.where(wrong, other, clean))
    return tmp_path / "noisy.npz"


@pytest.mark.slow
def test_planted_errors_are_measured(noisy, tmp_path, capsys):
    cache = tmp_path / "x.npy"
    options = ["--data", "digits", "--pictures", "500", "--json"]
    arguments = ["--noisy", str(noisy), "--cache", str(cache), *options]
    assert bench.main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pictures"] == 500 and len(np.load(cache)) == 500
    none, tenth = result["levels"]["none"], result["levels"]["tenth"]
    assert none["wrong"] == 0 and none["accuracy"] > 0.9 and all(x["recall"] == 0 for x in none["found"].values())
    assert 0.05 < tenth["wrong"] < 0.15 and tenth["ap"]["random"] == tenth["wrong"]
    assert tenth["ap"]["confidence"] > 0.8 and tenth["found"]["class_rate"]["f1"] > 0.7
    assert bench.main(arguments) == 0  # from the cache
    again = json.loads(capsys.readouterr().out)
    assert again["levels"]["tenth"]["found"] == tenth["found"]
    assert len(list(bench.lines(result))) == 1 + 2 * 8


def test_what_does_not_fit_is_one_line(noisy, tmp_path, capsys):
    assert bench.main(["--noisy", str(tmp_path / "none.npz"), "--data", "digits"]) == 2
    np.savez(tmp_path / "short.npz", few=np.zeros(5))
    assert bench.main(["--noisy", str(tmp_path / "short.npz"), "--data", "digits"]) == 2
    said = capsys.readouterr().err
    assert "none.npz" in said and "not as many labels" in said and said.count("\n") == 2
