import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls.models import layers


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 9), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(0, 99))
def test_max_pool_of_what_a_relu_gives_is_the_maximum_of_windows_cut_at_the_border(size, window, stride, padding, seed):
    padding = min(padding, window // 2)
    x = np.maximum(np.random.default_rng(seed).normal(size=(2, size, size, 1)), 0).astype(np.float32)
    got = np.asarray(layers.max_pool(jnp.asarray(x), window, stride, padding))
    starts = range(-padding, size + padding - window + 1, stride)
    want = [[x[:, max(i, 0) : i + window, max(j, 0) : j + window].max((1, 2)) for j in starts] for i in starts]
    np.testing.assert_array_equal(got, np.array(want).transpose(2, 0, 1, 3))


def test_a_strided_convolution_pads_both_sides_alike():
    layer = layers.conv(1, 3, 2, kernel_init=jax.nn.initializers.ones)
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    got = layer.apply(layer.init(jax.random.key(0), x), x)[0, :, :, 0]
    window = x[0, :, :, 0]  # the padding above and on the left cuts the first row and column of windows
    want = [[window[:2, :2].sum(), window[:2, 1:].sum()], [window[1:, :2].sum(), window[1:, 1:].sum()]]
    np.testing.assert_array_equal(got, want)


def test_global_mean_of_half_precision_is_taken_in_float32():
    x = jnp.ones((1, 64, 64, 1), jnp.bfloat16).at[0, 0, 0, 0].set(2)
    got = layers.global_mean(x)
    assert got.dtype == jnp.float32
    assert got[0, 0] == pytest.approx(1 + 1 / 4096, abs=1e-7)


def test_flatten_runs_over_channels_first():
    x = jnp.arange(12).reshape(1, 2, 3, 2)  # [b, h, w, c], the value is the position
    assert layers.flatten(x)[0].tolist() == [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]


@pytest.mark.parametrize("height, width", [(13, 9), (14, 7), (3, 1), (7, 7)])
def test_adaptive_average_pool(height, width):
    """Window i of 7 reaches from floor(i n / 7) to ceil((i + 1) n / 7)."""
    x = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    got = layers.adaptive_avg_pool(jnp.asarray(x), 7)
    assert got.shape == (2, 7, 7, 3)
    for i, j in itertools.product(range(7), range(7)):
        rows = slice(math.floor(i * height / 7), math.ceil((i + 1) * height / 7))
        columns = slice(math.floor(j * width / 7), math.ceil((j + 1) * width / 7))
        np.testing.assert_allclose(got[:, i, j], x[:, rows, columns].mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_adaptive_average_pool_of_half_precision_is_taken_in_float32():
    x = jnp.ones((1, 32, 32, 1), jnp.bfloat16)
    got = layers.adaptive_avg_pool(x, 3)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got.astype(jnp.float32), np.ones((1, 3, 3, 1)))
