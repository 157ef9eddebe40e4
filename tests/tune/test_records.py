"""search.json: what its figures are, against brute force and made-up trials."""

import csv
import json
import math
import shlex

import numpy as np
import pytest
from fake_searches import ADDS, SPACE, Record, made, plan, repeat, run
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxcls.criteria import CLASSIFICATION, Figure
from jaxcls.defaults import flatten
from jaxcls.metrics import wilson_interval
from jaxcls.settings import config_file
from jaxcls.text import from_cell
from jaxcls.tune import records, space
from jaxcls.tune.command import command
from jaxcls.tune.importance import importance
from jaxcls.tune.repeated import mean_interval

ACCURACY = CLASSIFICATION[:1]


def collect(folder, rows, of=None, objectives=ACCURACY, **options):
    options = {"name": "lenet5_digits", "state": "done", "budget": {"trials": 3}, **options}
    return records.collect(folder, rows, of or plan("schedule.peak=log(1e-3,1)"), objectives=objectives, **options)


def trial(number, values, state="complete"):
    return {"number": number, "state": state, "values": values}


points = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(points, st.tuples(*[st.sampled_from(["max", "min"])] * 3))
def test_the_front_is_what_no_other_trial_beats(values, best):
    objectives = [Figure(f"f{i}", best=way) for i, way in enumerate(best)]
    found = records.front([trial(i, list(v)) for i, v in enumerate(values)], objectives)
    sign = np.array([1 if way == "max" else -1 for way in best])
    array = np.array(values).reshape(-1, 3) * sign
    expected = [
        i for i, a in enumerate(array) if not any((b >= a).all() and (b > a).any() for b in array)
    ]  # by the definition
    assert found == expected


def test_what_has_not_ended_or_has_no_value_is_on_no_front():
    rows = [trial(0, [0.9, 5]), trial(1, [0.95, 4], "pruned"), trial(2, None, "failed"), trial(3, [0.99, None])]
    assert records.front(rows, [ACCURACY[0], ADDS]) == [0]


def test_the_ranking_takes_complete_trials_only_where_there_are_any():
    rows = [trial(0, [0.5]), trial(1, [0.9], "pruned"), trial(2, [0.7]), trial(3, [0.7]), trial(4, None, "failed")]
    assert records.ranking(rows, ACCURACY[0]) == [2, 3, 0]
    assert records.ranking(rows, Figure("loss", best="min")) == [0, 2, 3]
    assert records.ranking(rows[1:2], ACCURACY[0]) == [1]
    assert records.ranking(rows[4:], ACCURACY[0]) == []


def test_a_trial_that_went_on_counts_its_epochs_once(tmp_path):
    """Pruned after 2 epochs at 100 s, gone on with to 4 after another trial: one file of records, as the run leaves."""
    run(tmp_path / "trial-0", [0.5, 0.6], begun=100)
    text = (tmp_path / "trial-0" / "metrics.jsonl").read_text()
    run(tmp_path / "trial-1", [0.55, 0.65], begun=200)
    run(tmp_path / "later", [0, 0, 0.7, 0.8], begun=300)
    lines = (tmp_path / "later" / "metrics.jsonl").read_text().splitlines(keepends=True)[4:]
    (tmp_path / "trial-0" / "metrics.jsonl").write_text(text + "".join(lines))
    rows = [
        Record(0, "complete", {"schedule.peak": 0.1}, (0.8,), {"seconds": 9}),
        Record(1, "complete", {"schedule.peak": 0.2}, (0.65,)),
    ]
    found = collect(tmp_path, rows)
    assert [row["epochs"] for row in found["trials"]] == [4, 2] and found["budget"]["spent_epochs"] == 6
    correct = [round(x * 270) / 270 for x in (0.5, 0.6, 0.65, 0.7, 0.8)]
    assert found["progress"] == [
        [1, correct[0], 0], [2, correct[1], 0], [4, correct[2], 1], [5, correct[3], 0], [6, correct[4], 0],
    ]  # fmt: skip
    assert found["trials"][0]["history"][-1] == [40, 4, correct[4]] and found["trials"][0]["seconds"] == 9


