import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import layers, summary
from jaxcls.models.base import Classifier
from jaxcls.models.published import PUBLISHED

# One for each kind of operation: 3x3, depthwise with squeeze and excitation, grouped, attention, windows, tokens.
COUNTED = ["resnet50", "efficientnet_b0", "resnext50_32x4d", "vit_b_16", "swin_t", "swin_v2_t", "convnext_tiny",
           "mobilenet_v3_small", "squeezenet1_1"]  # fmt: skip


@pytest.mark.parametrize("name", [name if name in COUNTED else pytest.param(name, marks=pytest.mark.slow)
                                  for name, known in PUBLISHED.items() if known.gmacs])  # fmt: skip
def test_multiply_adds_are_the_published_ones_to_the_digits_printed(name):
    known = PUBLISHED[name]
    got = summary.summarize(models.create(name, num_classes=known.classes), known.shape).total.macs / 1e9
    assert f"{got:.{len(known.gmacs.partition('.')[2])}f}" == known.gmacs


def test_what_is_published_is_known_for_every_model():
    assert sorted(PUBLISHED) == models.list_models()
    assert (PUBLISHED["inception_v3"].size, PUBLISHED["lenet5"].channels, PUBLISHED["wrn_16_8"].classes) == (299, 1, 10)
    assert PUBLISHED["resnet50"].top1 == "76.13 / 80.86 (TV)"


# Millions, counted on instances of these nets together with two operations for each value of a BatchNorm.
@pytest.mark.parametrize(
    "name, fields, count",
    [
        ("resnet20_cifar", {}, 41),
        ("resnet18", {"stem": "cifar"}, 557),
        ("resnet50", {"stem": "cifar"}, 1305),
        ("wrn_16_8", {}, 1550),
    ],
)
def test_multiply_adds_of_nets_for_cifar(name, fields, count):
    total = summary.summarize(models.create(name, num_classes=10, **fields), (32, 32, 3)).total
    assert round((total.macs + 2 * total.activations) / 1e6) == pytest.approx(count, abs=1.5)


def test_layers_of_lenet_by_hand():
    rows = summary.summarize(models.create("lenet5", num_classes=10), (32, 32, 1)).rows("layer")
    assert [(row.name, row.kind, row.shape, row.parameters, row.macs, row.activations) for row in rows] == [
        ("conv1", "Conv", (28, 28, 6), 6 * 26, 28 * 28 * 6 * 25, 28 * 28 * 6),
        ("conv2", "Conv", (10, 10, 16), 16 * 151, 10 * 10 * 16 * 150, 10 * 10 * 16),
        ("fc1", "Dense", (120,), 120 * 401, 120 * 400, 120),
        ("fc2", "Dense", (84,), 84 * 121, 84 * 120, 84),
        ("fc3", "Dense", (10,), 10 * 85, 10 * 84, 10),
    ]


def test_stages_of_lenet_by_hand():
    rows = summary.summarize(models.create("lenet5", num_classes=10), (32, 32, 1)).rows("stage")
    assert [(row.name, row.shape, row.parameters) for row in rows] == [
        ("stem", (28, 28, 6), 6 * 26), ("stage1", (14, 14, 6), 0), ("stage2", (5, 5, 16), 16 * 151),
        ("stage3", (120,), 120 * 401), ("pre_logits", (84,), 84 * 121), ("logits", (10,), 10 * 85)]  # fmt: skip


def test_a_block_of_attention_by_hand():
    model = models.create("vit_tiny_patch16_224", num_classes=10)
    rows = {row.name: row for row in summary.summarize(model, (64, 64, 3)).rows("layer")}
    tokens, width = 16 + 1, 192
    scores = 2 * tokens**2 * width  # queries with keys, weights with values
    assert rows["blocks.0"].macs == scores and rows["blocks.0"].parameters == 0
    assert rows["blocks.0"].activations == 3 * tokens**2 + tokens * width
    assert rows["blocks.0.attn.qkv"].macs == tokens * width * 3 * width
    assert rows["(ViT)"].parameters == (1 + tokens) * width  # the class token and the positions


def test_activations_are_those_of_the_regnet_paper():
    assert round(summary.summarize(models.create("resnet50"), (224, 224, 3)).total.activations / 1e6, 1) == 11.1


def test_depthwise_and_grouped_convolutions_count_as_such_on_every_backend():
    rows = {row.name: row for row in summary.summarize(models.create("convnext_tiny"), (64, 32, 3)).rows("layer")}
    assert rows["features.1.0.block.0"].macs == 16 * 8 * 96 * 49
    rows = {row.name: row for row in summary.summarize(models.create("resnext50_32x4d"), (64, 32, 3)).rows("layer")}
    assert rows["layer1.0.conv2"].macs == 16 * 8 * 128 * 9 * 4


