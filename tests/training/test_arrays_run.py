"""A run on arrays in memory: it goes on with the same ones, tells when they are gone, and takes them from a file."""

import json

import numpy as np
import pytest

import jaxcls
from jaxcls.cli import command
from jaxcls.errors import UserError


@pytest.mark.slow
def test_a_run_on_arrays(tmp_path, capsys):
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = (80 * labels[:, None, None] + rng.integers(0, 80, (90, 28, 28))).astype(np.uint8)
    data = {"train": (images[:60], labels[:60]), "test": (images[60:], labels[60:])}
    settings = {"batch_size": 16}
    workdir = tmp_path / "run"
    first = jaxcls.train("lenet5_mnist:tiny", data=data, workdir=workdir, **settings)
    assert json.loads((workdir / "config.json").read_text())["data"]["name"] == "arrays"
    again = jaxcls.train(data=data, workdir=workdir)
    assert again["test"]["loss"] == first["test"]["loss"] and again["test"]["count"] == 30
    with pytest.raises(UserError, match="given in memory"):
        jaxcls.train(workdir=workdir)
    other = {**data, "train": (255 - images[:60], labels[:60])}
    with pytest.raises(UserError, match="60 changed in train"):
        jaxcls.train(data=other, workdir=workdir)

    content = {f"{split}_{what}": x for split, pair in data.items() for what, x in zip(("x", "y"), pair, strict=True)}
    np.savez(tmp_path / "same.npz", **content)
    capsys.readouterr()
    assert not command.main(["eval", str(workdir), f"--config.data.name=arrays/{tmp_path}/same.npz"])
    assert f"{100 * first['test']['accuracy']:.2f}%" in capsys.readouterr().out
    assert not command.main(["report", str(workdir)])
    assert command.main(["eval", str(workdir)]) == 2
