"""The statistics of a ladder against SciPy and by hand, and its table on results written by hand."""

import csv
import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxcls.ablate import table
from jaxcls.ablate.ladder import Rung
from jaxcls.defaults import default_config

ACCURACIES = st.lists(st.floats(0, 1), min_size=2, max_size=8)


@given(ACCURACIES, st.randoms(use_true_random=False))
def test_interval_is_that_of_the_paired_t_test(old, random):
    new = [random.random() for _ in old]
    mean, interval = table.paired(dict(enumerate(new)), dict(enumerate(old)))
    expected = stats.ttest_rel(new, old).confidence_interval(0.95)
    assert mean == pytest.approx(np.mean(new) - np.mean(old), abs=1e-12)
    assert interval == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(st.dictionaries(st.integers(0, 5), st.floats(0, 1)), st.dictionaries(st.integers(0, 5), st.floats(0, 1)))
def test_only_common_seeds_are_compared(new, old):
    mean, interval = table.paired(new, old)
    common = sorted(new.keys() & old.keys())
    assert (mean is None) == (not common)
    assert (interval is None) == (len(common) < 2)
    if common:
        assert mean == pytest.approx(np.mean([new[s] - old[s] for s in common]), abs=1e-12)


def test_interval_of_three_differences_by_hand():
    """Differences .01, .02, .03: mean .02, sd .01, t(2) = 4.302653, so .02 +- 4.302653 * .01 / sqrt(3)."""
    mean, (low, high) = table.paired({0: 0.51, 1: 0.62, 2: 0.73}, {0: 0.50, 1: 0.60, 2: 0.70})
    assert mean == pytest.approx(0.02)
    assert (low, high) == pytest.approx((0.02 - 0.0248414, 0.02 + 0.0248414), abs=1e-6)


def test_verdict_follows_from_the_side_of_zero():
    assert table.verdict((0.001, 0.01)) == "more than noise"
    assert table.verdict((-0.01, 0.01)) == "noise"
    assert table.verdict((0.0, 0.01)) == "noise"
    assert table.verdict((-0.02, -0.01)) == "worse"
    assert table.verdict(None) == ""


def test_a_step_without_effect_is_seldom_called_more_than_noise():
    """By the rule's own promise 2.5 % to each side; 2,000 ladders of three seeds each."""
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(2000):
        old, new = rng.normal(0.9, 0.002, (2, 3))
        verdicts.append(table.verdict(table.paired(dict(enumerate(new)), dict(enumerate(old)))[1]))
    assert 0.015 < np.mean([v == "more than noise" for v in verdicts]) < 0.035
    assert 0.015 < np.mean([v == "worse" for v in verdicts]) < 0.035


@pytest.fixture
def three(tmp_path):
    """Three rungs; (rungs, workdir). The last one has failed with seed 1 and was not run with seed 2."""
    configs = [default_config() for _ in range(3)]
    configs[1].loss.label_smoothing = 0.1
    configs[2].data.augment = ("mixup(0.2) | cutmix(1.0)",)
    rungs = [Rung(*entry) for entry in zip(("a", "+ b", "+ c"), configs, (None, "a", "+ b"), strict=True)]
    correct = {"a": (800, 810, 820), "b": (850, 870, 880), "c": (860, None, None)}
    for name, hits in correct.items():
        for seed, n in enumerate(hits):
            folder = tmp_path / name / f"seed-{seed}"
            folder.mkdir(parents=True)
            record = {"pictures": 5000, "multiply_adds": 70, "seconds": 10.0 + seed, "cpu_seconds": 8, "failed": None}
            if n is not None:
                figures = {"accuracy": n / 1000, "correct": n, "count": 1000, "loss": 0.5, "step": 40}
                (folder / "results.json").write_text(json.dumps({"test": figures}))
            elif seed == 1:
                record["failed"] = "loss is not finite at step 3 | stop"
            if n is not None or seed == 1:
                (folder / "ablate.json").write_text(json.dumps(record))
    return rungs, tmp_path


def test_report_is_what_the_results_say(three):
    report = table.write(*three, 3)
    a, b, c = report["rungs"]
    assert report["splits"] == ["test"]
    assert (a["mean"], a["sd"]) == pytest.approx((0.81, 0.01))
    assert b["difference"] == pytest.approx((0.85 + 0.87 + 0.88 - 0.80 - 0.81 - 0.82) / 3)
    assert b["interval"] == pytest.approx((0.0566667 - 0.0143424, 0.0566667 + 0.0143424), abs=1e-6)
    assert (a["verdict"], b["verdict"], c["verdict"]) == ("", "more than noise", "")
    assert c["difference"] == pytest.approx(0.01)  # seed 0 alone
    assert (c["sd"], c["interval"]) == (None, None)
    assert (a["seconds"], a["pictures"], a["multiply_adds"]) == (11, 5000, 70)
    assert [run["state"] for run in c["runs"]] == ["finished", "failed", "missing"]
    assert json.loads((three[1] / "ladder.json").read_text()) == json.loads(json.dumps(report))


def test_markdown_is_a_table_with_the_failure_and_the_rule(three):
    table.write(*three, 3)
    text = (three[1] / "ladder.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    plain = [row.replace("\\|", "") for row in rows]
    assert {row.count("|") for row in plain} == {len(table.COLUMNS) + 1}
    assert "| +5.67 | +4.23 to +7.10 | more than noise | 11 | 8 | 5,000 | 70 |" in rows[3]
    assert "| loss.label_smoothing=0.1 |" in rows[3]
    assert "1 of 3 (1 failed)" in rows[4]
    assert "- + c, seed 1: loss is not finite at step 3 | stop" in text
    assert table.RULE in text


def test_csv_has_the_numbers_unrounded(three):
    table.write(*three, 3)
    a, b, c = csv.DictReader((three[1] / "ladder.csv").open())
    assert float(b["mean"]) == pytest.approx(2.6 / 3, rel=1e-12)
    assert (b["against"], b["finished"], c["failed"], a["verdict"]) == ("a", "3", "1", "")
    assert float(b["interval_low"]) == pytest.approx(0.0423243, abs=1e-6)


def test_figure_shows_every_rung(three):
    from jaxcls.ablate.figure import draw

    report = table.write(*three, 3)
    assert (three[1] / "ladder.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in (three[1] / "ladder.svg").read_bytes()[:1000]
    axes = draw(report).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "+ b", "+ c"]
    bars = {bar.get_label(): bar for bar in axes.containers}
    segments = bars["more than noise"][2][0].get_segments()[0]
    assert segments[:, 0] == pytest.approx([100 * (2.6 / 3 - 0.0152753), 100 * (2.6 / 3 + 0.0152753)], abs=1e-3)


def test_a_ladder_without_results_has_a_table_and_no_figure(three, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no mean of nothing
        report = table.write(three[0], tmp_path / "new", 2)
    assert all(row["mean"] is None for row in report["rungs"])
    assert not (tmp_path / "new" / "ladder.png").exists()


def test_a_rung_whose_runs_all_failed_is_called_failed(three):
    rungs, workdir = three
    (workdir / "c" / "seed-0" / "results.json").unlink()
    (workdir / "c" / "seed-0" / "ablate.json").write_text(json.dumps({"failed": "killed by signal 9"}))
    c = table.collect(rungs, workdir, 3)["rungs"][2]
    assert (c["verdict"], c["mean"]) == ("failed", None)
