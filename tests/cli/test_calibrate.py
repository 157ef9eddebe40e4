"""`jaxcls calibrate` on workdirs as runs leave them."""

import json

import numpy as np
import pytest
import workdirs

from jaxcls.cli.command import main
from jaxcls.measure import calibration, decision


@pytest.fixture
def workdir(tmp_path):
    """A run with validation and test: 3 classes, 400 and 300 pictures."""
    splits = {"validation": workdirs.draw(400, 3, ahead=1.2), "test": workdirs.draw(300, 3, seed=1, ahead=1.2)}
    return workdirs.write(tmp_path / "run", splits, classes=["ok", "dent", "a=b"])


def run(capsys, *arguments):
    """(exit status, standard output, standard error)."""
    status = main(["calibrate", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def tree(folder):
    """Every file of a folder with its bytes."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_without_apply_nothing_is_written_and_with_it_what_was_shown(capsys, workdir):
    before = tree(workdir)
    options = ["--recall", "dent=0.9", "--coverage", "0.9", "--risk", "0.3", "--outliers=energy"]
    status, shown, err = run(capsys, workdir, *options)
    assert (status, err) == (0, "") and "nothing was written: the same command with --apply stores it" in shown
    assert tree(workdir) == before
    status, stored, _ = run(capsys, workdir, *options, "--apply")
    assert status == 0 and set(tree(workdir)) - set(before) == {workdir / "calibration/10.json"}
    assert stored.splitlines()[:-1] == shown.splitlines()[:-1]  # the last one says where it is
    made = decision.read(workdir, 10)
    assert made["thresholds"] and made["abstention"] and made["sets"] and made["outliers"] and not made["costs"]
    before = tree(workdir)
    _, shown, _ = run(capsys, workdir)
    assert "in place of the earlier one with its thresholds, abstention, sets, outliers" in shown
    assert tree(workdir) == before


def test_the_temperature_alone(capsys, workdir):
    status, out, err = run(capsys, workdir, "--apply")
    assert (status, err) == (0, "")
    logits, label = workdirs.draw(400, 3, ahead=1.2)
    t = calibration.fit_temperature(logits, label)
    made = decision.read(workdir, 10)
    assert made["temperature"] == t and made["thresholds"] == [] and made["costs"] is None and made["fingerprint"]
    assert f"temperature {t:.4g}: the model was too" in out and f"stored in {workdir}/calibration/10.json" in out
    logits, label = workdirs.draw(300, 3, seed=1, ahead=1.2)
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("test"))
    nll = [calibration.nll(logits, label, value) for value in (1, t)]
    found = lines[start + 1].split()
    assert [found[i] for i in (0, 1, 5, 9)] == ["NLL", *(f"{x:.4f}" for x in (*nll, nll[1] - nll[0]))]
    assert lines[start].split()[1:3] == ["accuracy", f"{100 * (logits.argmax(1) == label).mean():.2f}"]
    assert lines[start].endswith("unchanged") and lines[start + 1].endswith("noise")
    assert "Calibration on validation is cross-fitted" in out


def test_thresholds_are_shown_on_validation_and_on_test(capsys, workdir):
    status, out, _ = run(capsys, workdir, "--recall", "dent=99%", "--precision", "a=b=0.8", "--apply")
    assert status == 0
    made = decision.read(workdir, 10)
    assert [(e["class"], e["kind"], e["wanted"]) for e in made["thresholds"]] == [
        ("dent", "recall", 0.99), ("a=b", "precision", 0.8)]  # fmt: skip
    lines = out.splitlines()
    logits, label = workdirs.draw(300, 3, seed=1, ahead=1.2)
    answer = decision.decide(made, decision.probabilities(made, logits))
    found, flagged = int((answer[label == 1] == 1).sum()), int((answer == 1).sum())
    row = next(line for line in lines if line.startswith("test ") and "threshold" in line).split()
    assert row[2:4] == ["100", str(found)] and str(flagged) in row
    shares = [(x == label).mean() for x in (logits.argmax(1), answer)]
    words = next(line for line in lines if line.startswith("test ")).split()
    assert [words[2], words[7]] == [f"{100 * x:.2f}" for x in shares] and words[-1] == "worse"
    assert "Only" not in out and "no test logits" not in out
    status, out, _ = run(capsys, workdir, "--apply")
    assert "takes the place of an earlier calibration, with its thresholds" in out
    assert not decision.read(workdir, 10)["thresholds"]


def test_few_pictures_are_told(capsys, tmp_path):
    workdirs.write(tmp_path / "run", {"validation": workdirs.draw(24, 2)}, best="validation")
    status, out, _ = run(capsys, tmp_path / "run", "--recall", "a1=1")
    assert status == 0
    assert "Only 12 pictures of 'a1' to choose it by: on other pictures the recall may be as low as 75.8 %" in out
    assert "There are no test logits of step 10" in out


def test_one_threshold_can_take_from_another_and_that_is_said(capsys, tmp_path):
    workdirs.write(tmp_path / "run", {"validation": workdirs.draw(300, 3, ahead=0.5)}, best="validation")
    status, out, _ = run(capsys, tmp_path / "run", "--recall", "a0=0.95", "--recall", "a1=0.95")
    assert status == 0 and "With the other thresholds at work its recall is below 95 %" in out


def test_a_model_without_a_mistake_keeps_its_temperature(capsys, tmp_path):
    workdirs.write(tmp_path / "run", {"validation": workdirs.draw(30, 3, ahead=50)}, best=None)
    status, out, _ = run(capsys, tmp_path / "run")
    assert status == 0 and "temperature 1: left as it is: without a mistake" in out


@pytest.mark.parametrize("text", [
    "0,1,5\n2,0,1\n9,1,0\n",
    "\ufefftrue,a=b,ok,dent\nok,5,0,1\n\na=b,0,9,1\ndent,1,2,0\n",
])  # fmt: skip
def test_costs_are_read_with_names_or_without(capsys, workdir, tmp_path, text):
    path = tmp_path / "costs.csv"
    path.write_text(text, encoding="utf-8")
    status, out, _ = run(capsys, workdir, "--costs", path, "--apply")
    assert status == 0 and decision.read(workdir, 10)["costs"] == [[0, 1, 5], [2, 0, 1], [9, 1, 0]]
    cost, plain = (float(x) for x in next(line for line in out.splitlines()[::-1] if line[:4] == "vali").split()[1:3])
    assert cost < plain


@pytest.mark.parametrize("text, message", [
    ("0,1\n1,0\n", "2 x 2 numbers; 3 classes"),
    ("0,1,x\n1,0,1\n1,1,0\n", "a number for each pair"),
    ("0,1,1\n1,0\n1,1,0\n", "a number for each pair"),
    (",ok,dent,a=b\nok,0,1,1\ndent,1,0,1\n", "name every class once"),
    (",ok,dent,a=b\nok,0,1,1\ndent,1,0,1\na=b,1\n", "3 numbers in every line"),
    ("", "for each pair of classes|3 classes need"),
    (None, "cannot be read"),
])  # fmt: skip
def test_costs_that_do_not_fit_are_one_line(capsys, workdir, tmp_path, text, message):
    path = tmp_path / "costs.csv"
    if text is not None:
        path.write_text(text)
    status, out, err = run(capsys, workdir, "--costs", path)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert any(part in err for part in message.split("|"))


@pytest.mark.parametrize("arguments, message", [
    (["--split=test"], "--split=test: a temperature or threshold is fitted on validation only"),
    (["--step=7"], "no logits of validation for step 7, but for 10; give one as --step"),
    (["--recall=no=0.9"], "there is no class 'no'; there are: ok, dent, a=b"),
    (["--risk=0.01"], "a risk of 0.01 can't be promised from 60 pictures of validation: at best"),
    (["--coverage=0.99"], "sets with a coverage of 0.99 need 99 pictures of validation, and there are 60"),
    (["--risk=2"], "'2' is no share in (0, 1]"),
    (["--risk=1"], "is no share in (0, 1)"),
    (["--accept=0.9"], "give --outliers with it"),
    (["--outliers=energy", "--most=9"], "give --outliers with it"),
    (["--outliers"], "the training pictures of digits have changed since"),
    (["--precision=ok=1"], "a precision of 1 is not reached for 'ok' on validation: at best 0."),
])  # fmt: skip
def test_what_cannot_be_done_is_one_line(capsys, workdir, arguments, message):
    logits, label = workdirs.draw(60, 3, ahead=-3)  # the surest are wrong
    np.savez(workdir / "eval/validation-10.npz", logits=logits, label=label, index=np.arange(60))
    status, out, err = run(capsys, workdir, *arguments)
    assert (status, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert not (workdir / "calibration").exists()


def test_a_run_without_validation_is_told_what_to_do(capsys, tmp_path):
    workdirs.write(tmp_path / "run", {"test": workdirs.draw(30, 3)})
    status, _, err = run(capsys, tmp_path / "run")
    assert status == 2 and "holds no logits of validation" in err and "config.data.validation=0.1" in err
    status, _, err = run(capsys, tmp_path / "none")
    assert status == 2 and "is no folder" in err


@pytest.mark.parametrize("text", ["dent", "dent=2", "dent=0", "=0.9", "dent=x", "dent=nan"])
def test_a_wish_has_to_be_a_class_and_a_share(capsys, text):
    status, _, err = run(capsys, "run", "--recall", text)
    assert status == 2 and "is not CLASS=SHARE" in err


def test_what_is_stored_is_strict_json(capsys, tmp_path):
    logits, label = workdirs.draw(30, 3)
    logits[4] = np.nan
    workdirs.write(tmp_path / "run", {"validation": (logits, label)}, best=None)
    assert run(capsys, tmp_path / "run", "--apply")[0] == 0
    made = json.loads((tmp_path / "run/calibration/10.json").read_text(), parse_constant=pytest.fail)
    assert made["nll"] == {"before": None, "after": None}


def test_answers_that_are_not_finite_are_one_line(capsys, tmp_path):
    logits, label = workdirs.draw(90, 3, ahead=1)
    logits[::30] = np.inf
    workdirs.write(tmp_path / "run", {"validation": (logits, label)}, best=None)
    status, out, err = run(capsys, tmp_path / "run")
    assert (status, err) == (0, "") and "; 3 of 90 answers are not finite and left out" in out
    workdirs.write(tmp_path / "all", {"validation": (logits * np.nan, label)}, best=None)
    status, out, err = run(capsys, tmp_path / "all")
    assert (status, err) == (0, "") and "temperature 1: left as it is: none of the 90 answers is finite" in out
    status, out, err = run(capsys, tmp_path / "all", "--outliers=energy")
    assert status == 2 and err.count("\n") == 1 and "too few answers to validation pictures are finite" in err


def test_few_pictures_leave_the_temperature_and_say_so(capsys, tmp_path):
    workdirs.write(tmp_path / "run", {"validation": workdirs.draw(9, 3, seed=2, ahead=0.7)}, best="validation")
    status, out, _ = run(capsys, tmp_path / "run")
    assert status == 0 and "temperature 1: left as it is: 9 pictures do not show that another one is better" in out
