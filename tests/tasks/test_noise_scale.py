"""The gradient-noise scale of a quadratic, whose closed form is known, and of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures.toys import ConvNet, make_batch

from jaxcls import optim
from jaxcls import state as train_state
from jaxcls.optim import schedules
from jaxcls.parallel import Parallel
from jaxcls.state import Aux, TrainState
from jaxcls.tasks.base import Task
from jaxcls.tasks.noise_scale import NAME, NoiseScale, halves
from jaxcls.tasks.supervised import Supervised
from jaxcls.training.step import make_train_step

RNG = np.array([0, 3], np.uint32)


class Quadratic(Task):
    """|w - x|^2 / 2 of points x: the gradient of one is w - x, so their covariance is that of the points."""

    def init(self, rng, batch, weights=None):
        return {"w": jnp.zeros(batch["x"].shape[1])}, {}, {}

    def loss(self, params, state, batch, rng):
        return 0.5 * jnp.sum((params["w"] - batch["x"]) ** 2), Aux({}, jnp.float32(len(batch["x"])), {})


@pytest.mark.parametrize("batch, mean, spread", [(8, 1.0, 1.0), (64, 1.0, 3.0), (32, 0.2, 1.0)])
def test_of_a_quadratic_it_is_the_closed_form_at_any_batch(batch, mean, spread):
    """tr(S) / |G|^2 = d spread^2 / (d mean^2) at w = 0, over 2,000 batches."""
    rng, task = np.random.default_rng(0), NoiseScale(Quadratic(), 1)
    points = (mean + spread * rng.normal(size=(2000, batch, 5))).astype(np.float32)
    state = TrainState(jnp.int32(0), {"w": jnp.zeros(5)}, {}, (), None, {}, {})
    measured = jax.jit(jax.vmap(lambda x: task.loss(state.params, state, {"x": x}, RNG)[1].metrics[NAME]))(points)
    total, count = (float(x.sum()) for x in measured)
    assert total / count == pytest.approx((spread / mean) ** 2, rel=0.1)


def test_nothing_that_is_learned_changes_and_it_is_measured_now_and_then():
    batch = make_batch(8)
    found = {}
    for every in (0, 2):
        task = Supervised(ConvNet(batch_norm=False))
        task, tx = NoiseScale(task, every) if every else task, optim.sgd(schedules.constant(0.1))
        state = train_state.create(task, tx, RNG, batch)
        step, told = jax.jit(make_train_step(task, tx)), []
        for _ in range(3):
            state, metrics = step(state, batch)
            told.append(metrics.get(NAME))
        found[every] = state.params, told
    jax.tree.map(np.testing.assert_array_equal, found[0][0], found[2][0])
    assert found[0][1] == [None] * 3
    assert [float(count) != 0 for _, count in found[2][1]] == [True, False, True]


def test_any_devices_measure_the_same():
    batch, seen = make_batch(16), []
    for devices in (1, 4):
        over, task = Parallel("jit", devices), NoiseScale(Supervised(ConvNet(batch_norm=False)), 1)
        tx = optim.sgd(schedules.constant(0.1))
        state = over.replicate(jax.device_get(train_state.create(task, tx, RNG, batch)))
        _, metrics = over.compile(make_train_step(task, tx), (None, 0))(state, over.split(batch))
        seen.append([float(x) for x in metrics[NAME]])
    np.testing.assert_allclose(seen[1], seen[0], rtol=1e-4)


def test_halves_keep_pairs_together():
    first, second = halves({"n": np.arange(8), "x": np.arange(16).reshape(8, 2)})
    assert (first["n"].tolist(), second["n"].tolist()) == ([0, 1, 4, 5], [2, 3, 6, 7])
    np.testing.assert_array_equal(second["x"][:, 0] // 2, second["n"])
    assert [len(half["n"]) for half in halves({"n": np.arange(6)})] == [3, 3]
