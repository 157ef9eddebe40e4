"""Groups of the traced program against those of hand and of Torch-Pruning."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from jaxcls import models
from jaxcls.prune import groups

PEER = json.loads((Path(__file__).parent / "fixtures" / "torch_pruning.json").read_text())
TENSORS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


@functools.cache
def of(name):
    """The groups of a whole net."""
    return groups.find(models.create(name), (224, 224, 3))


class Net(nn.Module):
    """A function of a module as a net of pictures."""

    body: object

    @nn.compact
    def __call__(self, x, *, train):
        return self.body(x), {}


def found(body, shape=(6, 6, 3)):
    """{layer: (units, members as "name:axis", why)} of a function that uses layers."""
    result = groups.find(Net(body), shape)
    told = {}
    for group in result.groups:
        members = {f"{m.name.split('/', 1)[1]}:{m.axis}" for m in group.members}
        told.setdefault(group.name, []).append((group.units, members, group.why))
    return result, told


def torch_axes(group):
    """The members of a group as (tensor of PyTorch, axis)."""
    axes = set()
    for member in group.members:
        *modules, leaf = member.name.split("/")[1:]
        axes.add((".".join([*modules, TENSORS[leaf]]), int(member.consumes)))
    return frozenset(axes)


def peer_axes(entry, axes):
    """The same of an entry of the fixture."""
    tensors = {"norm": ["weight", "bias", "running_mean", "running_var"], "conv": ["weight"], "linear": ["weight"]}
    split = [axes[i].split(":") for i in entry]
    return frozenset(
        (f"{module}.{tensor}", int(side == "in")) for module, kind, side in split for tensor in tensors[kind]
    )


@pytest.mark.parametrize("name", ["resnet18", pytest.param("mobilenet_v2", marks=pytest.mark.slow),
                                  pytest.param("densenet121", marks=pytest.mark.slow)])  # fmt: skip
def test_groups_are_torch_prunings(name):
    """The same axes go together, with as many units."""
    ours = of(name)
    want = {peer_axes(entry, PEER[name]["axes"]): units for units, *entry in PEER[name]["groups"]}
    assert {torch_axes(group): group.units for group in ours.prunable} == want
    assert not ours.unknown and not ours.unused


def test_resnet18_by_hand():
    """Four streams: the stem's or the shortcut's kernel, each block's second, their norms (4 tensors), and readers."""
    result = of("resnet18").prunable
    streams = {group.units: group for group in result if sum(m.name.endswith("conv2/kernel") and not m.consumes
                                                             for m in group.members) == 2}  # fmt: skip
    assert {units: len(group.members) for units, group in streams.items()} == {64: 19, 128: 18, 256: 18, 512: 17}
    insides = [group for group in result if group not in streams.values()]
    assert sorted(group.units for group in insides) == [64, 64, 128, 128, 256, 256, 512, 512]
    assert all(len(group.members) == 6 for group in insides)


@pytest.mark.slow
@pytest.mark.parametrize("name, count, units", [("vgg11_bn", 10, 10_944), ("squeezenet1_1", 25, 2_944),
                                                ("googlenet", 57, 7_280)])  # fmt: skip
def test_counts(name, count, units):
    """VGG: 8 convolutions and 2 dense layers; SqueezeNet: a stem and 8 x 3; GoogLeNet: 3 of the stem and 9 x 6."""
    result = of(name)
    assert (len(result.prunable), sum(group.units for group in result.prunable)) == (count, units)


def makers(group):
    """Layer -> the first place of every unit in its kernel's outputs."""
    return {m.name.split("/", 1)[1].removesuffix("/kernel"): m.places[:, 0].tolist() for m in group.members
            if m.name.endswith("/kernel") and not m.consumes}  # fmt: skip


