"""Penalties against NumPy, masks against loops, and what a step makes of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures.toys import ConvNet, Linear, make_batch

from jaxcls import optim, pytree
from jaxcls import state as train_state
from jaxcls.optim import schedules
from jaxcls.parallel import Parallel
from jaxcls.prune import groups
from jaxcls.tasks.sparse import Slice, Sparse, group_lasso, l1
from jaxcls.tasks.sparse_masks import Magnitude, TwoOfFour, above, two_of_four
from jaxcls.tasks.supervised import Supervised
from jaxcls.tasks.wrappers import Ema
from jaxcls.training.step import make_train_step

RNG = np.array([0, 5], np.uint32)
KERNEL = "fc/kernel"
LASSO = ((0.03, l1([KERNEL])),)


def sgd(**options):
    return optim.sgd(schedules.constant(0.1), **options)


# Masks


def magnitude(**changes):
    return Magnitude(
        **{"sizes": {"a": 40}, "share": 0.75, "whole": False, "begin": 2, "end": 12, "every": 3, **changes}
    )


def test_the_share_follows_the_cubic_schedule():
    """By hand: 30 (1 - (1 - x)^3) at x = 0, 0.3, 0.6, 0.9, 1 of ten updates from the second on."""
    masks, weights = magnitude(), {"a": jnp.asarray(np.random.default_rng(0).normal(size=(4, 10)))}
    due = [step for step in range(1, 21) if masks.due(jnp.int32(step))]
    assert due == [2, 5, 8, 11, 12, 14, 17, 20]
    make, now, zeros = jax.jit(masks.make), {"a": jnp.ones((4, 10), bool)}, []
    for step in due[:6]:
        before, now = now, make(weights, now, jnp.int32(step))
        zeros.append(int((~now["a"]).sum()))
        assert not np.any(now["a"] & ~before["a"])
    assert zeros == [0, 20, 28, 30, 30, 30]
    smallest = np.sort(np.abs(weights["a"]), axis=None)[:30]
    np.testing.assert_array_equal(np.sort(np.abs(weights["a"][~now["a"]])), smallest)


def test_what_is_masked_once_stays_so_whatever_its_momentum_made_of_it():
    masks, mask = magnitude(sizes={"a": 4}, share=0.5, end=2), {"a": jnp.array([True, False, True, True])}
    new = masks.make({"a": jnp.array([1.0, 9.0, 2.0, 3.0])}, mask, jnp.int32(2))
    assert new["a"].tolist() == [False, False, True, True]


def test_the_smallest_of_each_row_go_the_first_of_equals():
    keys = np.random.default_rng(1).integers(0, 4, (5, 12)) * 2**29
    counts = [0, 1, 6, 11, 12]
    expected = np.ones((5, 12), bool)
    for row, k in enumerate(counts):
        for i in sorted(range(12), key=lambda i: (keys[row, i], i))[:k]:
            expected[row, i] = False
    np.testing.assert_array_equal(above(jnp.asarray(keys, jnp.int32), jnp.asarray(counts)), expected)


@pytest.mark.parametrize("whole", [False, True])
def test_masks_of_several_kernels(whole):
    rng = np.random.default_rng(4)
    kernels = {name: rng.normal(size=shape) for name, shape in {"a": (4, 6), "b": (8, 3), "c": (5,)}.items()}
    masks = magnitude(sizes={name: w.size for name, w in kernels.items()}, share=0.5, whole=whole)
    now = {name: jnp.ones(w.shape, bool) for name, w in kernels.items()}
    new = masks.make(jax.tree.map(jnp.asarray, kernels), now, jnp.int32(12))
    together = np.sort(np.concatenate([np.abs(w).ravel() for w in kernels.values()]))
    for name, w in kernels.items():
        own = together if whole else np.sort(np.abs(w), axis=None)
        np.testing.assert_array_equal(new[name], np.abs(w) >= own[int(0.5 * len(own) + 0.5)])
    assert masks.target == 27 / 53


@pytest.mark.parametrize("shape, axis", [((2, 3, 8, 5), 2), ((5, 12), 1)])
def test_two_of_four_neighbouring_inputs_go(shape, axis):
    keys = np.random.default_rng(2).integers(0, 5, shape).astype(np.float32)
    expected, rows = np.ones(shape, bool), np.moveaxis(keys, axis, -1)
    for place in np.ndindex(rows.shape[:-1]):
        for four in range(0, shape[axis], 4):
            for i in sorted(range(four, four + 4), key=lambda i: (rows[place][i], i))[:2]:
                np.moveaxis(expected, axis, -1)[(*place, i)] = False
    np.testing.assert_array_equal(two_of_four(jnp.asarray(keys), axis), expected)


def test_two_of_four_goes_at_once_and_counts_what_it_leaves():
    masks = TwoOfFour({"a": 0}, {"a": 48, "b": 16}, begin=3)
    assert [step for step in range(1, 5) if masks.due(jnp.int32(step))] == [3, 4] and masks.target == 24 / 64


# Penalties


def test_the_lasso_and_its_gradient():
    named = {"a": jnp.array([[1.0, -2.0], [0.0, 4.0]]), "b": jnp.array([-3.0]), "c": jnp.array([7.0])}
    value, gradient = jax.value_and_grad(l1(["a", "b"]))(named)
    assert value == 10
    np.testing.assert_array_equal(gradient["a"], [[1, -1], [0, 1]])
    assert gradient["b"] == -1 and gradient["c"] == 0


def test_the_group_lasso_of_what_channels_are_made_of():
    """Of a channel: its filter, its bias, the scale and bias of its BatchNorm. The last channel is zero."""
    model = ConvNet()
    (group,) = groups.find(model, (4, 4, 2)).prunable
    made = [m for m in group.members if not m.consumes and m.name.startswith("params/")]
    slices = [Slice(m.name.removeprefix("params/"), m.axis, m.places) for m in made]
    names = {"conv1/kernel", "conv1/bias", "bn1/scale", "bn1/bias"}
    assert {each.name for each in slices} == names
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 4, 4, 2)), train=False))["params"]
    rng = np.random.default_rng(3)
    named = {name: rng.normal(size=leaf.shape) for name, leaf in pytree.flatten_names(shapes).items()}
    for name in names:
        named[name][..., -1] = 0
    named = {name: value.astype(np.float32) for name, value in named.items()}
    value, gradient = jax.value_and_grad(group_lasso([slices]))(jax.tree.map(jnp.asarray, named))
    total, size = 0.0, 3 * 3 * 2 + 3
    expected = {name: np.zeros_like(value) for name, value in named.items()}
    for unit in range(3):
        norm = np.linalg.norm(np.concatenate([named[name][..., unit].ravel() for name in sorted(names)]))
        total += np.sqrt(size) * norm
        for name in names:
            expected[name][..., unit] = np.sqrt(size) * named[name][..., unit] / norm
    assert value == pytest.approx(total, rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), gradient, expected)


def test_a_unit_of_several_places_is_one():
    places = np.array([[0, 2], [1, 3]])
    value = group_lasso([[Slice("a", 0, places)]])({"a": jnp.array([3.0, 1.0, 4.0, 0.0])})
    assert value == pytest.approx(np.sqrt(2) * (5 + 1))


# Steps


@functools.cache
def three_steps(mode="jit", devices=1, accumulate=1):
    """[(state, metrics)] with a penalty, and with masks from the second step on; weights and masks are uneven."""
    over = Parallel(mode, devices)
    masks = magnitude(sizes={KERNEL: 48}, begin=2, end=2)
    task, tx = Sparse(Ema(Supervised(Linear()), 0.5), LASSO, masks), sgd(momentum=0.9, weight_decay=1e-2)
    first = jax.device_get(train_state.create(task, tx, RNG, make_batch(2)))
    step = make_train_step(task, tx, accumulate=accumulate, axis_name=over.axis_name)
    step, state, told = over.compile(step, (None, 0)), over.replicate(first), [(first, {})]
    for seed in range(3):
        batch = {**make_batch(16, seed=seed), "weight": np.linspace(0, 2, 16).astype(np.float32)}
        batch["mask"][: 3 * seed] = 0
        state, metrics = step(state, over.split(batch))
        told.append(jax.device_get((state, metrics)))
    return told


def test_a_penalty_adds_its_own_gradient_whatever_the_batch_counts():
    (first, _), (new, metrics), *_ = three_steps()
    batch = {**make_batch(16), "weight": np.linspace(0, 2, 16).astype(np.float32)}
    task = Supervised(Linear())

    def mean(params):
        loss, aux = task.loss(params, first, batch, RNG)
        return loss / aux.count

    loss, gradient = jax.value_and_grad(mean)(first.params)
    kernel = first.params["fc"]["kernel"]
    penalty = 0.03 * np.abs(kernel).sum()
    assert metrics["penalty"][0] / metrics["penalty"][1] == pytest.approx(penalty, rel=1e-5)
    assert metrics["loss"][0] / metrics["loss"][1] == pytest.approx(float(loss + penalty), rel=1e-5)
    expected = kernel - 0.1 * (gradient["fc"]["kernel"] + 1e-2 * kernel + 0.03 * np.sign(kernel))
    np.testing.assert_allclose(new.params["fc"]["kernel"], expected, atol=1e-6)


@pytest.mark.parametrize("mode, devices, accumulate", [("jit", 1, 4), ("jit", 2, 1), ("pmap", 2, 2)])
def test_micro_batches_and_devices_change_nothing(mode, devices, accumulate):
    for (a, x), (b, y) in zip(three_steps(mode, devices, accumulate), three_steps(), strict=True):
        jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-5, atol=1e-6), a, b)
        ratios = [{name: s / c for name, (s, c) in metrics.items()} for metrics in (x, y)]
        assert ratios[0] == pytest.approx(ratios[1], rel=1e-5)


def test_what_is_masked_stays_zero_in_the_weights_and_in_their_average():
    (_, first), *_, (second, _), (third, metrics) = three_steps()
    gone = second.params["fc"]["kernel"] == 0
    assert gone.sum() == 36 and first == {}
    for state in (second, third):
        for params in (state.params, state.extra["ema"]["params"]):
            np.testing.assert_array_equal(params["fc"]["kernel"] == 0, gone)
    assert np.all(third.opt_state and third.extra["masks"]["fc"]["kernel"] == ~gone)
    momenta = [leaf for leaf in jax.tree.leaves(third.opt_state) if leaf.shape == gone.shape]
    assert np.all(momenta[0][gone] != 0)  # they would move the weights
    assert metrics["zeros"][0] / metrics["zeros"][1] == 0.75


def test_the_share_of_zeros_in_what_answers_is_a_figure():
    task = Sparse(Ema(Supervised(Linear()), 0.5), (), magnitude(sizes={KERNEL: 48}), about=" (x)")
    state, batch = three_steps()[-1][0], make_batch(4)
    out = task.predict(state.replace(params=three_steps()[0][0].params), batch)  # the average answers
    assert out["zeros"].tolist() == [0.75] * 4 and "zeros" in task.scratch
    figures = task.figures({**jax.device_get(out), "label": batch["label"], "index": batch["index"]}, {})
    assert figures["zeros"] == 0.75 and figures["count"] == 4
    assert task.describe(figures).endswith("; 75.00% of the weights of one kernel are zero (x)")
