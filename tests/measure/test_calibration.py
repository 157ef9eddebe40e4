"""Temperature against SciPy's minimiser and closed forms."""

import math

import numpy as np
import pytest
import workdirs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from jaxcls.measure import calibration


@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 2**32), st.floats(0.05, 20))
def test_probabilities_and_loss_equal_scipy(n, classes, seed, temperature):
    rng = np.random.default_rng(seed)
    logits, label = rng.normal(size=(n, classes)) * 10, rng.integers(0, classes, n)
    values = calibration.probabilities(logits, temperature)
    np.testing.assert_allclose(values, softmax(logits / temperature, axis=1), rtol=1e-9, atol=1e-300)
    expected = -log_softmax(logits / temperature, axis=1)[np.arange(n), label].mean()
    assert calibration.nll(logits, label, temperature) == pytest.approx(expected, rel=1e-9)


def test_more_rows_than_a_chunk_are_the_same():
    logits, label = workdirs.draw(calibration.CHUNK // 4 + 7, 4)
    np.testing.assert_allclose(calibration.probabilities(logits), softmax(logits.astype(np.float64), axis=1))
    half = len(label) // 2
    parts = [calibration.nll(logits[rows], label[rows]) for rows in (slice(half), slice(half, None))]
    expected = (parts[0] * half + parts[1] * (len(label) - half)) / len(label)
    assert calibration.nll(logits, label) == pytest.approx(expected)


@settings(max_examples=50)
@given(st.integers(2, 60), st.integers(2, 6), st.integers(0, 2**32), st.floats(0.02, 50))
def test_the_temperature_is_where_scipy_finds_the_minimum(n, classes, seed, scale):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) * scale
    logits[np.arange(n), label] += scale
    fitted = calibration.fit_temperature(logits, label)
    if (logits.argmax(1) == label).all():
        assert fitted == 1.0
        return

    def loss(log_inverse):
        return calibration.nll(logits, label, math.exp(-log_inverse))

    limits = math.log(calibration.COLDEST), math.log(calibration.HOTTEST)
    best = minimize_scalar(loss, bounds=(-limits[1], -limits[0]), method="bounded", options={"xatol": 1e-10})
    assert loss(-math.log(fitted)) <= best.fun + 1e-9 * abs(best.fun)
    assert calibration.COLDEST <= fitted <= calibration.HOTTEST


def test_the_temperature_of_two_classes_has_a_closed_form():
    """Every margin m, a share p of them right: the best sigmoid(m / T) is p."""
    for margin, share in ((4.0, 0.9), (0.3, 0.75), (20.0, 0.6)):
        label = (np.arange(100) >= 100 * share).astype(int)
        logits = np.tile([margin, 0.0], (100, 1)).astype(np.float32)
        assert calibration.fit_temperature(logits, label) == pytest.approx(
            margin / math.log(share / (1 - share)), rel=1e-6
        )


def test_logits_that_were_scaled_are_scaled_back():
    logits, label = workdirs.draw(400, 5, ahead=1.5)
    one = calibration.fit_temperature(logits, label)
    assert calibration.fit_temperature(logits * 3, label) == pytest.approx(3 * one, rel=1e-6)


def test_what_has_no_minimum_stays_as_it_is():
    logits, label = workdirs.draw(30, 3, ahead=100)
    assert calibration.fit_temperature(logits, label) == 1.0  # all right
    assert calibration.fit_temperature(np.zeros((4, 3)), [0, 1, 2, 0]) == 1.0  # all tied
    assert calibration.fit_temperature(np.full((4, 3), np.nan), [0, 1, 2, 0]) == 1.0
    anti = -np.eye(2)[[0, 1, 0, 1]]
    assert calibration.fit_temperature(anti, [0, 1, 0, 1]) == pytest.approx(calibration.HOTTEST)  # worse than chance


def test_rows_that_are_not_finite_do_not_count_in_the_fit():
    logits, label = workdirs.draw(100, 3, ahead=1)
    spoilt = np.concatenate([logits, [[np.nan, 0, 0], [np.inf, 0, 0]]])
    assert calibration.fit_temperature(spoilt, [*label, 0, 1]) == pytest.approx(
        calibration.fit_temperature(logits, label), rel=1e-9
    )


def test_infinite_logits_take_their_limits():
    inf = np.inf
    values = calibration.probabilities([[inf, 0, inf], [-inf, 0, 0], [-inf, -inf, -inf], [np.nan, 0, 0], [1e4, 0, 0]])
    third = 1 / 3
    np.testing.assert_allclose(values, [[0.5, 0, 0.5], [0, 0.5, 0.5], [third] * 3, [np.nan] * 3, [1, 0, 0]])


def test_the_minimum_is_found_in_few_passes(monkeypatch):
    """Of a large set a pass takes a fifth of a second, and halving alone would need some forty."""
    passes, slope = [], calibration._slope
    monkeypatch.setattr(calibration, "_slope", lambda *a: passes.append(a[2]) or slope(*a))
    logits, label = workdirs.draw(400, 5, ahead=1.5)
    for scale in (0.1, 1.0, 5.0):
        passes.clear()
        calibration.fit_temperature(logits * scale, label)
        assert 2 <= len(passes) <= 15
