"""A net that takes columns beside the picture: by hand in NumPy, and with the backbone's published weights."""

import jax
import numpy as np
import pytest

from jaxcls import columns, models
from jaxcls.columns import Column
from jaxcls.errors import UserError
from jaxcls.models import explain, pretrained
from jaxcls.models.state_dict import to_state_dict

FIELDS = {"width": 8, "stage_sizes": (1, 1)}
TOLD = columns.to_json([Column("age", mean=50.0, std=10.0), Column("place", ("north", "south"))])


@pytest.fixture(scope="module")
def net():
    made = models.create("resnet18", neck="columns(4)", columns=TOLD, num_classes=3, **FIELDS)
    return made, jax.jit(made.init)(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))


def test_features_of_both_and_of_the_two_together(net):
    made, variables = net
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 32, 32, 3)).astype(np.float32)
    rows = columns.encoded(made.columns, {"age": ["40", "", "70", "50"], "place": ["south", "north", "", "east"]})
    apply = jax.jit(lambda variables, x, told: made.apply(variables, x, columns=told))
    logits, out = apply(variables, x, rows)
    backbone = models.create("resnet18", num_classes=0, **FIELDS)
    inner = {name: tree["backbone"] for name, tree in variables.items()}
    picture = np.asarray(jax.jit(backbone.apply)(inner, x)[0])
    params = jax.tree.map(np.asarray, variables["params"])

    def dense(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"]

    told = np.maximum(dense("columns.fc", rows), 0)
    both = np.maximum(dense("joint.fc", np.concatenate([picture, told], axis=1)), 0)
    wanted = np.concatenate([picture, told, both], axis=1)
    np.testing.assert_allclose(out["pre_logits"], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, dense("classifier", wanted), rtol=1e-4, atol=1e-5)
    nothing = columns.encoded(made.columns, {"age": [""] * 4, "place": [""] * 4})
    unasked = apply(variables, x, None)[0]
    np.testing.assert_allclose(unasked, apply(variables, x, nothing)[0], atol=1e-6)
    assert np.abs(unasked - logits).max() > 1e-3


def test_weights_of_the_backbone_are_loaded_and_there_are_no_heat_maps(net):
    made, variables = net
    whole = models.create("resnet18", num_classes=6, **FIELDS)
    weights = to_state_dict(jax.jit(whole.init)(jax.random.key(1), np.zeros((1, 32, 32, 3), np.float32)))
    loaded, report = pretrained.match(made, jax.eval_shape(lambda: variables), weights)
    assert np.array_equal(
        loaded["params"]["backbone"]["conv1"]["kernel"].transpose(3, 2, 0, 1), weights["conv1.weight"]
    )
    assert sorted(report.skipped) == ["fc.bias", "fc.weight"]
    assert explain.method(made, (32, 32, 3)) is None


@pytest.mark.parametrize(
    "neck, told, message",
    [
        ("columns", (), "name them: config.data.columns"),
        ("fpn", TOLD, "neck 'fpn' takes no columns"),
        ("", TOLD, "neck '' takes no columns"),
        ("columns(0)", TOLD, "whole number of at least 1"),
        ("columns", [{"age": 1}], "can't be read"),
    ],
)
def test_a_neck_and_its_columns_go_together(neck, told, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        models.create("resnet18", neck=neck, columns=told, **FIELDS)
