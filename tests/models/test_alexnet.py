import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models.alexnet import AlexNet, AlexNet2012, local_response_norm
from jaxcls.models.pretrained import to_state_dict

TINY = {"channels": (4, 6, 4, 6, 4), "hidden": 16, "num_classes": 3}


@pytest.mark.parametrize("name, channels", [("alexnet", (64, 64, 192, 256)), ("alexnet_2012", (96, 96, 256, 256))])
def test_stages(name, channels, shapes):
    got = shapes(models.create(name), 224, 224, 3)
    sides = zip((55, 27, 13, 6), channels, strict=True)
    assert [got[key] for key in ("stem", "stage1", "stage2", "stage3")] == [(side, side, c) for side, c in sides]
    assert got["pre_logits"] == (4096,) and got["logits"] == (1000,)


def test_parameters_of_each_published_layer(abstract):
    params = abstract(models.create("alexnet_2012"), 224, 224, 3)["params"]
    counts = {layer: sum(leaf.size for leaf in jax.tree.leaves(tree)) for layer, tree in params.items()}
    assert counts == {
        "conv1": 96 * (11 * 11 * 3 + 1),
        "conv2": 256 * (5 * 5 * 48 + 1),  # each half sees its own 48 maps
        "conv3": 384 * (3 * 3 * 256 + 1),
        "conv4": 384 * (3 * 3 * 192 + 1),
        "conv5": 256 * (3 * 3 * 192 + 1),
        "fc6": 4096 * (256 * 6 * 6 + 1),
        "fc7": 4096 * (4096 + 1),
        "fc8": 1000 * (4096 + 1),
    }


def test_response_normalisation_is_the_papers_formula():
    a = np.random.default_rng(0).normal(size=(2, 1, 3, 9), scale=60).astype(np.float32)
    want = np.empty_like(a)
    for i in range(9):  # n = 5 maps around i, cut at the first and the last
        around = a[..., max(0, i - 2) : min(9 - 1, i + 2) + 1].astype(np.float64)
        want[..., i] = a[..., i] / (2 + 1e-4 * (around**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(local_response_norm(jnp.asarray(a)), want, rtol=1e-5)
    assert (np.abs(want / a) < 0.95 * 2**-0.75).any()  # the sum matters


def test_response_normalisation_keeps_the_type_and_computes_in_float32():
    x = jnp.full((1, 5), 300.0, jnp.float16)  # whose square float16 has no place for
    got = local_response_norm(x)
    assert got.dtype == jnp.float16
    np.testing.assert_allclose(got[0, 2], 300 / (2 + 1e-4 * 5 * 300**2) ** 0.75, rtol=1e-3)


@pytest.mark.parametrize("net", [AlexNet, AlexNet2012])
def test_dropout_acts_in_training_only(net, drawn):
    model, x = net(**TINY), jnp.ones((2, 64, 64, 3))
    variables = drawn(model, 64, 64, 3)
    call = lambda seed, train: model.apply(variables, x, train=train, rngs={"dropout": jax.random.key(seed)})[0]  # noqa: E731
    assert (call(0, True) != call(1, True)).any()
    np.testing.assert_array_equal(call(0, False), call(1, False))


@pytest.mark.parametrize("net", [AlexNet, AlexNet2012])
def test_sizes(net, shapes):
    model = net(**TINY)
    assert shapes(model, 63, 300, 2)["stage3"] == (1, 8, 4)
    with pytest.raises(UserError, match="AlexNet takes pictures of 63x63 or larger, not 62x100"):
        shapes(model, 62, 100, 2)


@pytest.mark.parametrize("net", [AlexNet, AlexNet2012])
def test_without_classes_the_mean_of_the_last_stage_is_left(net, shapes, abstract):
    model = net(**{**TINY, "num_classes": 0})
    assert shapes(model, 64, 64, 3)["logits"] == shapes(model, 64, 64, 3)["pre_logits"] == (4,)
    assert not {name for name in abstract(model, 64, 64, 3)["params"] if name.startswith(("classifier", "fc"))}


def test_published_initialisation():
    """Section 5: deviation 0.01; biases of one in the second, fourth and fifth convolution and the hidden layers."""
    model = AlexNet2012(channels=(16, 16, 16, 16, 16), hidden=64, num_classes=50)
    state = to_state_dict(jax.jit(model.init)(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32)))
    for key, value in state.items():
        if key.endswith("bias"):
            assert set(value) == {1.0 if key[:5] in ("conv2", "conv4", "conv5", "fc6.b", "fc7.b") else 0.0}, key
        else:
            assert value.std() == pytest.approx(0.01, rel=5 / np.sqrt(value.size)), key


def test_initialisation_is_pytorchs_default():
    model = AlexNet(channels=(16, 16, 16, 16, 16), hidden=64, num_classes=50)
    state = to_state_dict(jax.jit(model.init)(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32)))
    for key, value in state.items():
        bound = np.prod(state[key.replace("bias", "weight")].shape[1:]) ** -0.5  # fan_in of kernel and bias
        assert 0.7 * bound < np.abs(value).max() <= bound, key
