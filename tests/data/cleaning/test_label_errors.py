from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls.data.cleaning import labels

FIXTURE = Path(__file__).parents[2] / "fixtures" / "cleanlab.npz"

# Six pictures of two classes, worked out by hand. t_0 = (.9 + .8 + .1) / 3 = .6, t_1 = (.7 + .6 + .5) / 3 = .6.
P = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.4, 0.6], [0.5, 0.5]])
GIVEN = np.array([0, 0, 0, 1, 1, 1])


def test_an_example_by_hand():
    assert labels.thresholds(P, GIVEN) == pytest.approx([0.6, 0.6])
    assert labels.confident_classes(P, GIVEN).tolist() == [0, 0, 1, 1, 1, -1]
    counts = labels.confident_joint(P, GIVEN)
    assert counts.tolist() == [[2, 1], [0, 2]]
    # The rows scaled to three pictures each: [2, 1] and [0, 3], over six.
    assert labels.joint(counts, GIVEN) == pytest.approx(np.array([[2, 1], [0, 3]]) / 6)
    assert labels.margins(P, GIVEN) == pytest.approx([0.8, 0.6, -0.8, 0.4, 0.2, 0.0])
    for method in labels.METHODS:
        found = labels.suspects(P, GIVEN, method)
        assert found.rows.tolist() == [2] and found.best[2] == 1 and found.estimate == pytest.approx(1)


def test_a_class_without_labels_and_one_without_confident_pictures():
    given_ = np.array([0, 0, 1])
    p = np.array([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1]])
    assert labels.thresholds(p, given_).tolist() == pytest.approx([0.3, 0.3, 1.0])
    assert labels.confident_classes(p, given_).tolist() == [0, -1, 0]
    counts = labels.confident_joint(p, given_)
    assert counts.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert labels.joint(counts, given_).sum() == pytest.approx(1)


@pytest.mark.parametrize("case", range(3))
def test_results_are_cleanlabs(case):
    """Version 2.9.0 on random predictions. It rounds the scaled counts to whole pictures, class by class, we at the end
    only: two of its choices differ."""
    with np.load(FIXTURE) as archive:
        stored = {key.partition(":")[2]: archive[key] for key in archive.files if key.startswith(f"{case}:")}
    p, y = stored["p"].astype(float), stored["y"].astype(int)
    p /= p.sum(1, keepdims=True)
    assert labels.thresholds(p, y) == pytest.approx(stored["thresholds"], abs=1e-12)
    counts = labels.confident_joint(p, y)
    assert counts.tolist() == stored["counts"].tolist()
    assert np.abs(labels.joint(counts, y) - stored["joint"]).max() < 1 / len(y)  # less than one picture
    assert (labels.margins(p, y) + 1) / 2 == pytest.approx(stored["margin"], abs=1e-12)
    for method in labels.METHODS:
        rows = labels.suspects(p, y, method).rows
        assert len(rows) > 5
        assert len(set(rows) ^ set(stored[method])) <= (0 if method == "confident_joint" else 2)
        assert np.all(np.diff(stored["confidence"][rows]) >= 0)  # the least probable first


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), min_size=1, max_size=60), st.integers(2, 5))
def test_folds_are_even_and_keep_copies_together(rows, count):
    y, groups = (np.array(x) for x in zip(*rows, strict=True))
    fold = labels.folds(y, groups, count, seed=1)
    for group in np.unique(groups):
        assert len(set(fold[(groups == group) & (fold >= 0)])) <= 1
    first = np.unique(groups, return_index=True)[1]
    for label in range(5):
        own = first[y[first] == label]
        if len(own) < 2:
            assert (fold[own] < 0).all()
        else:
            sizes = np.bincount(fold[own], minlength=count)
            assert sizes.max() - sizes.min() <= 1 and sizes.sum() == len(own)


def test_predictions_come_from_other_folds():
    """With labels that are independent of the features, no fit can be better than chance on what it has not seen."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 60)), np.tile([3, 7], 60)
    p, classes = labels.out_of_fold(x, y, labels.folds(y, np.arange(120), 4), strength=1e4)
    assert classes.tolist() == [3, 7] and p.sum(1) == pytest.approx(np.ones(120))
    right = np.mean(classes[p.argmax(1)] == y)
    assert 0.3 < right < 0.7  # a fit that has seen them: 1.0


def test_planted_errors_come_first():
    rng = np.random.default_rng(1)
    true = rng.integers(0, 4, 400)
    x = rng.normal(size=(400, 10)) + 4 * np.eye(10)[true]
    y, wrong = true.copy(), rng.choice(400, 30, replace=False)
    y[wrong] = (true[wrong] + 1) % 4
    p, _ = labels.out_of_fold(x, y, labels.folds(y, np.arange(400), 5))
    found = labels.suspects(p, y)
    assert set(found.rows[:20]) <= set(wrong)
    assert np.isin(wrong, found.rows).mean() > 0.8
    assert 20 < found.estimate < 60
    hit = np.intersect1d(found.rows, wrong)
    assert np.mean(found.best[hit] == true[hit]) > 0.9


def test_rare_classes_are_not_judged():
    y = np.array([0, 0, 0, 1, 1, 1, 2])
    assert labels.folds(y, np.arange(7), 3).tolist()[-1] == -1
    assert (labels.folds(y, np.arange(7), 3)[:6] >= 0).all()
