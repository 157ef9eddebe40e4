import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.models import layers
from jaxcls.models.mobilenet_v2 import LinearBottleneck


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    "width, parameters", [(0.35, 1_677_128), (0.5, 1_968_680), (0.75, 2_636_424), (1.4, 6_108_776)]
)
def test_other_widths_have_timms_counts(width, parameters, abstract):
    assert count(abstract(models.create("mobilenet_v2", width_mult=width), 32, 32, 3)) == parameters


def test_for_cifar_it_has_the_same_parameters(abstract):
    """3,504,872 less 990 * 1,281 of the classifier."""
    assert count(abstract(models.create("mobilenet_v2", num_classes=10, stem="cifar"), 32, 32, 3)) == 2_236_682


@pytest.mark.parametrize(
    "stem, side, sides",
    [("imagenet", 224, [112, 56, 28, 14, 7]), ("imagenet", 97, [49, 25, 13, 7, 4]), ("cifar", 32, [32, 32, 16, 8, 4])],
)
def test_stages(stem, side, sides, shapes):
    got = shapes(models.create("mobilenet_v2", stem=stem), side, 32, 5)
    parts = [got[key] for key in ("stem", "stage1", "stage2", "stage3", "stage4")]
    assert [part[0] for part in parts] == sides
    assert [part[2] for part in parts] == [16, 24, 32, 96, 1280]
    assert got["pre_logits"] == (1280,) and got["logits"] == (1000,)


def test_without_classes_the_mean_of_the_last_stage_is_left(shapes, abstract):
    model = models.create("mobilenet_v2", num_classes=0)
    assert shapes(model, 1, 1, 3)["logits"] == (1280,)  # any size
    assert "classifier.1" not in abstract(model, 32, 32, 3)["params"]


def test_a_block_expands_its_input_unless_the_factor_is_1(abstract):
    params = abstract(models.create("mobilenet_v2"), 32, 32, 3)["params"]
    assert params["features.1"]["conv.0.0"]["kernel"].shape == (3, 3, 1, 32)
    assert {name for name, block in params.items() if "conv.3" not in block and "conv.1" in block} == {"features.1"}
    kernels = [params["features.8"][name]["kernel"].shape for name in ("conv.0.0", "conv.1.0", "conv.2")]
    assert kernels == [(1, 1, 64, 384), (3, 3, 1, 384), (1, 1, 384, 64)]


@pytest.mark.parametrize("features, stride, shortcut", [(6, 1, True), (6, 2, False), (4, 1, False)])
def test_the_input_is_added_where_the_shape_is_kept(features, stride, shortcut):
    norm = layers.batch_norm(train=False, dtype=jnp.float32, param_dtype=jnp.float32)
    drop = (lambda y: 0 * y) if shortcut else None  # None: an error where it is called
    block = LinearBottleneck(features, 2, stride, layers.conv, norm, drop=drop)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 6))
    got, variables = block.init_with_output(jax.random.key(1), x)
    if shortcut:
        np.testing.assert_array_equal(got, x)
    else:
        assert got.shape == (2, 4 // stride, 4 // stride, features) and got.min() < 0  # no activation at its end
