"""Grad-CAM against finite differences and closed forms, rollout against matrix products, a method for every family."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import draw
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from models.test_contract import TINY
from PIL import Image

from jaxcls import heatmaps, models
from jaxcls.errors import UserError
from jaxcls.models import explain
from jaxcls.models.base import Classifier
from jaxcls.models.resnet import BasicBlock, ResNet
from jaxcls.models.vit import ViT

SHAPE = (16, 24, 3)


def pictures(n, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def shapes_of(model, shape):
    image = jax.ShapeDtypeStruct((2, *shape), np.float32)
    return jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), image)


def with_variables(model, shape=SHAPE):
    return model, draw(shapes_of(model, shape))


@pytest.fixture(scope="module")
def resnet():
    """Four stages of one block. At 16x16 the last two are one place, so the map is the second stage, 2x2."""
    return with_variables(ResNet(stage_sizes=(1, 1, 1, 1), block=BasicBlock, width=4, num_classes=3), (16, 16, 3))


def test_the_gradient_is_what_finite_differences_of_the_score_say(resnet):
    """Through two whole stages; the perturbation enters at the block's output, by Flax's interception."""
    model, variables = resnet
    images, classes = pictures(2, (16, 16, 3)), np.array([2, 0])
    features, gradient = jax.jit(functools.partial(explain.map_and_gradient, model))(variables, images, classes)
    assert features.shape == gradient.shape == (2, 2, 2, 8)

    @jax.jit
    def scores(delta):
        def add(call, args, kwargs, context):
            out = call(*args, **kwargs)
            return out + delta if context.module.name == "layer2.0" and context.method_name == "__call__" else out

        with nn.intercept_methods(add):
            logits, out = model.apply(variables, images, train=False)
        return logits[np.arange(2), classes], out["stage2"]

    direction = 0.01 * pictures(2, features.shape[1:], seed=1)
    assert np.allclose(scores(0 * direction)[1], features, atol=1e-5)
    difference = (np.asarray(scores(direction)[0], np.float64) - scores(-direction)[0]) / 2
    assert np.allclose(difference, (direction * gradient).sum(axis=(1, 2, 3)), rtol=2e-2, atol=1e-4)
    assert np.abs(difference).max() > 3e-3


def test_before_a_mean_and_a_dense_layer_the_gradient_is_the_weight_over_the_number_of_places():
    model, variables = with_variables(models.create("resnet20_cifar", num_classes=5, depth=8))
    classes = np.array([4, 1])
    features, gradient = jax.jit(functools.partial(explain.map_and_gradient, model))(variables, pictures(2), classes)
    places = features.shape[1] * features.shape[2]
    kernel = variables["params"][model.head[0]]["kernel"]
    expected = np.broadcast_to(kernel[:, classes].T[:, None, None] / places, gradient.shape)
    assert places > 1
    assert np.allclose(gradient, expected, rtol=1e-5, atol=1e-7)


class Colours(Classifier):
    """Class 0 is the mean of red, class 1 that of green."""

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.avg_pool(images, (4, 4), (4, 4))
        mean = x.mean(axis=(1, 2))
        return mean[:, :2], {"stem": images, "stage1": x, "stage2": mean[:, None, None], "pre_logits": mean}


def test_what_lights_up_is_the_quadrant_that_the_answer_depends_on():
    images = np.zeros((2, 32, 32, 3), np.float32)
    images[:, :, :, 1] = 1
    images[:, :16, 16:] = (1, 0, 0)  # red at the upper right, green elsewhere
    red, green = explain.heatmaps(Colours(), {}, images, [0, 1])
    inside = np.zeros((32, 32), bool)
    inside[:16, 16:] = True
    far = np.ones((32, 32), bool)  # from the border, where the map is interpolated
    far[:, 14:18] = far[14:18] = False
    assert (red[inside & far] == 1).all() and (red[~inside & far] == 0).all()
    assert (green[inside & far] == 0).all() and (green[~inside & far] == 1).all()
    assert np.array_equal(explain.heatmaps(Colours(), {}, images), np.stack([green, green]))  # the likelier class


def test_what_only_speaks_against_a_class_leaves_its_map_empty():
    images = -np.ones((1, 32, 32, 3), np.float32)
    assert (explain.heatmaps(Colours(), {}, images, [0]) == 0).all()


def test_many_pictures_have_the_maps_that_each_has_alone():
    images = np.abs(pictures(explain.CHUNK + 3, (8, 8, 3)))
    classes = np.arange(len(images)) % 2
    alone = [explain.heatmaps(Colours(), {}, images[i : i + 1], classes[i : i + 1]) for i in range(len(images))]
    together = explain.heatmaps(Colours(), {}, images, classes)
    assert np.allclose(together, np.concatenate(alone), atol=1e-6)
    assert together.shape == images.shape[:3] and together.dtype == np.float32
    assert explain.heatmaps(Colours(), {}, images[:0]).shape == (0, 8, 8)


def test_pictures_that_leave_one_place_have_no_map():
    assert explain.method(Colours(), (4, 4, 3)) is None
    assert explain.method(Colours(), (4, 8, 3)) == "Grad-CAM"
    with pytest.raises(UserError, match="Colours leaves no map of more than one place of pictures of 4x4"):
        explain.heatmaps(Colours(), {}, np.zeros((1, 4, 4, 3), np.float32))


def stochastic(rng, *shape):
    values = rng.random(shape) + 1e-3
    return (values / values.sum(axis=-1, keepdims=True)).astype(np.float32)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), depth=st.integers(1, 4))
def test_rollout_is_the_product_of_the_layers_matrices(seed, depth):
    attention = [stochastic(np.random.default_rng(seed + i), 2, 3, 5, 5) for i in range(depth)]
    found = np.asarray(explain.rollout([jnp.asarray(a) for a in attention]))
    for i in range(2):
        expected = np.eye(5)
        for layer in attention:
            expected = (layer[i].astype(np.float64).mean(axis=0) / 2 + np.eye(5) / 2) @ expected
        assert np.allclose(found[i], expected, atol=1e-6)
    assert np.allclose(found.sum(axis=-1), 1, atol=1e-5)


def test_rollout_of_even_attention_has_its_closed_form():
    """The powers of (1 + J) / 2, J the projection onto equal values: 2^-L + (1 - 2^-L) J."""
    found = explain.rollout([jnp.full((1, 2, 4, 4), 0.25)] * 3)
    assert np.allclose(found[0], np.eye(4) / 8 + (1 - 1 / 8) / 4, atol=1e-6)


@pytest.mark.parametrize("distilled", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_transformers_map_is_the_class_tokens_share_of_each_patch(distilled):
    model, variables = with_variables(ViT(patch=8, width=8, depth=2, heads=2, num_classes=3, distilled=distilled))
    images = pictures(2)
    watched = model.clone(return_attention=True)
    _, out = jax.jit(lambda v, x: watched.apply(v, x, train=False))(variables, images)
    shares = np.asarray(explain.rollout(out["attention"]))
    extra = 1 + distilled
    tokens = shares[:, :extra, extra:].mean(axis=1).reshape(2, 2, 3)
    low, high = tokens.min(axis=(1, 2), keepdims=True), tokens.max(axis=(1, 2), keepdims=True)
    found = explain.heatmaps(model, variables, images)
    assert np.allclose(found[:, ::15, [0, -1]], ((tokens - low) / (high - low))[:, :, [0, -1]], atol=1e-4)  # corners
    assert np.allclose(found, explain.heatmaps(model, variables, images, [0, 0]), atol=1e-6)  # the same for all classes


QUICK = ("simple_cnn", "lenet5_1998", "alexnet", "swin", "fpn", "resnet_cifar_a", "vit", "mixer")  # each its own way


@pytest.mark.parametrize("family", [pytest.param(x, marks=[pytest.mark.slow][x in QUICK :]) for x in TINY])
def test_every_family_has_a_method(family):
    build, fields, shape = TINY[family]
    model = build(num_classes=3, **fields)
    found = explain.method(model, shape)
    rolls = family.startswith("vit") or family in ("eva02", "dinov3")
    assert found == ("attention rollout" if rolls else "Grad-CAM")
    assert explain.method(model) == found
    if found == "Grad-CAM":
        images, classes = jax.ShapeDtypeStruct((2, *shape), np.float32), jax.ShapeDtypeStruct((2,), np.int32)
        made = functools.partial(explain.map_and_gradient, model)
        features, gradient = jax.eval_shape(made, shapes_of(model, shape), images, classes)
        assert features.shape == gradient.shape and features.shape[1] * features.shape[2] > 1


def test_what_is_no_classifier_has_no_method():
    assert explain.method(nn.Dense(3)) is None


def test_an_overlay_is_the_grey_picture_where_the_map_is_empty_and_covers_it_in_part_where_it_is_full():
    picture = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    heat = np.zeros((6, 5), np.float32)
    heat[2, 3] = 1
    made, luma = heatmaps.overlay(picture, heat), np.asarray(Image.fromarray(picture).convert("L"), np.float32)
    elsewhere = heat == 0
    assert made.dtype == np.uint8 and made.shape == (6, 5, 3)
    assert np.abs(made[elsewhere] - luma[elsewhere][:, None]).max() <= 1
    assert np.allclose(made[2, 3], 0.35 * luma[2, 3] + 0.65 * np.array([252, 255, 164]), atol=1)
    grey = heatmaps.overlay(picture[..., :1], heat)
    assert np.array_equal(grey[0, 0], np.repeat(picture[0, 0, :1], 3))
