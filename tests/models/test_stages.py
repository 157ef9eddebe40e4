"""Each parameter belongs to exactly one part of its model, for every registered model."""

import re

import jax
import numpy as np
import pytest

from jaxcls import models, optim
from jaxcls.models import stages
from jaxcls.models.published import PUBLISHED

SIZES = {"lenet5": (28, 28, 1), "lenet5_1998": (28, 28, 1), "inception_v3": (299, 299, 3)}
SIZES |= {name: known.shape for name, known in PUBLISHED.items() if known.frames}
SMALL = [
    "alexnet", "alexnet_2012", "convnext_tiny", "deit_tiny_distilled_patch16_224", "lenet5", "lenet5_1998",
    "mixer_s32_224", "mobilenet_v2", "preact_resnet18", "resnet18d", "resnet20_cifar_b",
    "seresnet18", "simple_cnn_16_32", "squeezenet1_0", "squeezenet1_1", "vgg11_bn", "vit_tiny_patch16_224", "wrn_16_8",
]  # fmt: skip


def shape(name):
    return jax.ShapeDtypeStruct((2, *SIZES.get(name, (224, 224, 3))), np.float32)


def number(part):
    return {"stem": 0, "head": 99}.get(part) if part in ("stem", "head") else int(part.removeprefix("stage"))


@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(x, marks=pytest.mark.slow) for x in models.list_models() if x not in SMALL)]
)
def test_every_parameter_has_one_part_and_parts_follow_each_other_in_the_forward_pass(name):
    model = models.create(name, num_classes=7)
    parts, order = stages.parts(model, shape(name)), optim.call_order(model, shape(name))
    assert sorted(parts) == sorted(order)
    numbers = [number(parts[x]) for x in order]
    late = [x for x, a, b in zip(order, numbers, np.maximum.accumulate(numbers), strict=True) if a < b]
    assert not late
    head = [x for x in order if parts[x] == "head"]
    assert bool(head) == bool(model.head)  # LeNet-5 of 1998 ends in fixed codes
    assert all(x.replace("/", ".").startswith(tuple(model.head)) for x in head)


@pytest.mark.parametrize(
    "name, rule",
    [
        ("resnet18", lambda x: int(m[1]) if (m := re.match(r"layer(\d)", x)) else 99 if x.startswith("fc/") else 0),
        (
            "convnext_tiny",
            lambda x: (
                int(m[1]) and int(m[1]) // 2 + 1
                if (m := re.match(r"features\.(\d)", x))
                else {"classifier.0": 4, "classifier.2": 99}[x.partition("/")[0]]
            ),
        ),
        (
            "vit_tiny_patch16_224",
            lambda x: (
                1 + int(m[1]) // 3
                if (m := re.match(r"blocks\.(\d+)", x))
                else {"norm": 4, "head": 99}.get(x.partition("/")[0], 0)
            ),
        ),
    ],
)
def test_the_parts_of_known_families_are_those_their_names_say(name, rule):
    parts = stages.parts(models.create(name, num_classes=7), shape(name))
    assert {x: number(part) for x, part in parts.items()} == {x: rule(x) for x in parts}


def test_necks_and_auxiliary_classifiers_count_as_head():
    model = models.create("resnet18", num_classes=7, neck="fpn", width=4)
    parts = stages.parts(model, shape("resnet18"))
    assert {x.partition("/")[0] == "backbone" for x, part in parts.items() if part != "head"} == {True}
    assert {x.split("/")[0].split(".")[0] for x, part in parts.items() if part == "head"} == {"fpn", "fc"}
    parts = stages.parts(models.create("googlenet", num_classes=7, aux_logits=True), shape("googlenet"))
    assert {x.split("/")[0] for x, part in parts.items() if part == "head"} == {"aux1", "aux2", "fc"}


def test_recomputed_blocks_have_the_same_parts():
    plain, remat = (
        stages.parts(models.create("resnet18", num_classes=7, remat=flag), shape("resnet18")) for flag in (False, True)
    )
    assert plain == remat
