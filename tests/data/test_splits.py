import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxcls.data import splits
from jaxcls.errors import UserError

LABELS = hnp.arrays(np.int32, st.integers(0, 200), elements=st.integers(0, 6))
RATIOS = st.lists(st.floats(0.01, 1), min_size=1, max_size=4)


@given(LABELS, RATIOS, st.integers(0, 2**32))
def test_every_row_is_in_exactly_one_part(labels, ratios, seed):
    parts = splits.stratified(labels, ratios, seed)
    assert len(parts) == len(ratios)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    assert all(np.array_equal(part, np.sort(part)) for part in parts)


@given(LABELS, RATIOS, st.integers(0, 9))
def test_class_proportions_within_one_picture(labels, ratios, seed):
    shares = np.array(ratios) / np.sum(ratios)
    for label in np.unique(labels):
        n = np.sum(labels == label)
        sizes = np.array([np.sum(labels[part] == label) for part in splits.stratified(labels, ratios, seed)])
        if n >= len(ratios):
            assert sizes.min() >= 1
        if n < len(ratios) or (n * shares).min() >= 1:  # the rule "in every part" does not interfere
            assert np.all(np.abs(sizes - n * shares) < 1 + 1e-6)


def test_known_sizes():
    labels = np.repeat([0, 1, 2], [100, 20, 3])
    parts = splits.stratified(labels, (0.7, 0.15, 0.15), 0)
    assert [np.bincount(labels[part]).tolist() for part in parts] == [[70, 14, 1], [15, 3, 1], [15, 3, 1]]
    sevens = splits.stratified(labels, (7, 2, 1), 0)  # any unit
    assert [len(part) for part in sevens] == [70 + 14 + 1, 20 + 4 + 1, 10 + 2 + 1]


def test_a_part_of_ratio_0_stays_empty():
    parts = splits.stratified(np.zeros(10, int), (0.8, 0, 0.2), 0)
    assert [len(part) for part in parts] == [8, 0, 2]


GROUPED = st.integers(1, 200).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.int32, n, elements=st.integers(0, 3)), hnp.arrays(np.int64, n, elements=st.integers(-9, 40))
    )
)


@given(GROUPED, RATIOS, st.integers(0, 9))
def test_groups_stay_together_and_nothing_is_lost(drawn, ratios, seed):
    labels, groups = drawn
    parts = splits.grouped(labels, groups, ratios, seed)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    seen = [set(groups[part]) for part in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))


@given(st.integers(1, 40), st.integers(0, 9))
def test_groups_of_one_size_are_divided_like_single_pictures(n, seed):
    """Each class's share of a part is within one group of its quota, and every part has a group if there are enough."""
    labels, groups = np.repeat(np.arange(2 * n) % 2, 6), np.repeat(np.arange(2 * n), 6)
    for label in (0, 1):
        sizes = np.array([np.sum(labels[part] == label) for part in splits.grouped(labels, groups, (7, 2, 1), seed)])
        if n >= 10:
            assert np.all(np.abs(sizes - 6 * n * np.array([0.7, 0.2, 0.1])) <= 6 + 1e-6)
        assert n < 3 or sizes.min() >= 6


def test_a_group_with_several_labels_counts_for_the_rarest():
    labels = np.array([0] * 12 + [1, 0, 1, 0, 1, 0])
    groups = np.array([*range(12), 20, 20, 21, 21, 22, 22])
    parts = splits.grouped(labels, groups, (1, 1, 1), 0)
    assert [np.sum(labels[part] == 1) for part in parts] == [1, 1, 1]


