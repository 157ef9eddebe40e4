"""The weighted cross entropy of the supervised task against PyTorch (fixtures/losses.npz: torch 2.13, float64)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures.toys import Linear, make_batch

from jaxcls import optim
from jaxcls import state as train_state
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.optim import schedules
from jaxcls.tasks.supervised import Supervised
from jaxcls.training import build
from jaxcls.training.step import make_train_step

REFERENCE = np.load(Path(__file__).parents[1] / "fixtures" / "losses.npz")
RNG = np.array([0, 11], np.uint32)
WEIGHTS = np.float32(REFERENCE["class_weights"])


class Given:
    """A "model" whose logits are its parameters."""

    def apply(self, variables, images, *, train, mutable, rngs):
        return (variables["params"], {}), {}


class State:
    model_state = {}


def loss(logits, label, **options):
    """(sum, count) of the reference's logits and these labels."""
    batch = {"image": jnp.zeros((16, 1, 1, 1)), "label": jnp.asarray(label)}
    total, aux = Supervised(Given(), class_weight=WEIGHTS, **options).loss(logits, State, batch, RNG)
    return total, aux.count


@pytest.mark.parametrize("name, smoothing", [("ce_weighted", 0.0), ("ce_weighted_ls0.1", 0.1)])
def test_the_weighted_loss_and_its_gradient_equal_pytorch(name, smoothing):
    logits = jnp.asarray(REFERENCE["logits"], jnp.float32)
    for label in (jnp.asarray(REFERENCE["labels"], jnp.int32), jax.nn.one_hot(REFERENCE["labels"], 10)):

        def mean(logits, label=label):
            total, count = loss(logits, label, label_smoothing=smoothing)
            return total / count, total

        (value, total), gradient = jax.value_and_grad(mean, has_aux=True)(logits)
        np.testing.assert_allclose(value, REFERENCE[f"{name}.mean"], rtol=1e-5)
        np.testing.assert_allclose(total, REFERENCE[f"{name}.sum"], rtol=1e-5)
        np.testing.assert_allclose(gradient, REFERENCE[f"{name}.mean.grad"], rtol=1e-4, atol=1e-6)


def test_a_mixed_label_is_the_mix_of_two_weighted_losses():
    logits, lam = jnp.asarray(REFERENCE["logits"], jnp.float32), 0.3
    one, two = REFERENCE["labels"], np.roll(REFERENCE["labels"], 1)
    mixed = lam * np.eye(10, dtype=np.float32)[one] + (1 - lam) * np.eye(10, dtype=np.float32)[two]
    (a, n), (b, m), (both, count) = (loss(logits, label, label_smoothing=0.1) for label in (one, two, mixed))
    np.testing.assert_allclose(both, lam * a + (1 - lam) * b, rtol=1e-5)
    np.testing.assert_allclose(count, lam * n + (1 - lam) * m, rtol=1e-5)
    np.testing.assert_allclose(count, np.sum(mixed @ WEIGHTS), rtol=1e-5)


def test_equal_weights_change_nothing():
    batch = make_batch(6)
    weight = np.array([3, 1, 0.5, 1, 1, 2], np.float32)
    plain, equal = (Supervised(Linear(), label_smoothing=0.1, class_weight=w) for w in (None, np.ones(3, np.float32)))
    state = train_state.create(plain, optim.sgd(schedules.constant(0.2)), RNG, batch)
    results = [task.loss(state.params, state, {**batch, "weight": weight}, RNG) for task in (plain, equal)]
    assert results[0][0] == pytest.approx(float(results[1][0]), rel=1e-5)
    assert results[0][1].count == pytest.approx(float(results[1][1].count)) == 8.5


def test_micro_batches_of_weighted_classes_give_the_step_of_the_whole_batch():
    batch, tx = make_batch(12), optim.sgd(schedules.constant(0.2))
    task = Supervised(Linear(), class_weight=np.float32([0.2, 1, 5]))
    state = train_state.create(task, tx, RNG, batch)
    whole, parts = (jax.jit(make_train_step(task, tx, accumulate=a))(state, batch)[0].params for a in (1, 3))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_config_sets_the_weights_from_the_training_labels():
    config = default_config()
    config.data.name, config.data.imbalance, config.loss.class_weight = "synthetic/96x8x1x3", 4.0, "auto"
    run = build.build(config_of(config))
    counts = np.bincount(run.data.sources["train"].labels)
    assert counts[0] > counts[2]
    np.testing.assert_allclose(run.task.inner.class_weight, counts.sum() / (3 * counts), rtol=1e-6)
    config.loss.class_weight = "1, 2"
    with pytest.raises(UserError, match="2 numbers, but there are 3 classes"):
        build.build(config_of(config))


def config_of(config):
    config.batch_size, config.data.validation = 8, 0.25
    return config
