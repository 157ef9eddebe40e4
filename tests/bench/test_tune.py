"""Simulated searches of a table of runs."""

import math
from pathlib import Path

import pytest

from scripts import load, run_json

bench = load("bench/tune.py")
simulation = bench.simulate.__globals__  # of the file beside it
TABLE = Path(__file__).resolve().parents[1] / "fixtures" / "tune_digits.csv"


@pytest.fixture
def hill(tmp_path):
    """A table without chance: the best setting is a rate of 0.1 (the ninth) and a batch of 128."""
    path = tmp_path / "hill.csv"
    lines = ["rate,batch,seed,pictures,epoch1,epoch2,epoch3"]
    for rate in bench.rates():
        for batch in bench.BATCHES:
            top = 900 - 100 * math.log10(rate / bench.rates()[8]) ** 2 - 10 * abs(math.log2(batch / 128))
            lines += [f"{rate},{batch},{seed},1000,{top / 2:.0f},{top:.0f},{top - 1:.0f}" for seed in range(3)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_grid_of_all_settings_finds_the_best(hill):
    runs = simulation["Runs"](bench.read(hill))
    (found,) = simulation["search"](runs, "grid", False, 0, [60])
    assert found == (60, 0, 60)
    assert list(simulation["search"](runs, "qmc", True, 0, [10, 40]))[1][1] <= 1  # points, after 120 epochs


def test_searches_keep_to_the_budget(hill, capsys):
    result = run_json(bench, capsys, f"simulate --table {hill} --repeats 2 --trials 4 12")
    rows = {(row["whole"], row["name"]): row for row in result["rows"]}
    assert result["settings"] == 60 and result["best"] == pytest.approx(0.9) and len(rows) == 16
    for (whole, name), row in rows.items():
        assert row["mean"] >= 0 and row["epochs"] == 3 * whole
        assert row["trials"] <= (whole if "pruned" not in name else 3 * whole)
    assert rows[12, "random, pruned"]["trials"] > 12 == rows[12, "random"]["trials"] == rows[12, "tpe"]["trials"]
    assert rows[4, "random"]["mean"] > rows[12, "random"]["mean"]


def test_a_setting_is_that_of_the_nearest_rate_and_a_failed_run_has_no_epoch(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("rate,batch,seed,pictures,epoch1,epoch2\n0.01,32,0,100,50,60\n1,32,0,0,,\n")
    table = bench.read(path)
    runs = simulation["Runs"](table)
    assert table == {(0.01, 32, 0): [0.5, 0.6], (1.0, 32, 0): []} and runs.best == 0.6 and runs.epochs == 2
    assert runs.setting({"schedule.peak": 0.09, "batch_size": 32}) == (0.01, 32)
    assert runs.setting({"schedule.peak": 0.11, "batch_size": 32}) == (1.0, 32)


def test_the_paired_test_is_students(tmp_path):
    from scipy import stats

    paired = simulation["paired"]
    a, b = [0.3, 0.5, 0.1, 0.9], [0.2, 0.1, 0.15, 0.6]
    expected = stats.ttest_rel(b, a)
    found = paired(a, b)
    assert found["p"] == pytest.approx(expected.pvalue) and found["difference"] == pytest.approx(-0.1875)
    assert found["interval"] == pytest.approx(list(expected.confidence_interval()))
    assert paired(a, a)["p"] == 1


def test_rows_that_are_there_are_not_trained_again(hill, monkeypatch):
    monkeypatch.setattr(bench, "one", lambda *key: (10, [1, 2, 3]))
    before = hill.read_text()
    bench.table(hill, bench.rates(), bench.BATCHES, range(3))
    assert hill.read_text() == before
    bench.table(hill, bench.rates()[:1], bench.BATCHES[:1], range(4))
    assert hill.read_text() == before + "0.001,32,3,10,1,2,3\n"


@pytest.mark.slow
@pytest.mark.skipif(not TABLE.exists(), reason="the table of real runs is not made")
def test_tpe_finds_better_settings_than_random_draws(capsys):
    result = run_json(bench, capsys, f"simulate --table {TABLE} --repeats 200")
    tests = [test for test in result["tests"] if (test["a"], test["b"]) == ("random", "tpe")]
    assert len(tests) == 2 and all(test["difference"] < 0 and test["p"] < 0.05 for test in tests)
