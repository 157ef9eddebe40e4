import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import summary, whitening
from jaxcls.models.airbench import identity_first
from jaxcls.settings.config_file import load


def test_whitened_patches_are_uncorrelated_and_of_variance_1():
    rng = np.random.default_rng(0)
    images = np.cumsum(rng.normal(size=(40, 12, 12, 3)), axis=1)  # neighbours are alike
    kernel = whitening.kernel(images, window=2, eps=0.0)
    out = jax.lax.conv_general_dilated(
        jnp.asarray(images), jnp.asarray(kernel), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    flat = np.asarray(out, np.float64).reshape(-1, 24)
    np.testing.assert_allclose(flat[:, :12].T @ flat[:, :12] / len(flat), np.eye(12), atol=2e-3)
    np.testing.assert_allclose(flat[:, 12:], -flat[:, :12], atol=1e-5)


def test_a_direction_without_variance_stays_finite():
    images = np.repeat(np.random.default_rng(0).normal(size=(4, 6, 6, 1)), 3, axis=3)  # grey in three channels
    assert np.abs(whitening.kernel(images)).max() <= whitening.EPS**-0.5


@pytest.mark.parametrize("channels, features", [(3, 8), (8, 3)])
def test_first_filters_hand_their_channel_on(channels, features):
    kernel = identity_first(jax.random.key(0), (3, 3, channels, features))
    x = jax.random.normal(jax.random.key(1), (1, 5, 5, channels))
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    n = min(channels, features)
    np.testing.assert_array_equal(y[..., :n], x[..., :n])


def test_the_recipe_costs_no_more_than_published():
    """Section 1 of the paper: 3.6e14 FLOPs for the whole training, a multiply-add counting as two."""
    config = load("configs/cifar10_fast.py")
    model = models.create(config.model.name, num_classes=10)
    found = summary.summarize(model, (32, 32, 3))
    epochs = float(config.duration.split()[0])
    steps = int(epochs * (50_000 // config.batch_size))
    flops = 3 * 2 * found.total.macs * config.batch_size * steps  # forward, and twice as much backward
    assert 3.3e14 < flops <= 3.6e14
    assert steps % config.optim.lookahead == 0  # the last state is the slow one


def test_small_pictures_are_refused():
    model = models.create("airbench94", num_classes=10)
    with pytest.raises(UserError, match="16x16 or larger"):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), jnp.zeros((1, 12, 12, 3)))
