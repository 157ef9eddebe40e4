"""The supervised task and the wrappers, on models small enough for closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures.toys import ConvNet, Linear, make_batch
from flax import linen as nn

from jaxcls import optim
from jaxcls import state as train_state
from jaxcls.errors import UserError
from jaxcls.optim import schedules
from jaxcls.state import Aux
from jaxcls.tasks.base import Task, Wrapper
from jaxcls.tasks.supervised import Supervised
from jaxcls.tasks.wrappers import Ema, Transformed
from jaxcls.training.step import make_train_step

RNG = np.array([0, 11], np.uint32)


def sgd():
    return optim.sgd(schedules.constant(0.2))


def test_supervised_loss_is_a_sum_and_the_accuracy_leaves_weights_out():
    task, batch = Supervised(Linear(), label_smoothing=0.2), make_batch(6)
    state = train_state.create(task, sgd(), RNG, batch)
    one = [task.loss(state.params, state, {k: v[i : i + 1] for k, v in batch.items()}, RNG)[0] for i in range(6)]
    loss, aux = task.loss(state.params, state, batch, RNG)
    assert loss == pytest.approx(float(sum(one)), rel=1e-5) and aux.count == 6
    weight, mask = np.array([3, 1, 0.5, 1, 1, 2], np.float32), np.array([1, 1, 1, 0, 1, 0], np.float32)
    loss, aux = task.loss(state.params, state, {**batch, "weight": weight, "mask": mask}, RNG)
    assert loss == pytest.approx(float(np.dot(weight * mask, one)), rel=1e-5)
    assert aux.count == 5.5 and aux.metrics["accuracy"][1] == 4


class WithAuxiliaries(nn.Module):
    """Two classifiers beside the last one, in training."""

    @nn.compact
    def __call__(self, images, *, train):
        x = images.reshape(images.shape[0], -1)
        logits, *auxiliary = (nn.Dense(3, name=name)(x) for name in ("fc", "aux1", "aux2"))
        return logits, {"aux_logits": auxiliary} if train else {}


def test_auxiliary_classifiers_add_their_weighted_losses():
    batch = make_batch(6)
    task = Supervised(WithAuxiliaries(), label_smoothing=0.1, aux_weight=0.3)
    state = train_state.create(task, sgd(), RNG, batch)
    x, weight = batch["image"].reshape(6, -1), np.array([3, 1, 0.5, 1, 1, 2], np.float32)
    target = 0.9 * np.eye(3)[batch["label"]] + 0.1 / 3
    losses = {
        name: -(target * jax.nn.log_softmax(x @ layer["kernel"] + layer["bias"])).sum(1) @ weight
        for name, layer in state.params.items()
    }
    loss, aux = task.loss(state.params, state, {**batch, "weight": weight}, RNG)
    assert loss == pytest.approx(float(losses["fc"] + 0.3 * (losses["aux1"] + losses["aux2"])), rel=1e-5)
    assert aux.count == 8.5


def test_supervised_takes_mixed_labels():
    task, batch = Supervised(Linear()), make_batch(6)
    state = train_state.create(task, sgd(), RNG, batch)
    soft = 0.7 * np.eye(3)[batch["label"]] + 0.3 * np.eye(3)[batch["label"][::-1]]
    logits = task.predict(state, batch)["logits"]
    expected = -(soft * jax.nn.log_softmax(logits)).sum()
    loss, aux = task.loss(state.params, state, {**batch, "label": jnp.asarray(soft, jnp.float32)}, RNG)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert aux.metrics["accuracy"][0] == (logits.argmax(1) == batch["label"]).sum()


def test_prediction_uses_running_statistics_and_no_dropout():
    task, batch = Supervised(ConvNet()), make_batch(6)
    state = train_state.create(task, sgd(), RNG, batch)
    whole = task.predict(state, batch)["logits"]
    np.testing.assert_allclose(whole[:1], task.predict(state, {"image": batch["image"][:1]})["logits"], atol=1e-6)
    dropped = Supervised(Linear(dropout=0.9))
    state = train_state.create(dropped, sgd(), RNG, batch)
    fc = state.params["fc"]
    expected = batch["image"].reshape(6, -1) @ fc["kernel"] + fc["bias"]
    np.testing.assert_allclose(dropped.predict(state, batch)["logits"], expected, atol=1e-5)


class Counting(nn.Module):
    """A model whose state has an integer, as a quantiser's has."""

    @nn.compact
    def __call__(self, images, *, train):
        seen = self.variable("count", "seen", lambda: jnp.zeros((), jnp.int32))
        if train:
            seen.value += 1
        return ConvNet()(images, train=train)