def test_seed_decides_and_is_reproducible():
    labels = np.arange(1000) % 7
    first, again, other = (splits.stratified(labels, (0.5, 0.5), seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert 200 < len(np.intersect1d(first, other)) < 300  # about half of 500 by chance
    code = (
        "import numpy as np; from jaxcls.data import splits;"
        "print(splits.stratified(np.arange(1000) % 7, (0.5, 0.5), 1)[0].tolist())"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == str(first.tolist())


def test_other_classes_do_not_matter():
    """Adding a class moves no example of the others."""
    labels = np.arange(60) % 2
    more = np.append(labels, [2] * 30)
    few, many = splits.stratified(labels, (0.8, 0.2), 5)[1], splits.stratified(more, (0.8, 0.2), 5)[1]
    assert np.array_equal(few, many[many < 60])


@pytest.mark.parametrize("ratios", [(), (0, 0), (0.5, -0.5), (float("nan"), 1)])
def test_impossible_ratios(ratios):
    with pytest.raises(UserError, match="ratios"):
        splits.stratified(np.zeros(4, int), ratios, 0)


# Sets of labels

SETS = st.integers(1, 120).flatmap(lambda n: hnp.arrays(np.uint8, (n, 5), elements=st.integers(0, 1)))


@given(SETS, RATIOS, st.integers(0, 2**32))
def test_of_sets_every_row_is_in_one_part_and_parts_have_their_exact_size(sets, ratios, seed):
    parts = splits.iterative(sets, ratios, seed)
    assert sorted(np.concatenate(parts)) == list(range(len(sets)))
    assert all(np.array_equal(part, np.sort(part)) for part in parts)
    shares = np.array(ratios) / np.sum(ratios)
    sizes = np.array([len(part) for part in parts])
    if (len(sets) * shares).min() >= 1:
        assert np.all(np.abs(sizes - len(sets) * shares) < 1 + 1e-6)


@given(SETS, st.integers(1, 30), RATIOS, st.integers(0, 9))
def test_of_sets_groups_stay_together_and_nothing_is_lost(sets, n_groups, ratios, seed):
    groups = np.random.default_rng(seed).integers(-3, n_groups, len(sets))
    parts = splits.iterative(sets, ratios, seed, groups)
    assert sorted(np.concatenate(parts)) == list(range(len(sets)))
    seen = [set(groups[part]) for part in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))


def rare_and_common(n=2000, classes=30, seed=0):
    """Sets with labels of very different frequency, a seventh of them empty."""
    rng = np.random.default_rng(seed)
    sets = (rng.random((n, classes)) < np.geomspace(0.3, 0.003, classes)).astype(np.uint8)
    sets[::7] = 0
    return sets


def test_labels_are_spread_more_evenly_than_by_chance():
    """How far the number of rows with each label is from its share, in the mean over labels (Sechidis et al., LD)."""
    sets, shares = rare_and_common(), np.array([0.7, 0.2, 0.1])
    kinds = np.concatenate([sets, ~sets.any(axis=1, keepdims=True)], axis=1)

    def distance(parts):
        counts = np.array([kinds[part].sum(axis=0) for part in parts])
        return np.abs(counts - shares[:, None] * kinds.sum(axis=0)).mean()

    ours = [splits.iterative(sets, shares, seed) for seed in range(3)]
    chance = [np.split(np.random.default_rng(seed).permutation(2000), [1400, 1800]) for seed in range(3)]
    assert max(map(distance, ours)) < 0.3 * min(map(distance, chance)) and max(map(distance, ours)) < 1
    assert all((kinds[part].sum(axis=0) > 0).all() for parts in ours for part in parts)
    groups = np.arange(2000) // 4
    in_groups = splits.iterative(sets, shares, 0, groups)
    apart = [
        np.flatnonzero(np.isin(groups, part))
        for part in np.split(np.random.default_rng(0).permutation(500), [350, 450])
    ]
    assert distance(in_groups) < 0.5 * distance(apart)


def test_of_sets_the_same_arguments_give_the_same_parts():
    sets = rare_and_common(300)
    one, same, other = (splits.iterative(sets, (8, 2), seed) for seed in (1, 1, 2))
    assert all(map(np.array_equal, one, same)) and not np.array_equal(one[0], other[0])
    for a, b in zip(one, splits.iterative(sets, (8, 2), 1, np.arange(300)), strict=True):
        np.testing.assert_array_equal(a, b)  # each row a group of its own


def test_sets_of_one_label_each_are_divided_as_classes():
    labels = np.repeat(np.arange(4), [40, 20, 10, 5])
    parts = splits.iterative(np.eye(4, dtype=np.uint8)[labels], (0.6, 0.2, 0.2), 0)
    assert [np.bincount(labels[part]).tolist() for part in parts] == [[24, 12, 6, 3], [8, 4, 2, 1], [8, 4, 2, 1]]


def test_a_hundred_thousand_sets_take_seconds():
    import time

    sets = (np.random.default_rng(0).random((100_000, 80)) < 0.04).astype(np.uint8)
    start = time.process_time()
    assert sum(map(len, splits.iterative(sets, (0.7, 0.15, 0.15), 0))) == 100_000
    assert time.process_time() - start < 10
