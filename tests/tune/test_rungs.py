"""Rungs, promotions and brackets against closed forms and examples worked by hand."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls.tune.rungs import Bracket, Standing, bracket_of, brackets, promotable, rungs, top


def test_rungs_are_powers_of_eta():
    assert rungs(1, 3, 81) == (1, 3, 9, 27)
    assert rungs(1, 3, 82) == (1, 3, 9, 27, 81)
    assert rungs(2, 4, 100) == (2, 8, 32)
    assert rungs(5, 3, 5) == ()
    assert rungs(0.5, 2, 3) == (0.5, 1, 2)


@settings(max_examples=50)
@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 6))
def test_a_run_of_first_times_eta_to_k_has_k_rungs(first, eta, k):
    assert rungs(first, eta, first * eta**k) == tuple(first * eta**i for i in range(k))


def test_brackets_are_those_of_hyperband_s_table():
    """Li et al. 2018, table 1: R = 81, eta = 3: n = 81, 34, 15, 8, 5 with r = 1, 3, 9, 27, 81 (their s = 4 .. 0)."""
    assert rungs(1, 3, 81) == (1, 3, 9, 27)
    assert brackets(4, 3) == (Bracket(0, 81), Bracket(1, 34), Bracket(2, 15), Bracket(3, 8), Bracket(4, 5))
    for count, eta in [(1, 2), (3, 4), (5, 2)]:
        formula = [math.ceil((count + 1) / (s + 1) * eta**s) for s in range(count, -1, -1)]
        assert [bracket.trials for bracket in brackets(count, eta)] == formula


def test_trials_go_to_brackets_in_turn():
    every = brackets(1, 3)
    assert every == (Bracket(0, 3), Bracket(1, 2))
    assert [bracket_of(index, every).first for index in range(10)] == [0, 0, 0, 1, 1] * 2


def stopped(*values):
    return {n: Standing({0: value}, 0) for n, value in enumerate(values)}


def test_the_best_third_of_nine_is_promoted_best_first():
    values = [0.1, 0.9, 0.3, 0.8, 0.2, 0.7, 0.4, 0.5, 0.6]
    trials = stopped(*values)
    assert top(dict(enumerate(values)), 3, "max") == [1, 3, 5]
    promoted = []
    while found := promotable(trials, 2, 3, "max"):
        promoted.append(found)
        trials[found[0]] = Standing({0: values[found[0]]})  # it runs
    assert promoted == [(1, 0), (3, 0), (5, 0)]
    assert top(dict(enumerate(values)), 3, "min") == [0, 4, 2]


def test_two_trials_of_three_are_not_enough_and_ties_go_to_the_earlier():
    assert promotable(stopped(0.5, 0.9), 1, 3, "max") is None
    assert promotable(stopped(0.5, 0.5, 0.5), 1, 3, "max") == (0, 0)
    assert promotable({}, 1, 3, "max") is None


def test_the_highest_rung_goes_first():
    trials = stopped(*[0.1] * 9)
    trials |= {n: Standing({0: 0.9 + n / 100, 1: n / 10}, 1) for n in (1, 2, 3)}
    assert promotable(trials, 2, 3, "max") == (3, 1)
    assert promotable(trials, 2, 3, "min") == (1, 1)


def test_one_that_was_passed_later_is_not_promoted():
    """ASHA's asynchrony: the best of three was promoted; of the next three two are better, and nine make it three."""
    trials = {0: Standing({0: 0.5}), **{n: Standing({0: v}, 0) for n, v in [(1, 0.1), (2, 0.2)]}}
    assert promotable(trials, 1, 3, "max") is None
    trials |= {n: Standing({0: v}, 0) for n, v in [(3, 0.7), (4, 0.6), (5, 0.0)]}
    assert promotable(trials, 1, 3, "max") == (3, 0)
    trials[3] = Standing({0: 0.7})
    assert promotable(trials, 1, 3, "max") == (4, 0)


@settings(max_examples=50)
@given(st.lists(st.floats(-1, 1), max_size=30), st.sampled_from([2, 3, 4]), st.sampled_from(["max", "min"]))
def test_when_all_are_promoted_that_can_be_each_rung_has_its_share(values, eta, best):
    """Brute force: a trial's value never changes, so the rungs are those of synchronous successive halving."""
    trials = stopped(*values)
    while found := promotable(trials, 3, eta, best):
        number, rung = found
        assert trials[number].waits == rung
        reached = {k: values[number] for k in range(rung + 2)}
        trials[number] = Standing(reached, rung + 1 if rung < 2 else None)
        if rung == 2:
            trials[number] = Standing({k: values[number] for k in range(3)})
    left = sorted(values, reverse=best == "max")
    for rung in range(3):
        assert sorted((values[n] for n, s in trials.items() if rung in s.values), reverse=best == "max") == left
        left = left[: len(left) // eta]


@pytest.mark.parametrize("most", [0.5, 1])
def test_a_run_below_the_first_rung_has_none(most):
    assert rungs(1, 3, most) == ()
    assert brackets(0, 3) == (Bracket(0, 1),)
    assert promotable(stopped(1.0), 0, 3, "max") is None
