"""Kendall's tau against scipy, recall by hand."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from jaxcls.choices import ranking
from jaxcls.errors import UserError


@given(st.lists(st.tuples(st.integers(0, 6), st.floats(0, 1)), min_size=2, max_size=30))
def test_tau_is_scipy_s_with_ties_too(pairs):
    a, b = zip(*pairs, strict=True)
    assume(len(set(a)) > 1 and len(set(b)) > 1)
    assert ranking.kendall(a, b) == pytest.approx(stats.kendalltau(a, b).statistic, abs=1e-12)


def test_tau_of_orders_and_of_chance():
    assert ranking.kendall([1, 2, 3], [10, 20, 30]) == 1 and ranking.kendall([1, 2, 3], [3, 2, 1]) == -1
    assert ranking.kendall([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    rng = np.random.default_rng(0)
    taus = [abs(ranking.kendall(rng.random(25), rng.random(25))) for _ in range(1000)]
    assert 0.93 < np.mean(np.array(taus) < ranking.chance(25)) < 0.97


def test_the_interval_of_a_difference_covers_it_and_is_as_wide_as_draws_are_apart():
    """Of many tables whose two rankings are alike it lies around 0 about as often as it says."""
    rng, around = np.random.default_rng(0), 0
    for _ in range(60):
        truth = rng.normal(size=25)
        low, high = ranking.kendall_difference(truth + rng.normal(size=25), truth + rng.normal(size=25), truth, 100)
        around += low <= 0 <= high
    assert around >= 50
    low, high = ranking.kendall_difference(truth, rng.normal(size=25), truth)
    assert 0.5 < low < high
    assert ranking.kendall_difference(truth, truth, truth) == [0, 0]


def test_recall_by_hand():
    truth, found = [5, 4, 3, 2, 1, 0], [9, 0, 8, 7, 1, 2]
    assert ranking.top_recall(found, truth, 3) == pytest.approx(2 / 3)
    assert ranking.top_recall(truth, truth, 2) == 1 and ranking.top_recall(found[::-1], truth, 6) == 1
    assert ranking.top_recall([1, 1, 1], [0, 1, 2], 1) == 0  # ties: the first one


def test_what_has_no_ranking_is_refused():
    for a, b in [([1], [1]), ([1, 2], [1, 2, 3]), ([1, np.nan], [1, 2])]:
        with pytest.raises(UserError, match="two finite scores"):
            ranking.kendall(a, b)
    with pytest.raises(UserError, match="all the same"):
        ranking.kendall([1, 1], [1, 2])
    with pytest.raises(UserError, match="at most 2"):
        ranking.top_recall([1, 2], [1, 2], 3)
