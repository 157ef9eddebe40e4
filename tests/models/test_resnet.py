import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import layers, resnet
from jaxcls.models.pretrained import to_state_dict


@pytest.mark.parametrize(
    "name, kernel, norm, projected",
    [
        ("resnet18", "downsample.0", "downsample.1", (2, 3, 4)),
        ("resnet34", "downsample.0", "downsample.1", (2, 3, 4)),
        ("resnet50", "downsample.0", "downsample.1", (1, 2, 3, 4)),
        ("resnet34d", "downsample.1", "downsample.2", (2, 3, 4)),
        ("resnet50d", "downsample.1", "downsample.2", (1, 2, 3, 4)),
    ],
)
def test_only_the_first_block_of_a_stage_that_changes_shape_projects(name, kernel, norm, projected, abstract):
    params = abstract(models.create(name), 64, 64, 3)["params"]
    of = lambda part: {block for block in params if part in params[block]}  # noqa: E731
    assert {block for block in params for part in params[block] if "downsample" in part} == of(kernel) == of(norm)
    assert of(kernel) == {f"layer{i}.0" for i in projected}
    assert "kernel" in params["layer2.0"][kernel] and "scale" in params["layer2.0"][norm]


@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d", "wide_resnet50_2", "resnet50d"])
def test_the_bottleneck_strides_in_its_3x3(name, abstract):
    model = models.create(name, stage_sizes=(1, 1), num_classes=2)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    taken = lambda v, x: model.apply(v, x, train=False, capture_intermediates=True)[1]["intermediates"]  # noqa: E731
    block = jax.eval_shape(taken, abstract(model, 64, 64, 3), images)["layer2.0"]
    assert [block[f"conv{i}"]["__call__"][0].shape[1] for i in (1, 2, 3)] == [16, 8, 8]


@pytest.mark.parametrize(
    "name, per_group, inner",
    [  # table 1 of ResNeXt: 32x4d begins with 128 features in groups of 4; the wide nets have twice ResNet's
        ("resnext50_32x4d", 4, 128),
        ("seresnext101_32x8d", 8, 256),
        ("resnext101_64x4d", 4, 256),
        ("wide_resnet101_2", 128, 128),
    ],
)
def test_features_and_groups_of_the_3x3(name, per_group, inner, abstract):
    params = abstract(models.create(name, stage_sizes=(1, 2, 1)), 64, 64, 3)["params"]
    for i, block in enumerate(("layer1.0", "layer2.0", "layer3.0")):
        assert params[block]["conv2"]["kernel"].shape == (3, 3, per_group * 2**i, inner * 2**i)
        assert params[block]["conv3"]["kernel"].shape == (1, 1, inner * 2**i, 256 * 2**i)
    assert params["layer2.1"]["conv2"]["kernel"].shape == (3, 3, per_group * 2, inner * 2)


@pytest.mark.parametrize("name, widths", [("seresnet18", (8, 8, 16, 32)), ("seresnet50", (16, 32, 64, 128))])
def test_every_block_of_an_se_resnet_squeezes(name, widths, abstract):
    params = abstract(models.create(name), 64, 64, 3)["params"]
    blocks = {block: tree["se"] for block, tree in params.items() if block.startswith("layer")}
    assert len(blocks) == {"seresnet18": 8, "seresnet50": 16}[name]
    for block, se in blocks.items():
        assert se["fc1"]["kernel"].shape[-1] == widths[int(block[5]) - 1]
        assert (
            se["fc2"]["kernel"].shape[-1] == params[block]["bn2" if name == "seresnet18" else "bn3"]["scale"].shape[0]
        )


@pytest.mark.parametrize(
    "attention, parts", [("eca", {"conv"}), ("cbam", {"channel", "spatial"}), ("se", {"fc1", "fc2"})]
)
def test_any_variant_takes_any_attention(attention, parts, abstract):
    for name in ("resnet18d", "resnext50_32x4d", "seresnet18"):
        params = abstract(models.create(name, attention=attention, stage_sizes=(1, 1)), 32, 32, 3)["params"]
        assert set(params["layer1.0"]["se"]) == set(params["layer2.0"]["se"]) == parts


STEMS = [("imagenet", [16, 16, 8, 4, 2]), ("deep", [16, 16, 8, 4, 2]), ("cifar", [64, 64, 32, 16, 8])]


@pytest.mark.parametrize("stem, sides", STEMS)
def test_sides_of_the_stages(stem, sides, shapes):
    out = shapes(models.create("resnet18", stem=stem), 64, 64, 5)  # any number of channels
    assert [out[key][0] for key in ("stem", "stage1", "stage2", "stage3", "stage4")] == sides
    assert out["pre_logits"] == (512,)


def test_the_deep_stem_is_three_convolutions(abstract):
    params = abstract(models.create("resnet50d"), 64, 64, 3)["params"]
    kernels = {name: params[name]["kernel"].shape for name in params if name.startswith("conv1")
               if "kernel" in params[name]}  # fmt: skip
    assert kernels == {"conv1.0": (3, 3, 3, 32), "conv1.3": (3, 3, 32, 32), "conv1.6": (3, 3, 32, 64)}
    assert {"conv1.1", "conv1.4", "bn1"} < params.keys()


