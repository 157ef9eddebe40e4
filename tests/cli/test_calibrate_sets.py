"""`jaxcls calibrate` where labels are sets, on workdirs as runs leave them."""

import numpy as np
import pytest
import set_runs
import workdirs
from sklearn import metrics as sk

from jaxcls.cli.command import main
from jaxcls.measure import decision
from jaxcls.measure.multilabel import answers

NAMES = ["ok", "dent", "a=b", "rare"]


@pytest.fixture
def workdir(tmp_path):
    splits = {name: set_runs.draw(400, 4, seed=i, scale=2.0, bias=1.0, rarest=0.01)
              for i, name in enumerate(("validation", "test"))}  # fmt: skip
    set_runs.make_run(tmp_path / "run", splits, classes=NAMES)
    return tmp_path / "run"


def run(capsys, *arguments):
    """(exit status, standard output, standard error)."""
    status = main(["calibrate", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_without_apply_nothing_is_written_and_with_it_what_was_shown(capsys, workdir):
    options = ["--f1", "--recall", "dent=0.9", "--outliers=energy"]
    before = sorted(workdir.rglob("*"))
    status, shown, err = run(capsys, workdir, *options)
    assert (status, err) == (0, "") and "nothing was written" in shown and sorted(workdir.rglob("*")) == before
    status, told, _ = run(capsys, workdir, *options, "--apply")
    assert status == 0 and told.splitlines()[:-1] == shown.splitlines()[:-1]
    made = decision.read(workdir, 20)
    assert decision.of_sets(made) and made["outliers"]["accepted"] == 0.95
    assert [entry["kind"] for entry in made["thresholds"]] == ["f1", "recall", "f1", "f1"]
    assert "2 of 4 classes by a scale and a bias of its own" in told and "2 classes with one temp" in told
    _, told, _ = run(capsys, workdir)
    assert "in place of the earlier one with its thresholds, outliers" in told
    _, told, _ = run(capsys, workdir, "--apply")
    _, told, _ = run(capsys, workdir)
    assert "in place" not in told  # thresholds of 0.5 were not asked for


def test_the_figures_on_test_are_of_what_is_stored(capsys, workdir):
    _, out, _ = run(capsys, workdir, "--f1", "--apply")
    logits, label = set_runs.draw(400, 4, seed=1, scale=2.0, bias=1.0, rarest=0.01)
    made = decision.read(workdir, 20)
    named = answers.chosen(answers.probabilities(logits, made), made)
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("test"))
    values = [sk.f1_score(label, said, average="macro") for said in (logits >= 0, named)]
    found = lines[start + 1].split()
    assert found[:2] == ["F1,", "macro"] and [found[2], found[7]] == [f"{100 * x:.2f}" for x in values]
    assert lines[start].endswith("unchanged")  # an order is never changed
    assert next(line for line in lines[start:] if "NLL" in line).endswith("better")


def test_one_share_for_all_and_what_cannot_be_had_is_told(capsys, workdir):
    logits, label = set_runs.draw(300, 4)
    label[:, 3] = 0
    np.savez(workdir / "eval/validation-20.npz", logits=logits, label=label, index=np.arange(300))
    status, out, _ = run(capsys, workdir, "--recall", "all=90%", "--apply")
    kinds = [entry["kind"] for entry in decision.read(workdir, 20)["thresholds"]]
    assert status == 0 and kinds == ["recall"] * 3 + ["half"]
    assert "1 class keeps the threshold 0.5: no picture of validation is of class 'rare'" in out


@pytest.mark.parametrize("arguments, message", [
    (["--costs=costs.csv"], "--costs is for one label a picture, and the labels of this run are sets"),
    (["--risk=0.1"], "--risk is for one label a picture"),
    (["--coverage=0.9"], "--coverage is for one label a picture"),
    (["--recall=no=0.9"], "there is no class 'no'; there are: ok, dent, a=b, rare"),
    (["--recall=ok=0.9", "--precision=ok=0.9"], "class 'ok' has two thresholds"),
    (["--accept=0.9"], "give --outliers with it"),
    (["--step=7"], "no logits of validation for step 7"),
])  # fmt: skip
def test_what_cannot_be_done_is_one_line(capsys, workdir, arguments, message):
    status, out, err = run(capsys, workdir, *arguments)
    assert (status, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert not (workdir / "calibration").exists()


def test_f1_is_for_sets(capsys, tmp_path):
    workdirs.write(tmp_path / "one", {"validation": workdirs.draw(60, 3)}, best=None)
    status, out, err = run(capsys, tmp_path / "one", "--f1")
    assert (status, out) == (2, "") and "--f1 is for labels that are sets" in err and err.count("\n") == 1


def test_answers_that_are_not_finite_are_told_of(capsys, workdir):
    logits, label = set_runs.draw(300, 4)
    for values in (np.where(np.arange(300)[:, None] % 30, logits, np.nan), logits * np.nan):
        np.savez(
            workdir / "eval/validation-20.npz", logits=values.astype(np.float32), label=label, index=np.arange(300)
        )
        status, out, err = run(capsys, workdir, "--f1", "--apply")
        assert (status, err) == (0, "") and "NLL" in out
