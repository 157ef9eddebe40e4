"""SMOTE on feature vectors: what is made lies between neighbours of one class."""

import sys

import numpy as np
import pytest

from jaxcls.data.smote import smote
from jaxcls.errors import UserError


def clouds(sizes=(40, 12, 7), seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    features = rng.normal(size=(len(labels), 3)).astype(np.float32) + 5 * labels[:, None]
    order = rng.permutation(len(labels))
    return features[order], labels[order]


def test_every_class_grows_to_the_largest_by_points_between_neighbours():
    pytest.importorskip("imblearn", reason="needs the extra 'balance'")
    features, labels = clouds()
    more, names = smote(features, labels, seed=3, neighbours=4)
    np.testing.assert_array_equal(np.bincount(names), [40, 40, 40])
    np.testing.assert_array_equal(more[: len(features)], features)
    np.testing.assert_array_equal(names[: len(labels)], labels)
    for x, name in zip(more[len(features) :], names[len(labels) :], strict=True):
        own = features[labels == name].astype(float)
        apart = np.linalg.norm(own[:, None] - own, axis=2)
        near = np.argsort(apart, axis=1)[:, 1:5]
        start, end = np.repeat(own, 4, axis=0), own[near.ravel()]
        share = np.sum((x - start) * (end - start), 1) / np.sum((end - start) ** 2, 1)
        miss = np.linalg.norm(start + share[:, None] * (end - start) - x, axis=1)
        assert np.any((miss < 1e-4) & (share > -1e-4) & (share < 1 + 1e-4))


def test_the_seed_alone_decides_and_whole_numbers_are_not_rounded():
    pytest.importorskip("imblearn", reason="needs the extra 'balance'")
    features, labels = clouds()
    first, again, other = (smote(features, labels, seed=s)[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    whole = smote(np.round(features * 3).astype(int), labels, seed=1)[0]
    assert np.any(whole != np.round(whole))


def test_a_class_too_small_is_named_with_a_remedy():
    with pytest.raises(UserError, match="at least 8 examples of each class, but class 2 has 7 examples; take neighb"):
        smote(*clouds(), seed=0, neighbours=7)
    with pytest.raises(UserError, match="class 1 has 1 example; leave the class out"):
        smote(*clouds((9, 1)), seed=0)
    features, labels = clouds((2, 2))
    assert smote(features, labels, seed=0)[0].shape == (4, 3)  # nothing has to grow


def test_what_is_no_set_of_features_is_refused():
    features, labels = clouds()
    for wrong in ((features[:, 0], labels), (features, labels[1:]), (features[:0], labels[:0])):
        with pytest.raises(UserError, match="features \\[n, d\\]"):
            smote(*wrong, seed=0)
    features[3, 1] = np.nan
    with pytest.raises(UserError, match="not finite"):
        smote(features, labels, seed=0)
    with pytest.raises(UserError, match="at least 1 neighbour"):
        smote(*clouds(), seed=0, neighbours=0)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "imblearn.over_sampling", None)
    with pytest.raises(UserError, match="pip install imbalanced-learn"):
        smote(*clouds(), seed=0)
