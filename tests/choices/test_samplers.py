"""Samplers against what is known of them: counts, closed forms, an enumerated gradient, a bandit."""

import collections
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxcls.choices import samplers
from jaxcls.choices.samplers import SAMPLERS, Evolution, Exhaustive, Random, Reinforce, draw, evolve, mutated
from jaxcls.errors import UserError

sizes_of = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
FINITE = [Random, Evolution, Exhaustive]


def even(choice):
    return sum(choice) % 2 == 0


def all_of(sampler, score=sum):
    """What a sampler asks for until it has no more."""
    asked = []
    while (choice := sampler.ask()) is not None:
        asked.append(choice)
        sampler.tell(choice, float(score(choice)))
    return asked


@pytest.mark.parametrize("kind", FINITE)
@given(sizes=sizes_of, seed=st.integers(0, 99))
@settings(max_examples=25)
def test_each_allowed_choice_is_asked_for_once(kind, sizes, seed):
    expected = [c for c in itertools.product(*map(range, sizes)) if even(c)]
    assert sorted(all_of(kind(sizes, seed, even))) == expected
    assert len(all_of(kind(sizes, seed))) == samplers.count(sizes)


@pytest.mark.parametrize("kind", SAMPLERS.values())
def test_the_same_seed_asks_the_same_and_another_another(kind):
    def first(seed):
        sampler, asked = kind((5, 5, 5), seed), []
        for _ in range(40):
            asked.append(sampler.ask())
            sampler.tell(asked[-1], sum(asked[-1]) / 12)
        return asked

    assert first(3) == first(3)
    assert kind is Exhaustive or first(3) != first(4)


@pytest.mark.parametrize("kind", SAMPLERS.values())
def test_a_constraint_holds_and_one_that_nothing_meets_ends_the_search(kind):
    sampler = kind((3, 3), 0, even)
    for choice in iter(sampler.ask, None):
        assert even(choice)
        sampler.tell(choice, 0.0)
        if kind is Reinforce and sampler._steps == 20:
            break
    assert kind((3, 3), 0, lambda choice: False).ask() is None


def test_an_empty_space_is_refused():
    for sizes in [(), (3, 0)]:
        for kind in SAMPLERS.values():
            with pytest.raises(UserError, match="is empty"):
                list(iter(kind(sizes).ask, None))


def test_draws_are_uniform_over_what_is_left():
    rng, seen = np.random.default_rng(0), {(0, 0), (1, 2)}
    counts = collections.Counter(draw((2, 3), rng, seen=seen) for _ in range(2000))
    assert set(counts) == set(itertools.product(range(2), range(3))) - seen
    assert stats.chisquare(list(counts.values())).pvalue > 0.01
    one_left = set(itertools.product(range(40), repeat=3)) - {(7, 8, 9)}
    assert draw((40, 40, 40), rng, seen=one_left) == (7, 8, 9)


def test_a_mutation_changes_one_decision_to_any_other_option():
    rng = np.random.default_rng(0)
    counts = collections.Counter(mutated((0, 2, 0), (3, 3, 1), rng) for _ in range(2000))
    assert set(counts) == {(1, 2, 0), (2, 2, 0), (0, 0, 0), (0, 1, 0)}
    assert stats.chisquare(list(counts.values())).pvalue > 0.01
    assert mutated((0,), (1,), rng) == (0,)


def test_evolution_draws_at_random_first_then_the_children_of_the_best_of_those_that_live():
    """The rule by hand: with a tournament of thousands the parent is the best of the last `population`; the oldest one
    is dead, though it was the best of all."""
    told = [((4, 4, 4), 9.0), ((0, 0, 0), 1.0), ((2, 2, 2), 3.0), ((1, 1, 1), 2.0)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        child = evolve((5, 5, 5), told, rng, population=3, tournament=4000)
        assert sum(a != b for a, b in zip(child, (2, 2, 2), strict=True)) == 1
    few = {evolve((5, 5, 5), told[:2], rng, population=3, tournament=4000) for _ in range(60)}
    assert len(few) > 40
    near = {c for c in itertools.product(range(5), repeat=3) if math.dist(c, (2, 2, 2)) in range(5)}
    seen = near | {(2, 2, 2)}
    further = evolve((5, 5, 5), told, rng, population=3, tournament=4000, seen=seen)
    assert further not in seen


def test_the_chance_of_a_parent_is_that_of_a_tournament():
    """The best of P wins a tournament of S, drawn with replacement, with a chance of 1 - (1 - 1/P)^S."""
    told = [((i, 0), float(i)) for i in range(5)]
    rng = np.random.default_rng(1)
    children = [evolve((5, 90), told, rng, population=5, tournament=2) for _ in range(3000)]
    kept = [child[0] for child in children if child[1]]  # the other decision was changed, so the first tells the parent
    expected = [((i + 1) ** 2 - i**2) / 25 * len(kept) for i in range(5)]
    assert stats.chisquare([kept.count(i) for i in range(5)], expected).pvalue > 0.01


def rewards(choice):
    return [[0.2, 0.9, 0.4], [0.5, 0.1, 0.3]][choice[0]][choice[1]]


def test_the_gradient_on_average_is_that_of_the_expected_score():
    """All six choices enumerated: E[(R - b) grad log p] is the gradient of E[R], by finite differences, for any b."""
    logits = [np.array([0.3, -0.2]), np.array([0.1, 0.5, -0.4])]
    every = list(itertools.product(range(2), range(3)))

    def probability(choice, at):
        return math.prod(samplers.softmax(one)[i] for one, i in zip(at, choice, strict=True))

    def expected(at):
        return sum(probability(c, at) * rewards(c) for c in every)

    for baseline in (0.0, 0.7):
        terms = [(probability(c, logits) * (rewards(c) - baseline), samplers.gradient(logits, c)) for c in every]
        for place, one in enumerate(logits):
            ours = sum(weight * slopes[place] for weight, slopes in terms)
            for i in range(len(one)):
                ends = []
                for sign in (1, -1):
                    moved = [one.copy() for one in logits]
                    moved[place][i] += sign * 1e-5
                    ends.append(expected(moved))
                assert ours[i] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_a_bandit_converges(seed):
    """Two arms, 0.1 apart."""
    sampler = Reinforce((2,), seed)
    for _ in range(400):
        (arm,) = sampler.ask()
        sampler.tell((arm,), 0.5 + 0.1 * arm)
    assert sampler.probabilities[0][1] > 0.99


def test_one_step_of_the_policy_by_hand():
    """b1 = 0: the first step that is not zero has the length of the rate times sqrt(2) (half of the bias correction of
    the squares belongs to the step before); the baseline is an average."""
    sampler = Reinforce((2,), rate=0.1, momentum=0.9)
    sampler.tell((0,), 0.5)
    assert sampler.baseline == 0.5 and not sampler.logits[0].any()
    sampler.tell((1,), 0.7)
    expected = 0.1 * math.sqrt((1 - 0.999**2) / 0.001)
    np.testing.assert_allclose(sampler.logits[0], [-expected, expected], rtol=1e-5)
    assert sampler.baseline == pytest.approx(0.52)
    np.testing.assert_allclose(
        sampler.probabilities[0], np.exp([-expected, expected]) / 2 / math.cosh(expected), rtol=1e-5
    )
