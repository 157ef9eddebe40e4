"""Searches of tables whose answer is known."""

import itertools

import numpy as np
import pytest
from scipy import stats

from jaxcls.choices import simulation
from jaxcls.choices.samplers import SAMPLERS, Exhaustive, Random, Reinforce
from jaxcls.choices.simulation import Table, search, simulate, verdict
from jaxcls.errors import UserError

EVERY = list(itertools.product(range(4), repeat=3))
SLOPE = Table({c: [0.5 + sum(c) / 100] for c in EVERY})  # each decision helps by itself, (3, 3, 3) is the best


def test_the_regret_of_random_draws_is_that_of_the_closed_form():
    """Of k draws without repetition from n equally spaced values the best one lies (n - k) / (k + 1) steps below the
    top on average."""
    flat = Table({(i,): [i / 1000] for i in range(50)})
    rows = simulate(flat, {"random": Random}, budgets=(5, 20, 50), repeats=400)
    for row, k in zip(rows, (5, 20, 50), strict=True):
        expected = 0.1 * (50 - k) / (k + 1)
        width = row["interval"][1] - row["interval"][0]
        assert abs(row["regret"] - expected) <= width and row["evaluations"] == k
    assert rows[2]["regret"] == 0


def test_what_learns_is_better_where_there_is_something_to_learn_and_not_where_not():
    rows = {(r["budget"], r["sampler"]): r for r in simulate(SLOPE, budgets=(30,), repeats=60)}
    assert rows[30, "evolution"]["verdict"] == rows[30, "reinforce"]["verdict"] == "better than random"
    assert "verdict" not in rows[30, "random"]
    rng = np.random.default_rng(0)
    noise = Table({c: [float(rng.random())] for c in EVERY})
    found = {r["sampler"]: r for r in simulate(noise, budgets=(30,), repeats=60)}
    assert found["evolution"]["verdict"] != "better than random"


def test_the_whole_table_leaves_what_the_noise_of_one_seed_costs():
    """By hand: with all seen, a search takes the choice whose seed shows the most; the truth says what that costs."""
    table = Table({(0,): [0.5, 0.9], (1,): [0.6, 0.8]}, {(0,): 0.6, (1,): 0.7})
    expected = []
    for repeat in range(40):
        seen = table.seen(repeat)
        expected.append(10.0 if seen[(0,)] > seen[(1,)] else 0.0)
    (row,) = simulate(table, {"exhaustive": Exhaustive}, budgets=(2,), repeats=40)
    assert row["regret"] == pytest.approx(np.mean(expected)) and 0 < np.mean(expected) < 10
    assert {frozenset(table.seen(i).items()) for i in range(40)} == {
        frozenset({((0,), a), ((1,), b)}) for a in (0.5, 0.9) for b in (0.6, 0.8)
    }


def test_to_ask_again_costs_nothing_and_ends_the_search_at_last():
    class Same:
        told = 0

        def ask(self):
            return (1,) if self.told else (0,)

        def tell(self, choice, score):
            assert score == choice[0]
            self.told += 1

    sampler = Same()
    assert search(sampler, {(0,): 0.0, (1,): 1.0, (2,): 2.0}, 3) == [(0,), (1,)]
    assert sampler.told == 2 + simulation.AGAIN
    assert len(search(Reinforce((4, 4, 4)), {c: s[0] for c, s in SLOPE.scores.items()}, 10)) == 10


def test_intervals_are_student_s():
    values = [0.1, 0.4, 0.35, 0.2]
    mean, interval = simulation.mean_interval(values)
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert mean == pytest.approx(np.mean(values)) and interval == pytest.approx(list(expected))
    assert simulation.mean_interval([2.0]) == (2.0, [2.0, 2.0])


def test_the_words():
    assert verdict([-0.2, 0.1]) == verdict([0, 0]) == "no better than random"
    assert verdict([-0.2, -0.1]) == "better than random" and verdict([0.1, 0.2], "TPE") == "worse than TPE"


def test_differences_are_paired():
    rows = simulate(SLOPE, {"random": Random, "again": Random}, budgets=(10,), repeats=20)
    assert rows[1]["difference"] == 0 and rows[1]["verdict"] == "no better than random"


def test_a_table_without_scores_is_refused_and_of_one_with_gaps_the_rest_counts():
    for scores in ({}, {(0,): []}):
        with pytest.raises(UserError, match="no rows, or a row without scores"):
            Table(scores)
    gaps = Table({c: [0.5 + sum(c) / 100] for c in EVERY if sum(c) not in (2, 9)})
    assert (gaps.lacking, SLOPE.lacking) == (7, 0)
    rows = {row["sampler"]: row for row in simulate(gaps, budgets=(64,), repeats=3)}
    assert rows["random"]["evaluations"] == rows["exhaustive"]["evaluations"] == rows["evolution"]["evaluations"] == 57
    assert rows["exhaustive"]["regret"] == 0 and set(rows) == set(SAMPLERS)
