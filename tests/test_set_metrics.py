"""Figures of sets of labels against scikit-learn's, and of rows that are not finite."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from jaxcls import set_metrics


def answers(n=300, classes=7, seed=0, ties=True):
    """Logits, with equal ones, that know something of sets with a rare, a common and an absent class."""
    rng = np.random.default_rng(seed)
    label = (rng.random((n, classes)) < [0.02, 0.6, *[0.2] * (classes - 3), 0.0]).astype(np.uint8)
    label[0, 0], label[:, -1] = 1, 0
    logits = (rng.normal(size=label.shape) * 2 + label * 1.5 - 0.5).astype(np.float32)
    return (np.round(logits) if ties else logits), label


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=40))
def test_of_one_class_they_equal_scikit_learn(pairs):
    scores, positive = (np.array(column) for column in zip(*pairs, strict=True))
    ap, area = set_metrics.average_precision(scores, positive), set_metrics.auc(scores, positive)
    if not positive.any():
        assert math.isnan(ap) and math.isnan(area)
        return
    assert ap == pytest.approx(theirs.average_precision_score(positive, scores), abs=1e-12)
    if positive.all():
        assert math.isnan(area)
    else:
        assert area == pytest.approx(theirs.roc_auc_score(positive, scores), abs=1e-12)


@pytest.mark.parametrize("ties", [True, False])
def test_of_sets_equals_scikit_learn(ties):
    logits, label = answers(ties=ties)
    out, there, said = set_metrics.of_sets(logits, label), slice(0, 6), logits >= 0
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = {
        "mAP": theirs.average_precision_score(label[:, there], logits[:, there]),
        "mAP_micro": theirs.average_precision_score(label, logits, average="micro"),
        "auc": theirs.roc_auc_score(label[:, there], logits[:, there]),
        "f1": theirs.f1_score(label[:, there], said[:, there], average="macro"),
        "f1_micro": theirs.f1_score(label, said, average="micro"),
        "hamming": theirs.hamming_loss(label, said),
        "exact": theirs.accuracy_score(label, said),
        "loss": theirs.log_loss(label.ravel(), probability.ravel()),
        "count": 300,
        "not_finite": 0,
    }
    assert {name: out[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert set(out) == {*expected, "mAP_error"}
    found = set_metrics.by_class(logits, label)
    precision, recall, f1, support = theirs.precision_recall_fscore_support(label[:, there], said[:, there])
    for name, values in {"precision": precision, "recall": recall, "f1": f1, "support": support}.items():
        assert found[name][there] == pytest.approx(values), name
    assert math.isnan(found["ap"][6]) and math.isnan(found["auc"][6]) and math.isnan(found["f1"][6])


def test_many_rows_are_worked_on_in_parts(monkeypatch):
    logits, label = answers()
    whole = set_metrics.of_sets(logits, label)
    monkeypatch.setattr("jaxcls.metrics.CHUNK", 50)
    assert set_metrics.of_sets(logits, label) == pytest.approx(whole, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_rows_that_are_not_finite_never_help(seed, bad):
    """No finite answers of the same rows are worse, and the others' answers count as they did."""
    logits, label = answers(40, 4, seed)
    rng = np.random.default_rng(seed)
    rows = rng.choice(40, 5, replace=False)
    broken, other = logits.copy(), logits.copy()
    broken[rows] = bad
    other[rows] = rng.normal(size=(5, 4)) * 5
    assert not np.isneginf(bad) or (broken[rows] == bad).all()
    mine, finite = set_metrics.of_sets(broken, label), set_metrics.of_sets(other, label)
    for name in ("mAP", "mAP_micro", "auc", "f1", "f1_micro", "exact"):
        assert mine[name] <= finite[name] + 1e-12, name
    assert mine["hamming"] >= finite["hamming"] and math.isinf(mine["loss"]) and mine["not_finite"] == 5
    assert "5 not finite" in set_metrics.describe(mine)


def test_a_class_that_is_ruled_out_is_an_answer():
    logits, label = answers(40, 4)
    out, low = logits.copy(), logits.copy()
    out[label[:, 1] == 0, 1], low[label[:, 1] == 0, 1] = -np.inf, -50
    mine, same = set_metrics.of_sets(out, label), set_metrics.of_sets(low, label)
    assert mine == pytest.approx(same, rel=1e-9) and mine["not_finite"] == 0


def test_the_error_of_the_map_is_that_of_a_bootstrap():
    logits, label = answers(1000, 5, ties=False)
    out = set_metrics.of_sets(logits, label)
    rng, values = np.random.default_rng(1), []
    for _ in range(300):
        rows = rng.integers(0, 1000, 1000)
        values.append(np.nanmean([set_metrics.average_precision(logits[rows, j], label[rows, j]) for j in range(5)]))
    assert out["mAP_error"] == pytest.approx(np.std(values), rel=0.15)
    low, high = set_metrics.interval(out)
    assert (low + high) / 2 == pytest.approx(out["mAP"]) and (high - low) / 4 == pytest.approx(np.std(values), rel=0.2)


def test_no_labels_at_all():
    out = set_metrics.of_sets(np.zeros((3, 2), np.float32), np.zeros((3, 2), np.uint8))
    assert math.isnan(out["mAP"]) and "auc" not in out and set_metrics.interval(out) is None
    assert "no picture of 3 has a label" in set_metrics.describe(out)


@pytest.mark.parametrize(
    ("logits", "label"),
    [
        (np.zeros((3, 2)), np.zeros(3, int)),
        (np.zeros((0, 2)), np.zeros((0, 2))),
        (np.zeros((3, 2)), np.full((3, 2), 2)),
        (np.zeros((3, 2)), np.full((3, 2), 0.5)),
    ],
)
def test_what_does_not_fit_is_refused(logits, label):
    with pytest.raises(ValueError, match="sets of labels"):
        set_metrics.of_sets(logits, label)
