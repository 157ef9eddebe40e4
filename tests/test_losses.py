"""Losses against PyTorch's and timm's values and gradients (fixtures/losses.npz: torch 2.13, float64) and their closed
forms in float64."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls import losses

REFERENCE = np.load(Path(__file__).parent / "fixtures" / "losses.npz")
LABELS = jnp.asarray(REFERENCE["labels"], jnp.int32)
ONE_HOT = np.eye(10)[REFERENCE["labels"]]
SOFT = REFERENCE["soft_targets"]
LOSSES = {
    "cross_entropy": losses.cross_entropy,
    "focal": losses.focal,
    "binary_cross_entropy": losses.binary_cross_entropy,
    "poly1": losses.poly1,
}


def assert_reference(loss, name, *, reduce="mean"):
    """Value and gradient of the mean (or sum) over the examples, and the value of each where it is stored."""
    logits = jnp.asarray(REFERENCE["logits"], jnp.float32)
    each = jax.jit(loss)(logits)
    assert each.dtype == jnp.float32 and each.shape == (16,)
    key = next(key for key in (f"{name}.{reduce}", name) if key in REFERENCE)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: getattr(loss(x), reduce)()))(logits)
    np.testing.assert_allclose(value, REFERENCE[key], rtol=3e-6)
    np.testing.assert_allclose(gradient, REFERENCE[f"{key}.grad"], rtol=1e-5, atol=1e-6)
    if f"{name}.none" in REFERENCE:
        none = REFERENCE[f"{name}.none"]
        np.testing.assert_allclose(each, none if none.ndim == 1 else none.mean(axis=1), rtol=1e-5, atol=1e-6)


def probabilities(logits):
    logits = np.asarray(logits, np.float64)
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# Cross entropy


@pytest.mark.parametrize(
    "name, label, smoothing", [("ce", LABELS, 0.0), ("ce_ls0.1", LABELS, 0.1), ("ce_soft", jnp.asarray(SOFT), 0.0)]
)
def test_cross_entropy_equals_pytorch(name, label, smoothing):
    loss = lambda x: losses.cross_entropy(x, label, label_smoothing=smoothing)  # noqa: E731
    assert_reference(loss, name, reduce="sum")


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_a_class_is_the_same_as_its_one_hot_distribution(smoothing):
    logits = jnp.asarray(REFERENCE["logits"], jnp.float32)
    for name, loss in LOSSES.items():
        hard = loss(logits, LABELS, label_smoothing=smoothing)
        soft = loss(logits, jax.nn.one_hot(LABELS, 10), label_smoothing=smoothing)
        np.testing.assert_allclose(hard, soft, rtol=1e-6, err_msg=name)


def test_losses_are_float32_and_finite_for_half_precision_logits_of_any_size():
    logits = jnp.array([[60000.0, -60000.0], [-60000.0, 60000.0]], jnp.float16)
    label = jnp.array([0, 0])
    for loss, expected in (
        (losses.cross_entropy, [0, 120000]),
        (losses.focal, [0, 120000]),
        (losses.poly1, [0, 120001]),
        (losses.binary_cross_entropy, [0, 60000]),
    ):
        summed = lambda x, loss=loss: loss(x, label).sum()  # noqa: E731
        out, gradient = loss(logits, label), jax.jit(jax.grad(summed))(logits)
        assert out.dtype == jnp.float32
        np.testing.assert_allclose(out, expected, rtol=1e-3)
        assert np.all(np.isfinite(gradient))


# Focal


@pytest.mark.parametrize("gamma", [0, 1, 2, 5])
def test_focal_equals_the_reference(gamma):
    assert_reference(lambda x: losses.focal(x, LABELS, gamma=gamma), f"focal_g{gamma}")
    alpha = REFERENCE["focal_alpha"]
    assert_reference(lambda x: losses.focal(x, LABELS, gamma=gamma, alpha=alpha), f"focal_g{gamma}_alpha")


@pytest.mark.parametrize("gamma, alpha, smoothing", [(2.0, 0.25, 0.0), (0.5, REFERENCE["focal_alpha"], 0.1)])
def test_focal_of_soft_labels_is_its_closed_form(gamma, alpha, smoothing):
    p, y = probabilities(REFERENCE["logits"]), (1 - smoothing) * SOFT + smoothing / 10
    expected = -(y * alpha * (1 - p) ** gamma * np.log(p)).sum(axis=1)
    out = losses.focal(REFERENCE["logits"], jnp.asarray(SOFT), gamma=gamma, alpha=alpha, label_smoothing=smoothing)
    np.testing.assert_allclose(out, expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_the_slope_of_focal_is_finite_where_the_model_is_sure(gamma):
    gradient = jax.jit(jax.grad(lambda x: losses.focal(x, jnp.array([0]), gamma=gamma).sum()))(
        jnp.array([[200.0, 0.0]])
    )
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


# Binary cross entropy


@pytest.mark.parametrize("name, smoothing", [("bce_onehot", 0.0), ("timm_bce_ls0.1", 0.1)])
def test_binary_cross_entropy_equals_pytorch_and_timm(name, smoothing):
    loss = lambda x: losses.binary_cross_entropy(x, LABELS, label_smoothing=smoothing)  # noqa: E731
    assert_reference(loss, name)


def test_binary_cross_entropy_of_soft_labels_is_its_closed_form():
    logits = np.asarray(REFERENCE["logits"])
    expected = SOFT * np.logaddexp(0, -logits) + (1 - SOFT) * np.logaddexp(0, logits)
    label = jnp.asarray(SOFT)
    np.testing.assert_allclose(losses.binary_cross_entropy(logits, label), expected.mean(axis=1), rtol=1e-5)
    summed = losses.binary_cross_entropy(logits, label, sum_classes=True)
    np.testing.assert_allclose(summed, expected.sum(axis=1), rtol=1e-5)


def test_above_the_threshold_a_mixed_label_counts_in_full():
    logits = jnp.asarray(REFERENCE["logits"], jnp.float32)
    first, second = ONE_HOT, np.roll(ONE_HOT, 1, axis=0)
    for share, expected in ((0.3, np.maximum(first, second)), (0.1, second)):
        mixed = share * first + (1 - share) * second
        out = losses.binary_cross_entropy(logits, jnp.asarray(mixed), threshold=0.2)
        np.testing.assert_allclose(out, losses.binary_cross_entropy(logits, jnp.asarray(expected)), rtol=1e-6)


# Poly-1


def test_poly1_equals_the_reference():
    assert_reference(lambda x: losses.poly1(x, LABELS), "poly1_eps1")


def test_poly1_of_smoothed_soft_labels_is_its_closed_form():
    p, y = probabilities(REFERENCE["logits"]), 0.9 * SOFT + 0.01
    expected = -(y * np.log(p)).sum(axis=1) + 2 * (1 - (y * p).sum(axis=1))
    out = losses.poly1(REFERENCE["logits"], jnp.asarray(SOFT), epsilon=2.0, label_smoothing=0.1)
    np.testing.assert_allclose(out, expected, rtol=1e-5)


# Between predictions


def test_jensen_shannon_is_its_closed_form_with_the_right_slope():
    views = np.random.default_rng(0).normal(size=(3, 6, 10)) * 3

    def expected(views):
        p = probabilities(views)
        mean = p.mean(axis=0)
        return (p * np.log(p / mean)).sum(axis=-1).mean(axis=0)

    np.testing.assert_allclose(losses.jensen_shannon(*views), expected(views), rtol=1e-4)
    gradient = jax.jit(jax.grad(lambda x: losses.jensen_shannon(*x).sum()))(jnp.asarray(views, jnp.float32))
    for view, row, column in ((0, 0, 3), (1, 5, 0), (2, 2, 9)):
        step = np.zeros_like(views)
        step[view, row, column] = 1e-5
        slope = (expected(views + step) - expected(views - step)).sum() / 2e-5
        np.testing.assert_allclose(gradient[view, row, column], slope, rtol=1e-3, atol=1e-6)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0, 100))
def test_jensen_shannon_is_symmetric_and_between_zero_and_log_of_the_views(seed, scale):
    views = np.random.default_rng(seed).normal(size=(3, 4, 5)) * scale
    out = np.asarray(losses.jensen_shannon(*views))
    assert np.all(out > -1e-6) and np.all(out < np.log(3) + 1e-5)
    np.testing.assert_allclose(losses.jensen_shannon(*views[::-1]), out, atol=1e-5)
    np.testing.assert_allclose(losses.jensen_shannon(views[0], views[0], views[0]), 0, atol=1e-6)


def test_jensen_shannon_of_contradicting_certainties_is_its_largest_value():
    out = losses.jensen_shannon(*(jnp.eye(3)[i : i + 1] * 1e4 for i in range(3)))
    np.testing.assert_allclose(out, np.log(3), rtol=1e-6)


@pytest.mark.parametrize("temperature", [1, 2, 3, 4])
def test_distillation_equals_pytorch(temperature):
    teacher = jnp.asarray(REFERENCE["teacher_logits"], jnp.float32)
    assert_reference(lambda x: losses.distillation(x, teacher, temperature), f"kd_T{temperature}.batchmean")
    for alpha in (0.5, 0.9):
        loss = lambda x, a=alpha: losses.distilled(x, teacher, LABELS, alpha=a, temperature=temperature)  # noqa: E731
        assert_reference(loss, f"kd_T{temperature}_alpha{alpha}.mix")


def test_distillation_is_nothing_for_a_student_that_equals_its_teacher():
    logits = jnp.asarray(REFERENCE["logits"], jnp.float32)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: losses.distillation(x, logits, 4.0).sum()))(logits)
    assert abs(value) < 1e-4
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


# All


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0, 50), smoothing=st.floats(0, 0.9))
def test_losses_are_not_negative_and_smoothing_mixes_labels(seed, scale, smoothing):
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(rng.normal(size=(4, 6)) * scale, jnp.float32)
    soft = jnp.asarray(rng.dirichlet(np.full(6, 0.3), size=4), jnp.float32)
    mixed = (1 - smoothing) * soft + smoothing / 6
    for name, loss in LOSSES.items():
        out = loss(logits, soft, label_smoothing=smoothing)
        assert np.all(out >= -1e-5), name
        np.testing.assert_allclose(out, loss(logits, mixed), rtol=1e-4, atol=1e-4, err_msg=name)
    assert np.all(losses.distillation(logits, logits[::-1], 2.0) >= -1e-4)
    np.testing.assert_allclose(
        losses.focal(logits, soft, gamma=0.0), losses.cross_entropy(logits, soft), rtol=1e-5, atol=1e-6
    )


# Sets of labels

SETS = (np.random.default_rng(5).random((16, 10)) < 0.3).astype(np.float64)


def asymmetric_formula(logits, y, gamma_neg, gamma_pos, clip):
    """Ridnik et al., eq. 4 to 7, as it stands there, in float64: [n, classes]."""
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    shifted = np.maximum(p - clip, 0)
    positive, negative = (1 - p) ** gamma_pos * np.log(p), shifted**gamma_neg * np.log(1 - shifted)
    return -y * positive - (1 - y) * negative


@pytest.mark.parametrize("gammas_and_clip", [(4, 1, 0.05), (4, 0, 0.05), (2, 2, 0), (0.5, 0.5, 0.2), (0, 0, 0)])
@pytest.mark.parametrize("label", [SETS, 0.7 * SETS + 0.3 * SETS[::-1]], ids=["sets", "mixed"])
def test_asymmetric_is_its_formula_and_so_are_its_slopes(gammas_and_clip, label):
    gamma_neg, gamma_pos, clip = gammas_and_clip
    logits = np.clip(np.asarray(REFERENCE["logits"], np.float64), -12, 12)  # where 1 - p has digits left
    options = {"gamma_neg": gamma_neg, "gamma_pos": gamma_pos, "clip": clip}
    loss = lambda x: losses.asymmetric(x, jnp.asarray(label, jnp.float32), **options)  # noqa: E731
    expected = asymmetric_formula(logits, label, *gammas_and_clip)
    np.testing.assert_allclose(loss(jnp.asarray(logits)), expected.mean(axis=1), rtol=2e-5, atol=1e-7)
    summed = losses.asymmetric(jnp.asarray(logits), jnp.asarray(label), sum_classes=True, **options)
    np.testing.assert_allclose(summed, expected.sum(axis=1), rtol=2e-5, atol=1e-6)
    step = 1e-6
    above, below = (asymmetric_formula(logits + d, label, *gammas_and_clip) for d in (step, -step))
    slopes = (above - below) / (2 * step) / 10
    kinked = np.abs(1 / (1 + np.exp(-logits)) - clip) < 1e-3  # a power below one has no slope where it begins
    gradient = np.asarray(jax.grad(lambda x: loss(x).sum())(jnp.asarray(logits)))
    np.testing.assert_allclose(gradient[~kinked], slopes[~kinked], rtol=1e-3, atol=2e-6)


def test_asymmetric_without_asymmetry_is_the_binary_cross_entropy():
    options = {"label_smoothing": 0.1, "positive_weight": np.linspace(0.5, 5, 10)}
    plain = losses.asymmetric(REFERENCE["logits"], jnp.asarray(SETS), gamma_neg=0, gamma_pos=0, clip=0, **options)
    same = losses.binary_cross_entropy(REFERENCE["logits"], jnp.asarray(SETS), **options)
    np.testing.assert_allclose(plain, same, rtol=1e-6)


@pytest.mark.parametrize("gammas_and_clip", [(4.0, 1.0, 0.05), (0.5, 0.5, 0.05), (0.0, 0.0, 0.0), (0.5, 0.0, 0.0)])
def test_the_slopes_of_asymmetric_are_finite_where_the_model_is_sure(gammas_and_clip):
    gamma_neg, gamma_pos, clip = gammas_and_clip
    logits = jnp.array([[1e4, -1e4, 90.0, -90.0, 0.0]], jnp.float32)
    for label in (jnp.zeros((1, 5)), jnp.ones((1, 5))):
        loss = lambda x, y=label: losses.asymmetric(  # noqa: E731
            x, y, gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip
        ).sum()
        value, slope = jax.jit(jax.value_and_grad(loss))(logits)
        assert np.isfinite(value) and np.all(np.isfinite(slope))


def test_negatives_below_the_clip_count_nothing():
    logits = jnp.array([[-4.0, -2.0]])  # probabilities of 0.018 and 0.12
    slopes = jax.grad(lambda x: losses.asymmetric(x, jnp.zeros((1, 2)), clip=0.05).sum())(logits)
    assert slopes[0, 0] == 0 and slopes[0, 1] > 0


def test_the_weight_of_a_positive_is_pytorchs_pos_weight():
    logits, weight = np.asarray(REFERENCE["logits"], np.float64), np.linspace(0.5, 5, 10)
    expected = weight * SETS * np.logaddexp(0, -logits) + (1 - SETS) * np.logaddexp(0, logits)
    out = losses.binary_cross_entropy(logits, jnp.asarray(SETS), positive_weight=weight)
    np.testing.assert_allclose(out, expected.mean(axis=1), rtol=1e-5)


def test_targets_of_sets_are_spread_over_yes_and_no():
    np.testing.assert_allclose(losses.set_targets(jnp.array([[0, 1]], jnp.uint8), label_smoothing=0.2), [[0.1, 0.9]])
    assert losses.set_targets(jnp.array([[0, 1]], jnp.uint8)).dtype == jnp.float32


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_binary_distillation_is_the_divergence_of_each_class(temperature):
    from scipy.stats import entropy

    student, teacher = (np.clip(REFERENCE[key].astype(float), -12, 12) for key in ("logits", "teacher_logits"))
    p, q = (1 / (1 + np.exp(-x / temperature)) for x in (teacher, student))
    expected = temperature**2 * entropy(np.stack([p, 1 - p]), np.stack([q, 1 - q]), axis=0)
    out = losses.binary_distillation(student, teacher, temperature)
    np.testing.assert_allclose(out, expected.mean(axis=1), rtol=1e-4)
    summed = losses.binary_distillation(student, teacher, temperature, sum_classes=True)
    np.testing.assert_allclose(summed, expected.sum(axis=1), rtol=1e-4)