def test_values_and_intervals_are_of_the_best_evaluation(tmp_path):
    run(tmp_path / "trial-0", [0.5, 0.9, 0.8])
    row = collect(tmp_path, [Record(0, "complete", {}, (0.8,))])["trials"][0]
    assert row["values"] == [243 / 270] and row["interval"] == list(wilson_interval(243, 270))
    other = collect(tmp_path, [Record(0, "complete", {}, (1.0,))], objectives=(CLASSIFICATION[2],))["trials"][0]
    assert other["values"] == [1.0] and other["interval"] is None  # a loss is no share of pictures


def test_a_failed_trial_has_no_value_and_its_reason(tmp_path):
    run(tmp_path / "trial-0", [0.99])
    run(tmp_path / "trial-1", [0.5])
    rows = [Record(0, "failed", {}, (), {"why": "not finite"}), Record(1, "complete", {}, (0.5,)),
            Record(2, "failed", {}, (), {"lost": True, "why": "gone"}), Record(3, "running", {})]  # fmt: skip
    found = collect(tmp_path, rows)
    assert [(row["state"], row["why"]) for row in found["trials"]] == [
        ("failed", "not finite"), ("complete", ""), ("lost", "gone"), ("running", ""),
    ]  # fmt: skip
    assert found["trials"][0]["values"] is None and found["trials"][0]["history"] and found["best"] == [1]
    assert found["progress"] == [[2, 0.5, 1]] and found["budget"]["spent_epochs"] == 2


def test_damaged_records_of_a_run_are_told_and_cost_no_other_trial(tmp_path):
    run(tmp_path / "trial-0", [0.5])
    run(tmp_path / "trial-1", [0.6])
    (tmp_path / "trial-0" / "metrics.jsonl").write_text("{\n{}\n")
    rows = collect(tmp_path, [Record(n, "complete", {}, (0.5,)) for n in (0, 1)])["trials"]
    assert rows[0]["values"] is None and "damaged" in rows[0]["why"] and rows[1]["values"] == [162 / 270]


def test_a_value_that_is_not_finite_is_no_evaluation(tmp_path):
    run(tmp_path / "trial-0", [0.5, 0.6])
    path = tmp_path / "trial-0" / "metrics.jsonl"
    path.write_text(path.read_text().replace('"accuracy": 0.6', '"accuracy": NaN'))
    row = collect(tmp_path, [Record(0, "complete", {}, (0.5,))])["trials"][0]
    assert row["values"] == [0.5] and row["epochs"] == 2


def test_the_parameter_that_matters_is_found_and_the_other_is_not():
    rng = np.random.default_rng(0)
    below = 0
    for _ in range(100):
        params = [{"a": float(x), "b": float(y), "c": "uv"[i % 2]} for i, (x, y) in enumerate(rng.random((40, 2)))]
        found = importance(params, [-((p["a"] - 0.4) ** 2) + rng.normal(0, 0.005) for p in params])
        assert list(found)[0] == "a" and found["a"][0] > 0.5 > 4 * found["a"][1] / 2
        below += found["b"][0] <= found["b"][1]
    assert 88 <= below <= 100  # 95 % in the mean


def test_importance_of_groups_is_epsilon_squared_of_ranks():
    groups = ["x", "x", "y", "y", "z", "z", "x", "y", "z", "z"]
    values = [1.0, 2, 3, 4, 9, 8, 2.5, 5, 7, 6]
    ranks = stats.rankdata(values)
    by = [ranks[[g == name for g in groups]] for name in "xyz"]
    f = stats.f_oneway(*by).statistic
    n, k = 10, 3
    assert importance([{"p": g} for g in groups], values)["p"][0] == pytest.approx((f - 1) / (f + (n - k) / (k - 1)))


@pytest.mark.parametrize("n, params", [(7, lambda i: {"a": i % 2}), (20, lambda i: {"a": 1}), (0, None)])
def test_of_too_few_or_equal_values_no_importance_is_told(n, params):
    assert importance([params(i) for i in range(n)], list(range(n))) == {}


