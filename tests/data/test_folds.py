"""Folds: every row once, groups whole, classes even; what they are in sets with and without splits of their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls.data import folds
from jaxcls.data.base import ArraySource
from jaxcls.data.dealing import ALL, Rule
from jaxcls.errors import UserError


def source(n, classes=3, start=0, labels=None):
    """Pictures that are told apart by their first pixel."""
    images = np.zeros((n, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(n) + start
    labels = np.arange(n, dtype=np.int32) % classes if labels is None else labels
    names = tuple(f"class {i}" for i in range(classes))
    return ArraySource(images, labels, names, [f"{start + i}" for i in range(n)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=6, max_size=80), st.integers(2, 6), st.integers(0, 9))
def test_single_pictures_are_dealt_evenly(labels, count, seed):
    labels = np.array(labels)
    found = folds.parts(labels, None, count, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(len(labels)))
    sizes = [len(part) for part in found]
    assert max(sizes) - min(sizes) <= 1
    for label in np.unique(labels):
        of_class = [np.sum(labels[part] == label) for part in found]
        assert max(of_class) - min(of_class) <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=10, max_size=80), st.integers(2, 4))
def test_groups_stay_whole_and_rows_are_dealt_once(rows, count):
    group, labels = np.array(rows).T
    if len(np.unique(group)) < count:
        with pytest.raises(UserError, match=f"groups of pictures for {count} folds; give at most"):
            folds.parts(labels, group, count, 0)
        return
    try:
        found = folds.parts(labels, group, count, 0)
    except UserError as error:
        assert "would be empty" in str(error)
        return
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(len(rows)))
    for i, part in enumerate(found):
        assert not any(np.isin(group[part], group[other]).any() for other in found[i + 1 :])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_groups_of_one_class_each_are_spread_over_all_folds(seed):
    """40 patients of 3 pictures, 10 of each of 4 classes: 5 folds have 2 patients of each."""
    group = np.repeat(np.arange(40), 3)
    labels = group % 4
    for part in folds.parts(labels, group, 5, seed):
        assert np.bincount(labels[part]).tolist() == [6, 6, 6, 6]


def test_sets_of_labels_are_dealt_by_each_label():
    sets = (np.random.default_rng(0).random((90, 4)) < (0.5, 0.3, 0.2, 0.1)).astype(np.uint8)
    found = folds.parts(sets, None, 3, 0)
    assert [len(part) for part in found] == [30, 30, 30]
    counts = np.array([sets[part].sum(axis=0) for part in found])
    assert (np.ptp(counts, axis=0) <= 2).all()


def test_what_a_fold_is():
    rule = Rule(validation=0.25)
    for bases, held_out, splits in (
        ({ALL: source(24)}, "test", ["test", "train", "validation"]),
        ({"train": source(24)}, "test", ["test", "train", "validation"]),
        ({"train": source(24), "validation": source(6, start=30)}, "test", ["test", "train", "validation"]),
        ({"train": source(24), "test": source(6, start=30)}, "validation", ["test", "train", "validation"]),
    ):
        seen = []
        for i in range(4):
            placed = folds.deal(bases, rule, folds.Fold(i + 1, 4))
            assert sorted(placed) == splits
            seen += placed[held_out][1].tolist()
            by_key = [row for key, rows in placed.values() if key == placed["train"][0] for row in rows]
            assert sorted(by_key) == list(range(24))  # each row of the set is in one split
        assert sorted(seen) == list(range(24))


def test_groups_stay_in_one_split_of_every_fold_and_classes_are_even():
    """30 series of 4 pictures, each of one of 3 classes, named by config.data.group_by."""
    made = source(120, labels=np.repeat(np.arange(30) % 3, 4).astype(np.int32))
    made.ids = [f"series{i // 4:02}/{i}" for i in range(120)]
    tested = []
    for i in range(5):
        placed = folds.deal({ALL: made}, Rule(validation=0.25, group_by="^[^/]*"), folds.Fold(i + 1, 5))
        series = {split: {row // 4 for row in rows.tolist()} for split, (_, rows) in placed.items()}
        assert sum(map(len, series.values())) == 30 == len(set().union(*series.values()))
        assert np.bincount(made.labels[placed["test"][1]]).tolist() == [8, 8, 8]
        assert np.ptp(np.bincount(made.labels[placed["validation"][1]])) <= 4
        tested += series["test"]
    assert sorted(tested) == list(range(30))


def test_a_set_with_three_splits_gives_its_validation_to_the_folds():
    bases = folds.pooled({"train": source(20), "validation": source(4, start=20), "test": source(6, start=30)})
    assert {key: len(base) for key, base in bases.items()} == {"train": 24, "test": 6}
    placed = folds.deal(bases, Rule(validation=0.25), folds.Fold(2, 3))
    assert {name: len(rows) for name, (_, rows) in placed.items()} == {"train": 16, "validation": 8, "test": 6}


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1/1", "2 of 5", "2/5x", "-1/5"])
def test_what_is_no_fold(text):
    with pytest.raises(UserError, match="must be the number of a fold"):
        folds.parse(text)


def test_more_folds_than_pictures_are_refused_and_rare_classes_told():
    with pytest.raises(UserError, match="there are 3 pictures for 4 folds; give at most 3 folds"):
        folds.deal({ALL: source(3)}, Rule(), folds.Fold(1, 4))
    rare = source(12, labels=np.array([0] * 10 + [1] * 2, np.int32))
    assert folds.lines(rare, 3) == ["note: 'class 1' of 3 classes has fewer pictures than there are folds (3)"]
    assert folds.lines(source(12), 3) == []
