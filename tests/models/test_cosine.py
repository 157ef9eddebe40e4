"""A classifier that sees directions: no length of the features changes a logit, and it loads a backbone's weights."""

import jax
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import pretrained
from jaxcls.models.state_dict import to_state_dict

FIELDS = {"width": 8, "stage_sizes": (1, 1)}


def test_logits_are_cosines_times_the_length_of_a_column():
    net = models.create("resnet18", neck="cosine", num_classes=3, **FIELDS)
    x = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    variables = net.init(jax.random.key(0), x)
    logits, out = net.apply(variables, x)
    assert np.linalg.norm(out["pre_logits"], axis=1) == pytest.approx(np.ones(4), abs=1e-6)
    backbone = models.create("resnet18", num_classes=0, **FIELDS)
    inner = {name: tree["backbone"] for name, tree in variables.items()}
    z = np.asarray(backbone.apply(inner, x)[0])
    kernel = np.asarray(variables["params"]["classifier"]["kernel"])
    assert np.allclose(logits, z / np.linalg.norm(z, axis=1, keepdims=True) @ kernel, atol=1e-5)


def test_a_backbones_own_last_layer_is_a_projection_and_is_loaded():
    x = np.zeros((1, 32, 32, 3), np.float32)
    whole = models.create("resnet18", num_classes=6, **FIELDS)
    weights = to_state_dict(whole.init(jax.random.key(1), x))
    net = models.create("resnet18", neck="cosine(6)", num_classes=3, **FIELDS)
    loaded, report = pretrained.match(net, jax.eval_shape(lambda: net.init(jax.random.key(0), x)), weights)
    assert np.array_equal(loaded["params"]["backbone"]["fc"]["kernel"].T, weights["fc.weight"])
    assert sorted(report.kept) == ["classifier.bias", "classifier.weight"]
    bare = models.create("resnet18", neck="cosine", num_classes=3, **FIELDS)
    _, report = pretrained.match(bare, jax.eval_shape(lambda: bare.init(jax.random.key(0), x)), weights)
    assert sorted(report.skipped) == ["fc.bias", "fc.weight"]


@pytest.mark.parametrize("neck", ["cosine(-1)", "cosine(1.5)", "cosine(True)", "cosine('a')"])
def test_features_are_a_whole_number(neck):
    with pytest.raises(UserError, match="features must be a whole number of at least 0"):
        models.create("resnet18", neck=neck)
