"""BatchNorm over groups of the batch: against closed forms, and Flax's layer on each group alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcls.models import batch_norm, layers
from jaxcls.models.layers.norm import GroupedBatchNorm

EPSILON, MOMENTUM = 1e-3, 0.8


def make(shape, dtype=np.float32):
    """(pictures, variables) with values; examples differ much from each other."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape) + 3 * rng.normal(size=(shape[0], *[1] * (len(shape) - 2), shape[-1]))
    c = shape[-1]
    params = {"scale": rng.uniform(0.5, 2, c), "bias": rng.normal(size=c)}
    statistics = {"mean": rng.normal(size=c), "var": rng.uniform(0.5, 2, c)}
    variables = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), {"params": params, "batch_stats": statistics})
    return jnp.asarray(x, dtype), variables


def layer(groups, *, train=True, dtype=None, **fields):
    types = {"dtype": dtype, "param_dtype": jnp.float32}
    return layers.batch_norm(train=train, axis_name=groups, epsilon=EPSILON, momentum=MOMENTUM, **types)(**fields)


def trained(module, variables, x):
    return module.apply(variables, x, mutable=["batch_stats"])


@pytest.mark.parametrize("shape", [(12, 3, 2, 5), (12, 5)])
def test_groups_against_the_closed_form(shape):
    x, variables = make(shape)
    y, new = trained(layer(4), variables, x)
    wide = np.asarray(x, np.float64)
    grouped = wide.reshape(4, -1, shape[-1])  # neighbours, and all places of their pictures
    mean, var = grouped.mean(1, keepdims=True), grouped.var(1, keepdims=True)
    normalised = ((grouped - mean) / np.sqrt(var + EPSILON)).reshape(shape)
    np.testing.assert_allclose(y, normalised * variables["params"]["scale"] + variables["params"]["bias"], atol=1e-4)
    for name, value in (("mean", mean), ("var", var)):
        kept = MOMENTUM * variables["batch_stats"][name] + (1 - MOMENTUM) * value.mean((0, 1))
        np.testing.assert_allclose(new["batch_stats"][name], kept, rtol=1e-5)
    _, whole = trained(layer(None), variables, x)
    assert np.all(whole["batch_stats"]["var"] > new["batch_stats"]["var"])  # the spread of the groups' means


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("fields", [{}, {"use_scale": False}, {"use_scale": False, "use_bias": False}])
def test_one_group_is_flaxs_layer_to_the_bit(dtype, fields):
    x, variables = make((8, 3, 2, 5), dtype)
    variables["params"] = {k: v for k, v in variables["params"].items() if fields.get(f"use_{k}", True)}
    same = {"use_running_average": False, "epsilon": EPSILON, "momentum": MOMENTUM, "dtype": dtype, **fields}
    ours, flaxs = (trained(kind(**same), variables, x) for kind in (GroupedBatchNorm, nn.BatchNorm))
    jax.tree.map(np.testing.assert_array_equal, ours, flaxs)
    assert ours[0].dtype == dtype


def test_variables_and_inference_are_flaxs():
    x, variables = make((8, 3, 2, 5))
    assert type(layer(4, train=False)) is type(layer(None)) is type(layer(1)) is type(layer("data")) is nn.BatchNorm
    fresh = [module.init(jax.random.key(0), x) for module in (layer(4), layer(None))]
    jax.tree.map(np.testing.assert_array_equal, *fresh)
    expected = layer(None, train=False).apply(variables, x)
    with batch_norm.held(lambda path: np.inf, 0):  # a frozen layer
        inferred, kept = trained(layer(4), variables, x)
    np.testing.assert_array_equal(inferred, expected)
    jax.tree.map(np.testing.assert_array_equal, kept["batch_stats"], variables["batch_stats"])


def test_a_batch_that_groups_do_not_divide_has_fewer():
    """Shapes are traced with two examples."""
    x, variables = make((6, 5))
    jax.tree.map(np.testing.assert_array_equal, trained(layer(4), variables, x), trained(layer(2), variables, x))


def test_statistics_of_the_batch_are_those_of_all_groups_together():
    x, variables = make((12, 3, 2, 5))
    with batch_norm.storing_the_batch():
        y, new = trained(layer(4), variables, x)
    np.testing.assert_allclose(new["batch_stats"]["mean"], np.asarray(x, np.float64).mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], np.asarray(x, np.float64).var((0, 1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(y, trained(layer(4), variables, x)[0])  # normalised as in training