def test_padded_shortcuts_tie_the_middle():
    """Shortcut A, 16 channels in the middle of 32 and these of 64: what is padded goes with the outer stage alone."""
    result = groups.find(models.create("resnet20_cifar", depth=8), (8, 8, 3))
    streams = [made for made in map(makers, result.prunable) if "layer3.0/conv2" in made]
    first, second = list(range(16)), [*range(8), *range(24, 32)]
    assert sorted(streams, key=len) == [
        {"layer3.0/conv2": [*range(16), *range(48, 64)]},
        {"layer2.0/conv2": second, "layer3.0/conv2": [i + 16 for i in second]},
        {"conv1": first, "layer1.0/conv2": first, "layer2.0/conv2": list(range(8, 24)),
         "layer3.0/conv2": list(range(24, 40))},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "first, features, groups_, want",
    [
        (4, 8, 4, [[0, 1], [2, 3], [4, 5], [6, 7]]),  # depthwise, twice the channels: an input with its two
        (8, 4, 2, [[0, 2], [1, 3]]),  # two groups of four inputs: the same place of both
        (8, 16, 4, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]),  # four groups of two: whole ones
    ],
)
def test_grouped_convolutions(first, features, groups_, want):
    def body(x):
        x = nn.Conv(first, (1, 1), name="first")(x)
        x = nn.Conv(features, (3, 3), feature_group_count=groups_, name="grouped")(x)
        return nn.Dense(2, name="last")(x.mean((1, 2)))

    result, _ = found(body)
    (grouped,) = [g for g in result.prunable if any(
        m.name == "params/grouped/kernel" and not m.consumes for m in g.members)]  # fmt: skip
    (places,) = [m.places.tolist() for m in grouped.members if m.name == "params/grouped/kernel" and not m.consumes]
    assert places == want


def test_heads_go_whole():
    """q, k and v of a head and the rows of the projection."""

    def body(x):
        x = x.reshape(x.shape[0], -1, 3)
        q, k, v = (nn.Dense(12, name=name)(x).reshape(*x.shape[:2], 3, 4) for name in "qkv")
        weights = nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k))
        y = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(*x.shape[:2], 12)
        return nn.Dense(2, name="proj")(y).mean(1)

    _, told = found(body)
    ((units, members, why),) = [x for x in told["k"] if "k/kernel:1" in x[1]]
    assert (units, why) == (3, "")
    assert members == {f"{name}/{leaf}:{axis}" for name in "qkv" for leaf, axis in (("kernel", 1), ("bias", 0))} | {
        "proj/kernel:0"
    }


def test_what_a_norm_or_an_unknown_operation_sees_stays():
    def body(x):
        x = nn.Dense(8, name="one")(x)
        x = nn.Dense(8, name="two")(nn.LayerNorm(name="norm")(x))
        x = nn.GroupNorm(4, name="grouped")(x)
        y = nn.Dense(8, name="three")(x)
        return nn.Dense(2, name="last")(jax.lax.cumlogsumexp(y, 1).mean((1, 2)))

    result, told = found(body)
    assert all("norm" in why for _, members, why in told["one"] if "one/kernel:1" in members)
    ((units, members, why),) = [x for x in told["two"] if "two/kernel:1" in x[1]]
    assert (units, why) == (4, "")  # groups of a GroupNorm, whole
    assert result.unknown == ("cumlogsumexp",)
    assert "it flows into cumlogsumexp" in [why for _, members, why in told["three"] if "three/kernel:1" in members]


def test_a_layer_scale_of_another_shape_is_a_place_of_the_stream():
    class Scaled(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(4, (1, 1), name="conv")(x)
            scale = self.param("scale", nn.initializers.ones, (4, 1, 1))
            return nn.Dense(2, name="last")((x * scale.transpose(1, 2, 0)).mean((1, 2)))

    _, told = found(lambda x: Scaled(name="m")(x))
    ((units, members, why),) = [x for x in told["m/conv"] if not x[2]]
    assert (units, members) == (4, {"m/conv/kernel:3", "m/conv/bias:0", "m/scale:0", "m/last/kernel:0"})
