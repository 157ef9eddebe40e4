"""Importance and choice of units against examples that are worked out by hand."""

import numpy as np
import pytest

from jaxcls.errors import UserError
from jaxcls.prune.choose import choose
from jaxcls.prune.groups import Group, Member
from jaxcls.prune.importance import importance, relative


def group(name, units, width=1, why=""):
    """Units of `width` places that one layer makes and another reads."""
    places = np.arange(units * width).reshape(units, width)
    made, read = Member(f"params/{name}/kernel", 1, places, False), Member("params/next/kernel", 0, places, True)
    return Group((made, read), np.arange(units), why)


KERNEL = np.array([[1.0, -2.0, 0.0], [3.0, 2.0, 0.0]])  # two inputs, three units
NORM = Group(
    (
        Member("batch_stats/bn/mean", 0, np.array([[0], [1], [2]]), False),
        Member("params/bn/scale", 0, np.array([[0], [1], [2]]), False),
        Member("params/conv/kernel", 1, np.array([[0], [1], [2]]), False),
        Member("params/fc/kernel", 0, np.array([[0, 1], [2, 3], [4, 5]]), True),
    ),
    np.arange(3),
    "",
)
ARRAYS = {
    "batch_stats/bn/mean": np.full(3, 99.0),
    "params/bn/scale": np.array([-1.0, 2.0, 0.5]),
    "params/conv/kernel": KERNEL,
    "params/fc/kernel": np.array([[1.0], [3.0], [0.0], [0.0], [-5.0], [5.0]]),
}


@pytest.mark.parametrize(
    "how, want",
    [
        ("l1", [1 + 2 + 2, 2 + 2 + 0, 0.5 + 0 + 5]),
        ("l2", [1 + 5**0.5 + 5**0.5, 2 + 2 + 0, 0.5 + 0 + 5]),
        ("bn", [1, 2, 0.5]),
        ("taylor", [1 * 2 + 4 * 2 + 4 * 2, 2 * 2 + 4 * 2 + 0, 0.5 * 2 + 0 + 10 * 2]),
    ],
)
def test_importance_sums_over_parameters(how, want):
    """Statistics don't count; a unit with two rows of the next kernel has both."""
    gradients = {name: np.full(array.shape, -2.0) for name, array in ARRAYS.items()}
    np.testing.assert_allclose(importance(NORM, how, ARRAYS, gradients=gradients), want)


def test_random_importance_is_seeded_and_differs_by_group():
    one, other = group("a", 8), group("b", 8)
    drawn = importance(one, "random", {}, seed=3)
    assert (drawn == importance(one, "random", {}, seed=3)).all()
    assert (drawn != importance(one, "random", {}, seed=4)).all() and (
        drawn != importance(other, "random", {}, seed=3)
    ).all()


def test_relative_scores_have_mean_one():
    np.testing.assert_allclose(relative([np.array([1.0, 3.0])])[0], [0.5, 1.5])
    assert (relative([np.zeros(2)])[0] == 0).all()


@pytest.mark.parametrize(
    "settings, want",
    [
        ({"ratio": 0.5}, [[1, 3], [0, 1, 3]]),  # 2 of 4 and, rounded down, 2 of 5 go
        ({"ratio": 0.0}, [[0, 1, 2, 3], [0, 1, 2, 3, 4]]),
        ({"ratio": 0.5, "multiple": 4}, [[0, 1, 2, 3], [0, 1, 3, 4]]),
        ({"ratio": 0.5, "multiple": 8}, [[0, 1, 2, 3], [0, 1, 2, 3, 4]]),
        ({"ratio": 0.75, "floor": 0.5}, [[1, 3], [0, 1, 3]]),
        ({"ratio": 0.5, "keep": ["^params/b/"]}, [[1, 3], [0, 1, 2, 3, 4]]),
        ({"ratio": 0.5, "scope": "global"}, [[1, 3], [0, 1, 3]]),  # 1, 2 | 3, 4 of 9
        ({"ratio": 0.4, "scope": "global"}, [[1, 2, 3], [0, 1, 3]]),  # 1 | 2, 3
        ({"ratio": 0.8, "scope": "global", "floor": 0.5}, [[1, 3], [0, 1, 3]]),
        ({"ratio": 0.5, "scope": "global", "keep": ["a/kernel"]}, [[0, 1, 2, 3], [0, 1, 3]]),
    ],
)
def test_choose(settings, want):
    groups, scores = [group("a", 4), group("b", 5)], [np.array([1, 8, 4, 9.0]), np.array([6, 7, 2, 5, 3.0])]
    assert [kept.tolist() for kept in choose(groups, scores, **settings)] == want


def test_choose_counts_places_for_multiples_and_takes_the_first_of_equals():
    """Heads of four places each: two of them are eight."""
    (kept,) = choose([group("qkv", 6, width=4)], [np.zeros(6)], 0.5, multiple=8)
    assert kept.tolist() == [2, 3, 4, 5]
    frozen, free = choose([group("a", 2, why="the classes"), group("b", 2)], [np.zeros(2), np.ones(2)], 0.5)
    assert (frozen.tolist(), free.tolist()) == ([0, 1], [1])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"ratio": 1.0}, "ratio must be at least 0 and below 1, not 1"),
        ({"ratio": 0.8, "scope": "global"}, "ratio 0.8 leaves none of the 2 units of layer1/conv; lower it"),
        ({"ratio": 0.5, "keep": ["layr1/conv"]}, "layer to keep 'layr1/conv' matches no name; .*layer1/conv/kernel"),
        ({"ratio": 0.5, "keep": ["("]}, "no regular expression"),
        ({"ratio": 0.5, "scope": "globl"}, "scope must be one of local, global, not 'globl'; did you mean 'global'"),
        ({"ratio": 0.5, "floor": 2}, "floor must be between"),
        ({"ratio": 0.5, "multiple": 0}, "multiple must be"),
    ],
)
def test_choose_refuses(settings, message):
    groups = [group("layer1/conv", 2), group("layer2/conv", 4)]
    with pytest.raises(UserError, match=message):
        choose(groups, [np.zeros(2), np.ones(4)], **settings)


@pytest.mark.parametrize(
    "how, message",
    [
        ("l3", "importance must be one of l1, l2, bn, taylor, random, not 'l3'"),
        ("bn", "group of a has no BatchNorm .*; use l1"),
        ("taylor", "wants the gradients"),
    ],
)
def test_importance_refuses(how, message):
    with pytest.raises(UserError, match=message):
        importance(group("a", 2), how, {"params/a/kernel": np.ones((2, 2)), "params/next/kernel": np.ones((2, 2))})
