"""The five seams hold what is still to come: each kind of training as a toy task, with no change to step or loop."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import runs
from fixtures.toys import ConvNet, Linear, make_batch

from jaxcls import losses, optim, parallel
from jaxcls import state as train_state
from jaxcls.checkpoints import view
from jaxcls.data import pipeline
from jaxcls.defaults import default_config
from jaxcls.logs.records import read_metrics
from jaxcls.parallel import Parallel
from jaxcls.state import Aux
from jaxcls.tasks.base import FEATURES, Task, Wrapper
from jaxcls.tasks.supervised import Supervised
from jaxcls.tasks.wrappers import Ema
from jaxcls.training import build, loop
from jaxcls.training.step import make_train_step

RNG = np.array([0, 5], np.uint32)
NTXENT = np.load(Path(__file__).parents[1] / "fixtures" / "ntxent.npz")


def make_run(
    *,
    mode="jit",
    devices=1,
    accumulate=1,
    validation=0.0,
    augment=(),
    every="2 steps",
    memory=2**20,
    task,
    **seams,
):
    """A run of 6 steps on 64 pictures of 8x8; `task` makes a task from the axis name, `seams` are further ones."""
    config = default_config()
    config.data.name = "synthetic/64x8x1x4"
    config.data.validation = validation
    config.data.augment, config.data.device_memory, config.data.workers = augment, memory, 0
    config.model.name = "simple_cnn_16_32"
    config.batch_size, config.accumulate = 16, accumulate
    config.duration, config.log_every = "6 steps", "1 step"
    config.eval.every = config.checkpoint.every = every
    config.parallel.mode, config.parallel.devices = mode, devices
    config.schedule.name, config.schedule.peak = "constant", 0.2
    return build.build(config, task=lambda data, model: task(model.axis_name), **seams)


def recorded(workdir, name="loss"):
    return [line[name] for line in read_metrics(workdir) if line["split"] == "train"]


def arrays(workdir):
    """Name -> array of the newest checkpoint."""
    return view.read_arrays(view.find_step(workdir))


def assert_same_bits(a, b):
    left, right = arrays(a), arrays(b)
    assert left.keys() == right.keys()
    assert not [name for name in left if left[name].tobytes() != right[name].tobytes()]


def six_steps(run):
    """(losses, final state) of a run's own feed, without the loop around it."""
    feed, state, told = run.train_feed(), run.parallel.replicate(run.init_state()), []
    for step in range(6):
        state, metrics, _ = feed(state, step, 6)
        told.append(float(metrics["loss"][0] / metrics["loss"][1]))
    return told, jax.device_get(state)


def fit_in_two(run, workdir, steps):
    """A run that ends after `steps` steps and is started again."""
    loop.fit(runs.changed(run, total_steps=steps), workdir)
    return loop.fit(run, workdir)


# The whole run


def test_a_run_is_the_same_on_any_devices_in_both_modes(tmp_path):
    """With crops, flips and BatchNorm: pictures are transformed by keys of their own."""
    seen = {}
    for mode, devices in (("jit", 1), ("jit", 4), ("pmap", 4)):
        workdir = tmp_path / f"{mode}{devices}"
        run = make_run(
            mode=mode, devices=devices, augment=("crop(8, pad=2)", "flip"),
            task=lambda axis: Supervised(ConvNet(num_classes=4, axis_name=axis)),
        )  # fmt: skip
        results = loop.fit(run, workdir)
        assert results["test"]["count"] == 16
        seen[mode, devices] = recorded(workdir), results["test"]["loss"]
    (losses_1, test_1), *others = seen.values()
    assert len(losses_1) == 6 and losses_1[-1] != losses_1[0]
    for losses_n, test_n in others:
        np.testing.assert_allclose(losses_n, losses_1, rtol=1e-5)
        assert test_n == pytest.approx(test_1, rel=1e-4)


# Distillation: a frozen teacher that comes from its own file


