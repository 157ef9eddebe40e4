"""Temperature against SciPy's minimiser and closed forms."""

import math

import numpy as np
import pytest
import workdirs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import chi2

from jaxcls import metrics
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
    logits, label = workdirs.draw(metrics.CHUNK // 4 + 7, 4)
    np.testing.assert_allclose(calibration.probabilities(logits), softmax(logits.astype(np.float64), axis=1))
    half = len(label) // 2
    parts = [calibration.nll(logits[rows], label[rows]) for rows in (slice(half), slice(half, None))]
    expected = (parts[0] * half + parts[1] * (len(label) - half)) / len(label)
    assert calibration.nll(logits, label) == pytest.approx(expected)


def posterior(logits, label, log_temperature):
    return calibration.nll(logits, label, math.exp(log_temperature)) * len(label) + log_temperature**2 / 2 / 0.35**2


@settings(max_examples=50)
@given(st.integers(2, 90), st.integers(2, 6), st.integers(0, 2**32), st.floats(0.02, 50))
def test_the_temperature_is_the_most_probable_one_that_scipy_finds_or_one(n, classes, seed, scale):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) * scale
    logits[np.arange(n), label] += scale
    fitted = calibration.fit_temperature(logits, label)
    if (logits.argmax(1) == label).all():
        assert fitted == 1.0
        return
    limit = math.log(2.0 if n < 60 else 100.0)
    best = minimize_scalar(lambda u: posterior(logits, label, u), bounds=(-limit, limit), method="bounded",
                           options={"xatol": 1e-10})  # fmt: skip
    gain = 2 * n * (calibration.nll(logits, label) - calibration.nll(logits, label, math.exp(best.x)))
    if abs(gain - chi2.isf(0.05, 1)) > 1e-3:
        expected = math.exp(best.x) if gain > chi2.isf(0.05, 1) else 1.0
        assert fitted == pytest.approx(expected, rel=1e-5)


def test_the_temperature_of_two_classes_has_a_closed_form():
    """Every margin m, a share p of them right: the best sigmoid(m / T) is p, to which many pictures come."""
    for margin, share in ((4.0, 0.9), (0.3, 0.75), (20.0, 0.6)):
        label = (np.arange(10**5) >= 10**5 * share).astype(int)
        logits = np.tile([margin, 0.0], (10**5, 1)).astype(np.float32)
        found = calibration.fit_temperature(logits, label)
        assert found == pytest.approx(margin / math.log(share / (1 - share)), rel=1e-2)


def test_of_many_pictures_the_prior_is_nothing():
    """Against the plain fit of Guo et al. by SciPy: the same to what the pictures themselves leave open."""
    logits, label = workdirs.draw(20_000, 5, ahead=1.5)
    for scale in (0.5, 3.0):
        scaled = logits * scale
        fitted = calibration.fit_temperature(scaled, label)
        plain = minimize_scalar(lambda u, z=scaled: calibration.nll(z, label, math.exp(u)), bounds=(-3, 3)).x
        assert math.log(fitted) == pytest.approx(plain, abs=2e-3)
        excess = calibration.nll(scaled, label, fitted) - calibration.nll(scaled, label, math.exp(plain))
        assert 0 <= excess + 1e-9 < 1e-5


def drawn(rng, n, classes, temperature):
    """Logits whose probabilities are right once they are divided by this temperature, and labels drawn by them."""
    true = rng.normal(size=(n, classes)) * 2.5
    p = softmax(true, axis=1)
    return true * temperature, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=classes - 1)


@pytest.mark.parametrize("n", [6, 9, 20, 60])
def test_few_pictures_leave_a_right_model_as_it_is(n):
    """Fitted freely, two thirds to nine tenths of these draws would make it worse on fresh pictures."""
    rng = np.random.default_rng(n)
    found = [calibration.fit_temperature(*drawn(rng, n, c, 1.0)) for c in (2, 3, 10) for _ in range(100)]
    assert np.mean([t != 1 for t in found]) < 0.1
    if n < 60:
        assert min(found) >= 0.5 and max(found) <= 2


