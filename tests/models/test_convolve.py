"""The forms of layers.convolve against XLA's own convolution, values and gradients."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxcls.models.layers import convolve as forms
from jaxcls.models.layers.convolve import convolve, plain

LAYOUTS = {4: ("NHWC", "HWIO", "NHWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}


def native(x, kernel, strides, padding, groups):
    layout = LAYOUTS[x.ndim]
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout, feature_group_count=groups)


def ours(x, kernel, strides, padding, groups):
    numbers = lax.conv_dimension_numbers(x.shape, kernel.shape, LAYOUTS[x.ndim])
    ones = (1,) * len(strides)
    return convolve(x, kernel, strides, padding, ones, ones, dimension_numbers=numbers, feature_group_count=groups)


def compare(size, channels, features, window, strides, padding, groups):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, *size, channels)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(*window, channels // groups, features)), jnp.float32)
    want, transpose = jax.vjp(lambda x, k: native(x, k, strides, padding, groups), x, kernel)
    got, ours_transpose = jax.vjp(lambda x, k: ours(x, k, strides, padding, groups), x, kernel)
    assert got.shape == want.shape
    grad = jnp.asarray(rng.normal(size=want.shape), jnp.float32)
    for a, b in zip((got, *ours_transpose(grad)), (want, *transpose(grad)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
        assert np.linalg.norm(a - b) <= 1e-6 * np.linalg.norm(b)


def primitives(function, *args):
    return {equation.primitive.name for equation in jax.make_jaxpr(function)(*args).eqns}


# Size, window, strides, padding above and below, before and behind.
CASES = tuple(
    st.tuples(st.integers(low, high), st.integers(low, high)) for low, high in ((5, 9), (1, 5), (1, 3), (0, 2), (0, 2))
)


@settings(max_examples=8)
@given(*CASES)
def test_depthwise(size, window, strides, vertical, horizontal):
    compare(size, 5, 5, window, strides, (vertical, horizontal), groups=5)


@settings(max_examples=8)
@given(*CASES)
def test_dense(size, window, strides, vertical, horizontal):
    compare(size, 3, 4, window, strides, (vertical, horizontal), groups=1)


@pytest.mark.parametrize(
    "size, window, stride",
    [((6, 5), 1, 1), ((6, 5), 1, 2), ((9, 8), 2, 2), ((9, 10), 4, 4)],
    ids=["1x1", "1x1 every second pixel", "patches of 2", "patches of 4 and some pixels over"],
)
def test_patches(size, window, stride):
    compare(size, 3, 4, (window, window), (stride, stride), ((0, 0), (0, 0)), groups=1)


@pytest.mark.parametrize(
    "channels, features, groups, stride",
    [(8, 16, 4, 1), (96, 48, 12, 2), (64, 64, 16, 1), (66, 44, 22, 1), (6, 12, 6, 1)],
)
def test_grouped(channels, features, groups, stride):
    compare((5, 6), channels, features, (3, 3), (stride, stride), ((1, 1), (1, 1)), groups)


@settings(max_examples=3)
@given(
    st.tuples(st.integers(3, 6), *[st.integers(4, 7)] * 2),
    st.tuples(*[st.integers(1, 3)] * 3),
    st.tuples(*[st.integers(1, 2)] * 3),
    st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 3),
)
def test_clips(size, window, strides, padding):
    """With no more padding than a window reaches: of more XLA:CPU's own gradient reads what is no number of the picture
    (JAX 0.10)."""
    padding = tuple((min(a, k - 1), min(b, k - 1)) for (a, b), k in zip(padding, window, strict=True))
    compare(size, 3, 4, window, strides, padding, groups=1)


@pytest.mark.parametrize(
    "window, strides, padding, groups",
    [
        ((3, 1, 1), (2, 1, 1), ((1, 1), (0, 0), (0, 0)), 1),
        ((3, 1, 1), (1, 2, 2), ((1, 1), (0, 0), (0, 0)), 1),
        ((1, 1, 1), (2, 2, 2), ((0, 0), (0, 0), (0, 0)), 1),
        ((3, 3, 3), (2, 2, 2), ((1, 1), (1, 1), (1, 1)), 2),
        ((3, 3, 3), (1, 1, 1), ((0, 0), (1, 1), (1, 1)), 8),
        ((3, 3, 3), (1, 2, 2), "SAME", 1),
    ],
    ids=["over time", "over time, strides in places", "shortcut", "groups", "depthwise", "same"],
)
def test_forms_of_clips(window, strides, padding, groups):
    compare((5, 6, 4), 8, 8, window, strides, padding, groups)


def test_no_convolution_of_clips_is_left_on_the_cpu():
    def ranks(*args):
        call = lambda x, k: ours(x, k, (1, 1, 1), [(1, 1)] * 3, 1)  # noqa: E731  new each time: traces are cached
        text = str(jax.make_jaxpr(jax.value_and_grad(lambda x, k: call(x, k).sum(), (0, 1)))(*args))
        return {len(found.split(",")) for found in re.findall(r"lhs_spec=\(([^)]*)\)", text)}

    x, kernel = jnp.ones((1, 3, 5, 5, 2)), jnp.ones((3, 3, 3, 2, 4))
    assert ranks(x, kernel) == {4}
    with plain():
        assert ranks(x, kernel) == {5}


def test_half_precision_sums_the_gradient_of_a_depthwise_kernel_in_float32():
    x = jnp.ones((3, 40, 40, 2), jnp.bfloat16)
    kernel = jnp.zeros((1, 3, 1, 2), jnp.bfloat16)
    total = lambda k: ours(x, k, (1, 1), ((0, 0), (1, 1)), 2).astype(jnp.float32).sum()  # noqa: E731
    got = jax.grad(total)(kernel)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got[0, 1].astype(jnp.float32), 3 * 40 * 40, rtol=0.004)  # bfloat16 would stop at 256


def test_plain_uses_one_convolution():
    def used():
        call = lambda x, k: ours(x, k, (1, 1), ((1, 1), (1, 1)), 4)  # noqa: E731  new each time: traces are cached
        return primitives(call, jnp.ones((1, 5, 5, 4)), jnp.ones((3, 3, 1, 4)))

    assert "conv_general_dilated" not in used()
    with plain():
        assert used() == {"conv_general_dilated"}
    assert "conv_general_dilated" not in used()


def test_accelerators_use_one_convolution(monkeypatch):
    monkeypatch.setattr(forms.jax, "default_backend", lambda: "gpu")
    x, kernel = jnp.ones((1, 5, 5, 4)), jnp.ones((1, 1, 4, 6))
    assert primitives(lambda x, k: ours(x, k, (1, 1), ((0, 0), (0, 0)), 1), x, kernel) == {"conv_general_dilated"}


@pytest.mark.parametrize(
    "channels, window, groups", [(4, 3, 4), (64, 3, 16), (4, 1, 1)], ids=["depthwise", "grouped", "1x1"]
)
def test_a_batch_over_several_devices_gives_the_same(channels, window, groups):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 6, 5, channels)).astype(np.float32)
    kernel = rng.normal(size=(window, window, channels // groups, channels)).astype(np.float32)
    pad = window // 2

    def gradients(x, kernel):
        loss = lambda x, k: jnp.sum(ours(x, k, (1, 1), ((pad, pad), (pad, pad)), groups) ** 3)  # noqa: E731
        return jax.grad(loss, (0, 1))(x, kernel)

    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    spread = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
    for a, b in zip(jax.jit(gradients)(spread, kernel), jax.jit(gradients)(x, kernel), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
