"""scripts/bench/augment.py in its tiny form."""

import pytest

from scripts import SCRIPTS, load, run_json

bench = load("bench/augment.py")
DIGITS = str(SCRIPTS.parent / "configs" / "lenet5_digits.py")


@pytest.mark.slow
def test_transforms_are_timed_alone_and_in_the_step(capsys):
    lists = "--augment resize(28),flip --base resize(28)"
    r = run_json(bench, capsys, f"--config {DIGITS}:tiny {lists} --batch 16 --steps 2 --rounds 1")
    found = (r["batch"], r["augment"], r["compared_with"], r["devices"])
    assert found == (16, ["resize(28)", "flip"], ["resize(28)"], 1)
    assert r["step_with"] == pytest.approx(r["step"]["step_ms"] / r["base"]["step_ms"])
    assert r["share_of_step"] == pytest.approx(r["transforms"]["step_ms"] / r["base"]["step_ms"])


def test_a_set_that_is_not_in_memory_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("jaxcls.training.data.Data.in_memory", lambda self, source: False)
    assert bench.main(["--config", f"{DIGITS}:tiny", "--augment", "flip"]) == 2
    assert "--data" in capsys.readouterr().err
