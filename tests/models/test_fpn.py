import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import pretrained
from jaxcls.models.fpn import FPN, pyramid_stages, repeat_pixels
from jaxcls.models.pretrained import to_state_dict
from jaxcls.models.resnet import BasicBlock, ResNet


def tiny(**fields):
    return FPN(backbone=ResNet(stage_sizes=(1, 1, 1), block=BasicBlock, width=2, num_classes=0), features=3,
               num_classes=4, **fields)  # fmt: skip


@pytest.mark.parametrize(
    "name, size, sides, channels",
    [
        ("resnet50", 224, (56, 28, 14, 7), (256, 512, 1024, 2048)),
        ("vgg16", 224, (56, 28, 14, 7), (128, 256, 512, 512)),  # of its five strides the last four
        ("squeezenet1_1", 64, (15, 7, 3), (128, 256, 512)),
        ("googlenet", 64, (16, 8, 4, 2), (192, 480, 832, 1024)),
        ("resnet50", 33, (9, 5, 3, 2), (256, 512, 1024, 2048)),
        ("resnet18", 16, (4, 2, 1), (64, 128, 512)),  # stages 3 and 4 have one size: the last one counts
    ],
)
def test_levels(name, size, sides, channels, shapes, abstract):
    model = models.create(name, neck="fpn", num_classes=10)
    got = shapes(model, size, size, 3)
    assert [got[f"level{i}"] for i in range(1, len(sides) + 1)] == [(side, side, 256) for side in sides]
    assert f"level{len(sides) + 1}" not in got and {"stem", "stage1"} < got.keys()
    assert got["pre_logits"] == (256 * len(sides),) and got["logits"] == (10,)
    params = abstract(model, size, size, 3)["params"]
    for i, features in enumerate(channels):
        assert params[f"fpn.inner_blocks.{i}.0"]["kernel"].shape == (1, 1, features, 256)
        assert params[f"fpn.layer_blocks.{i}.0"]["kernel"].shape == (3, 3, 256, 256)
    assert set(params) - {"backbone", "fc"} == {
        f"fpn.{kind}_blocks.{i}.0" for kind in ("inner", "layer") for i in range(len(sides))
    }


def test_levels_are_lateral_plus_what_is_above(drawn):
    """Equation by equation: 1x1, plus the level above repeated, 3x3 with zeros around, ReLU, mean."""
    model = tiny()
    variables = drawn(model, 37, 53, 3)  # stages of 10x14, 5x7 and 3x4
    images = np.random.default_rng(1).normal(size=(2, 37, 53, 3)).astype(np.float32)
    logits, out = jax.jit(model.apply)(variables, images)
    params = variables["params"]

    above, means = None, []
    for i in (2, 1, 0):
        inner, layer = params[f"fpn.inner_blocks.{i}.0"], params[f"fpn.layer_blocks.{i}.0"]
        x = np.asarray(out[f"stage{i + 1}"]) @ inner["kernel"][0, 0] + inner["bias"]
        if above is not None:
            x += above.repeat(2, 1).repeat(2, 2)[:, : x.shape[1], : x.shape[2]]
        above = x
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = x.shape[1:3]
        level = layer["bias"] + sum(
            padded[:, r : r + height, c : c + width] @ layer["kernel"][r, c] for r in range(3) for c in range(3)
        )
        np.testing.assert_allclose(out[f"level{i + 1}"], level, rtol=1e-3, atol=1e-4)
        means.insert(0, np.maximum(level, 0).mean((1, 2)))
    np.testing.assert_allclose(out["pre_logits"], np.concatenate(means, 1), rtol=1e-3, atol=1e-4)
    want = np.concatenate(means, 1) @ params["fc"]["kernel"] + params["fc"]["bias"]
    np.testing.assert_allclose(logits, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "old, new, taken",
    [  # torch.nn.functional.interpolate(torch.arange(old), size=new, mode="nearest")
        (3, 6, [0, 0, 1, 1, 2, 2]), (3, 5, [0, 0, 1, 1, 2]), (3, 7, [0, 0, 0, 1, 1, 2, 2]), (1, 1, [0]),
        (1, 4, [0, 0, 0, 0]), (4, 9, [0, 0, 0, 1, 1, 2, 2, 3, 3]), (4, 4, [0, 1, 2, 3]),
    ],
)  # fmt: skip
def test_repeated_pixels_are_pytorchs_nearest(old, new, taken):
    x = jnp.arange(old * 2.0).reshape(1, old, 2, 1)
    np.testing.assert_array_equal(repeat_pixels(x, (new, 2)), np.asarray(x)[:, taken])
    flipped = x.transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(repeat_pixels(flipped, (2, new)), np.asarray(flipped)[:, :, taken])


