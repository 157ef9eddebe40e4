"""AugMix's consistency loss: its closed form on a linear net, the views that it compares, and whole runs."""

import functools

import jax
import numpy as np
import pytest
from fixtures.toys import ConvNet, Linear, make_batch

from jaxcls import augment, optim
from jaxcls import state as train_state
from jaxcls.augment.base import Context
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.optim import schedules
from jaxcls.tasks.consistency import Consistency
from jaxcls.tasks.supervised import Supervised
from jaxcls.training import build
from jaxcls.training.step import make_train_step

RNG = np.array([0, 11], np.uint32)
POLICY = "rand_augment(1, magnitude=20)"


def with_views(n=6, seed=0):
    batch = make_batch(n, seed=seed)
    noise = np.random.default_rng(seed + 1).normal(size=(n, 2, 4, 4, 1))
    views = (batch["image"][:, None] + 0.3 * noise).astype(np.float32)
    weight, mask = np.array([3, 1, 0.5, 1, 1, 2], np.float32), np.array([1, 1, 1, 0, 1, 1], np.float32)
    return {**batch, "views": views, "weight": weight[:n], "mask": mask[:n]}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("class_weight", [None, np.array([1.0, 2.0, 0.25], np.float32)], ids=["equal", "by class"])
def test_the_loss_of_a_linear_net_is_its_closed_form(class_weight):
    """CE(clean) + 12 / 3 * the sum over views of KL(p || mean of p), in probabilities and float64."""
    task, batch = Consistency(Supervised(Linear(), class_weight=class_weight), 12.0), with_views()
    state = train_state.create(task, optim.sgd(schedules.constant(0.1)), RNG, batch)
    kernel, bias = (np.asarray(state.params["fc"][name], np.float64) for name in ("kernel", "bias"))
    images = [batch["image"], batch["views"][:, 0], batch["views"][:, 1]]
    p = np.stack([softmax(x.reshape(6, -1) @ kernel + bias) for x in images])
    apart = (p * np.log(p / p.mean(0))).sum(-1).mean(0)
    own = -np.log(p[0][np.arange(6), batch["label"]])
    weight = batch["weight"] * batch["mask"]
    if class_weight is not None:
        weight = weight * class_weight[batch["label"]]
    loss, aux = task.loss(state.params, state, batch, RNG)
    assert loss == pytest.approx(np.sum(weight * (own + 12 * apart)), rel=1e-5)
    assert aux.count == pytest.approx(weight.sum())
    assert aux.metrics["consistency"] == pytest.approx((np.sum(weight * apart), weight.sum()), rel=1e-4)
    hits = batch["mask"] * (p[0].argmax(1) == batch["label"])
    assert aux.metrics["accuracy"] == (hits.sum(), 5)


def test_with_weight_zero_or_three_equal_views_the_loss_is_that_of_the_clean_picture():
    plain, batch = Supervised(Linear(), label_smoothing=0.1), with_views()
    state = train_state.create(plain, optim.sgd(schedules.constant(0.1)), RNG, batch)
    expected, aux = plain.loss(state.params, state, batch, RNG)
    loss, with_zero = Consistency(plain, 0.0).loss(state.params, state, batch, RNG)
    assert loss == pytest.approx(float(expected), rel=1e-6) and with_zero.count == aux.count
    same = {**batch, "views": np.repeat(batch["image"][:, None], 2, axis=1)}
    loss, _ = Consistency(plain, 12.0).loss(state.params, state, same, RNG)
    assert loss == pytest.approx(float(expected), rel=1e-5)


def test_batchnorm_sees_all_views():
    task, batch = Consistency(Supervised(ConvNet()), 12.0), with_views()
    state = train_state.create(task, optim.sgd(schedules.constant(0.1)), RNG, batch)
    new, _ = jax.jit(make_train_step(task, optim.sgd(schedules.constant(0.1))))(state, batch)
    everything = np.concatenate([batch["image"], batch["views"][:, 0], batch["views"][:, 1]])
    whole = Supervised(ConvNet()).forward(state.params, state, {"image": everything}, RNG)[1]
    for name in ("mean", "var"):
        found, expected = (m["batch_stats"]["bn1"][name] for m in (new.model_state, whole))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


