"""FixMatch and pseudo-labels: their closed form on a linear net in float64, limits, gradients, micro-batches."""

import jax
import numpy as np
import pytest
from fixtures.toys import ConvNet, Linear, make_batch

from jaxcls import optim
from jaxcls import state as train_state
from jaxcls.optim import schedules
from jaxcls.tasks.fewlabels import PATIENCE, FewLabels
from jaxcls.tasks.supervised import Supervised
from jaxcls.training.step import make_train_step, split_batch

RNG = np.array([0, 11], np.uint32)
RATIO = 2
METHODS = {
    "fixmatch": {},
    "soft": {"temperature": 0.4},
    "pseudo": {"strong": False},
    "weight": {"weight": 0.3},
}


def few_batch(blocks=2, seed=0):
    """Blocks of 2 pictures with a label and 4 without, whose truth is known of all but one."""
    batch = make_batch(6 * blocks, seed=seed)
    noise = np.random.default_rng(seed + 1).normal(size=batch["image"].shape)
    views = np.stack([batch["image"], (batch["image"] + noise).astype(np.float32)], axis=1)
    truth = batch["label"].copy()
    truth[5] = -1
    bare = np.tile([False, False, True, True, True, True], blocks)
    return {**batch, "views": views, "truth": truth, "label": np.where(bare, -1, batch["label"]).astype(np.int32)}


def rows(batch):
    bare = batch["label"] < 0
    return np.flatnonzero(~bare), np.flatnonzero(bare)


def made(task, batch, rate=0.1):
    tx = optim.sgd(schedules.constant(rate))
    return train_state.create(task, tx, RNG, batch), tx


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("method", METHODS)
def test_loss_of_a_linear_net_is_eq_2_to_4(method):
    """1/B sum H(p, weak) + lambda / (mu B) sum 1[max q >= tau] H(q, strong), in probabilities and float64."""
    given = METHODS[method]
    task, batch = FewLabels(Supervised(Linear()), ratio=RATIO, threshold=0.6, **given), few_batch()
    state, _ = made(task, batch)
    kernel, bias = (np.asarray(state.params["fc"][name], np.float64) for name in ("kernel", "bias"))
    weak = batch["image"].reshape(12, -1) @ kernel + bias
    learner = weak if method == "pseudo" else batch["views"][:, 1].reshape(12, -1) @ kernel + bias
    own, bare = rows(batch)
    q = softmax(weak[bare])
    sure = q.max(-1) >= 0.6
    assert 0 < sure.sum() < len(bare)
    target = softmax(weak[bare] / 0.4) if method == "soft" else np.eye(3)[q.argmax(-1)]
    supervised = -np.log(softmax(weak[own])[np.arange(4), batch["label"][own]]).mean()
    unlabelled = (sure * -(target * np.log(softmax(learner[bare]))).sum(-1)).mean()
    loss, aux = task.loss(state.params, state, batch, RNG)
    assert loss / aux.count == pytest.approx(supervised + given.get("weight", 1.0) * unlabelled, rel=1e-5)
    assert aux.count == len(own)
    known = sure & (batch["truth"][bare] >= 0)
    right = known & (q.argmax(-1) == batch["truth"][bare])
    assert aux.metrics["confident"] == (sure.sum(), len(bare))
    assert aux.metrics["pseudo_accuracy"] == (right.sum(), known.sum())
    assert aux.metrics["unlabelled_loss"] == pytest.approx((unlabelled * len(bare), len(bare)), rel=1e-5)
    assert aux.metrics["accuracy"] == ((weak[own].argmax(-1) == batch["label"][own]).sum(), len(own))


@pytest.mark.parametrize("strong", [True, False])
def test_where_nothing_is_sure_it_is_supervised_to_the_bit(strong):
    """With tau above 1, which no probability reaches, gradients are those of the labelled pictures alone."""
    task, batch = FewLabels(Supervised(Linear()), ratio=RATIO, threshold=1.1, strong=strong), few_batch()
    state, tx = made(task, batch)
    own, _ = rows(batch)
    alone = {key: value[own] for key, value in batch.items()}
    new, metrics = jax.jit(make_train_step(task, tx))(state, batch)
    expected, _ = jax.jit(make_train_step(task.inner, tx))(state, alone)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), new.params, expected.params)
    assert metrics["confident"] == (0, 8)


