"""What holds for every family, on its smallest member."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import draw
from flax import traverse_util
from tiny_models import CLIPS, TINY

FAMILIES = [*TINY, "r3d"]
REMATERIALISED = ["efficientnet", "regnet", "densenet", "vgg", "resnet_bottleneck", "resnet_cifar_b", "resnetv2", "vit"]
NORMALISED = ["efficientnet", "densenet", "vgg", "resnet_basic", "resnet_cifar_a", "wide_resnet", "pyramidnet"]


def build(name, **fields):
    """The tiny model, variables with values and four pictures."""
    kind, given, shape = (TINY | CLIPS)[name]
    model = kind(num_classes=3, **given, **fields)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, *shape)), jnp.float32)
    variables = draw(jax.eval_shape(model.init, jax.random.key(0), images), seed=1)
    return model, jax.tree.map(jnp.asarray, variables), images


def apply(model, variables, images, train):
    """(logits, out), what BatchNorm updated."""
    return jax.jit(lambda v, x: model.apply(v, x, train=train, mutable=["batch_stats"]))(variables, images)


@functools.cache
def training_step(name, **fields):
    """The gradients of a loss, the logits, what BatchNorm updated: one program for several tests."""
    model, variables, images = build(name, **fields)

    def loss(params):
        (logits, _), updated = model.apply({**variables, "params": params}, images, train=True, mutable=["batch_stats"])
        return -jax.nn.log_softmax(logits)[jnp.arange(4), jnp.array([0, 1, 2, 0])].sum(), (logits, updated)

    grads, (logits, updated) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    return grads, logits, updated


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_gets_a_gradient(name):
    grads = traverse_util.flatten_dict(training_step(name)[0], sep="/")
    assert not [path for path, grad in grads.items() if not np.isfinite(grad).all() or not np.abs(grad).max() > 0]


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_computes_with_float32_parameters_logits_and_statistics(name):
    model, variables, images = build(name, dtype=jnp.bfloat16)
    (logits, out), updated = apply(model, variables, images, train=True)
    assert logits.dtype == out["pre_logits"].dtype == jnp.float32
    assert out["stage1"].dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, updated))} == {jnp.dtype(jnp.float32)}
    exact = training_step(name)[1]
    assert 0 < np.linalg.norm(logits - exact) < 0.05 * np.linalg.norm(exact)


@pytest.mark.parametrize(
    "name, policy", [("vit", "projections"), pytest.param("resnet_bottleneck", "products", marks=pytest.mark.slow)]
)
def test_what_is_kept_by_name_changes_no_gradient(name, policy):
    want, got = training_step(name)[0], training_step(name, remat=policy)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), want, got)


@pytest.mark.parametrize("name", REMATERIALISED)
def test_remat_changes_no_name_and_no_gradient(name):
    jax.tree.map(np.testing.assert_array_equal, build(name)[1], build(name, remat=True)[1])
    want, got = training_step(name)[0], training_step(name, remat=True)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), want, got)


@pytest.mark.parametrize("name", NORMALISED)
def test_axis_name_synchronises_batch_norm(name):
    _, want, stats = training_step(name)
    synchronised, variables, images = build(name, axis_name="devices")
    halves = images.reshape(2, 2, *images.shape[1:])
    half = lambda x: synchronised.apply(variables, x, train=True, mutable=["batch_stats"])  # noqa: E731
    (got, _), each = jax.jit(jax.vmap(half, axis_name="devices"))(halves)
    np.testing.assert_allclose(got.reshape(want.shape), want, rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[0], rtol=1e-4, atol=1e-5), stats, each)
