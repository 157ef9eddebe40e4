import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import layers, pretrained
from jaxcls.models.inception import InceptionV3, Mixed, alone, chain, fork
from jaxcls.models.pretrained import to_state_dict

TINY = {
    "num_classes": 3,
    "stages": (
        (("5b", (alone("branch1x1", 4, 1), 4)),),
        (("6a", (chain("branch3x3", (4, 3)), 0)),),
        (("7a", (alone("branch3x3", 4, 3), 0)),),
    ),
}


def test_stages(shapes):
    """The sizes of table 1."""
    got = shapes(models.create("inception_v3"), 299, 299, 3)
    assert [got[key] for key in ("stem", "stage1", "stage2", "stage3", "stage4")] == [
        (73, 73, 64), (71, 71, 192), (35, 35, 288), (17, 17, 768), (8, 8, 2048)
    ]  # fmt: skip
    assert got["pre_logits"] == (2048,) and got["logits"] == (1000,)


def test_long_kernels(abstract):
    params = abstract(models.create("inception_v3"), 75, 75, 3)["params"]
    assert len([name for name in params if name.startswith("Mixed")]) == 11
    kernels = {name: tree["conv"]["kernel"].shape for name, tree in params["Mixed_6c"].items()}
    assert [kernels[f"branch7x7dbl_{i}"] for i in range(2, 6)] == [
        (7, 1, 160, 160), (1, 7, 160, 160), (7, 1, 160, 160), (1, 7, 160, 192)
    ]  # fmt: skip
    kernels = {name: tree["conv"]["kernel"].shape for name, tree in params["Mixed_7c"].items()}
    assert kernels["branch3x3_2a"] == kernels["branch3x3dbl_3a"] == (1, 3, 384, 384)
    assert kernels["branch3x3_2b"] == kernels["branch3x3dbl_3b"] == (3, 1, 384, 384)


def mixed(branches, pooled, x):
    """A block whose unit is a convolution with one-valued kernels, without a norm."""

    def unit(features, kernel, stride=1, padding="torch", name=None):
        ones = jax.nn.initializers.ones
        return layers.conv(features, kernel, stride, padding=padding, kernel_init=ones, name=name)

    return np.asarray(Mixed(branches, pooled, unit).init_with_output(jax.random.key(0), x)[0])


def test_the_average_pool_counts_its_padding():
    x = jnp.ones((1, 3, 3, 1))
    np.testing.assert_allclose(mixed((), 1, x)[0, :, :, 0] * 9, [[4, 6, 4], [6, 9, 6], [4, 6, 4]], rtol=1e-6)


def test_a_reduction_halves_without_padding():
    x = jnp.arange(25.0).reshape(1, 5, 5, 1)
    got = mixed((chain("branch", (1, 1), (1, 3)),), 0, x)
    assert got.shape == (1, 2, 2, 2)
    np.testing.assert_array_equal(got[0, :, :, 0], [[54, 72], [144, 162]])  # sums of the windows, nine times the middle
    np.testing.assert_array_equal(got[0, :, :, 1], [[12, 14], [22, 24]])  # their maxima


def test_a_fork_looks_along_either_axis():
    x = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1, 0].set(1)
    got = mixed((fork("branch", 1),), 1, x)
    np.testing.assert_array_equal(got[0, :, :, 0], [[0, 0, 0], [1, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(got[0, :, :, 1], [[0, 1, 0], [0, 1, 0], [0, 1, 0]])


def test_auxiliary_classifier_has_parameters_in_any_mode_and_logits_in_training(abstract, shapes):
    model = models.create("inception_v3", aux_logits=True)
    variables = abstract(model, 299, 299, 3)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 27_161_264
    assert shapes(model, 299, 299, 3, train=True)["aux_logits"] == ((1000,),)
    assert "aux_logits" not in shapes(model, 299, 299, 3)
    with pytest.raises(UserError, match="aux_logits takes pictures of 299x299 or larger"):
        shapes(model, 298, 320, 3)


def test_auxiliary_classifier_sees_the_third_stage(drawn):
    model = InceptionV3(**TINY, aux_logits=True, dropout=0.0)
    variables = drawn(model, 299, 299, 3)
    images = np.random.default_rng(1).normal(size=(2, 299, 299, 3)).astype(np.float32)

    def total(params):
        _, out = model.apply({**variables, "params": params}, images, train=True, mutable=["batch_stats"])[0]
        return out["aux_logits"][0].sum()

    grads = traverse_util.flatten_dict(jax.jit(jax.grad(total))(variables["params"]))
    assert {path[0] for path, grad in grads.items() if not grad.any()} == {"Mixed_7a", "fc"}


def test_published_weights_fit_without_the_auxiliary_classifier(abstract):
    whole, without = InceptionV3(**TINY, aux_logits=True), InceptionV3(**TINY)
    state = to_state_dict(jax.tree.map(lambda x: np.ones(x.shape, np.float32), abstract(whole, 299, 299, 3)))
    _, report = pretrained.match(without, abstract(without, 75, 75, 3), state)
    assert {key.split(".")[0] for key in report.skipped} == {"AuxLogits"} and not report.kept


def test_sizes(shapes):
    assert shapes(models.create("inception_v3"), 75, 107, 1)["stage4"] == (1, 2, 2048)
    with pytest.raises(UserError, match="Inception v3 takes pictures of 75x75 or larger, not 74x100: resize them"):
        shapes(models.create("inception_v3"), 74, 100, 1)


def test_without_classes_the_mean_of_the_last_stage_is_left(shapes, abstract):
    model = models.create("inception_v3", num_classes=0, aux_logits=True)
    assert shapes(model, 80, 80, 3, train=True)["logits"] == (2048,)
    assert not {name for name in abstract(model, 80, 80, 3)["params"] if name.startswith(("fc", "Aux"))}


def test_deviations_of_the_first_weights():
    """torchvision's: 0.1, also in the last convolution of the auxiliary classifier; 0.001 in its dense layer."""
    model = InceptionV3(**{**TINY, "num_classes": 50}, aux_logits=True)
    state = to_state_dict(jax.jit(model.init)(jax.random.key(0), np.zeros((1, 299, 299, 3), np.float32)))
    for key, std in {"Conv2d_4a_3x3.conv": 0.1, "AuxLogits.conv1.conv": 0.1, "AuxLogits.fc": 0.001, "fc": 0.1}.items():
        weight = state[f"{key}.weight"]
        assert weight.std() == pytest.approx(std, rel=5 / np.sqrt(weight.size)), key
