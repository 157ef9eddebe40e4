"""Curves against scikit-learn, loops and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from jaxcls.measure import curves
from jaxcls.metrics import wilson_interval

scored = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40)


def arrays(pairs):
    return np.array([s for s, _ in pairs]) / 8, np.array([p for _, p in pairs])


@given(scored)
def test_roc_equals_scikit_learn(pairs):
    scores, positive = arrays(pairs)
    found = curves.roc(scores, positive)
    if positive.all() or not positive.any():
        assert found["auc"] is None
        return
    fpr, tpr, threshold = sk.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose([found["fpr"], found["tpr"], found["threshold"]], [fpr, tpr, threshold])
    assert found["auc"] == pytest.approx(sk.roc_auc_score(positive, scores))


@given(scored)
def test_the_interval_of_an_area_follows_delongs_definition(pairs):
    scores, positive = arrays(pairs)
    found = curves.roc(scores, positive)
    high, low = scores[positive], scores[~positive]
    ahead = (high[:, None] > low) + 0.5 * (high[:, None] == low)
    if min(len(high), len(low)) < 2 or ahead.min() == 1 or ahead.max() == 0:
        assert found["interval"] is None
        return
    auc = ahead.mean()
    error = np.sqrt(ahead.mean(1).var(ddof=1) / len(high) + ahead.mean(0).var(ddof=1) / len(low))
    logit = np.log(auc / (1 - auc)) + np.array([-1, 1]) * 1.959964 * error / auc / (1 - auc)
    assert found["interval"] == pytest.approx(1 / (1 + np.exp(-logit)))
    assert found["interval"][0] <= found["auc"] + 1e-12 and found["auc"] - 1e-12 <= found["interval"][1]


def test_the_interval_of_an_area_is_that_of_redrawn_rows():
    rng = np.random.default_rng(0)
    positive = np.arange(300) < 100
    scores = rng.normal(size=300) + positive
    redrawn = []
    for _ in range(1000):
        rows = np.r_[rng.integers(0, 100, 100), rng.integers(100, 300, 200)]
        redrawn.append(curves.roc(scores[rows], positive[rows])["auc"])
    interval = curves.roc(scores, positive)["interval"]
    assert interval == pytest.approx(np.quantile(redrawn, [0.025, 0.975]), abs=0.012)


@given(scored)
def test_precision_and_recall_equal_scikit_learn(pairs):
    scores, positive = arrays(pairs)
    found = curves.precision_recall(scores, positive)
    if not positive.any():
        assert found["average_precision"] is None and (found["precision"] == 0).all()
        return
    precision, recall, threshold = sk.precision_recall_curve(positive, scores)
    expected = np.array([precision[:-1], recall[:-1], threshold])[:, ::-1]
    np.testing.assert_allclose([found["precision"], found["recall"], found["threshold"]], expected)
    assert found["average_precision"] == pytest.approx(sk.average_precision_score(positive, scores))


def of_confidences(confidence, right):
    """Two classes: the first class has the confidence, and the label is it where right."""
    p = np.array([confidence, 1 - np.asarray(confidence)]).T
    return p, np.where(right, 0, 1)


@given(st.lists(st.tuples(st.integers(51, 100), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_the_calibration_error_is_that_of_its_definition(pairs, bins):
    confidence, right = np.array([c for c, _ in pairs]) / 100, np.array([r for _, r in pairs])
    table = curves.reliability(*of_confidences(confidence, right), bins=bins)
    error = 0.0
    for low, high in zip(np.linspace(0, 1, bins + 1)[:-1], np.linspace(0, 1, bins + 1)[1:], strict=True):
        mine = (confidence > low) & (confidence <= high)
        if mine.any():
            error += mine.mean() * abs(right[mine].mean() - confidence[mine].mean())
    assert table["error"] == pytest.approx(error, abs=1e-12)
    assert table["count"].sum() == len(pairs)
    assert (table["low"] < table["confidence"]).all() and (table["confidence"] <= table["high"] + 1e-12).all()
    np.testing.assert_allclose(
        table["interval"][0], wilson_interval(round(table["accuracy"][0] * table["count"][0]), int(table["count"][0]))
    )


@given(
    st.lists(st.tuples(st.integers(51, 100), st.booleans()), min_size=1, max_size=80), st.integers(1, 10), st.randoms()
)
def test_equal_masses_do_not_depend_on_the_order_of_rows(pairs, bins, random):
    def table(pairs):
        return curves.reliability(
            *of_confidences([c / 100 for c, _ in pairs], [r for _, r in pairs]), bins=bins, adaptive=True
        )

    first, shuffled = table(pairs), table(random.sample(pairs, len(pairs)))
    assert first["count"].sum() == len(pairs) and len(first["count"]) <= bins
    for key in ("count", "confidence", "accuracy", "low", "high"):
        np.testing.assert_allclose(first[key], shuffled[key])
    right, confidence = np.mean([r for _, r in pairs]), np.mean([c / 100 for c, _ in pairs])
    assert first["error"] >= abs(right - confidence) - 1e-12  # it can't be less than with one bin


def test_bins_of_equal_masses_hold_equally_many():
    confidence = np.linspace(0.51, 0.99, 60)
    table = curves.reliability(*of_confidences(confidence, np.arange(60) % 2 == 0), bins=6, adaptive=True)
    assert table["count"].tolist() in ([10] * 6, [11, 10, 10, 10, 10, 9])


def test_a_calibrated_model_has_no_error_and_an_overconfident_one_its_excess():
    right = np.arange(100) < 80
    assert curves.reliability(*of_confidences(np.full(100, 0.8), right))["error"] == pytest.approx(0)
    assert curves.reliability(*of_confidences(np.full(100, 0.95), right))["error"] == pytest.approx(0.15)
    assert curves.reliability(*of_confidences(np.full(100, 1.0), right))["error"] == pytest.approx(0.2)


@given(st.lists(st.tuples(st.integers(51, 100), st.booleans()), min_size=1, max_size=40))
def test_selective_prediction_is_that_of_a_loop(pairs):
    confidence, right = np.array([c for c, _ in pairs]) / 100, np.array([r for _, r in pairs])
    found = curves.selective(*of_confidences(confidence, right))
    for coverage, accuracy, threshold in zip(found["coverage"], found["accuracy"], found["threshold"], strict=True):
        kept = confidence >= threshold
        assert (coverage, accuracy) == (pytest.approx(kept.mean()), pytest.approx(right[kept].mean()))
    assert found["coverage"][-1] == 1.0
    risks = [1 - right[confidence >= c].mean() for c in confidence]
    assert found["aurc"] == pytest.approx(np.mean(risks))


def test_rows_that_are_nan_are_left_out_and_never_covered():
    p, label = of_confidences(np.array([0.9, 0.8, np.nan]), [True, True, True])
    found = curves.selective(p, label)
    assert found["coverage"].tolist() == [pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert curves.reliability(p, label)["count"].sum() == 2
    assert curves.roc([0.5, np.nan, 0.1], [1, 0, 0])["auc"] == 1.0
    empty = curves.reliability(p[2:], label[2:], adaptive=True)
    assert empty["error"] is None and len(empty["count"]) == 0
    assert curves.selective(p[2:], label[2:])["aurc"] is None


@given(st.integers(1, 400), st.integers(2, 50), st.booleans())
def test_a_thinned_curve_keeps_its_ends_and_its_order(n, points, falling):
    x = np.sort(np.random.default_rng(n).integers(0, 30, n))
    curve = {"x": x[::-1] if falling else x, "y": np.arange(n), "auc": 0.5}
    thin = curves.thin(curve, points, "x")
    assert len(thin["x"]) <= max(points, 2) and thin["auc"] == 0.5
    assert (thin["y"][0], thin["y"][-1]) == (0, n - 1)
    assert (np.diff(thin["y"]) > 0).all()
    np.testing.assert_array_equal(thin["x"], curve["x"][thin["y"]])