class Nested(Classifier):
    """Matrix products inside of `jit`, a loop, a function with its own derivative and a module that calls another."""

    @nn.compact
    def __call__(self, images, *, train=False):
        x = layers.dense(images[:, 0, 0], 5, name="a", **self.dtypes)
        once = jax.jit(lambda x, w: x @ w)(x, jnp.ones((5, 7)))

        @jax.custom_vjp
        def own(x):
            return x @ jnp.ones((7, 2))

        own.defvjp(lambda x: (own(x), None), lambda _, g: (g @ jnp.ones((2, 7)),))
        looped, _ = jax.lax.scan(lambda x, _: (x @ jnp.ones((2, 2)), None), own(once), length=11)
        x = self.rematerialised(Inner)(name="b")(looped)
        return x, {"stem": once, "stage1": looped, "pre_logits": x}


class Inner(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="c")(x) * self.param("scale", nn.initializers.ones, (3,))


@pytest.mark.parametrize("remat", [False, True])
def test_programs_inside_of_operations_count(remat):
    counted = summary.summarize(Nested(remat=remat), (1, 1, 4))
    rows = {row.name: (row.kind, row.parameters, row.macs, row.activations) for row in counted.rows("layer")}
    assert rows == {
        "(Nested)": ("Nested", 0, 35 + 14 + 11 * 4, 7 + 2 + 11 * 2),
        "a": ("Dense", 25, 20, 5),
        "b": ("Inner", 3, 0, 0),
        "b.c": ("Dense", 9, 6, 3),
    }
    assert [(row.name, row.parameters, row.macs) for row in counted.rows("block")] == [
        ("(Nested)", 0, 93), ("a", 25, 20), ("b", 12, 6)]  # fmt: skip
    assert [(row.name, row.parameters, row.macs) for row in counted.rows("stage")] == [
        ("stem", 25, 55), ("stage1", 0, 58), ("logits", 12, 6)]  # fmt: skip


@pytest.mark.parametrize("fields", [{}, {"neck": "fpn"}, {"remat": True}, {"dtype": "bfloat16"}])
def test_rows_add_up_to_the_total(fields):
    model = models.create("resnet20_cifar", num_classes=10, **fields)
    counted = summary.summarize(model, (32, 32, 3))
    for by in ("stage", "block", "layer"):
        for key in ("parameters", "macs", "activations"):
            assert sum(getattr(row, key) for row in counted.rows(by)) == getattr(counted.total, key)
    if "neck" not in fields:
        assert counted.total.parameters == 269_722
        assert counted.parameter_bytes == 4 * 269_722 and counted.statistics_bytes == 4 * 2 * 688


def test_what_evaluation_does_not_use_is_set_apart():
    counted = summary.summarize(models.create("googlenet", aux_logits=True), (224, 224, 3))
    assert counted.total.parameters == 13_004_888
    assert counted.stages["unused"].parameters == 13_004_888 - 6_624_904
    assert counted.stages["unused"].macs == 0


class Chain(Classifier):
    """Two dense layers with a sine between them."""

    @nn.compact
    def __call__(self, images, *, train=False):
        x = layers.dense(images[:, 0, 0], 64, name="a", **self.dtypes)
        return layers.dense(jnp.sin(x), 9, name="b", **self.dtypes).astype(jnp.float32), {"stem": x}


def test_kept_bytes_by_hand():
    """The sine for the kernel behind it, the cosine for what is before it, and the pixel that is cut out."""
    assert summary.kept_bytes(Chain(), (1, 1, 4)) == (2 * 64 + 4) * 4
    assert summary.kept_bytes(Chain(dtype=jnp.bfloat16), (1, 1, 4)) == (2 * 64 + 4) * 2


def test_rematerialised_blocks_keep_less():
    kept = [summary.kept_bytes(models.create("resnet18", remat=remat), (64, 64, 3)) for remat in (False, True)]
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.parametrize("name, fields", [("resnet18", {}), ("vit_tiny_patch16_224", {"depth": 2, "patch": 8})])
def test_policies_of_recomputation_keep_more_in_turn(name, fields):
    """All is recomputed; what weights gave is kept; scores of attention, too; norms, activations and softmax, too."""
    policies = (True, "projections", "products", False)
    kept = [summary.kept_bytes(models.create(name, remat=remat, **fields), (64, 64, 3)) for remat in policies]
    assert kept == sorted(kept) and kept[0] < kept[1] and kept[2] < kept[3]
    assert (kept[1] == kept[2]) == (name == "resnet18")


def test_nothing_is_compiled():
    """A net of 2.6 GB whose first compilation would take a minute."""
    events = []

    def note(event, duration, **_):
        events.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        total = summary.summarize(models.create("regnet_y_128gf"), (224, 224, 3)).total
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert total.parameters == 644_812_894
    assert any("trace" in event for event in events) and not any("backend_compile" in event for event in events)


def test_pictures_that_are_too_small():
    with pytest.raises(UserError, match="32x32 or larger, not 16x20"):
        summary.summarize(models.create("vgg11"), (16, 20, 3))

    class Empty(Classifier):
        @nn.compact
        def __call__(self, images, *, train=False):
            x = nn.max_pool(images, (2, 2), (2, 2))
            return layers.global_mean(x), {"stem": x}

    with pytest.raises(UserError, match="1x1 pictures are too small for Empty: stem has no pixels left"):
        summary.summarize(Empty(), (1, 1, 3))
