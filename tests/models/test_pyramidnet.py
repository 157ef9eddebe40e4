from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import layers
from jaxcls.models.pyramidnet import PyramidBlock, PyramidNet

NORM = layers.batch_norm(train=False, dtype=jnp.float32, param_dtype=jnp.float32)


def picture(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    "name, first, last, factor, blocks",
    [
        ("pyramidnet110_a48_cifar", [17, 18, 19, 20, 20, 21], 64, 1, 54),  # 16 + 8/9, 16 + 16/9, ... rounded
        pytest.param(
            "pyramidnet272_a200_cifar", [18, 20, 23, 25, 27, 29], 216, 4, 90, marks=pytest.mark.slow
        ),  # 16 + 20/9, ...
        ("pyramidnet101_a360", [75, 86, 97, 108, 119, 129], 424, 4, 33),  # 64 + 120/11, ...
    ],
)
def test_every_block_is_a_little_wider(name, first, last, factor, blocks, abstract):
    params = abstract(models.create(name, num_classes=10), 64, 64, 3)["params"]
    order = sorted(tuple(map(int, block[5:].split("."))) for block in params if block.startswith("layer"))
    conv1 = [params[f"layer{i}.{j}"]["conv1"]["kernel"].shape[-1] for i, j in order]
    assert conv1[:6] == first and conv1[-1] == last and len(conv1) == blocks
    assert params["fc"]["kernel"].shape == (last * factor, 10)
    assert not [block for block in params if "downsample" in str(params[block])]


@pytest.mark.parametrize("stem, sizes", [("cifar", (33, 33, 17, 9)), ("imagenet", (9, 9, 5, 3))])
def test_stages_halve_the_picture(stem, sizes, abstract):
    model = PyramidNet(stage_sizes=(1, 1, 1), alpha=9, stem=stem, num_classes=0)
    image = jax.ShapeDtypeStruct((2, 33, 33, 1), np.float32)
    logits, out = jax.eval_shape(partial(model.apply, train=False), abstract(model, 33, 33, 1), image)
    assert tuple(out[name].shape[1] for name in ("stem", "stage1", "stage2", "stage3")) == sizes
    assert logits.shape == out["pre_logits"].shape == (2, {"cifar": 25, "imagenet": 73}[stem])


def test_the_shortcut_averages_and_adds_zeros_behind():
    """The odd last row and column are means of what is there."""
    block = PyramidBlock(3, 6, (3, 3), 2, layers.conv, NORM)
    x = picture(2, 5, 5, 4)
    variables = block.init(jax.random.key(0), x)
    variables["params"]["bn3"]["scale"] *= 0  # the branch is zero: the shortcut is left
    got = np.asarray(block.apply(variables, x))
    assert got.shape == (2, 3, 3, 6) and not got[..., 4:].any()
    for i, j in np.ndindex(3, 3):
        square = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        np.testing.assert_allclose(got[:, i, j, :4], square.mean((1, 2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernels", [(3, 3), (1, 3, 1)])
def test_no_activation_before_the_first_convolution_nor_after_the_last(kernels):
    """Convolutions that change nothing, on values lifted far above zero before every activation: nothing is cut."""
    block = PyramidBlock(4, 4, kernels, 1, layers.conv, NORM)
    x = picture(2, 5, 5, 4)
    variables = block.init(jax.random.key(0), x)
    params, stats = variables["params"], variables["batch_stats"]
    for i, kernel in enumerate(kernels, 1):
        params[f"conv{i}"]["kernel"] = jnp.zeros((kernel, kernel, 4, 4)).at[kernel // 2, kernel // 2].set(jnp.eye(4))
        lifted = 10.0 if i < len(kernels) else 0.0  # by the norm behind each convolution but the last,
        params[f"bn{i + 1}"]["bias"] = jnp.full(4, lifted)
        stats[f"bn{i + 1}"]["mean"] = jnp.full(4, 10.0 if i > 1 else 0.0)  # and let down by the one after it
    np.testing.assert_allclose(block.apply(variables, x), 2 * x, atol=2e-3)


def test_stochastic_depth_acts_in_training_only(drawn):
    fields = {"stage_sizes": (1, 1), "alpha": 3, "num_classes": 3}
    plain, model = PyramidNet(**fields), PyramidNet(**fields, stochastic_depth=0.5)
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
        ({"stem": "mnist"}, "stem must be one of cifar, imagenet"),
        ({"alpha": -1}, "must be a whole number that is not negative, not -1"),
    ],
)
def test_what_cannot_be_built_says_what_could(fields, message):
    with pytest.raises(UserError, match=message):
        models.create("pyramidnet110_a48_cifar", **fields)
