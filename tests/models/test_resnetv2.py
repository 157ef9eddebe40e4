from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.resnetv2 import PreActBlock, ResNetV2


def picture(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def test_every_first_block_of_a_bottleneck_net_projects(abstract):
    params = abstract(models.create("resnetv2_50"), 64, 64, 3)["params"]
    blocks = [name for name in params if name.startswith("stages.")]
    assert [sum(name.startswith(f"stages.{i}.") for name in blocks) for i in range(4)] == [3, 4, 6, 3]
    assert {name for name in blocks if "downsample.conv" in params[name]} == {f"stages.{i}.blocks.0" for i in range(4)}
    assert params["stages.2.blocks.0"]["norm1"]["scale"].shape == (512,)
    assert params["norm"]["scale"].shape == (2048,)


def test_a_basic_net_projects_where_the_shape_changes_and_ends_without_norm(abstract):
    params = abstract(models.create("preact_resnet18", num_classes=10), 32, 32, 3)["params"]
    assert {name for name in params if "shortcut.0" in params[name]} == {"layer2.0", "layer3.0", "layer4.0"}
    assert params.keys() - {f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)} == {"conv1", "linear"}
    narrow = abstract(models.create("preact_resnet110_cifar", num_classes=10), 32, 32, 3)["params"]
    assert len(narrow) == 3 * 18 + 3 and narrow["bn"]["scale"].shape == (64,)


@pytest.mark.parametrize(
    "name, sizes",
    [("resnetv2_50", (16, 16, 8, 4, 2)), ("preact_resnet18", (64, 64, 32, 16, 8)),
     ("preact_resnet164_cifar", (64, 64, 32, 16))],
)  # fmt: skip
def test_stages_halve_the_picture(name, sizes, abstract):
    model = models.create(name, num_classes=0)
    image = jax.ShapeDtypeStruct((2, 64, 62, 1), np.float32)
    logits, out = jax.eval_shape(partial(model.apply, train=False), abstract(model, 64, 62, 1), image)
    names = ["stem", *(f"stage{i}" for i in range(1, len(sizes)))]
    assert out.keys() == {*names, "pre_logits"}
    assert tuple(out[name].shape[1] for name in names) == sizes
    assert logits.shape == out["pre_logits"].shape == (2, out[f"stage{len(sizes) - 1}"].shape[-1])


@pytest.mark.parametrize("stride", [1, 2])
def test_the_shortcut_is_the_input_or_a_projection_of_the_first_activation(stride):
    norm = layers.batch_norm(train=False, dtype=jnp.float32, param_dtype=jnp.float32)
    block = PreActBlock(2, 4 * stride, (1, 3, 1), stride, layers.conv, norm, "norm", "downsample.conv", zero_init=True)
    x = picture(2, 5, 5, 4)
    variables = block.init(jax.random.key(0), x)  # the last convolution is zero: the shortcut is left
    want = x
    if stride == 2:
        kernel = variables["params"]["downsample.conv"]["kernel"][0, 0]
        want = (np.maximum(x, 0) / np.sqrt(1 + 1e-5))[:, ::2, ::2] @ kernel
    np.testing.assert_allclose(block.apply(variables, x), want, rtol=1e-4, atol=1e-5)


def test_the_pool_of_the_stem_sees_no_border():
    """Its inputs may be negative, so that zeros around them would win."""
    model = ResNetV2(stage_sizes=(1,), kernels=(3, 3), width=1, num_classes=2)
    x = np.ones((1, 9, 9, 1), np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    variables["params"]["stem.conv"]["kernel"] = jnp.zeros((7, 7, 1, 1)).at[3, 3].set(-1.0)
    _, out = model.apply(variables, x, train=False)
    np.testing.assert_array_equal(out["stem"], np.full((1, 3, 3, 1), -1.0))


def test_kernels_are_standardised():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 5, 5, 4)).astype(np.float32), rng.normal(2, 3, size=(3, 3, 4, 2)).astype(np.float32)
    got = layers.conv(2, 3, convolve=layers.standardised).apply({"params": {"kernel": kernel}}, x)
    kernel = (kernel - kernel.mean((0, 1, 2))) / np.sqrt(kernel.var((0, 1, 2)) + 1e-8)
    want = layers.conv(2, 3).apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_bits_pool_sees_zeros_and_its_norm_no_other_picture(abstract):
    model = models.create("resnetv2_50x1_bit", num_classes=3)
    assert set(abstract(model, 64, 64, 3)) == {"params"}  # no running statistics
    model = ResNetV2(stage_sizes=(1,), width=32, stem="bit", norm="group", num_classes=2)
    x = np.ones((1, 9, 9, 1), np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    kernel = jnp.zeros((7, 7, 1, 32)).at[3, 3].set(-1.0)
    variables["params"]["stem.conv"]["kernel"] = kernel
    stem = jax.jit(partial(model.apply, train=False))(variables, x)[1]["stem"]
    np.testing.assert_array_equal(stem[0, 0], 0)
    assert (stem[0, 1, 1] < 0).all()


def test_stochastic_depth_acts_in_training_only(drawn):
    fields = {"stage_sizes": (1, 1), "kernels": (3, 3), "width": 4, "stem": "cifar", "num_classes": 3}
    plain, model = ResNetV2(**fields), ResNetV2(**fields, stochastic_depth=0.5)
    variables, image = drawn(model, 8, 8, 3), picture(2, 8, 8, 3)
    want, got = (jax.jit(partial(m.apply, train=False))(variables, image)[0] for m in (plain, model))
    np.testing.assert_array_equal(got, want)
    train = jax.jit(
        lambda k: model.apply(variables, image, train=True, rngs={"dropout": k}, mutable=["batch_stats"])[0][0]
    )
    logits = {tuple(np.asarray(train(jax.random.key(seed))).ravel()) for seed in range(8)}
    assert 1 < len(logits) <= 4  # the second block is kept or not for each of two pictures, the first always kept


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"stem": "mnist"}, "stem must be one of imagenet, bit, cifar"),
        ({"norm": "layer"}, "norm must be one of batch, group"),
        ({"spelling": "x"}, "spelling must be one of timm, ku"),
    ],
)
def test_what_cannot_be_built_says_what_could(fields, message):
    with pytest.raises(UserError, match=message):
        models.create("resnetv2_50", **fields)