class Distill(Wrapper):
    """Half the cross entropy, half the Kullback-Leibler divergence from a teacher's softened outputs."""

    def __init__(self, inner, path, temperature=4.0):
        super().__init__(inner)
        self.path, self.temperature = path, temperature
        self.transient = (*inner.transient, "teacher")

    def init(self, rng, batch, weights=None):
        params, model_state, extra = self.inner.init(rng, batch)
        with np.load(self.path) as file:
            teacher = {name: jnp.asarray(file[name]) for name in file}
        return params, model_state, {**extra, "teacher": teacher}

    def loss(self, params, state, batch, rng):
        hard, aux = self.inner.loss(params, state, batch, rng)
        teacher, t = state.extra["teacher"], self.temperature
        target = jax.nn.softmax((batch["image"].reshape(len(batch["image"]), -1) @ teacher["w"]) / t)
        soft = losses.cross_entropy(self.inner.predict(state.replace(params=params), batch)["logits"] / t, target)
        soft = jnp.sum(soft) * t**2
        return 0.5 * hard + 0.5 * soft, aux.replace(metrics={**aux.metrics, "soft": (soft, aux.count)})


def test_a_frozen_teacher_is_in_no_checkpoint_and_comes_back_from_its_file(tmp_path):
    teacher = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    np.savez(tmp_path / "teacher.npz", w=teacher)

    def run():
        task = Distill(Supervised(Linear(num_classes=4)), tmp_path / "teacher.npz")
        return make_run(task=lambda _: Ema(task, 0.9))

    loop.fit(run(), tmp_path / "whole")
    fit_in_two(run(), tmp_path / "twice", steps=4)
    assert_same_bits(tmp_path / "whole", tmp_path / "twice")
    names = arrays(tmp_path / "whole").keys()
    assert any(name.startswith("extra/ema/") for name in names)
    assert not any("teacher" in name for name in names)
    assert all(np.isfinite(recorded(tmp_path / "whole", "soft")))

    np.savez(tmp_path / "teacher.npz", w=-teacher)  # and it is the teacher of the file that teaches
    fit_in_two(run(), tmp_path / "other", steps=4)
    assert np.any(arrays(tmp_path / "other")["params/fc/kernel"] != arrays(tmp_path / "whole")["params/fc/kernel"])


# Contrastive pairs over all devices


def nt_xent(z, everything, first, temperature=0.5):
    """NT-Xent of some anchors against all examples; 2i and 2i+1 are the views of one picture. Returns [n]."""
    z = z / jnp.linalg.norm(z, axis=1, keepdims=True)
    everything = everything / jnp.linalg.norm(everything, axis=1, keepdims=True)
    own = first + jnp.arange(len(z))
    similarity = (z @ everything.T / temperature).at[jnp.arange(len(z)), own].set(-jnp.inf)
    return losses.cross_entropy(similarity, own ^ 1)


class Contrastive(Task):
    """SimCLR: two views of each picture, drawn wholly anew, against those of all others. There are no classes."""

    output = FEATURES

    def __init__(self, axis_name):
        self.axis_name, self.model = axis_name, Linear(num_classes=5)

    def init(self, rng, batch, weights=None):
        return self.model.init(rng, batch["image"], train=False)["params"], {}, {}

    def loss(self, params, state, batch, rng):
        views = batch["views"].reshape(-1, *batch["views"].shape[2:])  # 2i and 2i + 1 are of one picture
        z = self.model.apply({"params": params}, views, train=True)[0]
        everything = parallel.all_gather(z, self.axis_name)
        loss = nt_xent(z, everything, parallel.axis_index(self.axis_name) * len(z))
        return jnp.sum(loss), Aux({}, jnp.float32(len(z)), {})


def test_the_contrastive_loss_of_this_test_equals_the_reference():
    z = jnp.asarray(np.stack([NTXENT["z1"], NTXENT["z2"]], axis=1).reshape(16, 16), jnp.float32)
    loss, grad = jax.value_and_grad(lambda z: nt_xent(z, z, 0).mean())(z)
    assert loss == pytest.approx(float(NTXENT["loss_T0.5"]), rel=1e-5)
    np.testing.assert_allclose(grad[::2], NTXENT["grad_z1_T0.5"], atol=1e-6)
    np.testing.assert_allclose(grad[1::2], NTXENT["grad_z2_T0.5"], atol=1e-6)