def test_values_that_are_all_equal_have_no_importance():
    assert importance([{"a": i % 3} for i in range(12)], [0.5] * 12) == {"a": (0.0, 1.0)}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_the_command_line_gives_the_config_of_the_trial(seed):
    """Read back by the same functions as `jaxcls train` has."""
    of, rng, params = plan(f"{SPACE}; loss.name=choice(focal,cross_entropy)"), np.random.default_rng(seed), {}
    of.config["data"]["augment"] = ["resize(28)", "flip"]  # of the search's own command line
    of.config["seed"] = 3
    for dimension in of.space.dimensions:
        if of.space.active(dimension, params):
            params[dimension.key] = dimension.at(float(rng.random()))
    words = shlex.split(command("lenet5_digits", of.config, of.space, params))
    assert words[:3] == ["jaxcls", "train", "--config=lenet5_digits"] and words[-1].startswith("--workdir=")
    read = config_file.load("lenet5_digits")
    config_file.override(read, [w.removeprefix("--config.").split("=", 1) for w in words[3:-1]])
    shared = config_file.load("lenet5_digits")
    config_file.override(shared, [("data.augment", "resize(28), flip"), ("seed", "3")])
    assert dict(flatten(read)) == dict(flatten(space.apply(of.space, params, shared)))


def test_repetitions_are_read_from_their_folders(tmp_path):
    run(tmp_path / "trial-4", [0.9])
    for seed, top in enumerate((0.9, 0.8, 0.7)):
        repeat(tmp_path, 4, [0.5, top], seed)
    (tmp_path / "repeat-2" / "seed-0").mkdir(parents=True)
    (tmp_path / "repeat-x").mkdir()
    found = collect(tmp_path, [Record(4, "complete", {}, (0.9,))])["repeats"]
    assert found[0] == {"trial": 2, "seeds": [0], "validation": [None]}
    assert found[1]["trial"] == 4 and found[1]["seeds"] == [0, 1, 2] and found[1]["validation"] == [0.9, 0.8, 0.7]
    test = found[1]["test"]
    assert test["accuracy"] == pytest.approx([0.89, 0.79, 0.69])
    low, high = stats.t.interval(0.95, 2, 0.79, 0.1 / math.sqrt(3))
    assert test["interval"] == pytest.approx([low, min(high, 1)])
    assert mean_interval([0.89, 0.79, 0.69]) == pytest.approx([low, high]) and high > 1
    assert mean_interval([0.5]) is None


@pytest.mark.parametrize(
    "options", [{}, {"two": True, "seed": 1}, {"failures": 1.0}, {"n": 1, "failures": 0}, {"n": 0}]
)
def test_json_csv_and_markdown_agree(tmp_path, options):
    record = made(tmp_path, **{"n": 12, **options})
    stored = json.loads((tmp_path / "search.json").read_text())
    assert stored["best"] == record["best"] and len(stored["trials"]) == len(record["trials"])
    with open(tmp_path / "search.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = (tmp_path / "search.md").read_text().splitlines()
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]
    assert len(rows) == len(table) == len(record["trials"])
    by_number = {row["number"]: row for row in stored["trials"]}
    order = [int(row["trial"]) for row in rows]
    assert order == [int(cells[0]) for cells in table] and order[: len(record["best"])] == record["best"]
    for row, cells in zip(rows, table, strict=True):
        kept = by_number[int(row["trial"])]
        assert row["state"] == cells[1] == kept["state"] and from_cell(row["why"]) == kept["why"]
        assert {key: row[key] for key in kept["params"]} == {key: str(x) for key, x in kept["params"].items()}
        value = kept["values"][0] if kept["values"] else None
        assert row["accuracy"] == ("" if value is None else str(value))
        assert any(cell == f"{100 * value:.2f} %" for cell in cells) if value else "–" in cells
        assert float(row["epochs"]) == kept["epochs"] and float(row["seconds"]) == kept["seconds"]
    if options.get("two"):
        assert [int(row["trial"]) for row in rows if row["front"] == "True"] == sorted(record["front"], key=order.index)