def test_a_model_that_is_far_too_sure_is_mended_from_sixty_pictures_on():
    rng = np.random.default_rng(0)
    found = [calibration.fit_temperature(*drawn(rng, 60, 10, 2.0)) for _ in range(50)]
    assert np.mean([1.3 < t < 2.7 for t in found]) > 0.95


@given(st.integers(1, 59), st.integers(2, 12), st.integers(0, 2**32), st.floats(-30, 30), st.floats(0.01, 1000))
def test_no_few_pictures_give_an_extreme_temperature(n, classes, seed, ahead, scale):
    """Whatever they are: right, wrong, random, of one class, on any scale."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n) * (seed % 3 > 0)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), label] += ahead
    assert 0.5 <= calibration.fit_temperature((logits * scale).astype(np.float32), label) <= 2


def test_logits_trained_with_sigmoids_are_calibrated_like_others():
    """Binary cross entropy leaves all logits below 0; softmax takes their differences alone."""
    logits, label = workdirs.draw(2000, 5, ahead=1.5)
    assert calibration.fit_temperature(logits - 20, label) == pytest.approx(
        calibration.fit_temperature(logits, label), rel=1e-4
    )


def test_what_has_no_minimum_stays_as_it_is():
    logits, label = workdirs.draw(30, 3, ahead=100)
    assert calibration.fit_temperature(logits, label) == 1.0  # all right
    assert calibration.fit_temperature(np.zeros((4, 3)), [0, 1, 2, 0]) == 1.0  # all tied
    assert calibration.fit_temperature(np.full((4, 3), np.nan), [0, 1, 2, 0]) == 1.0
    assert calibration.fit_temperature(-np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1]) == 1.0  # all wrong: four are too few
    anti = -9 * np.eye(2)[np.arange(20) % 2]
    assert calibration.fit_temperature(anti, np.arange(20) % 2) == pytest.approx(calibration.NARROW)
    anti = -9 * np.eye(2)[np.arange(20_000) % 2]
    assert calibration.fit_temperature(anti, np.arange(20_000) % 2) == pytest.approx(calibration.HOTTEST)


def test_rows_that_are_not_finite_do_not_count_in_the_fit():
    logits, label = workdirs.draw(100, 3, ahead=1)
    spoilt = np.concatenate([logits, [[np.nan, 0, 0], [np.inf, 0, 0]]])
    assert calibration.fit_temperature(spoilt, [*label, 0, 1]) == pytest.approx(
        calibration.fit_temperature(logits, label), rel=1e-9
    )


def test_a_row_that_is_not_finite_states_nothing_and_a_class_at_minus_infinity_is_ruled_out():
    inf, nan = np.inf, np.nan
    logits = [[inf, 0, inf], [-inf, 0, 0], [-inf, -inf, -inf], [nan, 0, 0], [1e4, 0, 0]]
    expected = [[nan] * 3, [0, 0.5, 0.5], [nan] * 3, [nan] * 3, [1, 0, 0]]
    np.testing.assert_allclose(calibration.probabilities(logits), expected)
    assert calibration.losses(logits, [0, 1, 0, 1, 0]).tolist() == [inf, pytest.approx(math.log(2)), inf, inf, 0]


def test_the_minimum_is_found_in_few_passes(monkeypatch):
    """Of a large set a pass takes a fifth of a second, and halving alone would need some forty."""
    passes, slope = [], calibration._slope
    monkeypatch.setattr(calibration, "_slope", lambda *a: passes.append(a[2]) or slope(*a))
    logits, label = workdirs.draw(400, 5, ahead=1.5)
    for scale in (0.1, 1.0, 5.0):
        passes.clear()
        calibration.fit_temperature(logits * scale, label)
        assert 2 <= len(passes) <= 15
