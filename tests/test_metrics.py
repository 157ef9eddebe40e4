"""Metrics against scikit-learn, SciPy and closed forms."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from jaxcls import metrics


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30), st.data())
def test_the_mean_does_not_depend_on_how_the_data_was_cut(values, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4)))
    parts = np.split(np.array(values), cuts)
    pairs = {"x": (np.array([p.sum() for p in parts]), np.array([len(p) for p in parts]))}
    assert metrics.means(pairs)["x"] == pytest.approx(np.mean(values), abs=1e-9)


def test_nothing_measured_is_nan():
    assert math.isnan(metrics.means({"x": (0.0, 0.0)})["x"])


def test_correct_takes_classes_and_distributions():
    logits = jnp.array([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    assert metrics.correct(logits, jnp.array([1, 1, 2])).tolist() == [1, 0, 1]
    assert metrics.correct(logits, jnp.array([[0.2, 0.7, 0.1], [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]])).tolist() == [1, 1, 0]


def test_of_logits_equals_scikit_learn():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 12)).astype(np.float32) * 3
    label = rng.integers(0, 12, 400)
    probability = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(1, keepdims=True)
    out = metrics.of_logits(logits, label)
    assert out["loss"] == pytest.approx(sklearn_metrics.log_loss(label, probability, labels=range(12)), rel=1e-9)
    assert out["accuracy"] == sklearn_metrics.accuracy_score(label, logits.argmax(1))
    assert out["balanced_accuracy"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(label, logits.argmax(1)))
    assert out["top5"] == pytest.approx(sklearn_metrics.top_k_accuracy_score(label, logits, k=5, labels=range(12)))
    assert (out["correct"], out["count"]) == (round(out["accuracy"] * 400), 400)


def test_classes_without_examples_are_no_part_of_the_balanced_accuracy():
    assert metrics.of_logits(np.eye(5)[[0, 0, 4, 3]], [0, 0, 4, 4])["balanced_accuracy"] == 0.75


def test_top5_needs_more_than_five_classes():
    assert "top5" not in metrics.of_logits(np.zeros((2, 5)), [0, 1])


def test_of_equal_logits_the_lower_class_number_goes_first():
    """A net that says nothing must not look good: 1 of 10 classes is first, 5 of 10 are among the first five."""
    out = metrics.of_logits(np.zeros((10, 10)), np.arange(10))
    assert (out["accuracy"], out["top5"]) == (0.1, 0.5)
    tied = np.array([[5.0, 1, 1, 1, 1, 1, 1], [5.0, 1, 1, 1, 1, 1, 1]])
    assert metrics.of_logits(tied, [4, 5])["top5"] == 0.5  # class 0, then 1, 2, 3, 4


def test_a_nan_is_never_right():
    logits = np.ones((3, 6))
    logits[0], logits[1, 0], logits[2, 5] = np.nan, np.nan, 2
    out = metrics.of_logits(logits, [0, 0, 5])
    assert (out["correct"], out["top5"]) == (1, pytest.approx(1 / 3))
    assert (out["loss"], out["not_finite"]) == (math.inf, 2)
    assert "3 examples (2 not finite, counted as wrong)" in metrics.describe(out)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_training_counts_a_row_that_is_not_finite_as_wrong(bad):
    """argmax names the class of a NaN or an infinity, which may be the labelled one."""
    logits = jnp.array([[0.0, bad, 0.0], [-math.inf, 1.0, 0.0], [-math.inf] * 3])
    for dtype in ("float32", "float16", "bfloat16"):
        assert metrics.correct(logits.astype(dtype), jnp.array([1, 1, 0])).tolist() == [0, 1, 0]


@pytest.mark.parametrize("label", [[0, 3], [0, -1], [0], []])
def test_labels_that_are_no_classes_are_refused(label):
    with pytest.raises(ValueError, match="labels"):
        metrics.of_logits(np.zeros((len(label[:1]) * 2, 3)), np.array(label, int))


def test_the_loss_of_huge_logits_is_finite():
    assert metrics.of_logits(np.array([[1e4, 0.0], [0.0, 1e4]]), [0, 0])["loss"] == pytest.approx(5e3)


@pytest.mark.parametrize("hits, n", [(0, 10), (10, 10), (1, 29), (81, 263), (9912, 10000)])
def test_wilson_interval_equals_scipy(hits, n):
    from scipy.stats import binomtest

    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert metrics.wilson_interval(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_wilson_interval_of_a_published_example():
    """Newcombe (1998), Table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611."""
    assert metrics.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert metrics.wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert metrics.wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_proportion_and_stays_inside(pair):
    hits, n = pair
    low, high = metrics.wilson_interval(hits, n)
    assert 0 <= low <= hits / n + 1e-12 and hits / n - 1e-12 <= high <= 1
    assert high > low
