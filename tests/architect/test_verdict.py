import numpy as np
import pytest
from scipy import stats

from jaxcls.architect import verdict


def drawn(better, nets=8, seeds=2, seed=0):
    """Accuracies of a choice and of random nets: nets differ by .01, seeds by .003."""
    rng = np.random.default_rng(seed)
    found = 0.9 + better + 0.003 * rng.normal(size=seeds)
    return found, (0.9 + 0.01 * rng.normal(size=nets))[:, None] + 0.003 * rng.normal(size=(nets, seeds))


def test_the_interval_is_welchs_with_the_seeds_variance_pooled():
    """Against scipy where the pooled variance is that of the choice alone: all random nets have one seed."""
    found, nets = drawn(0.0, seeds=5)
    got = verdict.against_random(found, nets[:, :1])
    want = stats.ttest_ind(found, nets[:, 0], equal_var=False).confidence_interval()
    np.testing.assert_allclose(got["interval"], [want.low, want.high], rtol=1e-9)
    assert got["best"] == (nets[:, 0] > found.mean()).sum()


def test_a_choice_like_the_others_is_rarely_called_better():
    """By the rule in at most 2.5 % of searches, but for its own net's luck: the choice is the mean net here."""
    told = [verdict.against_random(*drawn(0.0, seed=s))["verdict"] for s in range(400)]
    assert told.count(verdict.BETTER) <= 20 and verdict.NONE not in told
    assert [verdict.against_random(*drawn(0.05, seed=s))["verdict"] for s in range(20)].count(verdict.BETTER) == 20


@pytest.mark.parametrize(
    "found, nets",
    [([0.9], [[0.8], [0.7]]), ([0.9, 0.91], [[0.8, 0.7]]), ([], [[0.8]]), ([0.9], []), ([0.9, 0.9], [[0.9, 0.9]] * 3)],
)
def test_without_seeds_or_nets_there_is_no_verdict(found, nets):
    got = verdict.against_random(found, nets)
    assert got["interval"] is None and got["verdict"] == verdict.NONE


def test_the_line_says_no_better_than_random():
    line = verdict.line(verdict.against_random([0.9, 0.91], [[0.92, 0.91], [0.89, 0.9], [0.9, 0.9]]), 3)
    assert line.startswith("no better than random: ") and "1 of them" in line
    better = verdict.line(verdict.against_random([0.95, 0.951], [[0.90, 0.902], [0.901, 0.9], [0.9, 0.9]]), 3)
    assert better.startswith("better than random: +5.0") and "none of them is better" in better
