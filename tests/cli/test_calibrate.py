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


def test_the_temperature_alone(capsys, workdir):
    status, out, err = run(capsys, workdir)
    assert (status, err) == (0, "")
    logits, label = workdirs.draw(400, 3, ahead=1.2)
    t = calibration.fit_temperature(logits, label)
    made = decision.read(workdir, 10)
    assert made["temperature"] == t and made["thresholds"] == [] and made["costs"] is None and made["fingerprint"]
    assert f"temperature {t:.4g}: the model was too" in out and f"stored in {workdir}/calibration/10.json" in out
    for split, seed, n in (("validation", 0, 400), ("test", 1, 300)):
        line = next(line for line in out.splitlines() if line.startswith(split))
        nll = [calibration.nll(*workdirs.draw(n, 3, seed=seed, ahead=1.2), value) for value in (1, t)]
        assert line.split()[1:3] == [f"{value:.4f}" for value in nll]


def test_thresholds_are_shown_on_validation_and_on_test(capsys, workdir):
    status, out, _ = run(capsys, workdir, "--recall", "dent=99%", "--precision", "a=b=0.8")
    assert status == 0
    made = decision.read(workdir, 10)
    assert [(e["class"], e["kind"], e["wanted"]) for e in made["thresholds"]] == [
        ("dent", "recall", 0.99), ("a=b", "precision", 0.8)]  # fmt: skip
    lines = out.splitlines()
    assert sum(line.startswith("test ") for line in lines) == 4  # temperature, two thresholds, accuracy
    logits, label = workdirs.draw(300, 3, seed=1, ahead=1.2)
    answer = decision.decide(made, decision.probabilities(made, logits))
    found, flagged = int((answer[label == 1] == 1).sum()), int((answer == 1).sum())
    row = next(line for line in lines if line.startswith("test ") and "threshold" in line).split()
    assert row[2:4] == ["100", str(found)] and str(flagged) in row
    shares = [(x == label).mean() for x in (answer, logits.argmax(1))]
    assert [line for line in lines if line.startswith("test ")][-1].split()[1::2] == [f"{100 * x:.2f}" for x in shares]
    assert "Only" not in out and "no test logits" not in out
    status, out, _ = run(capsys, workdir)
    assert "takes the place of an earlier calibration" in out and not decision.read(workdir, 10)["thresholds"]


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
    status, out, _ = run(capsys, workdir, "--costs", path)
    assert status == 0 and decision.read(workdir, 10)["costs"] == [[0, 1, 5], [2, 0, 1], [9, 1, 0]]
    cost, plain = (float(x) for x in next(line for line in out.splitlines()[::-1] if line[:4] == "vali").split()[5:7])
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
    assert run(capsys, tmp_path / "run")[0] == 0
    made = json.loads((tmp_path / "run/calibration/10.json").read_text(), parse_constant=pytest.fail)
    assert made["nll"] == {"before": None, "after": None}
