"""The best trials again: which, with which seeds, in which order, and what people are told of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls import files
from jaxcls.criteria import Figure
from jaxcls.tune import repeats
from jaxcls.tune.budget import Budget
from jaxcls.tune.repeated import mean_interval

ACCURACY, LOSS = Figure("accuracy", share=True), Figure("loss", best="min")


def record(best=(2, 0, 1), states=("complete", "complete", "complete")):
    """search.json of three trials."""
    rows = [{"number": n, "state": state, "params": {"seed": n}} for n, state in enumerate(states)]
    return {"best": list(best), "trials": rows}


def asked(repeat=2, seeds=2):
    return Budget(3, None, (ACCURACY,), "c", repeat, seeds)


def end(folder, state="complete", test=False):
    files.write_json(folder / repeats.RECORD, {"state": state})
    if test:
        files.write_json(folder / "results.json", {"test": {}})


def names(search, found=None, **budget):
    due = repeats.due(search, found or record(), asked(**budget), 0)
    return [(repeat.trial, repeat.seed, repeat.test) for repeat in due]


def test_trainings_come_first_and_the_own_seed_is_there_already(tmp_path):
    (tmp_path / "trial-2").mkdir()
    assert names(tmp_path) == [(2, 1, False), (0, 1, False)]
    assert (tmp_path / "repeat-2" / "seed-0").resolve() == (tmp_path / "trial-2").resolve()
    end(tmp_path / "repeat-2" / "seed-1")
    assert names(tmp_path) == [(0, 1, False)]  # and no test, as long as one is left
    end(tmp_path / "repeat-0" / "seed-1", "failed")
    assert names(tmp_path) == [(2, 0, True), (2, 1, True), (0, 0, True)]
    files.write_json(tmp_path / "trial-2" / "results.json", {"test": {}})
    assert names(tmp_path) == [(2, 1, True), (0, 0, True)]


def test_another_seed_of_the_trials_counts_as_no_other(tmp_path):
    due = repeats.due(tmp_path, record(), asked(repeat=1), 7)
    assert [(repeat.trial, repeat.seed) for repeat in due] == [(2, 0), (2, 1)]
    due = repeats.due(tmp_path / "b", record(), asked(repeat=1), 1)
    assert [(repeat.trial, repeat.seed) for repeat in due] == [(2, 0)]


def test_nothing_is_asked_for_and_only_complete_trials_are_repeated(tmp_path):
    assert names(tmp_path, repeat=0) == []
    assert names(tmp_path, record(states=("complete", "complete", "pruned"))) == [(0, 1, False), (1, 1, False)]
    assert names(tmp_path, record(best=(), states=("failed",) * 3)) == []


def test_where_there_are_no_links_the_own_seed_is_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.symlink_to", lambda *_: (_ for _ in ()).throw(OSError()))
    assert names(tmp_path, repeat=1) == [(2, 0, False), (2, 1, False)]


@given(
    values=st.lists(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=5),
    figure=st.sampled_from([ACCURACY, LOSS]),
)
def test_the_best_mean_on_validation_is_chosen(values, figure):
    entries = [{"trial": n, "validation": seeds} for n, seeds in enumerate(values)]
    lines = repeats.lines(entries, figure)
    means = {n: np.mean(known) for n, seeds in enumerate(values) if (known := [v for v in seeds if v is not None])}
    assert len(lines) == len(values)
    chosen = int(lines[0].removeprefix("chosen by its mean on validation: trial ").partition(":")[0])
    if means:
        best = (max if figure.best == "max" else min)(means.values())
        assert means[chosen] == pytest.approx(best)
    assert repeats.lines([], figure) == []


def test_the_line_has_mean_spread_and_interval():
    values, tested = [0.97, 0.98, 0.972], [0.96, 0.965, 0.958]
    entry = {
        "trial": 4,
        "validation": values,
        "test": {"accuracy": tested, "interval": mean_interval(tested)},
    }
    (line,) = repeats.lines([entry], ACCURACY)
    half = 4.302652729911275 * np.std(tested, ddof=1) / np.sqrt(3)  # Student's t, two degrees of freedom
    low, high = 100 * (np.mean(tested) - half), 100 * (np.mean(tested) + half)
    assert line == (
        f"chosen by its mean on validation: trial 4: validation accuracy {100 * np.mean(values):.2f} % (sd "
        f"{100 * np.std(values, ddof=1):.2f}, 3 seeds); test accuracy {100 * np.mean(tested):.2f} % (sd "
        f"{100 * np.std(tested, ddof=1):.2f}, 3 seeds, 95 % interval {low:.2f} to {high:.2f})"
    )
    (single,) = repeats.lines([{"trial": 4, "validation": [0.5]}], LOSS)
    assert single.endswith("trial 4: validation loss 0.5000 (1 seed)")
