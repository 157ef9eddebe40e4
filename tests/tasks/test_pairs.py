"""Losses of pairs: open_clip's values and gradients by differences, on one device and on several; what is measured."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from small_towers import STORED

from jaxcls import models
from jaxcls.models.text_tower import TextTower
from jaxcls.parallel import all_gather, axis_index
from jaxcls.state import TrainState
from jaxcls.tasks import pairs

NAMES = [name for name in STORED if "clip_loss" in STORED[name]]


def rows(n=8, d=6, seed=0):
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(2, n, d)).astype(np.float32)
    return made / np.linalg.norm(made, axis=-1, keepdims=True)


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_open_clips(name):
    image, text = (np.array(STORED[name][key]) for key in ("image", "text"))
    image, text = (jnp.float32(x / np.linalg.norm(x, axis=1, keepdims=True)) for x in (image, text))
    own, scale = jnp.arange(len(image)), jnp.float32(2.0)
    found = pairs.clip(image, text, (image, text), own, scale).mean()
    assert found == pytest.approx(STORED[name]["clip_loss"], rel=1e-5)
    found = pairs.siglip(image, text, own, scale, jnp.float32(-3.0)).mean()
    assert found == pytest.approx(STORED[name]["siglip_loss"], rel=1e-5)


@pytest.mark.parametrize("method", ["clip", "siglip"])
def test_devices_together_have_the_loss_and_the_gradients_of_one(method):
    image, text = rows()

    def loss(image, text, axis):
        own = axis_index(axis) * len(image) + jnp.arange(len(image))
        both = all_gather(image, axis), all_gather(text, axis)
        if method == "clip":
            return pairs.clip(image, text, both, own, jnp.float32(1.0)).sum()
        return pairs.siglip(image, both[1], own, jnp.float32(1.0), jnp.float32(-2.0)).sum()

    whole = jax.value_and_grad(functools.partial(loss, axis=None), argnums=(0, 1))(image, text)
    mesh = Mesh(np.array(jax.devices()[:4]), ("d",))

    def split(image, text):
        value, gradients = jax.value_and_grad(functools.partial(loss, axis="d"), argnums=(0, 1))(image, text)
        return jax.lax.psum(value, "d"), gradients

    cut = jax.shard_map(split, mesh=mesh, in_specs=P("d"), out_specs=(P(), P("d")), check_vma=False)(image, text)
    assert cut[0] == pytest.approx(float(whole[0]), rel=1e-5)
    for a, b in zip(cut[1], whole[1], strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_chunks_change_nothing(monkeypatch):
    image, text = rows(12)
    ask = lambda image: pairs.siglip(image, text, jnp.arange(12), jnp.float32(1.0), jnp.float32(-2.0)).sum()  # noqa: E731
    whole = jax.value_and_grad(ask)(image)
    monkeypatch.setattr(pairs, "CHUNK", 4)
    cut = jax.value_and_grad(ask)(image)
    assert cut[0] == pytest.approx(float(whole[0]), rel=1e-6) and np.allclose(cut[1], whole[1], atol=1e-6)


def test_recall_is_of_the_different_captions_by_hand():
    task = pairs.Pairs(None, None)
    text = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.6, 0.8]])
    features = np.array([[0.9, 0.1], [0.1, 0.2], [0.0, 1.0], [0.7, 0.7]])
    found = task.figures({"features": features, "text": text, "index": np.arange(4)}, {})
    # nearest of (1, 0), (0, 1), (.6, .8): its own; (.6, .8); (0, 1); its own
    assert (found["count"], found["correct"], found["recall"], found["captions"]) == (4, 2, 0.5, 3)
    assert found["recall5"] == 1.0


@pytest.mark.parametrize("method", pairs.METHODS)
def test_both_towers_learn_and_the_scale_stays_below_100(method):
    model = models.create("resnet18", neck="cosine(8)", num_classes=0, width=8, stage_sizes=(1, 1))
    tower = TextTower(num_classes=8, vocabulary=20, context=6, width=16, depth=1, heads=2)
    task = pairs.Pairs(model, tower, method)
    rng = np.random.default_rng(0)
    batch = {"image": rng.normal(size=(4, 16, 16, 3)).astype(np.float32), "text": rng.integers(1, 19, (4, 6))}
    params, model_state, extra = task.init(jax.random.key(0), batch)
    state = TrainState(step=0, params=params, model_state=model_state, opt_state=(), extra=extra, rng=None, controls={})
    ask = lambda params: task.loss(params, state, batch, jax.random.key(1))  # noqa: E731
    (loss, aux), gradients = jax.value_and_grad(ask, has_aux=True)(params)
    assert np.isfinite(loss) and aux.count == 4
    for name in ("_text", "_scale", "backbone"):
        assert max(np.abs(x).max() for x in jax.tree.leaves(gradients[name])) > 0
    assert ("_bias" in params) == (method == "siglip")
    if method == "clip":  # at the limit cosines are multiplied by 100 and no more
        high = [float(ask({**params, "_scale": jnp.float32(value)})[0]) for value in (np.log(100.0), 9.0)]
        assert high[0] == pytest.approx(high[1], rel=1e-6)
    answer = task.answering(state)
    assert "_text" not in answer["params"] and "backbone" in answer["params"]
