"""A workdir that the code of 0.1 wrote (before modules moved and data.sizes was renamed) opens in every command.

tests/fixtures/workdir_0_1 is what `python -m jaxcls.main --config=configs/lenet5_digits.py` left there with a small
model (simple_cnn_16_32 of 4 and 6 channels) after 8 epochs, less curves and report.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcls.cli.command import main

FIXTURE = Path(__file__).parents[1] / "fixtures" / "workdir_0_1"
STORED = json.loads((FIXTURE / "results.json").read_text())["test"]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A copy, for commands that add files to it."""
    return Path(shutil.copytree(FIXTURE, tmp_path_factory.mktemp("old") / "run"))


def test_eval_measures_what_was_measured(workdir, capsys):
    before = dict(np.load(FIXTURE / "eval/test-152.npz"))
    assert main(["eval", str(workdir)]) == 0
    out, err = capsys.readouterr()
    assert f"accuracy {STORED['accuracy']:.2%}" in out and "268 examples" in out
    assert err.count("resize_schedule") == 1  # the line that names the new key
    after = dict(np.load(workdir / "eval/test-152.npz"))
    assert after.keys() == before.keys()
    np.testing.assert_allclose(after["logits"], before["logits"], atol=1e-5)
    assert (after["label"] == before["label"]).all() and (after["index"] == before["index"]).all()
    assert (workdir / "report.html").stat().st_size > 10_000


def test_train_takes_it_up(workdir, capsys, tmp_path):
    """It is a finished run: nothing is trained, the result is that of before."""
    copy = shutil.copytree(FIXTURE, tmp_path / "run")
    assert main(["train", f"--workdir={copy}"]) == 0
    assert "all steps are done" in capsys.readouterr().out
    assert json.loads((copy / "results.json").read_text())["test"]["correct"] == STORED["correct"]


def test_predict(workdir, capsys, tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.png")
    assert main(["predict", str(workdir), str(tmp_path / "a.png"), "--format=jsonl"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert row["class"] in "0123456789"


@pytest.mark.parametrize(
    "words, said",
    [
        (["check", "--workdir={run}"], "ready"),
        (["report", "{run}"], "report.html"),
        (["calibrate", "{run}"], "temperature"),
        (["compare", "{run}", "{copy}"], "268"),
        (["inspect", "{run}"], "simple_cnn_16_32"),
        (["inspect", "{run}", "--verify"], "as written"),
        (["inspect", "{run}", "--diff", "{run}"], ""),
        (["export", "{run}", "--out", "{out}/weights.safetensors"], ""),
        (["average", "{run}", "{copy}", "--out", "{out}/average"], "average of 2"),
    ],
    ids=lambda value: value[0] + "".join(value[2:3]) if isinstance(value, list) else "",
)
def test_it_opens(workdir, words, said, capsys, tmp_path):
    copy = shutil.copytree(FIXTURE, tmp_path / "copy") if "{copy}" in words else None
    assert main([word.format(run=workdir, out=tmp_path, copy=copy) for word in words]) == 0
    assert said in capsys.readouterr().out


def test_robustness_opens_it_and_says_that_its_pictures_are_too_small(workdir, capsys):
    assert main(["robustness", str(workdir), "--limit", "16"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("pictures of 16x16 and more, not 8x8x1")