def test_shortcuts_of_d_average_what_there_is_under_the_window():
    norm = layers.batch_norm(train=False, dtype=jnp.float32, param_dtype=jnp.float32)
    block = resnet.BasicBlock(3, 2, layers.conv, norm, avg_down=True)
    x = np.random.default_rng(0).uniform(size=(2, 5, 4, 2)).astype(np.float32)
    variables = jax.eval_shape(block.init, jax.random.key(0), x)
    ones = {"scale", "var", "kernel"}
    fill = lambda path, leaf: jnp.full(leaf.shape, float(path[-1].key in ones))  # noqa: E731
    variables = jax.tree_util.tree_map_with_path(fill, variables)
    variables["params"]["bn2"]["scale"] *= 0  # the branch is zero, the projection a sum over the channels
    got = jax.jit(block.apply)(variables, x) * np.sqrt(1 + 1e-5)
    want = [[x[:, i : i + 2, j : j + 2].mean((1, 2)).sum(-1) for j in (0, 2)] for i in (0, 2, 4)]
    np.testing.assert_allclose(got[..., 0], np.array(want).transpose(2, 0, 1), rtol=1e-5)


def test_initialisation_is_torchvisions(shared):
    table = json.loads((shared / "reference/functions/init_stats.json").read_text())["resnet18"]
    model = models.create("resnet18")
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    ours = to_state_dict({"params": variables["params"]})
    assert ours.keys() == table.keys()
    for key, (shape, mean, std) in table.items():
        assert list(ours[key].shape) == shape, key
        error = 5 / np.sqrt(np.prod(shape))  # of either sample, in units of its deviation
        assert abs(ours[key].mean() - mean) <= error * std, key
        assert abs(ours[key].std() - std) <= error * std, key


@pytest.mark.parametrize("block, last", [(resnet.BasicBlock, "bn2"), (resnet.Bottleneck, "bn3")])
def test_zero_init_residual_makes_a_block_its_shortcut(block, last):
    model = resnet.ResNet((2,), block, num_classes=2, width=4, stem="cifar", zero_init_residual=True)
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    variables = jax.jit(model.init)(jax.random.key(0), x)
    scales = {path: leaf for path, leaf in traverse_util.flatten_dict(variables["params"]).items() if "scale" in path}
    assert {path[:2] for path, leaf in scales.items() if not leaf.any()} == {("layer1.0", last), ("layer1.1", last)}
    without = {**variables, "params": {**variables["params"], "layer1.1": jax.tree.map(
        jnp.zeros_like, variables["params"]["layer1.1"])}}  # fmt: skip
    apply = jax.jit(model.apply)
    np.testing.assert_array_equal(apply(variables, x)[0], apply(without, x)[0])


def test_timms_nets_start_as_their_shortcuts_and_torchvisions_do_not():
    zero = {name for name in models.list_models("*resne*") if getattr(models.create(name), "zero_init_residual", False)}
    assert {"resnet18d", "resnet152d", "seresnet18", "seresnet152", "seresnext50_32x4d", "seresnext101_32x8d"} <= zero
    assert not zero & {"resnet18", "resnet152", "resnext50_32x4d", "resnext101_64x4d", "wide_resnet50_2"}


def test_stochastic_depth_drops_the_last_block_most_and_in_training_only(drawn):
    tiny = partial(resnet.ResNet, block=resnet.BasicBlock, num_classes=2, width=4, stem="cifar")
    two, one = tiny(stage_sizes=(2,), stochastic_depth=1.0), tiny(stage_sizes=(1,))
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 3))
    variables = drawn(two, 8, 8, 3)
    first = {kind: {k: v for k, v in tree.items() if k != "layer1.1"} for kind, tree in variables.items()}

    def stage(model, variables, train):
        run = jax.jit(partial(model.apply, train=train, mutable=["batch_stats"]))
        return run(variables, x, rngs={"dropout": jax.random.key(2)})[0][1]["stage1"]

    # The rates are 0 and 1: the second block is left away for every example.
    np.testing.assert_allclose(stage(two, variables, True), stage(one, first, True), rtol=1e-5)
    with_both = stage(two.copy(stochastic_depth=0.0), variables, False)
    np.testing.assert_array_equal(stage(two, variables, False), with_both)
    assert np.abs(with_both - stage(one, first, False)).max() > 0.1


def test_without_classes_the_logits_are_the_mean_of_the_last_stage(drawn):
    model = resnet.ResNet((1, 1), resnet.BasicBlock, num_classes=0, width=4)
    x = jax.random.normal(jax.random.key(1), (2, 17, 24, 3))
    variables = drawn(model, 17, 24, 3)
    assert "fc" not in variables["params"]
    logits, out = jax.jit(model.apply)(variables, x)
    assert logits.shape == (2, 8)
    np.testing.assert_array_equal(logits, out["pre_logits"])
    np.testing.assert_allclose(logits, out["stage2"].mean((1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("resnet18", {"stem": "vgg"}, "stem must be one of imagenet, cifar, deep, not 'vgg'"),
        ("resnet50", {"attention": "bam"}, "attention must be one of se, eca, cbam"),
        ("resnet34", {"groups": 32}, "groups and base_width are for nets of bottlenecks"),
        ("resnet50", {"groups": 0}, "leave no features"),
        ("resnet50", {"width": 32, "base_width": 1}, "leave no features"),
    ],
)
def test_fields_that_fit_nowhere(name, fields, message):
    with pytest.raises(UserError, match=message):
        models.create(name, **fields)