# The views


def transforms(specs, views):
    calls = [augment.parse(spec) for spec in specs]
    context = Context(4, seed=5, batch_size=8)
    return augment.device_transform(calls, random=True, context=context, views=views)


def test_views_differ_by_the_policy_alone():
    """Crop, flip, mixing and labels are the same in all; the first view is the picture of training without the loss."""
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (8, 12, 12, 3)).astype(np.uint8),
        "label": np.arange(8, dtype=np.int32) % 4,
        "epoch": np.zeros(8, np.int32),
        "draw": np.arange(8, dtype=np.int32),
    }
    keys = jax.random.split(jax.random.key(3), 8)
    specs = ("crop(12, pad=2)", "flip", POLICY, "mixup(0.4)")

    def all_of_them(keys, batch):
        spared = transforms(("crop(12, pad=2)", "flip", "flip(0)", "mixup(0.4)"), False)(keys, batch)
        return transforms(specs, True)(keys, batch), transforms(specs, False)(keys, batch), spared

    made, plain, spared = jax.device_get(jax.jit(all_of_them)(keys, batch))
    assert made["views"].shape == (8, 2, 12, 12, 3)
    np.testing.assert_allclose(made["image"], spared["image"], atol=1e-6)
    np.testing.assert_allclose(made["views"][:, 0], plain["image"], atol=1e-6)
    np.testing.assert_array_equal(made["label"], plain["label"])
    apart = np.abs(made["views"][:, 0] - made["views"][:, 1]).reshape(8, -1).max(1)
    assert np.sum(apart > 0.01) >= 4  # one operation of 14 each time, some of them do nothing
    pairs = {k: v[2:4] for k, v in batch.items()}  # an example's views depend on its own pair alone
    alone = jax.jit(transforms(specs, True))(keys[2:4], pairs)
    np.testing.assert_allclose(alone["views"], made["views"][2:4], atol=1e-6)


# Runs


def make_config(policy="three_augment", devices=1, mode="jit"):
    config = default_config()
    config.data.name, config.data.validation = "synthetic/64x8x1x4", 0.0
    config.data.augment = ("crop(8, pad=1)", policy) if policy else ("crop(8, pad=1)",)
    config.model.name, config.model.fields = "simple_cnn_16_32", {"channels": (3, 4), "hidden": 5}
    config.batch_size, config.duration, config.loss.consistency = 16, "3 steps", 12.0
    config.parallel.mode, config.parallel.devices = mode, devices
    config.schedule.name, config.schedule.peak = "constant", 0.1
    return config


@functools.cache
def three_steps(devices, mode):
    """(loss, divergence) of each step."""
    run = build.build(make_config(devices=devices, mode=mode))
    feed, state, told = run.train_feed(), run.parallel.replicate(run.init_state()), []
    for step in range(3):
        state, values, _ = feed(state, step, 3)
        told.append([float(values[name][0] / values[name][1]) for name in ("loss", "consistency")])
    return np.array(told)


@pytest.mark.parametrize("devices, mode", [(4, "jit"), (4, "pmap")])
def test_a_run_is_the_same_on_any_devices(devices, mode):
    alone = three_steps(1, "jit")
    assert np.all(alone[:, 1] > 0) and np.isfinite(alone).all()
    np.testing.assert_allclose(three_steps(devices, mode), alone, rtol=2e-5, atol=1e-7)


def test_a_list_without_a_policy_is_refused():
    with pytest.raises(UserError, match="no policy, such as 'augmix'"):
        build.build(make_config(policy=None))


def test_a_teacher_is_refused():
    config = make_config()
    config.distill.teacher, config.distill.model = "init", "simple_cnn_16_32"
    with pytest.raises(UserError, match="consistency does not go with a teacher"):
        build.build(config)


def test_without_the_setting_there_is_one_view():
    config = make_config()
    config.loss.consistency = 0.0
    run = build.build(config)
    assert type(run.task.inner) is Supervised
