import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models.squeezenet import SqueezeNet

TINY = {"features": 4, "kernel_size": 3, "least": 17, "stages": (((3, 4),), ((3, 4),))}


@pytest.mark.parametrize(
    "name, pools",
    [("squeezenet1_0", [(54, 96), (54, 256), (27, 512), (13, 512)]),
     ("squeezenet1_1", [(55, 64), (55, 128), (27, 256), (13, 512)])],
)  # fmt: skip
def test_stages(name, pools, shapes):
    """Table 1's sizes: ceil mode makes 54, 27 and 13 of 109; 55, 27 and 13 of 111."""
    got = shapes(models.create(name), 224, 224, 3)
    assert [got[key] for key in ("stem", "stage1", "stage2", "stage3")] == [(side, side, c) for side, c in pools]
    assert got["pre_logits"] == (512,) and got["logits"] == (1000,)


def test_the_last_convolution_is_rectified_before_the_mean(drawn):
    model = SqueezeNet(num_classes=3, **TINY)
    variables = drawn(model, 33, 40, 3)
    x = np.random.default_rng(1).normal(size=(2, 33, 40, 3)).astype(np.float32)
    logits, out = model.apply(variables, x)
    kernel, bias = variables["params"]["classifier.1"]["kernel"][0, 0], variables["params"]["classifier.1"]["bias"]
    maps = np.maximum(np.asarray(out["stage2"]) @ kernel + bias, 0)
    np.testing.assert_allclose(logits, maps.mean((1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(out["pre_logits"], np.asarray(out["stage2"]).mean((1, 2)), rtol=1e-5)


def test_dropout_acts_in_training_only(drawn):
    model = SqueezeNet(num_classes=3, **TINY)
    variables, x = drawn(model, 20, 20, 3), jnp.ones((1, 20, 20, 3))
    call = lambda seed, train: model.apply(variables, x, train=train, rngs={"dropout": jax.random.key(seed)})[0]  # noqa: E731
    assert (call(0, True) != call(1, True)).any()
    np.testing.assert_array_equal(call(0, False), call(1, False))


@pytest.mark.parametrize("name, least", [("squeezenet1_0", 21), ("squeezenet1_1", 17)])
def test_the_smallest_picture_is_torchvisions(name, least, shapes):
    assert shapes(models.create(name), least, 2 * least, 1)["stage3"][0] == 1
    with pytest.raises(UserError, match=f"SqueezeNet takes pictures of {least}x{least} or larger, not 60x{least - 1}"):
        shapes(models.create(name), 60, least - 1, 1)


def test_without_classes_the_mean_of_the_last_stage_is_left(shapes):
    assert shapes(models.create("squeezenet1_1", num_classes=0), 64, 64, 3)["logits"] == (512,)


def test_names_are_the_positions_in_torchvisions_list(abstract):
    params = abstract(models.create("squeezenet1_1"), 64, 64, 3)["params"]
    fires = {name for name in params if "squeeze" in params[name]}
    assert fires == {f"features.{i}" for i in (3, 4, 6, 7, 9, 10, 11, 12)}


def test_initialisation(check_init):
    model = models.create("squeezenet1_0", stages=(((16, 64), (16, 64), (32, 128)),))
    assert check_init("squeezenet1_0", model, 32, 32, 3) == 21