def test_contrastive_pairs_see_all_devices():
    """The gradient of all_gather adds up what every device asks of an example, so the sum over devices is exact.

    From device memory or streamed, the views are the same."""
    options = {"task": Contrastive, "views": 2, "augment": ("crop(8, pad=2)", "flip")}
    losses_1, state_1 = six_steps(make_run(**options))
    assert np.ptp(losses_1) > 0.01
    for mode, devices, memory in (("jit", 4, 2**20), ("pmap", 1, 2**20), ("pmap", 4, 0)):
        losses_n, state = six_steps(make_run(mode=mode, devices=devices, memory=memory, **options))
        np.testing.assert_allclose(losses_n, losses_1, rtol=1e-5)
        np.testing.assert_allclose(state.params["fc"]["kernel"], state_1.params["fc"]["kernel"], atol=1e-5)


# A queue of keys and a momentum encoder


class Moco(Task):
    """Keys of a slow encoder, a queue of past keys as negatives (He et al., Momentum Contrast)."""

    output = FEATURES

    def __init__(self, axis_name, size=32, momentum=0.9):
        self.axis_name, self.size, self.momentum, self.model = axis_name, size, momentum, Linear(num_classes=4)

    def encode(self, params, batch):
        z = self.model.apply({"params": params}, batch["image"], train=False)[0]
        return z / jnp.linalg.norm(z, axis=1, keepdims=True)

    def init(self, rng, batch, weights=None):
        params = self.model.init(rng, batch["image"], train=False)["params"]
        queue = jax.random.normal(rng, (self.size, 4))
        queue = queue / jnp.linalg.norm(queue, axis=1, keepdims=True)
        rows = jnp.full(self.size, -1, jnp.int32)
        return params, {}, {"slow": jax.tree.map(jnp.copy, params), "queue": queue, "rows": rows}

    def loss(self, params, state, batch, rng):
        query, key = self.encode(params, batch), jax.lax.stop_gradient(self.encode(state.extra["slow"], batch))
        logits = jnp.concatenate([jnp.sum(query * key, 1, keepdims=True), query @ state.extra["queue"].T], 1) / 0.2
        loss = jnp.sum(losses.cross_entropy(logits, jnp.zeros(len(query), jnp.int32)))
        carry = {"key": key, "row": batch["index"]}
        return loss, Aux({}, jnp.float32(len(query)), {}, carry)

    def after_update(self, state, aux):
        new = parallel.all_gather(aux.carry, self.axis_name)  # in the order of the global batch
        m, extra = self.momentum, state.extra
        return state.replace(extra={
            "slow": jax.tree.map(lambda slow, fast: m * slow + (1 - m) * fast, extra["slow"], state.params),
            "queue": jnp.concatenate([new["key"], extra["queue"]])[: self.size],
            "rows": jnp.concatenate([new["row"], extra["rows"]])[: self.size],
        })  # fmt: skip

    def predict(self, state, batch):
        return {"features": self.encode(state.params, batch)}


def test_a_queue_holds_the_keys_in_the_order_of_the_batches(tmp_path):
    """However many devices and micro-batches there are; and it comes back after a restart."""
    told, first = six_steps(make_run(task=Moco))
    order = [pipeline.train_rows(s, n=64, batch_size=16, seed=0)["index"] for s in (5, 4)]
    for mode, devices, parts in (("jit", 1, 2), ("jit", 4, 2), ("pmap", 4, 2)):
        losses_n, state = six_steps(make_run(mode=mode, devices=devices, accumulate=parts, task=Moco))
        np.testing.assert_allclose(losses_n, told, rtol=1e-5)
        np.testing.assert_array_equal(state.extra["rows"], np.concatenate(order))
        np.testing.assert_allclose(state.extra["queue"], first.extra["queue"], atol=1e-5)
        np.testing.assert_allclose(state.extra["slow"]["fc"]["kernel"], first.extra["slow"]["fc"]["kernel"], atol=1e-5)
    fit_in_two(make_run(mode="pmap", devices=4, accumulate=2, task=Moco), tmp_path, steps=3)
    np.testing.assert_allclose(recorded(tmp_path), told, rtol=1e-5)
    np.testing.assert_allclose(arrays(tmp_path)["extra/queue"], first.extra["queue"], atol=1e-5)


# Sharpness-aware minimisation: gradients elsewhere


def sam(tx, rho):
    """optax's SAM as one step. It takes no further arguments than `grad_fn`, so the others are left out."""
    inner = optax.contrib.sam(tx, optax.chain(optax.contrib.normalize(), optax.sgd(rho)), opaque_mode=True)

    def update(updates, state, params, *, grad_fn, **_):
        return inner.update(updates, state, params, grad_fn=grad_fn)

    return optax.GradientTransformationExtraArgs(inner.init, update)