def test_ema_is_its_closed_form_for_weights_and_batchnorm_statistics():
    """TensorFlow's ExponentialMovingAverage: d = min(decay, (1 + t) / (10 + t)), a <- d a + (1 - d) x."""
    task, tx = Ema(Supervised(Counting()), 0.25), sgd()
    state = train_state.create(task, tx, RNG, make_batch(8))
    average = {"params": state.params, "model_state": {"batch_stats": state.model_state["batch_stats"]}}
    average = jax.tree.map(np.asarray, average)
    step = jax.jit(make_train_step(task, tx))
    for t in range(1, 6):
        state, _ = step(state, make_batch(8, seed=t))
        d = min(0.25, (1 + t) / (10 + t))  # 2/11, 3/12, then 0.25
        now = {"params": state.params, "model_state": {"batch_stats": state.model_state["batch_stats"]}}
        average = jax.tree.map(lambda a, x: d * a + (1 - d) * np.asarray(x), average, now)  # noqa: B023
    ema = dict(state.extra["ema"])
    assert ema["model_state"]["count"]["seen"] == 5 and ema["model_state"]["count"]["seen"].dtype == jnp.int32
    ema["model_state"] = {"batch_stats": ema["model_state"]["batch_stats"]}
    jax.tree.map(lambda a, x: np.testing.assert_allclose(a, x, rtol=1e-5, atol=1e-6), average, ema)
    bn = average["model_state"]["batch_stats"]["ConvNet_0"]["bn1"]
    assert np.any(np.abs(bn["mean"] - state.model_state["batch_stats"]["ConvNet_0"]["bn1"]["mean"]) > 1e-3)
    out = task.predict(state, make_batch(4))["logits"]
    averaged = state.replace(params=state.extra["ema"]["params"], model_state=state.extra["ema"]["model_state"])
    np.testing.assert_array_equal(out, Supervised(Counting()).predict(averaged, make_batch(4))["logits"])
    assert np.any(out != Supervised(Counting()).predict(state, make_batch(4))["logits"])


def test_ema_averages_what_the_inner_task_made_of_the_update():
    class Cleared(Supervised):
        def after_update(self, state, aux):
            return state.replace(params=jax.tree.map(jnp.zeros_like, state.params))

    task, tx = Ema(Cleared(Linear()), 0.25), sgd()
    state = train_state.create(task, tx, RNG, make_batch(8))
    new, _ = make_train_step(task, tx)(state, make_batch(8))
    expected = 2 / 11 * state.params["fc"]["kernel"]
    np.testing.assert_allclose(new.extra["ema"]["params"]["fc"]["kernel"], expected, rtol=1e-5)


def test_a_first_average_can_be_donated_with_the_parameters():
    task, tx = Ema(Supervised(Linear()), 0.9), sgd()
    state = train_state.create(task, tx, RNG, make_batch(4))
    step = jax.jit(make_train_step(task, tx), donate_argnums=0)
    new, _ = step(state, make_batch(4))
    assert int(new.step) == 1


class Seen(Task):
    """Keeps what it was given."""

    transient = ("teacher",)

    def __init__(self):
        self.got = {}

    def init(self, rng, batch, weights=None):
        self.got["init"] = batch
        return {"w": jnp.zeros(2)}, {}, {}

    def loss(self, params, state, batch, rng):
        self.got["loss"] = batch
        return jnp.sum(params["w"]), Aux({}, jnp.float32(1), {})

    def predict(self, state, batch):
        self.got["predict"] = batch
        return {"logits": batch["image"]}


def test_transformed_hands_on_training_and_evaluation_batches():
    inner = Seen()
    task = Transformed(
        inner,
        lambda keys, batch: {**batch, "image": batch["image"] + jax.vmap(jax.random.uniform)(keys)},
        lambda images: images * 2,
        seed=9,
    )
    batch = {"image": np.arange(1.0, 4.0), "epoch": np.array([0, 0, 7]), "draw": np.array([0, 1, 1])}
    state = train_state.create(task, sgd(), RNG, batch)
    np.testing.assert_array_equal(inner.got["init"]["image"], [2, 4, 6])
    task.predict(state, {"image": batch["image"]})  # an evaluation batch has neither epoch nor draw
    np.testing.assert_array_equal(inner.got["predict"]["image"], [2, 4, 6])
    task.loss(state.params, state, batch, RNG)

    def number(epoch, draw):
        return jax.random.uniform(jax.random.fold_in(jax.random.fold_in(jax.random.key(9), epoch), draw))

    expected = [1 + number(0, 0), 2 + number(0, 1), 3 + number(7, 1)]
    np.testing.assert_allclose(inner.got["loss"]["image"], np.array(expected), rtol=1e-6)


def test_a_wrapper_passes_on_what_it_does_not_change():
    inner = Seen()
    task = Wrapper(Wrapper(inner))
    assert task.transient == ("teacher",)
    state = train_state.create(task, sgd(), RNG, {"image": np.zeros(2)})
    assert task.after_update(state, None) is state
    assert task.predict(state, {"image": 5})["logits"] == 5
    assert task.loss(state.params, state, {"image": 3}, RNG)[1].count == 1
    assert sorted(inner.got) == ["init", "loss", "predict"]


class WithColumns(nn.Module):
    """A picture's mean colour and some columns of a table, dense."""

    inputs = ("columns",)

    @nn.compact
    def __call__(self, images, *, train, columns=None):
        x = jnp.concatenate([images.mean((1, 2)), columns], axis=-1)
        return nn.Dense(3, name="fc")(x), {"pre_logits": x}


def test_a_model_gets_the_leaves_that_it_names_beside_the_picture():
    batch = {**make_batch(6), "columns": np.arange(12, dtype=np.float32).reshape(6, 2)}
    task = Supervised(WithColumns())
    state = train_state.create(task, sgd(), RNG, batch)
    assert state.params["fc"]["kernel"].shape == (batch["image"].shape[-1] + 2, 3)
    x = np.concatenate([batch["image"].mean((1, 2)), batch["columns"]], axis=1)
    logits = task.predict(state, batch)["logits"]
    np.testing.assert_allclose(logits, x @ state.params["fc"]["kernel"] + state.params["fc"]["bias"], rtol=1e-5)
    (trained, _), _ = task.forward(state.params, state, batch, RNG)
    np.testing.assert_allclose(trained, logits, rtol=1e-6)
    with pytest.raises(UserError, match="WithColumns takes 'columns' beside the picture"):
        task.predict(state, make_batch(6))
