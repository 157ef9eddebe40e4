import jax
import jax.numpy as jnp
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import summary

NETS = {"r3d_18": (16, 8, 4, 2), "mc3_18": (16, 16, 16, 16), "r2plus1d_18": (16, 8, 4, 2)}


@pytest.mark.parametrize("name, frames", NETS.items())
def test_stages_halve_the_places_and_but_for_mc3_the_frames(name, frames, shapes):
    out = shapes(models.create(name, num_classes=5), 16, 112, 96, 1)
    assert [out[f"stage{i}"] for i in range(1, 5)] == [
        (t, 56 // 2**i, 48 // 2**i, 64 * 2**i) for i, t in enumerate(frames)
    ]
    assert out["stem"] == (16, 56, 48, 64) and out["logits"] == (5,)


def test_a_convolution_in_two_parts_has_as_many_parameters_as_one():
    """Section 3.5 of the paper: rounded down, so at most one feature between the parts is missing."""
    blocks = [
        {row.name: row.parameters for row in summary.summarize(models.create(name), (4, 32, 32, 3)).rows("layer")}
        for name in ("r3d_18", "r2plus1d_18")
    ]
    for name in ("layer1.0.conv1.0", "layer3.1.conv2.0"):
        one, two = blocks[0][name], blocks[1][f"{name}.0"] + blocks[1][f"{name}.3"]
        features = 64 if "layer1" in name else 256
        assert one - (9 + 3) * features < two <= one == 27 * features**2


def test_multiply_adds_by_hand():
    """Of a net of one stage: a stem of 3x7x7 and two convolutions of 3x3x3 at half the side, then the classifier."""
    model = models.create("r3d_18", num_classes=5, stage_sizes=(1,), width=8)
    total = summary.summarize(model, (4, 12, 10, 2)).total
    places = 4 * 6 * 5
    assert total.macs == places * 8 * (2 * 3 * 49 + 2 * 8 * 27) + 8 * 5
    assert total.activations == 3 * places * 8 + 5


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"stem": "cifar"}, "stem must be one of 3d, 2\\+1d"),
        ({"kinds": ("3d", "4d", "2d", "2d")}, "kinds must be one of 3d, 2d"),
        ({"kinds": ("3d",)}, "stage_sizes has 4 stages, kinds 1"),
        ({"width": 0}, "width must be positive"),
    ],
)
def test_fields_that_cannot_be(fields, message):
    with pytest.raises(UserError, match=message):
        models.create("r3d_18", **fields)


def test_pictures_are_refused():
    model = models.create("r3d_18", num_classes=5)
    with pytest.raises(UserError, match="VideoResNet takes clips .* not an array of 4 axes"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