@pytest.mark.parametrize("mode, devices, accumulate", [("jit", 1, 1), ("jit", 4, 2), ("pmap", 4, 1)])
def test_sharpness_aware_minimisation_is_its_closed_form(mode, devices, accumulate):
    """Foret et al.: w - rate * gradient at (w + rho * g / |g|). The loop's control scales it besides."""
    over, task, batch = Parallel(mode, devices), Supervised(Linear()), make_batch(16)
    tx = optax.chain(sam(optax.sgd(0.1), 0.05), optim.scale_by_control("lr_scale"))
    state = train_state.create(task, tx, RNG, batch, controls={"lr_scale": 0.5})

    def gradient(params):
        return jax.grad(lambda p: task.loss(p, state, batch, RNG)[0] / 16)(params)

    g = gradient(state.params)
    there = jax.tree.map(lambda p, g_: p + 0.05 * g_ / optax.tree.norm(g), state.params, g)
    expected = jax.tree.map(lambda p, g_: p - 0.05 * g_, state.params, gradient(there))
    plain = jax.tree.map(lambda p, g_: p - 0.05 * g_, state.params, g)
    step = over.compile(make_train_step(task, tx, accumulate=accumulate, axis_name=over.axis_name), (None, 0))
    new, _ = step(over.replicate(jax.device_get(state)), over.split(batch))
    np.testing.assert_allclose(new.params["fc"]["kernel"], expected["fc"]["kernel"], atol=1e-6)
    assert np.abs(plain["fc"]["kernel"] - expected["fc"]["kernel"]).max() > 1e-5


def test_sharpness_aware_minimisation_runs_through_the_loop(tmp_path):
    task = lambda _: Supervised(Linear(num_classes=4))  # noqa: E731
    loop.fit(make_run(task=task, optimiser=lambda rate: sam(optim.sgd(rate), 0.05)), tmp_path / "sam")
    loop.fit(make_run(task=task), tmp_path / "sgd")
    sharp, plain = recorded(tmp_path / "sam"), recorded(tmp_path / "sgd")
    assert sharp[0] == plain[0] and sharp[1:] != plain[1:] and sharp[-1] < sharp[0]


# A rate that follows the validation figures


class Plateau:
    """Halves the rate at every second evaluation; what it remembers lies in the loop's memory alone."""

    def __call__(self, memory, figures):
        assert 0 <= figures["accuracy"] <= 1
        memory["evaluations"] = memory.get("evaluations", 0) + 1
        return {"lr_scale": 0.5 ** (memory["evaluations"] // 2)}


def test_a_controller_sets_the_rate_and_remembers_over_a_restart(tmp_path):
    options = {"validation": 0.25, "every": "1 step", "task": lambda _: Supervised(Linear(num_classes=4))}
    run = make_run(**options, control=Plateau())
    loop.fit(run, tmp_path / "whole")
    fit_in_two(run, tmp_path / "twice", steps=3)
    assert_same_bits(tmp_path / "whole", tmp_path / "twice")
    assert arrays(tmp_path / "twice")["controls/lr_scale"] == 0.125
    meta = view.read_meta(view.find_step(tmp_path / "twice"))
    assert meta.loop["evaluations"] == 6
    loop.fit(make_run(**options), tmp_path / "constant")
    constant, halved = recorded(tmp_path / "constant"), recorded(tmp_path / "whole")
    assert constant[:3] == halved[:3] and constant[3:] != halved[3:]  # first halved for the third update


# A transient part is transient in the results, too


def test_the_final_figures_come_from_a_state_that_is_whole(tmp_path):
    """With a validation split the best checkpoint is restored at the end: its teacher comes from the file again."""
    np.savez(tmp_path / "teacher.npz", w=np.zeros((64, 4), np.float32))
    task = Distill(Supervised(Linear(num_classes=4)), tmp_path / "teacher.npz")
    results = loop.fit(make_run(validation=0.25, task=lambda _: Ema(task, 0.9)), tmp_path / "run")
    assert results["test"]["count"] == 16
    assert json.loads((tmp_path / "run" / "results.json").read_text())["test"]["count"] == 16
