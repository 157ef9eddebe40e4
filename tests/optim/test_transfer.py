"""Fine-tuning: what is frozen stays to the bit, what is released starts at its step, and settings that cannot work."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs
from fixtures.toys import ConvNet, make_batch

from jaxcls import losses, models, optim, pytree
from jaxcls import state as train_state
from jaxcls.checkpoints import view
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.models import stages
from jaxcls.models.resnet import BasicBlock, ResNet
from jaxcls.optim import schedules, transfer
from jaxcls.tasks.frozen import Frozen, norm_unfreezes_at
from jaxcls.tasks.supervised import Supervised
from jaxcls.training import build, loop
from jaxcls.training.step import make_train_step

pytestmark = pytest.mark.usefixtures("bare_end")

BELOW = "^(conv1|bn1)/"
RNG = np.array([0, 3], np.uint32)


def adamw():
    return optim.adamw(schedules.constant(0.05), weight_decay=0.1)


def sgd():
    return optim.sgd(schedules.constant(0.1), momentum=0.9, weight_decay=0.1)


def make_trained(timing, make, steps, *, accumulate=1, inner=None):
    """[state of step 0, of step 1, ..] of the toy net."""
    task = Frozen(inner or Supervised(ConvNet()), timing)
    tx = transfer.gradual(make(), timing)
    if timing.frozen:
        tx = optim.freeze(tx, timing.frozen)
    batch = make_batch(16)
    state = jax.jit(functools.partial(train_state.create, task, tx))(RNG, batch)
    step = jax.jit(make_train_step(task, tx, accumulate=accumulate))
    states, values = [jax.device_get(state)], []
    for _ in range(steps):
        state, metrics = step(state, batch)
        states.append(jax.device_get(state))
        values.append(jax.device_get(metrics))
    return states, values, task


def moved(a, b):
    """Names of parameters and statistics that differ between two states."""
    a, b = (pytree.flatten_names({"params": s.params, **s.model_state}) for s in (a, b))
    return {name for name in a if not np.array_equal(a[name], b[name])}


@pytest.mark.parametrize("make", [sgd, adamw])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_is_frozen_stays_to_the_bit_and_has_no_state(make, accumulate):
    (first, *_, last), _, _ = make_trained(transfer.Timing(frozen=(BELOW,)), make, 3, accumulate=accumulate)
    assert moved(first, last) == {"params/fc/kernel", "params/fc/bias"}
    held = [name for name in pytree.flatten_names(last.opt_state) if "conv1" in name or "bn1" in name]
    assert not held and any("fc" in name for name in pytree.flatten_names(last.opt_state))


def test_batch_norm_of_frozen_parts_is_in_inference_mode():
    states, values, task = make_trained(transfer.Timing(frozen=(BELOW,)), sgd, 1)
    batch = make_batch(16)
    logits = jax.jit(task.predict)(states[0], batch)["logits"]  # with the running statistics
    expected = np.mean(jax.nn.logsumexp(logits, axis=-1) - np.take_along_axis(logits, batch["label"][:, None], 1)[:, 0])
    total, count = values[0]["loss"]
    np.testing.assert_allclose(total / count, expected, rtol=1e-5)


def test_a_part_is_released_at_its_step_and_not_before():
    timing = transfer.Timing(unfreeze_at=((2, BELOW),))
    states, _, _ = make_trained(timing, sgd, 4)
    head = {"params/fc/kernel", "params/fc/bias"}
    assert moved(states[0], states[2]) == head
    everything = pytree.flatten_names({"params": states[0].params, **states[0].model_state})
    assert moved(states[2], states[3]) == set(everything) and moved(states[3], states[4]) == set(everything)
    still, _, _ = make_trained(transfer.Timing(frozen=(BELOW,)), sgd, 2)
    for a, b in zip(jax.tree.leaves(states[2].params), jax.tree.leaves(still[2].params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_a_released_batch_norm_works_as_in_ordinary_training():
    """Released at step 0 by a rule that counts steps, the run is that without any rule."""
    rule = transfer.Timing(unfreeze_at=((1, BELOW),))
    states, _, task = make_trained(rule, sgd, 1)
    after = states[1]  # step 1: everything is trained
    loss = lambda task: jax.jit(task.loss)(after.params, after, make_batch(16), jax.random.key(0))  # noqa: E731
    (a, aux_a), (b, aux_b) = loss(task), loss(task.inner)
    np.testing.assert_allclose(a, b, rtol=1e-6)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), aux_a.model_state, aux_b.model_state)


@pytest.mark.parametrize("remat", [False, True])
def test_statistics_of_a_frozen_stage_stay_in_a_net_whose_blocks_are_recomputed(remat):
    model = ResNet(stage_sizes=(1, 1), block=BasicBlock, width=4, num_classes=3, remat=remat)
    task = Frozen(Supervised(model), transfer.Timing(frozen=(r"^(conv1|bn1|layer1\.0)/",)))
    batch = make_batch(4, size=16, channels=3)
    params, model_state, _ = jax.jit(task.init)(RNG, batch)
    state = train_state.TrainState(jnp.int32(0), params, model_state, None, RNG, {}, {})
    _, aux = jax.jit(task.loss)(params, state, batch, jax.random.key(0))
    before, after = (pytree.flatten_names(tree["batch_stats"]) for tree in (model_state, aux.model_state))
    changed = {name.split("/")[0] for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"layer2.0"}


def test_statistics_start_with_the_first_parameter_around_them():
    unfreeze_at = {"a/bn/scale": None, "a/bn/bias": 5, "b/conv/kernel": 7, "c/kernel": 0, "a/bnb/scale": 1}
    assert norm_unfreezes_at(("a", "bn"), unfreeze_at) == 5
    assert norm_unfreezes_at(("b", "bn"), unfreeze_at) == 7  # a norm without parameters goes with what is around it
    assert norm_unfreezes_at(("b", "conv"), {"b/conv/kernel": None}) == float("inf")
    assert norm_unfreezes_at(("d",), unfreeze_at) == 0


def test_no_backward_pass_is_computed_below_the_first_trained_layer():
    model = models.create("resnet20_cifar", num_classes=4, depth=14)
    batch = jax.eval_shape(lambda: {"image": jnp.zeros((8, 32, 32, 3)), "label": jnp.zeros(8, jnp.int32)})
    parts = stages.parts(model, batch["image"])
    costs = {}
    for name, entries in {"none": (), "lower": ("stem", "stage1"), "all": ("all",)}.items():
        timing = transfer.Timing(tuple(x.pattern for x in transfer.find(entries, lambda: parts, "freeze")))
        task, tx = Frozen(Supervised(model), timing), optim.freeze(sgd(), timing.frozen) if entries else sgd()
        state = jax.eval_shape(functools.partial(train_state.create, task, tx), RNG, batch)
        costs[name] = jax.jit(make_train_step(task, tx)).lower(state, batch).cost_analysis()["flops"]
    evaluate = jax.jit(task.predict).lower(state, batch).cost_analysis()["flops"]
    assert costs["all"] < 1.15 * evaluate  # the forward pass, and a little for the head
    assert costs["all"] < 0.4 * costs["none"] and costs["lower"] < 0.85 * costs["none"]


def make_config(**settings):
    config = default_config()
    config.data.name, config.model.name = "synthetic/64x8x1x4", "simple_cnn_16_32"
    config.model.fields = {"channels": (3, 4), "hidden": 5}
    config.batch_size, config.duration, config.parallel.devices = 16, "8 steps", 1
    config.eval.every = config.checkpoint.every = "2 steps"
    config.schedule.name, config.schedule.peak, config.optim.weight_decay = "constant", 0.05, 0.01
    for key, value in settings.items():
        config.optim[key] = value
    return config


def test_a_run_resumed_across_a_release_is_the_uninterrupted_one(tmp_path):
    config = make_config(freeze=("stem",), unfreeze=("3 steps: all",), multipliers=(("head", 2.0),))
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    loop.fit(build.build(config), whole)
    run = build.build(config)
    assert isinstance(run.task, Frozen)
    run = runs.changed(run, total_steps=2)
    loop.fit(run, parted)
    names = {}
    before = view.read_arrays(view.find_step(parted))
    loop.fit(build.build(config), parted)
    a, b = (view.read_arrays(view.find_step(path)) for path in (whole, parted))
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
    for name in (name for name in a if name.startswith("params/")):
        names.setdefault(np.array_equal(a[name], before[name]), set()).add(name.split("/")[1])
    assert names == {True: {"conv1"}, False: {"conv2", "fc1", "fc2"}}


def test_rates_by_part_and_layer_decay_multiply():
    config = make_config(multipliers=(("head", 10.0), ("conv2/", 0.5)), layer_decay=0.5, momentum=0.0, weight_decay=0.0)
    run = build.build(config)
    params = jax.tree.map(lambda x: jnp.ones(x.shape), run.state_shapes.params)
    updates, _ = run.training.tx.update(params, run.training.tx.init(params), params)
    expected = {"conv1": 0.125, "conv2": 0.25 * 0.5, "fc1": 0.5, "fc2": 10.0}  # four layers, the head has decay^0
    for name, update in pytree.flatten_names(updates).items():
        np.testing.assert_allclose(update, -0.05 * expected[name.split("/")[0]], rtol=1e-6)


@pytest.mark.parametrize(
    "name, size, expected",
    [
        (
            "vit_tiny_patch16_224",
            224,
            {"cls_token": 13, "patch_embed.proj": 13, "blocks.0": 12, "blocks.11": 1, "head": 0},
        ),
        ("convnext_tiny", 224, {"features.0.0": 19, "features.1.0": 18, "features.7.2": 1, "classifier.2": 0}),
        ("resnet18", 64, {"conv1": 9, "layer1.0": 8, "layer4.1": 1, "fc": 0}),
    ],
)
def test_layer_decay_is_a_power_of_the_layers_above(name, size, expected):
    model = models.create(name, num_classes=3)
    order = optim.call_order(model, jax.ShapeDtypeStruct((2, size, size, 3), np.float32))
    factors = optim.layerwise(order, 0.75)(dict.fromkeys(order, 0.0))
    found = {key.split("/")[0]: factor for key, factor in factors.items()}
    np.testing.assert_allclose([found[top] for top in expected], [0.75**above for above in expected.values()])


def test_the_first_entry_counts_and_entries_may_come_as_one_text():
    parts = {"conv1/kernel": "stem", "conv2/kernel": "stage1", "conv3/kernel": "stage2", "fc/kernel": "head"}
    steps = functools.partial(schedules.steps, steps_per_epoch=10, total=100)
    for entries in (("20%: stage2", "4 epochs: all"), ("20%: stage2, 4 epochs: all",)):
        timing = transfer.read(("stem",), entries, lambda: parts, steps, 100)
        assert [timing(name) for name in parts] == [None, 40, 20, 0]


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"freeze": ("stage9",)},
            "config.optim.freeze 'stage9' is no part of the model: all, stem, stage1, stage2, he",
        ),
        ({"freeze": ("cnv1/",)}, "config.optim.freeze 'cnv1/' matches no name; the nearest are conv1/"),
        ({"freeze": ("conv[",)}, "is no regular expression"),
        ({"freeze": (3,)}, "must be text"),
        ({"freeze": (".",)}, "leaves nothing to train"),
        ({"unfreeze": ("stage1",)}, "must be 'DURATION: PART'"),
        ({"unfreeze": ("8 steps: stem",)}, "step 8 of a run of 8"),
        ({"unfreeze": ("soon: stem",)}, "config.optim.unfreeze is 'soon'"),
        ({"unfreeze": ("2 steps: stem",), "freeze": ("conv1/",)}, "frozen for good"),
        ({"multipliers": ("head",)}, "must be a pair"),
        ({"multipliers": (("fd2", 2.0),)}, "config.optim.multipliers 'fd2' is no part"),
        ({"multipliers": (("stem", 2.0),), "freeze": ("stem",)}, "names nothing that is trained"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(settings, message):
    with pytest.raises(UserError) as told:
        build.build(make_config(**settings))
    assert message in str(told.value) and "\n" not in str(told.value)


def test_frozen_layers_under_an_average_a_teacher_or_with_a_soft_label_need_nothing_of_their_own():
    """The wrapper goes around any task: here one whose loss calls the model twice."""

    class Twice(Supervised):
        def loss(self, params, state, batch, rng):
            (a, _), model_state = self.forward(params, state, batch, rng)
            (b, _), model_state = self.forward(params, state.replace(model_state=model_state), batch, rng)
            value = losses.cross_entropy((a + b) / 2, batch["label"])
            return jnp.sum(value), train_state.Aux(model_state, jnp.float32(len(value)), {})

    states, _, _ = make_trained(transfer.Timing(frozen=(BELOW,)), sgd, 1, inner=Twice(ConvNet()))
    assert moved(*states) == {"params/fc/kernel", "params/fc/bias"}
