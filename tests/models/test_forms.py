"""The forms of transformers' parts, each against the formula written down plainly, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxcls.models import layers
from jaxcls.models.layers import convolve, window


def relative(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def test_gelu_is_x_times_the_normal_distribution_function_and_so_is_its_derivative():
    x = jnp.linspace(-12, 12, 4801)
    wide = np.asarray(x, np.float64)
    value, slope = wide * norm.cdf(wide), norm.cdf(wide) + wide * norm.pdf(wide)
    np.testing.assert_allclose(layers.gelu(x), value, rtol=0, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(layers.gelu))(x), slope, rtol=0, atol=1e-6)
    tangent = jax.jvp(layers.gelu, (x,), (2 * jnp.ones_like(x),))[1]
    np.testing.assert_allclose(tangent, 2 * slope, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_gelu_of_half_precision_is_rounded_once(dtype):
    x = jnp.linspace(-4, 4, 801).astype(dtype)
    y = layers.gelu(x)
    assert y.dtype == dtype and (y == layers.gelu(x.astype(jnp.float32)).astype(dtype)).all()
    assert jax.grad(lambda x: layers.gelu(x).sum())(x).dtype == dtype


@pytest.mark.parametrize("shape", [(5, 7), (2, 5, 7), (2, 3, 5, 7)])
def test_matmul_takes_any_number_of_leading_axes(shape):
    x, kernel = random(*shape), random(7, 4, seed=1)
    out = random(*shape[:-1], 4, seed=2)

    def loss(multiply):
        return jax.value_and_grad(lambda x, k: jnp.sum(multiply(x, k) * out), (0, 1))

    values = jax.tree.leaves(loss(layers.matmul)(x, kernel))
    for ours, plain in zip(values, jax.tree.leaves(loss(jnp.matmul)(x, kernel)), strict=True):
        assert relative(ours, plain) < 1e-6
    with convolve.plain():
        assert "reshape" not in str(jax.make_jaxpr(lambda x, k: layers.matmul(x, k))(x, kernel))


def test_attention_is_that_of_one_head_after_the_other():
    heads, width = 3, 12
    qkv, out = random(2, 5, 3 * width), random(2, 5, width, seed=1)

    def plain(qkv):
        q, k, v = jnp.split(qkv, 3, axis=-1)
        mixed = []
        for i in range(heads):
            part = slice(i * width // heads, (i + 1) * width // heads)
            scores = q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(width // heads)
            mixed.append(jax.nn.softmax(scores) @ v[..., part])
        return jnp.concatenate(mixed, -1)

    assert relative(layers.attend(qkv, heads)[0], plain(qkv)) < 1e-6
    ours = jax.grad(lambda qkv: jnp.sum(layers.attend(qkv, heads)[0] * out))(qkv)
    assert relative(ours, jax.grad(lambda qkv: jnp.sum(plain(qkv) * out))(qkv)) < 2e-6
    np.testing.assert_allclose(layers.attend(qkv, heads)[1].sum(-1), 1, rtol=1e-6)


def test_the_inverse_norm_of_padding_is_zero_and_has_no_gradient():
    x = random(2, 3, 4).at[0, 1].set(0)
    lengths = np.linalg.norm(np.asarray(x, np.float64), axis=-1)
    inverse = window.inverse_norm(x)
    assert inverse[0, 1] == 0 and not jax.grad(lambda x: window.inverse_norm(x)[0, 1])(x).any()
    np.testing.assert_allclose(inverse[1], 1 / lengths[1], rtol=1e-6)
