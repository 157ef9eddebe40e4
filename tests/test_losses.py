"""Losses against PyTorch's values and gradients (fixtures/losses.npz: torch 2.13, float64)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import losses

REFERENCE = np.load(Path(__file__).parent / "fixtures" / "losses.npz")


@pytest.mark.parametrize(
    "name, target, smoothing", [("ce", "labels", 0.0), ("ce_ls0.1", "labels", 0.1), ("ce_soft", "soft_targets", 0.0)]
)
def test_cross_entropy_equals_pytorch(name, target, smoothing):
    logits, target = jnp.asarray(REFERENCE["logits"], jnp.float32), REFERENCE[target]

    def loss(logits):
        return losses.cross_entropy(logits, jnp.asarray(target), label_smoothing=smoothing)

    np.testing.assert_allclose(loss(logits), REFERENCE[f"{name}.none"], rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda x: loss(x).sum())(logits)
    np.testing.assert_allclose(gradient, REFERENCE[f"{name}.sum.grad"], rtol=1e-5, atol=1e-6)
    assert abs(float(loss(logits).sum()) - REFERENCE[f"{name}.sum"]) < 1e-4


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_a_class_is_the_same_as_its_one_hot_distribution(smoothing):
    logits, labels = jnp.asarray(REFERENCE["logits"], jnp.float32), jnp.asarray(REFERENCE["labels"], jnp.int32)
    hard = losses.cross_entropy(logits, labels, label_smoothing=smoothing)
    soft = losses.cross_entropy(logits, jax.nn.one_hot(labels, 10), label_smoothing=smoothing)
    np.testing.assert_allclose(hard, soft, rtol=1e-6)


def test_the_loss_is_float32_and_finite_for_half_precision_logits_of_any_size():
    logits = jnp.array([[60000.0, -60000.0], [-60000.0, 60000.0]], jnp.float16)
    out = losses.cross_entropy(logits, jnp.array([0, 0]))
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, [0.0, 119936.0], rtol=1e-3)
