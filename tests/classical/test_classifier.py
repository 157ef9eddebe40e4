"""Linear classifiers against scikit-learn's and against what is known of them."""

import sys
import types

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_blobs
from sklearn.svm import LinearSVC

from jaxcls.classical import classifier
from jaxcls.errors import UserError

SETTINGS = {"classes": 3}


def blobs(n=90, seed=0, spread=3.0):
    features, labels = make_blobs(n, 5, centers=3, cluster_std=spread, random_state=seed)
    return features.astype(np.float32), labels


@pytest.mark.parametrize("C", [1e-3, 1e-1])
def test_our_svm_has_scikit_learns_solution(C):
    features, labels = load_digits(return_X_y=True)
    features = (features[:400] / 16).astype(np.float32)
    ours = classifier.LinearSVM(C).fit(features, labels[:400])
    # A large scale leaves its offsets all but free, as ours are.
    theirs = LinearSVC(C=C, dual=False, tol=1e-8, intercept_scaling=1e3, max_iter=10000).fit(features, labels[:400])
    np.testing.assert_allclose(ours.weights.T, theirs.coef_, atol=0.02 * np.abs(theirs.coef_).max())
    np.testing.assert_allclose(ours.decision_function(features), theirs.decision_function(features), atol=0.02)


def test_balanced_weights_act_as_repeated_pictures():
    """Classes of 20 and 40 pictures: weights 1.5 and 0.75 do what doubling the rarer ones does, at C * 0.75."""
    features, labels = make_blobs([20, 40], 3, cluster_std=4.0, random_state=1)
    weighted = classifier.LinearSVM(0.1, "balanced").fit(features.astype(np.float32), labels)
    rows = np.concatenate([np.arange(60), np.flatnonzero(labels == 0)])
    repeated = classifier.LinearSVM(0.075).fit(features[rows].astype(np.float32), labels[rows])
    np.testing.assert_allclose(weighted.weights, repeated.weights, atol=1e-3)


def test_logistic_logits_are_log_probabilities_and_blind_to_units():
    features, labels = blobs()
    model = classifier.fit(features, labels, kind="logistic", **SETTINGS)
    logits = model.logits(features)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1, rtol=1e-4)
    other = classifier.fit(1000 * features + 7, labels, kind="logistic", **SETTINGS)
    np.testing.assert_allclose(other.logits(1000 * features + 7), logits, atol=2e-2)


@pytest.mark.parametrize("kind", classifier.CLASSIFIERS)
def test_a_class_that_was_not_trained_is_never_chosen(kind):
    features, labels = blobs()
    keep = labels != 1
    model = classifier.fit(features[keep], labels[keep], kind=kind, classes=4)
    logits = model.logits(features)
    assert logits.shape == (90, 4) and np.isfinite(logits).all()
    assert set(logits.argmax(axis=1)) == {0, 2}
    assert logits[:, [1, 3]].max() < logits[:, [0, 2]].min()


def test_C_is_the_best_on_validation_and_the_smallest_of_equals():
    train, validation, lines = blobs(), blobs(seed=0, spread=4.0), []
    grid = (10.0, 1e-7, 1e-3)
    model, C, scores = classifier.choose(train, validation, grid=grid, note=lines.append, **SETTINGS)
    assert sorted(scores) == sorted(grid) and scores[C] == max(scores.values())
    assert min(c for c in grid if scores[c] == scores[C]) == C
    assert np.mean(model.logits(validation[0]).argmax(axis=1) == validation[1]) == scores[C]
    assert [line.split(":")[0] for line in lines[:3]] == ["C=1e-07", "C=0.001", "C=10"]


def test_without_validation_nothing_is_chosen():
    _, C, scores = classifier.choose(blobs(), None, grid=(0.5,), **SETTINGS)
    assert (C, scores) == (0.5, {})


def test_smote_fills_up_before_the_fit(monkeypatch):
    seen = []

    def smote(features, labels, *, seed, neighbours=5):
        seen.append((features.mean(axis=0), seed))
        return np.concatenate([features, features]), np.concatenate([labels, labels])

    monkeypatch.setitem(sys.modules, "jaxcls.data.smote", types.SimpleNamespace(smote=smote))
    features, labels = blobs()
    doubled = classifier.fit(features, labels, C=0.1, smote=True, seed=3, **SETTINGS)
    np.testing.assert_allclose(seen[0][0], 0, atol=1e-5)  # standardised
    assert seen[0][1] == 3
    plain = classifier.fit(features, labels, C=0.2, **SETTINGS)
    np.testing.assert_allclose(doubled.logits(features), plain.logits(features), atol=5e-3)


def test_what_has_not_converged_is_told(monkeypatch):
    lines = []
    monkeypatch.setattr(classifier, "ITERATIONS", 1)
    classifier.fit(*blobs(), kind="svm", C=1.0, note=lines.append, **SETTINGS)
    assert len(lines) == 1 and lines[0].startswith("warning: svm with C=1 has not converged")


def test_one_class_is_refused():
    with pytest.raises(UserError, match="of one class only"):
        classifier.fit(np.ones((3, 2), np.float32), np.zeros(3, int), classes=2)
