import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.models import layers
from jaxcls.models.shufflenet import ShuffleUnit


@pytest.fixture
def unit():
    """`unit(features, stride)`, its norm with running statistics."""
    norm = layers.batch_norm(train=False, dtype=jnp.float32, param_dtype=jnp.float32)
    return lambda features, stride: ShuffleUnit(features, stride, layers.conv, norm)


def test_a_unit_passes_half_of_the_channels_on_and_mixes_the_halves_in_turn(unit, drawn):
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 6)).astype(np.float32)
    block = unit(6, 1)
    variables = block.init(jax.random.key(0), x)
    got = np.asarray(block.apply(variables, x))
    # PyTorch's shuffle of (aside, seen): view as 2 x 3, transpose, flatten
    aside, seen = got[..., 0::2], got[..., 1::2]
    np.testing.assert_array_equal(aside, x[..., :3])
    assert seen.min() == 0 and seen.max() > 0  # a ReLU ends the branch
    changed = x.copy()
    changed[..., :3] += 1
    np.testing.assert_array_equal(np.asarray(block.apply(variables, changed))[..., 1::2], seen)


def test_a_unit_of_stride_2_shows_all_channels_to_both_halves(unit):
    block = unit(8, 2)
    x = jnp.ones((1, 5, 8, 4))
    params = jax.eval_shape(block.init, jax.random.key(0), x)["params"]
    kernels = {name: layer["kernel"].shape for name, layer in params.items() if "kernel" in layer}
    assert kernels == {
        "branch1.0": (3, 3, 1, 4), "branch1.2": (1, 1, 4, 4),
        "branch2.0": (1, 1, 4, 4), "branch2.3": (3, 3, 1, 4), "branch2.5": (1, 1, 4, 4),
    }  # fmt: skip
    assert jax.eval_shape(lambda x: block.init_with_output(jax.random.key(0), x)[0], x).shape == (1, 3, 4, 8)


def test_stages(shapes, abstract):
    model = models.create("shufflenet_v2_x0_5")
    got = shapes(model, 97, 224, 5)
    assert [got[key] for key in ("stem", "stage1", "stage2", "stage3")] == [
        (25, 56, 24), (13, 28, 48), (7, 14, 96), (4, 7, 1024)
    ]  # fmt: skip
    assert got["pre_logits"] == (1024,) and got["logits"] == (1000,)
    blocks = {name for name in abstract(model, 32, 32, 3)["params"] if name.startswith("stage")}
    assert blocks == {f"stage{i}.{j}" for i, size in ((2, 4), (3, 8), (4, 4)) for j in range(size)}


def test_without_classes_the_mean_of_the_last_stage_is_left(shapes, abstract):
    model = models.create("shufflenet_v2_x0_5", num_classes=0)
    assert shapes(model, 1, 1, 3)["logits"] == (1024,)  # any size
    assert "fc" not in abstract(model, 32, 32, 3)["params"]


def test_initialisation(check_init):
    model = models.create("shufflenet_v2_x1_0", channels=(24, 116, 1024), stage_sizes=(2,))
    assert check_init("shufflenet_v2_x1_0", model, 32, 32, 3) == 31
