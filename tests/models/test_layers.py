import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls.models import layers
from jaxcls.models.layers import convolve, pool
from jaxcls.parallel import Parallel


@settings(max_examples=15)
@given(st.integers(3, 9), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(0, 99))
def test_max_pool_of_what_a_relu_gives_is_the_maximum_of_windows_cut_at_the_border(size, window, stride, padding, seed):
    padding = min(padding, window // 2)
    x = np.maximum(np.random.default_rng(seed).normal(size=(2, size, size, 1)), 0).astype(np.float32)
    got = np.asarray(layers.max_pool(jnp.asarray(x), window, stride, padding))
    starts = range(-padding, size + padding - window + 1, stride)
    want = [[x[:, max(i, 0) : i + window, max(j, 0) : j + window].max((1, 2)) for j in starts] for i in starts]
    np.testing.assert_array_equal(got, np.array(want).transpose(2, 0, 1, 3))


@pytest.mark.parametrize("window, stride", [(2, 2), (3, 2), (3, 1)])
def test_max_pool_in_the_form_for_cpus_is_that_of_xla(window, stride):
    """Values and gradients, also where many values are equal: the first of them gets it, as in PyTorch. And NaN."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(0, 3, (2, 9, 8, 3)), jnp.float32)

    def both(x):
        y, back = jax.vjp(lambda x: layers.max_pool(x, window, stride), x)
        return y, back(jnp.asarray(np.random.default_rng(1).normal(size=y.shape), jnp.float32))[0]

    with convolve.plain():
        want = jax.jit(lambda x: both(x))(x)
    got = jax.jit(lambda x: both(x))(x)
    assert "reduce_window_max" not in str(jax.make_jaxpr(lambda x: layers.max_pool(x, window, stride))(x))
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_allclose(got[1], want[1], atol=1e-6)
    broken = x.at[0, 2, 3, 1].set(jnp.nan)
    with convolve.plain():
        expected = jax.jit(lambda x: layers.max_pool(x, window, stride))(broken)
    np.testing.assert_array_equal(layers.max_pool(broken, window, stride), expected)


@pytest.mark.parametrize("ceil", [False, True])
def test_on_accelerators_a_max_pool_pads_by_itself_with_the_same_values_and_gradients(ceil):
    """Behind a ReLU, with many zeros at the border: their gradient ends there, wherever in the window it goes.

    For GPUs JAX pads in the gradient (a crash of XLA's, it says).
    """
    rng, over = np.random.default_rng(0), Parallel(devices=1)
    x = jnp.asarray(rng.integers(-2, 3, (2, 10, 8, 3)), jnp.float32)

    def pool(x):
        return layers.max_pool(jax.nn.relu(x), 3, 2, padding=1, ceil=ceil)

    def both(x):
        y, back = jax.vjp(pool, x)
        return y, back(jnp.asarray(np.random.default_rng(1).normal(size=y.shape), jnp.float32))[0]

    def pads(fn, lowering):
        text = jax.jit(over.aimed(lambda x: fn(x))).trace(x).lower(lowering_platforms=(lowering,)).as_text()
        return text.count("stablehlo.pad")

    want = jax.jit(lambda x: both(x))(x)
    assert pads(pool, "cpu") == 1
    for over.platform, lowering in (("gpu", "cuda"), ("tpu", "tpu")):
        assert pads(pool, lowering) == 0 and (lowering == "cuda" or pads(both, lowering) == 0)
        got = jax.jit(over.aimed(lambda x: both(x)))(x)
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_allclose(got[1], want[1], atol=1e-6)
        with convolve.plain():  # what is exported
            assert pads(pool, lowering) == 1


@pytest.mark.parametrize("axis", [1, -1])
def test_the_gradient_of_a_maximum_goes_to_the_first_place_that_has_it(axis):
    x = np.random.default_rng(0).integers(0, 3, (2, 5, 4)).astype(np.float32)
    values, back = jax.vjp(lambda x: pool.largest(x, axis), jnp.asarray(x))
    np.testing.assert_array_equal(values, x.max(axis))
    grad = np.asarray(back(jnp.full(values.shape, 7.0))[0])
    np.testing.assert_array_equal(grad.sum(axis), 7.0)
    np.testing.assert_array_equal(grad.argmax(axis), x.argmax(axis))
    assert np.isnan(pool.largest(jnp.array([1.0, jnp.nan, 2.0]), 0))


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


def test_global_mean_of_one_picture_is_kept_apart_from_what_is_in_front_on_the_cpu():
    """With the same bits: XLA fuses no convolution through it (docs/results.md, one picture)."""
    x = jax.random.normal(jax.random.key(0), (1, 3, 4, 5))
    traced = [str(jax.make_jaxpr(lambda x: layers.global_mean(x))(x)) for x in (x, jnp.concatenate([x, x]))]
    assert ["reduce_precision" in text for text in traced] == [True, False]
    np.testing.assert_array_equal(layers.global_mean(x), jnp.mean(x, (1, 2)))
    np.testing.assert_array_equal(jax.grad(lambda x: layers.global_mean(x).sum())(x), jnp.full_like(x, 1 / 12))


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
