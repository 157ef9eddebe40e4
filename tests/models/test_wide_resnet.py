from functools import partial

import jax
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models.wide_resnet import WideResNet


def picture(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def test_the_first_block_of_each_stage_projects(abstract):
    params = abstract(models.create("wrn_28_10", num_classes=10), 32, 32, 3)["params"]
    blocks = {f"block{i}.layer.{j}" for i in (1, 2, 3) for j in range(4)}
    assert params.keys() == blocks | {"conv1", "bn1", "fc"}
    assert {name for name in blocks if "convShortcut" in params[name]} == {f"block{i}.layer.0" for i in (1, 2, 3)}
    assert params["block1.layer.0"]["convShortcut"]["kernel"].shape == (1, 1, 16, 160)
    assert params["block3.layer.0"]["conv1"]["kernel"].shape == (3, 3, 320, 640)


def test_stages_halve_the_picture(abstract):
    model = WideResNet(depth=10, widen=2, num_classes=0)
    image = jax.ShapeDtypeStruct((2, 33, 30, 1), np.float32)
    logits, out = jax.eval_shape(partial(model.apply, train=False), abstract(model, 33, 30, 1), image)
    assert {name: x.shape[1:] for name, x in out.items()} == {
        "stem": (33, 30, 16), "stage1": (33, 30, 32), "stage2": (17, 15, 64), "stage3": (9, 8, 128),
        "pre_logits": (128,)}  # fmt: skip
    assert logits.shape == (2, 128)


def test_a_net_of_ten_layers_by_hand(drawn):
    """Figure 1d of the paper, pre-activated; a block that changes the shape projects its first activation."""
    model = WideResNet(depth=10, widen=1, num_classes=3)
    variables, image = drawn(model, 8, 8, 3), picture(2, 8, 8, 3)
    params, stats = variables["params"], variables["batch_stats"]

    def norm(x, p, s):
        return np.maximum((x - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"], 0)

    def conv(x, p, stride=1):
        kernel = p["kernel"]
        pad = kernel.shape[0] // 2
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        size = (x.shape[1] - 2 * pad - 1) // stride + 1
        total = 0
        for i, j in np.ndindex(*kernel.shape[:2]):
            rows, columns = (slice(k, k + stride * (size - 1) + 1, stride) for k in (i, j))
            total = total + x[:, rows, columns] @ kernel[i, j]
        return total

    x = conv(image.astype(np.float64), params["conv1"])
    for i in (1, 2, 3):
        p, s = params[f"block{i}.layer.0"], stats[f"block{i}.layer.0"]
        stride = 1 if i == 1 else 2
        y = norm(x, p["bn1"], s["bn1"])
        x = conv(y, p["convShortcut"], stride) if i > 1 else x
        x = x + conv(norm(conv(y, p["conv1"], stride), p["bn2"], s["bn2"]), p["conv2"])
    features = norm(x, params["bn1"], stats["bn1"]).mean((1, 2))
    logits, out = jax.jit(partial(model.apply, train=False))(variables, image)
    np.testing.assert_allclose(out["pre_logits"], features, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(logits, features @ params["fc"]["kernel"] + params["fc"]["bias"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("field", ["dropout", "block_dropout", "stochastic_depth"])
def test_what_is_random_acts_in_training_only(field, drawn):
    plain = WideResNet(depth=10, widen=1, num_classes=3)
    model = WideResNet(depth=10, widen=1, num_classes=3, **{field: 0.5})
    variables, image = drawn(model, 8, 8, 3), picture(4, 8, 8, 3)
    want, got = (jax.jit(partial(m.apply, train=False))(variables, image)[0] for m in (plain, model))
    np.testing.assert_array_equal(got, want)
    train = jax.jit(
        lambda k: model.apply(variables, image, train=True, rngs={"dropout": k}, mutable=["batch_stats"])[0][0]
    )
    assert np.abs(train(jax.random.key(0)) - train(jax.random.key(1))).max() > 1e-3


@pytest.mark.parametrize("depth", [4, 27])
def test_other_depths_are_refused(depth):
    with pytest.raises(UserError, match=f"6n \\+ 4 layers .* not {depth}"):
        models.create("wrn_28_10", depth=depth)