@pytest.mark.parametrize("name", ["squeezenet1_1", "vgg11_bn", "shufflenet_v2_x0_5", "googlenet", "alexnet"])
def test_no_parameter_of_a_backbone_is_without_use(name, abstract):
    """Those that the classifier alone would see are gone with `num_classes=0`."""
    whole, params = (abstract(models.create(name, **fields), 96, 96, 3)["params"] for fields in ({}, {"neck": "fpn"}))
    gone = {layer for layer in whole if layer.startswith(("classifier", "fc"))}
    assert set(params["backbone"]) == set(whole) - gone


def test_fields_go_to_the_backbone_and_dropout_to_the_classifier(drawn):
    model = models.create(
        "resnet18", neck="fpn", num_classes=3, stem="cifar", dtype="bfloat16", remat=True, dropout=0.5
    )
    assert model.backbone.stem == "cifar" and model.backbone.remat and model.backbone.num_classes == 0
    assert model.dtype == model.backbone.dtype == jnp.bfloat16
    assert models.create("vgg11", neck="fpn").dropout == 0.5
    assert models.create("resnet18", neck="") == models.create("resnet18")
    model, x = tiny(dropout=0.5), np.ones((2, 32, 32, 3), np.float32)
    variables = drawn(model, 32, 32, 3)

    @jax.jit
    def call(key):
        (logits, out), _ = model.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})
        return logits, out["pre_logits"]

    (a, same), (b, again) = call(jax.random.key(0)), call(jax.random.key(1))
    assert (a != b).any()
    np.testing.assert_array_equal(same, again)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mixer_s32_224", "lenet5"])
def test_a_model_without_feature_maps_has_no_pyramid(name, abstract):
    model = models.create(name, neck="fpn")
    shape = (28, 28, 1) if name == "lenet5" else (224, 224, 3)
    with pytest.raises(UserError, match="neck 'fpn' needs .* feature maps of two sizes .* such as resnet50"):
        abstract(model, *shape)


def test_too_small_a_picture_and_an_unknown_neck(abstract):
    with pytest.raises(UserError, match="which ResNet has not for pictures of 4x4: use larger pictures"):
        abstract(models.create("resnet18", neck="fpn"), 4, 4, 3)
    with pytest.raises(UserError, match="neck: there is no neck 'pan'; did you mean 'fpn'"):
        models.create("resnet18", neck="pan")


def test_the_levels_may_have_fewer_features(abstract):
    wide, narrow = (abstract(models.create("resnet18", neck=n, num_classes=3), 64, 64, 3) for n in ("fpn", "fpn(8)"))
    assert wide["params"]["fc"]["kernel"].shape == (4 * 256, 3) and narrow["params"]["fc"]["kernel"].shape == (4 * 8, 3)
    with pytest.raises(UserError, match="neck: the arguments of 'fpn' don't fit: .* at least 1, not 0"):
        models.create("resnet18", neck="fpn(0)")


def test_stages_that_are_no_maps_make_no_pyramid():
    maps = {f"stage{i}": jnp.zeros((1, 16 // i, 16 // i, i)) for i in range(1, 7)} | {"stem": None, "pre_logits": None}
    assert [x.shape[-1] for x in pyramid_stages(maps)] == [3, 4, 5, 6]
    assert pyramid_stages(maps | {"stage3": jnp.zeros((1, 9))}) == []


def test_published_weights_of_the_model_go_to_the_backbone(abstract):
    bare = models.create("resnet18", num_classes=1000)
    state = to_state_dict(jax.tree.map(lambda x: np.ones(x.shape, np.float32), abstract(bare, 64, 64, 3)))
    model = models.create("resnet18", neck="fpn", num_classes=5)
    variables = abstract(model, 64, 64, 3)
    weights, report = pretrained.match(model, variables, state)
    assert len(report.loaded) == len(state) - 2 and set(report.skipped) == {"fc.weight", "fc.bias"}
    ours = {"/".join(path) for path in traverse_util.flatten_dict(variables)}
    loaded = {"/".join(path) for path in traverse_util.flatten_dict(weights)}
    assert ours - loaded == {path for path in ours if "/backbone/" not in path}


def test_its_own_weights_come_back_whole(drawn):
    model = tiny()
    variables = drawn(model, 32, 32, 3)
    zeros = jax.tree.map(np.zeros_like, variables)
    again, report = pretrained.load(model, zeros, to_state_dict(variables))
    assert not report.kept and not report.skipped
    jax.tree.map(np.testing.assert_array_equal, again, variables)
