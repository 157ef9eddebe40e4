"""What MobileNetV2 and V3, MNASNet, EfficientNet and RegNet have in common, and timm's names for them."""

import json
import re

import jax
import numpy as np
import pytest
from flax import traverse_util
from hypothesis import given
from hypothesis import strategies as st

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import layers, pretrained

NAMES = ("mobilenet_v2", "mobilenet_v3_small", "mnasnet1_0", "efficientnet_b0", "regnet_y_400mf")

SEPARABLE = "conv_dw bn1 conv_pw bn2"
SQUEEZED_SEPARABLE = "conv_dw bn1 se.conv_reduce se.conv_expand conv_pw bn2"
PLAIN = "conv_pw bn1 conv_dw bn2 conv_pwl bn3"
SQUEEZED = "conv_pw bn1 conv_dw bn2 se.conv_reduce se.conv_expand conv_pwl bn3"
REGNET = "conv1.conv conv1.bn conv2.conv conv2.bn se.fc1 se.fc2 conv3.conv conv3.bn"
PROJECTED = f"downsample.conv downsample.bn {REGNET}"


def blocks(name):
    """(timm's name of a block, the modules in it, in the order of torchvision's)."""
    stages = {
        "mobilenet_v2": [[SEPARABLE], *([PLAIN] * n for n in (2, 3, 4, 3, 3, 1))],
        "mobilenet_v3_small": [
            [SQUEEZED_SEPARABLE], [PLAIN] * 2, [SQUEEZED] * 3, [SQUEEZED] * 2, [SQUEEZED] * 3, ["conv bn1"]
        ],
        "mnasnet1_0": [[SEPARABLE], *([PLAIN] * n for n in (3, 3, 3, 2, 4, 1))],
        "efficientnet_b0": [[SQUEEZED_SEPARABLE], *([SQUEEZED] * n for n in (2, 2, 3, 3, 4, 1))],
        "regnet_y_400mf": [[PROJECTED] + [REGNET] * (n - 1) for n in (1, 3, 6, 6)],
    }  # fmt: skip
    called, first = ("s{}.b{}", 1) if "regnet" in name else ("blocks.{}.{}", 0)
    for s, stage in enumerate(stages[name], first):
        yield from ((called.format(s, i), inside) for i, inside in enumerate(stage, first))


def timms(name):
    """timm's names of a net's modules, in the order of torchvision's."""
    inside = [f"{block}.{module}" for block, modules in blocks(name) for module in modules.split()]
    if "regnet" in name:
        return ["stem.conv", "stem.bn", *inside, "head.fc"]
    head = ["conv_head"] if "v3" in name else ["conv_head", "bn2"]
    return ["conv_stem", "bn1", *inside, *head, "classifier"]


@pytest.mark.parametrize("name", NAMES)
def test_weights_with_timms_names_load_and_no_rule_touches_ours(name, reference, drawn):
    state = reference(name).state
    ours = list(dict.fromkeys(key.rpartition(".")[0] for key in state))
    theirs = dict(zip(ours, timms(name), strict=True))
    renamed = {re.sub(r"(.*)(\.\w+)$", lambda key: theirs[key[1]] + key[2], key): state[key] for key in state}
    if "v3" in name:  # a 1x1 convolution there
        renamed["conv_head.weight"] = renamed["conv_head.weight"][:, :, None, None]
    model = models.create(name)
    loaded, report = pretrained.load(model, drawn(model, 32, 32, 3), renamed)
    assert not report.kept and not report.skipped
    for key, value in pretrained.to_state_dict(loaded).items():
        np.testing.assert_array_equal(value, state[key], err_msg=key)
        assert all(re.sub(pattern, new, key) == key for pattern, new in model.renames), key


@pytest.mark.parametrize(
    "name, steps, residual",
    [
        ("mobilenet_v2", 16, [2, 4, 5, 7, 8, 9, 11, 12, 14, 15]),
        ("mobilenet_v3_small", 10, [2, 4, 5, 7, 9, 10]),
        ("mnasnet1_0", 15, [1, 2, 4, 5, 7, 8, 10, 12, 13, 14]),
        ("efficientnet_b0", 16, [2, 4, 6, 7, 9, 10, 12, 13, 14]),  # the last of 16 would have 15/16
        ("regnet_y_400mf", 15, list(range(16))),
    ],
)
def test_stochastic_depth_rises_over_the_blocks_and_acts_where_there_is_a_shortcut(
    name, steps, residual, shapes, monkeypatch
):
    seen = []
    monkeypatch.setattr(layers, "stochastic_depth", lambda y, rate, *, train: seen.append((rate, train)) or y)
    shapes(models.create(name, stochastic_depth=0.4), 32, 32, 3, train=True)
    rates = [rate for rate, train in seen if train]  # not those of the initialisation
    np.testing.assert_allclose(rates, 0.4 * np.array(residual) / steps)


