from functools import partial

import jax
import numpy as np
import pytest

from jaxcls.errors import UserError
from jaxcls.models import create
from jaxcls.models.mixer import Mixer

TINY = {"patch": 4, "width": 8, "depth": 4, "num_classes": 3}


def picture(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def logits_of(model, variables, images):
    return jax.jit(partial(model.apply, train=False))(variables, images)[0]


def test_a_block_is_what_the_paper_writes(drawn):
    """Equation 1: one MLP along the columns of the table of tokens, one along its rows."""
    model = Mixer(**TINY | {"depth": 1})
    variables = drawn(model, 8, 12, 3)
    _, out = jax.jit(partial(model.apply, train=False))(variables, picture(2, 8, 12, 3))
    p = variables["params"]["blocks.0"]

    def norm(x, scale, bias):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale + bias

    def mlp(x, name):
        first, second = p[f"{name}.fc1"], p[f"{name}.fc2"]
        hidden = jax.nn.gelu(x @ first["kernel"] + first["bias"], approximate=False)
        return np.asarray(hidden) @ second["kernel"] + second["bias"]

    assert p["mlp_tokens.fc1"]["kernel"].shape == (6, 4)  # half and four times the width
    assert p["mlp_channels.fc1"]["kernel"].shape == (8, 32)
    x = np.asarray(out["stem"], np.float64)
    x = x + mlp(norm(x, **p["norm1"]).swapaxes(1, 2), "mlp_tokens").swapaxes(1, 2)
    x = x + mlp(norm(x, **p["norm2"]), "mlp_channels")
    x = norm(x, **variables["params"]["norm"])
    np.testing.assert_allclose(out["stage4"], x, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(out["pre_logits"], x.mean(1), rtol=1e-3, atol=1e-4)


def test_out_holds_tokens_of_a_depth_cut_in_four(abstract):
    model = create("mixer_s32_224", num_classes=0)
    variables = abstract(model, 64, 96, 1)
    assert len([name for name in variables["params"] if name.startswith("blocks.")]) == 8
    assert "head" not in variables["params"]
    image = jax.ShapeDtypeStruct((2, 64, 96, 1), np.float32)
    logits, out = jax.eval_shape(partial(model.apply, train=False), variables, image)
    assert logits.shape == out["pre_logits"].shape == (2, 512)
    assert {out[name].shape for name in ("stem", "stage1", "stage2", "stage3", "stage4")} == {(2, 6, 512)}


@pytest.mark.parametrize("field", ["dropout", "block_dropout", "stochastic_depth"])
def test_what_is_random_acts_in_training_only(field, drawn):
    plain, model = Mixer(**TINY), Mixer(**TINY, **{field: 0.5})
    variables, image = drawn(model, 8, 8, 3), picture(2, 8, 8, 3)
    want = logits_of(plain, variables, image)
    np.testing.assert_array_equal(logits_of(model, variables, image), want)
    train = jax.jit(lambda key: model.apply(variables, image, train=True, rngs={"dropout": key})[0])
    assert np.abs(train(jax.random.key(0)) - want).max() > 1e-3


def test_parameters_start_as_in_timm():
    """Uniform with variance 2 / (in + out), truncated normal with 1 / in for the patches, zero for the last layer."""
    model = Mixer(patch=16, width=64, depth=1, num_classes=10)
    params = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 96, 96, 3), np.float32))["params"]
    block, stem = params["blocks.0"], params["stem.proj"]["kernel"]
    np.testing.assert_allclose(block["mlp_tokens.fc1"]["kernel"].std(), (2 / (36 + 32)) ** 0.5, rtol=0.06)
    np.testing.assert_allclose(block["mlp_channels.fc2"]["kernel"].std(), (2 / (64 + 256)) ** 0.5, rtol=0.06)
    np.testing.assert_allclose(block["mlp_channels.fc1"]["bias"].std(), 1e-6, rtol=0.3)
    np.testing.assert_allclose(stem.std(), 768**-0.5, rtol=0.06)
    assert abs(stem).max() < 3 * 768**-0.5
    assert not params["head"]["kernel"].any() and not params["stem.proj"]["bias"].any()


def test_one_size_of_picture(drawn):
    model = Mixer(**TINY)
    with pytest.raises(UserError, match="multiples of 4.*not 8x10"):
        drawn(model, 8, 10, 3)
    variables = drawn(model, 8, 8, 3)
    with pytest.raises(UserError, match="initialised with pictures of 4 patches, not 6"):
        model.apply(variables, picture(1, 8, 12, 3), train=False)
