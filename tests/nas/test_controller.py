import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from scipy.special import log_softmax

from jaxcls.nas import controller
from jaxcls.nas.controller import Controller

REWARDS = np.array([[0.3, 0.9], [0.5, 0.1]])  # of the four architectures of two choices


def expected(logits):
    p, q = (np.exp(log_softmax(row[:2])) for row in np.asarray(logits, float))
    return float(p @ REWARDS @ q)


def test_the_gradient_is_that_of_the_expected_reward_over_all_four_architectures():
    """Its expectation, enumerated, for any baseline; finite differences of the expectation itself."""
    logits, control = np.array([[0.2, -0.4], [0.7, 0.1]]), Controller((2, 2))
    log_p = log_softmax(logits, axis=-1)
    np.testing.assert_allclose(control.log_probabilities(jnp.array(logits)), log_p, rtol=1e-6)
    for baseline in (0.0, 0.4):
        total = np.zeros((2, 2))
        for i, j in itertools.product(range(2), range(2)):
            p = np.exp(log_p[0, i] + log_p[1, j])
            total += p * np.asarray(
                control.gradient(jnp.array(logits), jnp.array([i, j]), jnp.float32(REWARDS[i, j] - baseline))
            )
        step = 1e-5
        for at in np.ndindex(2, 2):
            moved = [
                logits + sign * step * (np.indices((2, 2)) == np.array(at)[:, None, None]).all(0) for sign in (1, -1)
            ]
            want = -(expected(moved[0]) - expected(moved[1])) / (2 * step)
            assert total[at] == pytest.approx(want, abs=1e-6)


def bandit(control, values, noise=0.05, seed=0):
    """The memory after so many draws of a bandit whose arms have these values."""

    def step(memory, n):
        key, more = jax.random.split(jax.random.fold_in(jax.random.key(seed), n))
        choice = control.draw(memory, key)
        reward = jnp.asarray(values)[choice].mean() + noise * jax.random.normal(more)
        return control.learn(memory, choice, reward, n), choice

    return jax.lax.scan(step, control.fresh(), jnp.arange(control.total))


def test_it_finds_the_better_arm_of_a_bandit_and_stays_undecided_in_the_first_quarter():
    control = Controller((3,), rate=0.01, total=1200)
    memory, choices = jax.jit(lambda: bandit(control, [0.5, 0.6, 0.4]))()
    assert np.exp(control.log_probabilities(memory["logits"]))[0, 1] > 0.99
    assert control.best(memory).tolist() == [1]
    counts = np.bincount(np.asarray(choices)[:300, 0], minlength=3)  # untaught: uniform
    assert stats.chisquare(counts).pvalue > 1e-3
    history = np.asarray(memory["history"])
    np.testing.assert_allclose(history[:25], 1 / 3, rtol=1e-6)
    assert history[-1, 0, 1] > 0.99 and (np.diff(history[30::20, 0, 1]) > -0.1).all()


def test_an_update_is_adams_with_a_rate_that_grows_tenfold():
    """Against optax, over updates with a reward that changes; options that a decision does not have never move."""
    control = Controller((2, 3), rate=0.1, total=8)
    adam, memory = optax.scale_by_adam(b1=0.0, b2=controller.BETA2), control.fresh()
    state, logits, baseline = adam.init(memory["logits"]), memory["logits"], None
    for step in range(8):
        choice, reward = jnp.array([step % 2, step % 3]), jnp.float32(np.cos(step))
        baseline = reward if baseline is None else baseline
        grad = control.gradient(logits, choice, reward - baseline)
        baseline = 0.95 * baseline + 0.05 * reward
        memory = control.learn(memory, choice, reward, jnp.int32(step))
        if step >= 2:
            update, state = adam.update(grad, state)
            logits = logits - 0.1 * 10 ** ((step - 2) / 6) * update
        np.testing.assert_allclose(memory["logits"], logits, rtol=1e-4, atol=1e-6)
        assert memory["baseline"] == pytest.approx(float(baseline), rel=1e-5)
    assert memory["logits"][0, 2] == 0 and np.exp(control.log_probabilities(memory["logits"]))[0, 2] == 0


def test_operations_are_warmed_up_over_the_first_quarter():
    control, most = Controller((4,) * 50, total=400), (3,) * 50
    choice = jnp.zeros(50, jnp.int32)
    shares = [
        float((control.warm(choice, most, jnp.int32(step), jax.random.key(step)) == 3).mean())
        for step in range(0, 120, 5)
    ]
    assert shares[0] == 1 and shares[20:] == [0] * 4
    assert np.mean(shares[8:12]) == pytest.approx(1 - 47.5 / 100, abs=0.1)  # 200 draws


@pytest.mark.parametrize(
    "kind, quality, ratio, beta, want",
    [
        ("abs", 0.8, 1.0, -0.1, 0.8), ("abs", 0.8, 1.5, -0.1, 0.75), ("abs", 0.8, 0.5, -0.1, 0.75),
        ("mnas", 0.8, 1.0, -0.07, 0.8), ("mnas", 0.8, 2.0, -0.07, 0.8 * 2**-0.07),
    ],
)  # fmt: skip
def test_rewards_at_and_off_the_target(kind, quality, ratio, beta, want):
    assert controller.reward(kind, quality, ratio, beta) == pytest.approx(want)