def test_dropout_and_stochastic_depth_are_the_references():
    for pattern, want in {
        "mobilenet_*": [(0.2, 0)] * 3,
        "mnasnet*": [(0.2, 0)] * 4,
        "efficientnet_b?": [(dropout, 0.2) for dropout in (0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5)],
        "efficientnet_v2_[lms]": [(0.4, 0.2), (0.3, 0.2), (0.2, 0.2)],
        "regnet_*": [(0, 0)] * 15,
    }.items():
        nets = map(models.create, models.list_models(pattern))
        assert [(net.dropout, net.stochastic_depth) for net in nets] == want


INITIALISED = {
    "mobilenet_v2": ["features.0.0", "features.5.conv.1.0", "features.18.0", "classifier.1"],
    "mnasnet1_0": ["layers.0", "layers.3", "layers.12.0.layers.3", "classifier.1"],
    "efficientnet_b0": ["features.3.0.block.1.0", "features.3.0.block.2.fc1", "features.3.0.block.3.1", "classifier.1"],
    "regnet_y_400mf": ["stem.0", "trunk_output.block4.block4-0.proj.0", "trunk_output.block4.block4-0.f.b.0",
                       "trunk_output.block4.block4-0.f.se.fc1", "trunk_output.block4.block4-0.f.se.fc2", "fc"],
    "mobilenet_v3_small": ["features.4.block.1.0", "features.4.block.2.fc1", "classifier.0", "classifier.3"],
}  # fmt: skip
V3 = {  # no torchvision model was measured: shape, mean and deviation after its source
    "features.4.block.1.0.weight": ([96, 1, 5, 5], 0, (2 / (25 * 96)) ** 0.5),
    "features.4.block.2.fc1.weight": ([24, 96, 1, 1], 0, (2 / 24) ** 0.5),
    "features.4.block.2.fc1.bias": ([24], 0, 0),
    "classifier.0.weight": ([1024, 576], 0, 0.01),
    "classifier.0.bias": ([1024], 0, 0),
    "classifier.3.weight": ([1000, 1024], 0, 0.01),
    "classifier.3.bias": ([1000], 0, 0),
}


@pytest.mark.parametrize("name", INITIALISED)
def test_initialisation(name, shared):
    """Of one module of each kind: to draw all of them would take long to compile."""
    measured = json.loads((shared / "reference/functions/init_stats.json").read_text()) | {"mobilenet_v3_small": V3}
    model = models.create(name)

    def chosen(key, images):
        leaves = traverse_util.flatten_dict(model.init(key, images)["params"])
        return {path: leaf for path, leaf in leaves.items() if ".".join(path[:-1]) in INITIALISED[name]}

    params = traverse_util.unflatten_dict(jax.jit(chosen)(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32)))
    ours = pretrained.to_state_dict({"params": params})
    assert len({key.rpartition(".")[0] for key in ours}) == len(INITIALISED[name])
    for key, value in ours.items():
        shape, mean, std = measured[name][key]
        assert list(value.shape) == shape, key
        error = 5 * std / np.sqrt(value.size)  # of either sample
        assert abs(value.mean() - mean) <= error and abs(value.std() - std) <= error, key


@given(st.floats(1, 4000), st.sampled_from([8, 24, 56]))
def test_make_divisible_rounds_but_takes_no_more_than_a_tenth_away(value, divisor):
    got = layers.make_divisible(value, divisor)
    assert got % divisor == 0 and got >= divisor and got >= 0.9 * value
    assert got <= max(divisor, value + divisor / 2) or got - divisor < 0.9 * value


def test_make_divisible_examples():
    """From the comment in TensorFlow's MobileNet, and where rounding down would take more than a tenth."""
    assert [layers.make_divisible(value) for value in (83, 84, 12, 18, 3)] == [80, 88, 16, 24, 8]


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("mobilenet_v2", {"stem": "deep"}, "stem must be one of imagenet, cifar, not 'deep'"),
        ("mobilenet_v2", {"width_mult": 0}, "width_mult must be positive, not 0"),
        (
            "mobilenet_v3_large",
            {"width_mult": -1.0},
            "'width_mult' of model 'mobilenet_v3_large' must be a number from 0",
        ),
        ("mnasnet1_0", {"width_mult": 0.0}, "width_mult must be positive"),
        ("efficientnet_b0", {"depth_mult": 0.0}, "depth_mult must be positive, not 0.0"),
        ("regnet_x_400mf", {"initial": 12}, "initial a multiple of 8"),
        ("regnet_x_400mf", {"step": 1.0}, "step > 1"),
    ],
)
def test_fields_that_fit_nowhere(name, fields, message):
    with pytest.raises(UserError, match=message):
        models.create(name, **fields)