def test_the_share_of_pictures_without_labels_is_no_weight():
    """The same pictures without labels twice over, ratio 4 in place of 2: the same mean loss."""
    batch, tasks = few_batch(), [FewLabels(Supervised(Linear()), ratio=ratio, threshold=0.5) for ratio in (2, 4)]
    state, _ = made(tasks[0], batch)
    order = np.concatenate([np.r_[0:2, 2:6, 2:6] + 6 * block for block in range(2)])
    doubled = {key: value[order] for key, value in batch.items()}
    found = [t.loss(state.params, state, b, RNG) for t, b in zip(tasks, (batch, doubled), strict=True)]
    means = [loss / aux.count for loss, aux in found]
    assert means[0] == pytest.approx(float(means[1]), rel=1e-6)


def test_gradients_come_through_the_strong_view_alone_and_truth_teaches_nothing():
    task, batch = FewLabels(Supervised(Linear()), ratio=RATIO, threshold=0.0, weight=1.0), few_batch()
    state, _ = made(task, batch)
    own, bare = rows(batch)

    def unlabelled(image, views):
        loss, aux = task.loss(state.params, state, {**batch, "image": image, "views": views}, RNG)
        return aux.metrics["unlabelled_loss"][0]

    weak, views = jax.grad(unlabelled, argnums=(0, 1))(batch["image"], batch["views"])
    assert not np.any(weak) and not np.any(views[:, 0]) and not np.any(views[own])
    assert np.all(np.any(np.asarray(views[bare, 1]) != 0, axis=(1, 2, 3)))
    grads = jax.grad(lambda params, given: task.loss(params, state, given, RNG)[0])
    other = {**batch, "truth": np.roll(batch["truth"], 1)}
    jax.tree.map(np.testing.assert_array_equal, grads(state.params, batch), grads(state.params, other))


def test_batchnorm_sees_all_pictures_and_views():
    task, batch = FewLabels(Supervised(ConvNet()), ratio=RATIO), few_batch()
    state, tx = made(task, batch)
    new, _ = jax.jit(make_train_step(task, tx))(state, batch)
    everything = np.concatenate([batch["image"], batch["views"][rows(batch)[1], 1]])
    whole = Supervised(ConvNet()).forward(state.params, state, {"image": everything}, RNG)[1]
    for name in ("mean", "var"):
        found, expected = (m["batch_stats"]["bn1"][name] for m in (new.model_state, whole))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_micro_batches_add_up():
    """In the layout of TwoParts(parts=2) each is made of blocks, and the update is that of the whole batch."""
    task, batch = FewLabels(Supervised(Linear()), ratio=RATIO, threshold=0.5), few_batch(blocks=4)
    state, tx = made(task, batch)
    own, bare = rows(batch)
    order = np.concatenate([np.r_[own[4 * i : 4 * i + 4], bare[8 * i : 8 * i + 8]] for i in range(2)])
    dealt = {key: value[order] for key, value in batch.items()}
    for label in split_batch({"label": dealt["label"]}, 2)["label"]:
        assert np.all((label.reshape(-1, 6) < 0) == [False, False, True, True, True, True])
    whole, metrics = jax.jit(make_train_step(task, tx))(state, batch)
    parts, added = jax.jit(make_train_step(task, tx, accumulate=2))(state, dealt)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), parts.params, whole.params)
    for name in ("loss", "confident", "pseudo_accuracy"):
        np.testing.assert_allclose(added[name], metrics[name], rtol=1e-5)


def test_weights_count_in_both_parts():
    """A picture of weight 0 is as if it were not there, but for the number of pictures without labels."""
    task, batch = FewLabels(Supervised(Linear()), ratio=RATIO, threshold=0.0), few_batch()
    state, _ = made(task, batch)
    weight = np.ones(12, np.float32)
    weight[[1, 3]] = 0
    changed = {**batch, "image": batch["image"].copy(), "views": batch["views"].copy()}
    changed["image"][[1, 3]], changed["views"][[1, 3]] = 9, -9
    losses = [task.loss(state.params, state, {**b, "weight": weight}, RNG) for b in (batch, changed)]
    assert float(losses[0][0]) == pytest.approx(float(losses[1][0])) and losses[0][1].count == 3


@pytest.mark.parametrize(
    "means, step, said",
    [
        ({"confident": 0.0, "pseudo_accuracy": np.nan}, PATIENCE, "as sure as config.few.threshold=0.95"),
        ({"confident": 0.0}, PATIENCE - 1, ""),
        ({"confident": 0.4, "pseudo_accuracy": 0.25}, PATIENCE, "75% of the pseudo-labels"),
        ({"confident": 0.4, "pseudo_accuracy": 0.9}, PATIENCE, ""),
        ({"confident": 0.4}, PATIENCE, ""),
    ],
)
def test_it_is_told_where_pseudo_labels_teach_nothing_or_what_is_wrong(means, step, said):
    line = FewLabels(Supervised(Linear())).remark(means, step)
    assert said in line if said else line == ""
