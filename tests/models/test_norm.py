"""layers.norm against Flax's own BatchNorm: values, statistics, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcls.models.layers.convolve import plain
from jaxcls.models.layers.norm import batch_norm

SHAPE = (8, 5, 6, 3)


def pair(dtype=jnp.float32, train=True, axis_name=None):
    """Ours and Flax's, of the same settings."""
    settings = {"epsilon": 1e-3, "momentum": 0.9, "dtype": dtype, "param_dtype": jnp.float32, "axis_name": axis_name}
    return batch_norm(train=train, **settings)(), nn.BatchNorm(use_running_average=not train, **settings)


def variables():
    rng = np.random.default_rng(1)
    draw = lambda low: jnp.asarray(rng.uniform(low, 2, SHAPE[-1]), jnp.float32)  # noqa: E731
    return {"params": {"scale": draw(-1), "bias": draw(-1)}, "batch_stats": {"mean": draw(-1), "var": draw(0.1)}}


def results(layer, x, dtype=jnp.float32):
    """Output, new statistics, gradients of the input and the parameters."""
    given = variables()
    toward = jnp.asarray(np.random.default_rng(2).normal(size=x.shape), dtype)

    def output(x, params):
        y, new = layer.apply({**given, "params": params}, x, mutable=["batch_stats"])
        return y, new

    y, back, new = jax.vjp(output, x, given["params"], has_aux=True)
    return y, new, back(toward)


def pictures(dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(0).normal(3, 2, SHAPE), dtype)


def compare(got, want, tolerance=2e-6):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        a, b = (np.asarray(value, np.float32) for value in (a, b))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("train", [True, False])
def test_it_is_flaxs(train):
    ours, flaxs = pair(train=train)
    compare(results(ours, pictures()), results(flaxs, pictures()))
    compare(ours.init(jax.random.key(0), pictures()), flaxs.init(jax.random.key(0), pictures()))


def test_half_precision():
    ours, flaxs = pair(jnp.bfloat16)
    compare(*(results(layer, pictures(jnp.bfloat16), jnp.bfloat16) for layer in (ours, flaxs)), tolerance=0.01)


def test_plain_keeps_the_derivative_of_the_operations():
    with plain():
        ours, flaxs = pair()
        compare(results(ours, pictures()), results(flaxs, pictures()))
        jax.jvp(lambda x: ours.apply(variables(), x, mutable=["batch_stats"])[0], (pictures(),), (pictures(),))


def test_statistics_over_devices():
    """By pmap's axis and by sharding: the same as on one device."""
    x = pictures()
    alone = results(pair()[0], x)
    synchronised, flaxs = pair(axis_name="batch")
    mapped = [
        jax.vmap(lambda x, layer=layer: results(layer, x), axis_name="batch")(x.reshape(4, 2, *SHAPE[1:]))
        for layer in (synchronised, flaxs)
    ]
    compare(*mapped)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    spread = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
    compare(jax.jit(lambda x: results(pair()[0], x))(spread), alone)


def test_the_gradient_is_that_of_differences():
    layer, given = pair()[0], variables()
    weights = jnp.asarray(np.random.default_rng(3).normal(size=SHAPE), jnp.float32)
    loss = lambda x: (weights * layer.apply(given, x, mutable=["batch_stats"])[0] ** 2).sum()  # noqa: E731
    x, along = pictures(), jnp.asarray(np.random.default_rng(4).normal(size=SHAPE), jnp.float32)
    step = 1e-2
    slope = (loss(x + step * along) - loss(x - step * along)) / (2 * step)
    np.testing.assert_allclose((jax.grad(loss)(x) * along).sum(), slope, rtol=2e-3)
