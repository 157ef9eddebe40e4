import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.models import layers
from jaxcls.models.efficientnet import EfficientNet, FusedBlock, Row


def rows(params):
    """How many blocks each row has."""
    found = {re.match(r"features\.(\d+)\.(\d+)$", name) for name, tree in params.items() if "block.0.0" in tree}
    numbers = [int(match[1]) for match in found]
    return [numbers.count(n) for n in sorted(set(numbers))]


@pytest.mark.parametrize(
    "name, blocks, stem, last",
    [
        ("efficientnet_b0", [1, 2, 2, 3, 3, 4, 1], 32, 1280),
        ("efficientnet_b1", [2, 3, 3, 4, 4, 5, 2], 32, 1280),
        ("efficientnet_b4", [2, 4, 4, 6, 6, 8, 2], 48, 1792),
        ("efficientnet_v2_s", [2, 4, 4, 6, 9, 15], 24, 1280),
    ],
)
def test_compound_scaling(name, blocks, stem, last, abstract):
    params = abstract(models.create(name), 32, 32, 3)["params"]
    assert rows(params) == blocks
    assert params["features.0.0"]["kernel"].shape == (3, 3, 3, stem)
    assert params["classifier.1"]["kernel"].shape == (last, 1000)


def test_the_attention_squeezes_to_a_quarter_of_the_blocks_input(abstract):
    params = abstract(models.create("efficientnet_b0"), 32, 32, 3)["params"]
    found = {name: next(step["fc1"]["kernel"].shape for step in tree.values() if "fc1" in step)[-2:]
             for name, tree in params.items() if "block.0.0" in tree}  # fmt: skip
    some = ("features.1.0", "features.2.0", "features.2.1", "features.7.0")
    assert [found[name] for name in some] == [(32, 8), (96, 4), (144, 6), (1152, 48)]
    assert len(found) == 16


def test_the_first_three_rows_of_v2_are_fused(abstract):
    params = abstract(models.create("efficientnet_v2_s"), 32, 32, 3)["params"]
    first = {name: tree["block.0.0"]["kernel"].shape for name, tree in params.items() if "block.0.0" in tree}
    assert {name[:10] for name, shape in first.items() if shape[0] == 3} == {"features.1", "features.2", "features.3"}
    assert {name for name in first if "block.1.0" not in params[name]} == {"features.1.0", "features.1.1"}
    assert first["features.2.0"] == (3, 3, 24, 96) and first["features.4.0"] == (1, 1, 64, 256)


@pytest.mark.parametrize(
    "name, sizes",
    [
        ("efficientnet_b0", [(49, 16), (25, 24), (13, 40), (7, 112), (4, 1280)]),
        ("efficientnet_v2_s", [(49, 24), (25, 48), (13, 64), (7, 160), (4, 1280)]),
    ],
)
def test_stages(name, sizes, shapes):
    got = shapes(models.create(name), 97, 64, 1)
    assert [got[key][::2] for key in ("stem", "stage1", "stage2", "stage3", "stage4")] == sizes
    assert got["pre_logits"] == (1280,) and got["logits"] == (1000,)


def test_without_classes_the_mean_of_the_last_stage_is_left(shapes, abstract):
    model = models.create("efficientnet_b0", num_classes=0)
    assert shapes(model, 1, 1, 3)["logits"] == (1280,)  # any size
    assert "classifier.1" not in abstract(model, 32, 32, 3)["params"]


def test_batch_norm_is_tensorflows_in_the_larger_ones():
    norms = {name: (models.create(name).epsilon, models.create(name).momentum) for name in
             models.list_models("efficientnet*")}  # fmt: skip
    assert norms == {
        **{f"efficientnet_b{n}": (1e-5, 0.9) for n in range(5)},
        **{f"efficientnet_b{n}": (1e-3, 0.99) for n in range(5, 8)},
        **{f"efficientnet_v2_{size}": (1e-3, 0.9) for size in "sml"},
    }


def test_epsilon_reaches_the_norms(drawn):
    """With variances of zero, the output of the first norm is proportional to 1/sqrt(epsilon)."""
    small = {"rows": (Row(1, 3, 2, 8, 1),), "first": 8, "last": 8, "num_classes": 0}
    variables = drawn(EfficientNet(**small), 8, 8, 3)
    first = variables["batch_stats"]["features.0.1"]
    variables["batch_stats"]["features.0.1"] = jax.tree.map(np.zeros_like, first)
    variables["params"]["features.0.1"]["bias"] *= 0
    x = 10 + jax.random.uniform(jax.random.key(0), (2, 8, 8, 3))
    stems = [jax.jit(EfficientNet(**small, epsilon=eps).apply)(variables, x)[1]["stem"] for eps in (1e-4, 1e-2)]
    positive = np.asarray(stems[1]) > 100  # where SiLU passes its input on
    assert positive.any()
    np.testing.assert_allclose(stems[0][positive] / stems[1][positive], 10, rtol=1e-4)


def test_names_of_timm_in_v2():
    """The other kinds of blocks: test_mobile."""
    rules = models.create("efficientnet_v2_s").renames
    for theirs, ours in {
        "conv_stem.weight": "features.0.0.weight",
        "blocks.0.1.conv.weight": "features.1.1.block.0.0.weight",
        "blocks.0.1.bn1.bias": "features.1.1.block.0.1.bias",
        "blocks.1.0.conv_exp.weight": "features.2.0.block.0.0.weight",
        "blocks.1.0.bn1.running_var": "features.2.0.block.0.1.running_var",
        "blocks.2.3.conv_pwl.weight": "features.3.3.block.1.0.weight",
        "blocks.2.3.bn2.weight": "features.3.3.block.1.1.weight",
        "blocks.5.14.conv_dw.weight": "features.6.14.block.1.0.weight",
        "blocks.5.14.se.conv_expand.bias": "features.6.14.block.2.fc2.bias",
        "blocks.5.14.bn3.weight": "features.6.14.block.3.1.weight",
        "bn2.bias": "features.7.1.bias",
        "classifier.bias": "classifier.1.bias",
    }.items():
        for pattern, new in rules:
            theirs = re.sub(pattern, new, theirs)
        assert theirs == ours


@pytest.mark.parametrize("expanded, steps", [(6, ["block.0.0", "block.0.1"]),
                                             (12, ["block.0.0", "block.0.1", "block.1.0", "block.1.1"])])  # fmt: skip
def test_a_fused_block(expanded, steps):
    norm = layers.batch_norm(train=False, dtype=jnp.float32, param_dtype=jnp.float32)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 6))
    block = FusedBlock(6, expanded, 3, 1, layers.conv, norm, drop=lambda y: 0 * y)
    got, variables = block.init_with_output(jax.random.key(1), x)
    assert sorted(variables["params"]) == steps
    np.testing.assert_array_equal(got, x)
    assert block.copy(stride=2, drop=None).apply(variables, x).shape == (2, 2, 2, 6)  # no shortcut
