"""`jaxcls compare` on runs whose labels are sets."""

import json

import numpy as np
import pytest
import set_runs
import workdirs
from sklearn import metrics as sk

from jaxcls.cli.command import main
from jaxcls.measure import decision as decisions
from jaxcls.measure.multilabel import comparison, decision, redraw
from jaxcls.measure.multilabel.redraw import Answers


@pytest.fixture(autouse=True)
def few_redraws(monkeypatch):
    monkeypatch.setattr(redraw, "MOST", 300)


def compared(capsys, *arguments):
    """(exit status, standard output, standard error)."""
    status = main(["compare", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def write(folder, noise=0.0, seed=0, peak=0.1, **options):
    """A run whose logits have so much noise more than the honest ones."""
    logits, label = set_runs.draw(300, 4)
    logits = (logits + noise * np.random.default_rng(seed).normal(size=logits.shape)).astype(np.float32)
    splits = {"validation": (logits, label), "test": (logits, label)}
    set_runs.make_run(folder, splits, seed=seed, config={"schedule.peak": peak}, **options)
    return folder


def test_a_worse_run_is_told_apart(capsys, tmp_path):
    a, b = write(tmp_path / "good"), write(tmp_path / "bad", noise=6.0, peak=0.5)
    status, out, err = compared(capsys, a, b, "--out", tmp_path / "out")
    assert (status, err) == (0, "") and "**bad is worse than good by" in out and "mAP, paired bootstrap" in out
    found = json.loads((tmp_path / "out/comparison.json").read_text(), parse_constant=pytest.fail)
    assert found["labels"] == "sets" and found["changes"] == {"schedule.peak": [0.1, 0.5]}
    pair, label = found["pairs"][0], set_runs.draw(300, 4)[1]
    logits = [np.load(folder / "eval/test-20.npz")["logits"] for folder in (a, b)]
    for name, measure in (
        ("mAP", lambda z: sk.average_precision_score(label, z)),
        ("f1", lambda z: sk.f1_score(label, z >= 0, average="macro")),
        ("f1_micro", lambda z: sk.f1_score(label, z >= 0, average="micro")),
        ("exact", lambda z: sk.accuracy_score(label, z >= 0)),
        ("hamming", lambda z: sk.hamming_loss(label, z >= 0)),
    ):
        values = [measure(z) for z in logits]
        change = pair["figures"][name]
        assert [change["a"], change["b"], change["difference"]] == pytest.approx([*values, values[1] - values[0]])
        assert change["interval"][0] < change["difference"] < change["interval"][1] and change["p"] < 0.05
        assert found["runs"][1][name] == pytest.approx(values[1])
    assert [row["class"] for row in pair["classes"]] == [f"class {c}" for c in range(4)]
    by_class = [sk.average_precision_score(label, z, average=None) for z in logits]
    assert [row["difference"] for row in pair["classes"]] == pytest.approx(list(by_class[1] - by_class[0]))
    assert (tmp_path / "out/comparison.png").read_bytes()[:4] == b"\x89PNG"
    assert "## By class" in (tmp_path / "out/comparison.md").read_text()


def test_runs_that_are_alike_are_noise_and_the_same_every_time(capsys, tmp_path):
    a, b = write(tmp_path / "a", noise=1, seed=1), write(tmp_path / "b", noise=1, seed=2, peak=0.5)
    status, out, _ = compared(capsys, a, b)
    assert status == 0 and "may well be noise" in out
    assert compared(capsys, a, b)[1] == out
    same = write(tmp_path / "same", noise=1, seed=1, peak=0.9)
    assert "same and a are equally good here" in compared(capsys, a, same)[1]


def test_p_is_about_right_where_nothing_differs():
    """Of models that differ by noise alone about one in twenty comes out below 5 %."""
    found = []
    for seed in range(60):
        logits, label = set_runs.draw(120, 2, seed=seed)
        rng = np.random.default_rng(seed)
        sides = []
        for _ in range(2):
            noisy = logits + 2 * rng.normal(size=logits.shape)
            sides.append(Answers(noisy, noisy >= 0, label > 0))
        drawn = redraw.redrawn(sides, 200)
        found.append(comparison.chance(drawn[1]["mAP"] - drawn[0]["mAP"]))
    assert (np.array(found) < 0.05).mean() < 0.15 and 0.35 < np.mean(found) < 0.65


def test_seeds_are_settings(capsys, tmp_path):
    folders = [write(tmp_path / f"base-{s}", noise=1, seed=s) for s in (0, 1)]
    folders += [write(tmp_path / f"other-{s}", noise=6, seed=s, peak=0.5) for s in (0, 1)]
    status, out, _ = compared(capsys, *folders)
    assert status == 0 and "## Over seeds" in out and "base (2 seeds)" in out and "Welch over seeds" in out


def test_classes_are_named_as_predict_names_them(capsys, tmp_path):
    a, b = write(tmp_path / "a"), write(tmp_path / "b", peak=0.5)
    logits, label = set_runs.draw(300, 4)
    made = decision.fit(logits, label, [f"class {c}" for c in range(4)], f1=True)
    decisions.save(b, 20, made)
    _, out, _ = compared(capsys, a, b)
    assert "a: at a probability of 0.5, as stated; b: by stored thresholds" in out


def test_what_cannot_be_compared_is_one_line(capsys, tmp_path):
    a = write(tmp_path / "a")
    one = workdirs.write(tmp_path / "one", {"test": workdirs.draw(300, 4)})
    for arguments, message in (
        ((a, one), "are sets, and"),
        ((a, write(tmp_path / "b", peak=0.5, classes=list("wxyz"))), "different names or another order"),
    ):
        status, out, err = compared(capsys, *arguments)
        assert (status, out) == (2, "") and err.count("\n") == 1 and message in err
