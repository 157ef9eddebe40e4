"""Architecture search as a task: whose rows teach what, the order of a step, exact resuming."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import optim
from jaxcls import state as train_state
from jaxcls.models.layers import convolve
from jaxcls.nas import costs
from jaxcls.nas.controller import Controller
from jaxcls.nas.space import Space, parse_stage
from jaxcls.nas.supernet import Supernet
from jaxcls.optim import schedules
from jaxcls.tasks.architecture import NAS, Architecture
from jaxcls.tasks.supervised import Supervised
from jaxcls.training.step import make_train_step, split_batch

SPACE = Space(
    (parse_stage("mbconv((4, 6), kernels=(1, 3), expansions=(1, 2))"),), first=4, picture=(4, 4, 1), classes=3
)
TOTAL, ROWS = 8, 12  # steps, pictures of a batch


def made(*, total=TOTAL, **given):
    net = Supernet(space=SPACE, num_classes=3)
    task = Architecture(Supervised(net), Controller(SPACE.sizes, rate=0.3, total=total), ratio=2, **given)
    tx = optim.sgd(schedules.constant(0.1))
    with convolve.plain():
        state = train_state.create(task, tx, jax.random.PRNGKey(5), batch(0))
    return task, tx, state


def batch(step):
    """Blocks of 2 pictures for the reward and 4 for the weights."""
    rng = np.random.default_rng(step)
    image = rng.normal(size=(ROWS, *SPACE.picture)).astype(np.float32)
    return {"image": image, "label": rng.integers(0, 3, ROWS).astype(np.int32)}


HELD = np.tile([True, True, False, False, False, False], ROWS // 6)


@pytest.fixture(scope="module")
def search():
    """(task, compiled step, state of step 0): a target of the cost, and a step function for all tests."""
    tables = costs.counted(SPACE, "macs")
    task, tx, state = made(cost=tables, target=costs.span(SPACE, tables)[0])
    with convolve.plain():
        step = jax.jit(make_train_step(task, tx)).lower(state, batch(0)).compile()
    return task, step, state


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def after(step, state, numbers):
    for n in numbers:
        state, figures = step(state, batch(n))
    return state, figures


def test_rows_of_the_reward_teach_no_weight_and_rows_of_the_weights_no_controller(search):
    _, step, state = search
    state, _ = after(step, state, range(3))  # beyond the first quarter
    now, others = batch(3), batch(99)
    mixed = {
        held: {k: np.where((held == HELD).reshape(-1, *[1] * (now[k].ndim - 1)), others[k], now[k]) for k in now}
        for held in (True, False)
    }
    (plain, _), (reward, _), (weights, _) = (step(state, b) for b in (now, mixed[True], mixed[False]))
    assert equal(plain.params, reward.params) and equal(plain.opt_state, reward.opt_state)
    assert not equal(plain.params, weights.params)
    assert plain.extra[NAS]["reward_accuracy"] != reward.extra[NAS]["reward_accuracy"] or not equal(
        plain.extra[NAS]["baseline"], reward.extra[NAS]["baseline"]
    )


def test_the_controller_learns_by_the_new_weights_on_the_choice_of_the_step(search):
    """By hand: the same choice, the accuracy of the weights after the update, the reward by the cost."""
    task, step, state = search
    state, _ = after(step, state, range(2))
    new, figures = step(state, batch(2))
    choice, _ = task.choices(state, state.step)
    held = {name: jnp.asarray(value[HELD]) for name, value in batch(2).items()}
    with convolve.plain():
        logits, _ = jax.jit(lambda *given: task.run(*given))(new.params, held, choice)
    accuracy = float((logits.argmax(-1) == held["label"]).mean())
    assert float(new.extra[NAS]["reward_accuracy"]) == pytest.approx(accuracy)
    ratio = SPACE.macs(np.asarray(choice)) / task.target
    assert float(new.extra[NAS]["cost"]) == pytest.approx(ratio, rel=1e-6)
    reward = accuracy - 0.1 * abs(ratio - 1)
    assert float(new.extra[NAS]["reward"]) == pytest.approx(reward, rel=1e-5)
    want = task.control.learn(state.extra[NAS], choice, jnp.float32(reward), state.step)
    np.testing.assert_allclose(new.extra[NAS]["logits"], want["logits"], rtol=1e-5)
    assert np.abs(new.extra[NAS]["logits"]).max() > 0
    assert figures["certain"][0] == pytest.approx(0.375)  # before: 1/2, 1/4


def test_the_first_quarter_teaches_the_controller_nothing(search):
    _, step, state = search
    state, _ = after(step, state, range(2))
    assert not np.asarray(state.extra[NAS]["logits"]).any() and float(state.extra[NAS]["rewards"]) == 2


def test_choices_come_from_the_step_and_the_run_alone(search):
    task, _, state = search
    drawn = [np.asarray(task.choices(state, jnp.int32(n))[0]) for n in range(40)]
    assert len({tuple(x) for x in drawn}) > 5
    np.testing.assert_array_equal(drawn[7], task.choices(state.replace(step=jnp.int32(3)), jnp.int32(7))[0])


def test_an_interrupted_search_ends_with_the_bits_of_an_uninterrupted_one(search):
    """A state that went through host arrays, as a checkpoint keeps it."""
    _, step, state = search
    whole, _ = after(step, state, range(TOTAL))
    half, _ = after(step, state, range(4))
    resumed, _ = after(step, jax.tree.map(np.array, half), range(4, TOTAL))
    assert equal(whole, resumed) and int(resumed.step) == TOTAL


def test_micro_batches_hold_both_kinds_of_rows_and_learn_the_same_reward(search):
    """Norms see a micro-batch at a time, so weights differ; which rows are the reward's does not."""
    task, _, state = search
    whole = batch(1)
    first = jax.tree.map(lambda x: x[0], split_batch({**whole, "held": HELD}, 2))
    cut = task.cut(first)
    assert first["held"].sum() == 2 and cut[0]["label"].tolist() == first["label"][first["held"]].tolist()
    assert sorted(cut[1]["label"].tolist()) == sorted(first["label"][~first["held"]].tolist())


def test_evaluation_is_of_the_most_likely_choice(search):
    task, _, state = search
    logits = state.extra[NAS]["logits"].at[0, 1].set(3.0).at[1, 2].set(3.0)
    state = state.replace(extra={NAS: {**state.extra[NAS], "logits": logits}})
    pictures = batch(0)
    with convolve.plain():
        got = jax.jit(lambda *given: task.predict(*given))(state, pictures)["logits"]
        want = jax.jit(lambda *given: task.run(*given))(state.params, pictures, jnp.array([1, 2]))[0]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
