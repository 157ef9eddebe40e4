import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxcls import models
from jaxcls.models import layers, mobilenet_v3


@pytest.mark.parametrize(
    "name, squeezed",
    [
        ("mobilenet_v3_small", {1: 8, 4: 24, 5: 64, 6: 64, 7: 32, 8: 40, 9: 72, 10: 144, 11: 144}),
        ("mobilenet_v3_large", {4: 24, 5: 32, 6: 32, 11: 120, 12: 168, 13: 168, 14: 240, 15: 240}),
    ],
)
def test_the_attention_squeezes_to_a_quarter_of_the_expanded_features(name, squeezed, abstract):
    params = abstract(models.create(name), 32, 32, 3)["params"]
    leaves = traverse_util.flatten_dict(params)
    found = {int(path[0].split(".")[1]): leaf.size for path, leaf in leaves.items() if path[-2:] == ("fc1", "bias")}
    assert found == squeezed


def test_only_the_first_block_does_not_expand(abstract):
    for name in ("mobilenet_v3_small", "mobilenet_v3_large"):
        params = abstract(models.create(name), 32, 32, 3)["params"]
        kernels = {block: tree["block.0.0"]["kernel"].shape for block, tree in params.items() if "block.0.0" in tree}
        assert {block for block, shape in kernels.items() if shape[0] > 1} == {"features.1"}
    assert [kernels[f"features.{n}"][-1] for n in (2, 8, 11, 15)] == [64, 200, 480, 960]


@pytest.mark.parametrize(
    "name, sizes, hidden",
    [
        ("mobilenet_v3_small", [(49, 16), (25, 16), (13, 24), (7, 48), (4, 576)], 1024),
        ("mobilenet_v3_large", [(49, 16), (25, 24), (13, 40), (7, 112), (4, 960)], 1280),
    ],
)
def test_stages(name, sizes, hidden, shapes):
    got = shapes(models.create(name), 97, 64, 1)
    assert [got[key][::2] for key in ("stem", "stage1", "stage2", "stage3", "stage4")] == sizes
    assert got["pre_logits"] == (hidden,) and got["logits"] == (1000,)


def test_without_classes_the_hidden_layer_is_left_away_too(shapes, abstract):
    model = models.create("mobilenet_v3_small", num_classes=0)
    assert shapes(model, 1, 1, 3)["logits"] == (576,)  # any size
    assert not [name for name in abstract(model, 32, 32, 3)["params"] if name.startswith("classifier")]


@pytest.mark.parametrize(
    "name, width, parameters", [("mobilenet_v3_large", 0.75, 3_377_576), ("mobilenet_v3_small", 0.5, 917_264)]
)
def test_other_widths_have_torchvisions_counts(name, width, parameters, abstract):
    variables = abstract(models.create(name, width_mult=width), 32, 32, 3)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters


def test_statistics_move_by_a_hundredth(drawn):
    model = mobilenet_v3.MobileNetV3(rows=mobilenet_v3.SMALL[:1], hidden=8, num_classes=2, dropout=0.0)
    variables = drawn(model, 8, 8, 3)
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    _, updated = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(variables, x)
    kernel = variables["params"]["features.0.0"]["kernel"]
    batch = layers.conv(16, 3, 2).apply({"params": {"kernel": kernel}}, x).mean((0, 1, 2))
    old, new = (tree["batch_stats"]["features.0.1"]["mean"] for tree in (variables, updated))
    np.testing.assert_allclose(new, 0.99 * old + 0.01 * batch, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("features, stride, shortcut", [(6, 1, True), (6, 2, False), (4, 1, False)])
def test_the_input_is_added_where_the_shape_is_kept(features, stride, shortcut):
    norm = layers.batch_norm(train=False, dtype=jnp.float32, param_dtype=jnp.float32)
    drop = (lambda y: 0 * y) if shortcut else None  # None: an error where it is called
    block = layers.InvertedResidual(features, 12, 3, stride, layers.conv, norm, squeezed=2, drop=drop)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 6))
    got, variables = block.init_with_output(jax.random.key(1), x)
    assert set(variables["params"]) == {"block.0.0", "block.0.1", "block.1.0", "block.1.1", "block.2", "block.3.0",
                                        "block.3.1"}  # fmt: skip
    if shortcut:
        np.testing.assert_array_equal(got, x)
    else:
        assert got.shape == (2, 4 // stride, 4 // stride, features) and got.min() < 0  # no activation at its end
