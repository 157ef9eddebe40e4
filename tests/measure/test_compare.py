"""Tests of differences against SciPy and statsmodels' closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxcls.measure import compare

answers = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@given(answers)
def test_mcnemar_is_the_binomial_test_of_the_discordant(pairs):
    a, b = np.array(pairs).T
    result = compare.mcnemar(a, b)
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    assert (result["only_a"], result["only_b"]) == (only_a, only_b)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert result["p"] == pytest.approx(expected)
    assert compare.mcnemar(b, a)["p"] == result["p"]


def test_mcnemar_of_many_pictures():
    a, b = np.zeros(50_000, bool), np.zeros(50_000, bool)
    a[:1000], b[1000:2200] = True, True
    assert compare.mcnemar(a, b)["p"] == pytest.approx(stats.binomtest(1000, 2200).pvalue, rel=1e-6)


def test_the_bootstrap_agrees_with_redrawing_pictures():
    rng = np.random.default_rng(1)
    a, b = rng.random(200) < 0.7, rng.random(200) < 0.8
    result = compare.bootstrap_difference(a, b)
    rows = rng.integers(0, 200, (10_000, 200))
    redrawn = b[rows].mean(1) - a[rows].mean(1)
    assert result["difference"] == pytest.approx(b.mean() - a.mean())
    assert result["interval"] == pytest.approx(np.quantile(redrawn, [0.025, 0.975]), abs=0.01)
    assert compare.bootstrap_difference(a, b) == result
    assert compare.bootstrap_difference(a, a) == {"difference": 0.0, "interval": [0.0, 0.0]}


def test_different_pictures_are_refused():
    with pytest.raises(ValueError, match="not the same pictures"):
        compare.mcnemar([True], [True, False])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_stepwise_rule_rejects(p):
    adjusted = compare.holm(p)
    assert all(a >= q for a, q in zip(adjusted, p, strict=True)) and max(adjusted) <= 1
    rejected, order = set(), np.argsort(p, kind="stable")
    for k, i in enumerate(order):
        if p[i] * (len(p) - k) >= compare.LEVEL:
            break
        rejected.add(int(i))
    assert {i for i, a in enumerate(adjusted) if a < compare.LEVEL} == rejected


def test_holm_of_an_example():
    assert compare.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8), st.lists(st.integers(0, 50), min_size=2, max_size=8))
def test_welch_equals_scipy(a, b):
    result = compare.welch(a, b)
    assert result["difference"] == pytest.approx(np.mean(b) - np.mean(a))
    if np.std(a) == np.std(b) == 0:
        assert result["p"] == float(np.mean(a) == np.mean(b))
        return
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert result["p"] == pytest.approx(expected.pvalue)
    assert result["interval"] == pytest.approx(tuple(expected.confidence_interval()))


def test_one_run_has_no_spread():
    assert compare.welch([0.9], [0.8, 0.7]) is None


@pytest.mark.parametrize("p, difference, words", [
    (0.2, 0.01, "b is 1.00 points above a, which may well be noise (McNemar, p = 0.2)."),
    (0.2, -0.01, "b is 1.00 points below a, which may well be noise (McNemar, p = 0.2)."),
    (1e-9, 0.031, "b is better than a by 3.10 points: more than noise (McNemar, p < 0.0001)."),
    (0.049, -0.031, "b is worse than a by 3.10 points: more than noise (McNemar, p = 0.049)."),
    (0.05, -0.031, "b is 3.10 points below a, which may well be noise (McNemar, p = 0.05)."),
    (1.0, 0.0, "b and a are equally accurate here."),
])  # fmt: skip
def test_the_verdict_is_a_plain_sentence(p, difference, words):
    assert compare.verdict(p, difference, "a", "b") == words
