"""Class weights and long-tailed sets, against published numbers and closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls.data import balance
from jaxcls.data.base import ArraySource
from jaxcls.data.sources import Synthetic
from jaxcls.errors import UserError

COUNTS = st.lists(st.integers(1, 10**6), min_size=2, max_size=20)


def refused(rule, counts=(3, 5), match=""):
    with pytest.raises(UserError, match=match) as info:
        balance.class_weights(rule, counts)
    assert "\n" not in str(info.value) and "config.loss.class_weight" in str(info.value)


@given(COUNTS)
def test_auto_is_the_reciprocal_of_the_frequency_with_mean_one_over_examples(counts):
    weights = balance.class_weights("auto", counts).astype(float)
    assert np.average(weights, weights=counts) == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(weights * counts, weights[0] * counts[0], rtol=1e-5)


def test_auto_equals_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1, 2], [7, 30, 1])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balance.class_weights("auto", np.bincount(labels)), expected, rtol=1e-6)


@given(COUNTS, st.sampled_from([0.9, 0.99, 0.999, 0.9999]))
def test_effective_weights_are_one_over_the_sum_of_powers_of_beta(counts, beta):
    counts = np.minimum(counts, 3000)
    weights = balance.class_weights(f"effective({beta})", counts)
    number = np.array([np.sum(beta ** np.arange(n)) for n in counts])  # eq. 3 of the paper, as the sum it stands for
    np.testing.assert_allclose(weights, len(counts) / number / np.sum(1 / number), rtol=1e-5)


def test_effective_lies_between_none_and_auto():
    counts = [500, 50, 5]
    np.testing.assert_allclose(balance.class_weights("effective(0)", counts), 1)
    auto = balance.class_weights("auto", counts)
    np.testing.assert_allclose(balance.class_weights("effective(0.9999999)", counts), auto / auto.mean(), rtol=1e-3)
    np.testing.assert_array_equal(
        balance.class_weights("effective()", counts), balance.class_weights("effective(0.999)", counts)
    )


def test_numbers_are_taken_as_they_are():
    for text in ("1, 2.5,0", "(1, 2.5, 0)", "[1,2.5,0,]"):
        np.testing.assert_array_equal(balance.class_weights(text, [1, 0, 2]), np.float32([1, 2.5, 0]))
    assert balance.class_weights("", [1, 0]) is None


def test_mistakes_are_one_line_with_a_remedy():
    refused("balanced", match="there is no rule 'balanced'; there are auto, effective")
    refused("auto", (3, 0), match="class 1 has no training examples")
    for beta in ("1", "-0.1", "'1'", "True"):
        refused(f"effective({beta})", match="below 1")
    for text in ("effective(x)", "effective(nan)", "1, x", "auto | auto"):
        refused(text, match="can't be read; write it like 'auto', 'effective\\(0.999\\)' or numbers")
    refused("auto(1)", match="the arguments of 'auto' don't fit")
    refused("1, 2, 3", match="3 numbers, but there are 2 classes")
    for wrong in ("1, -2", "0, 0", "1, inf", "nan, 1"):
        refused(wrong, match="finite, not negative")


def test_long_tailed_cifar_has_its_published_sizes():
    """The sets of Cui et al. with ratio 100: 12,406 and 10,847 pictures."""
    ten = balance.long_tail_counts([5000] * 10, 100)
    np.testing.assert_array_equal(ten, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
    assert ten.sum() == 12406
    assert balance.long_tail_counts([500] * 100, 100).sum() == 10847


@given(COUNTS, st.floats(1, 1000))
def test_a_long_tail_fits_into_the_set_and_has_its_ratio(counts, ratio):
    kept = balance.long_tail_counts(counts, ratio)
    assert np.all(kept >= 1) and np.all(kept <= counts) and np.all(np.diff(kept) <= 0)
    if kept[-1] >= 50:
        assert kept[0] / kept[-1] == pytest.approx(ratio, rel=0.05)
    profile = ratio ** (-np.arange(len(counts)) / (len(counts) - 1))
    largest = min(np.array(counts) / profile)
    assert np.all(np.abs(kept - np.maximum(1, largest * profile)) <= 1)


@pytest.mark.parametrize("kind", ["array", "view"])
def test_a_long_tailed_source_is_a_seeded_subset(kind):
    labels = np.arange(200) % 4
    if kind == "array":
        ids = [str(i) for i in range(200)]
        source = ArraySource(np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1), labels, tuple("abcd"), ids)
    else:
        source = Synthetic(200, (2, 2, 1), 4, seed=0)
    thin = balance.long_tailed(source, 10, seed=1)
    np.testing.assert_array_equal(np.bincount(thin.labels), [50, 23, 10, 5])
    assert thin.classes == source.classes and len(thin) == 88
    ids = [thin[i]["id"] for i in range(88)]
    assert len(set(ids)) == 88 and all(thin[i]["label"] == thin.labels[i] for i in range(88))
    assert [x["id"] for x in map(balance.long_tailed(source, 10, seed=1).__getitem__, range(88))] == ids
    assert [x["id"] for x in map(balance.long_tailed(source, 10, seed=2).__getitem__, range(88))] != ids
    more = balance.long_tailed(source, 5, seed=1)
    assert set(ids) < {more[i]["id"] for i in range(len(more))}
    assert balance.long_tailed(source, 1, seed=1) is source
    assert len({source.fingerprint, thin.fingerprint, more.fingerprint}) == 3


def test_an_empty_class_is_named():
    source = ArraySource(np.zeros((2, 1, 1, 1), np.uint8), np.array([0, 2]), ("a", "b", "c"), ["0", "1"])
    with pytest.raises(UserError, match="class 'b' has no examples"):
        balance.long_tailed(source, 10, seed=0)
    np.testing.assert_array_equal(balance.count(source), [1, 0, 1])
