"""Distillation: its formulas against PyTorch's values and closed forms, and the teacher's way through a run."""

import contextlib
import dataclasses
import functools
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import draw
from fixtures.toys import ConvNet, Linear, make_batch
from flax import linen as nn

from jaxcls import build, checkpoint_view, config_file, evaluate, models, teachers, train
from jaxcls import state as train_state
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.models import pretrained, weight_files
from jaxcls.optim import sgd
from jaxcls.parallel import Parallel
from jaxcls.records import read_metrics
from jaxcls.schedules import constant
from jaxcls.step import make_train_step
from jaxcls.tasks import distill
from jaxcls.tasks.distill import Distill
from jaxcls.tasks.supervised import Supervised

REFERENCE = np.load(Path(__file__).parent / "fixtures" / "losses.npz")
ROOT = Path(__file__).resolve().parents[1]
RNG = np.array([0, 3], np.uint32)


class Given(nn.Module):
    """Logits are the parameters themselves, a row a picture."""

    classes: int = 10

    @nn.compact
    def __call__(self, images, *, train):
        return self.param("logits", nn.initializers.zeros, (len(images), self.classes)), {}


@dataclasses.dataclass
class Teacher:
    """What Distill asks a teacher for."""

    model: object
    normalize: tuple | None = None


def reference_batch(n=16):
    image = np.zeros((n, 2, 2, 1), np.float32)
    return {"image": image, "label": REFERENCE["labels"][:n].astype(np.int32), "index": np.arange(n)}


def reference_state(task, batch):
    """Student and teacher that give the stored logits."""
    student, teacher = (jnp.asarray(REFERENCE[key], jnp.float32) for key in ("logits", "teacher_logits"))
    state = train_state.create(task, sgd(constant(0.1)), RNG, batch)
    return state.replace(params={"logits": student}, extra={"teacher": {"params": {"logits": teacher}}})


def mean_loss(task, state, batch):
    """Value and gradient of what the step makes of a task's loss."""

    def mean(params):
        loss, aux = task.loss(params, state, batch, RNG)
        return loss / aux.count

    return jax.jit(jax.value_and_grad(mean))(state.params)


# The formulas


@pytest.mark.parametrize("temperature", [1, 2, 3, 4])
@pytest.mark.parametrize("alpha", [0.5, 0.9])
def test_soft_distillation_equals_pytorch(temperature, alpha):
    task = Distill(Supervised(Given()), lambda: Teacher(Given()), alpha=alpha, temperature=temperature)
    value, gradient = mean_loss(task, reference_state(task, reference_batch()), reference_batch())
    key = f"kd_T{temperature}_alpha{alpha}.mix"
    np.testing.assert_allclose(value, REFERENCE[key], rtol=3e-6)
    np.testing.assert_allclose(gradient["logits"], REFERENCE[f"{key}.grad"], rtol=1e-5, atol=1e-6)


def test_the_gradient_keeps_its_size_when_the_temperature_rises():
    """Hinton et al., section 2.1: for high T it is (z - v) / classes, with both logits centred, whatever T is."""
    student, teacher = REFERENCE["logits"], REFERENCE["teacher_logits"]
    centred = [x - x.mean(axis=1, keepdims=True) for x in (student, teacher)]
    for temperature in (2000.0, 4000.0):
        task = Distill(Supervised(Given()), lambda: Teacher(Given()), alpha=1.0, temperature=temperature)
        _, gradient = mean_loss(task, reference_state(task, reference_batch()), reference_batch())
        expected = (centred[0] - centred[1]) / 10 / 16
        np.testing.assert_allclose(gradient["logits"], expected, atol=0.03 * np.abs(expected).max())


def test_masks_weights_and_class_weights_hold_for_both_parts():
    """Against NumPy in float64; the sum is divided by the weights of the labels, as in the task without a teacher."""
    by_class = np.linspace(0.5, 2, 10)
    task = Distill(Supervised(Given(), class_weight=by_class), lambda: Teacher(Given()), alpha=0.7, temperature=2.0)
    batch = reference_batch()
    mask, weight = (np.arange(16) % 3 > 0).astype(np.float32), np.linspace(0, 2, 16).astype(np.float32)
    state = reference_state(task, batch)
    loss, aux = task.loss(state.params, state, {**batch, "mask": mask, "weight": weight}, RNG)
    z, v = REFERENCE["logits"], REFERENCE["teacher_logits"]
    log = lambda x: x - np.log(np.exp(x).sum(axis=1, keepdims=True))  # noqa: E731
    kl = 4 * (np.exp(log(v / 2)) * (log(v / 2) - log(z / 2))).sum(axis=1)
    each = 0.7 * kl - 0.3 * log(z)[np.arange(16), batch["label"]]
    counts = mask * weight * by_class[batch["label"]]
    assert loss == pytest.approx(counts @ each, rel=1e-5)
    assert aux.count == pytest.approx(counts.sum(), rel=1e-6)
    assert aux.metrics["distillation"][0] == pytest.approx(counts @ kl, rel=1e-5)
    hits = (v.argmax(axis=1) == batch["label"]) @ mask
    assert aux.metrics["teacher_accuracy"] == (hits, mask.sum())


def test_mixed_labels_are_taken():
    task = Distill(Supervised(Given()), lambda: Teacher(Given()), alpha=0.7, temperature=2.0)
    batch = reference_batch()
    state = reference_state(task, batch)
    soft = {**batch, "label": jnp.asarray(np.eye(10)[batch["label"]], jnp.float32)}
    assert task.loss(state.params, state, soft, RNG)[0] == pytest.approx(
        float(task.loss(state.params, state, batch, RNG)[0]), rel=1e-6
    )


def tiny_deit(distilled):
    return models.create(
        "deit_tiny_distilled_patch16_224" if distilled else "deit_tiny_patch16_224", num_classes=10, patch=4, width=8,
        depth=1, heads=2,
    )  # fmt: skip


@pytest.mark.parametrize("distilled", [True, False])
def test_hard_distillation_is_half_the_label_and_half_the_teacher(distilled):
    """Touvron et al., eq. 3; the class token learns the label, the other token the class the teacher finds."""
    model = tiny_deit(distilled)
    task = Distill(Supervised(model), lambda: Teacher(Given()), mode="hard")
    batch = {**reference_batch(4), "image": np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)}
    teacher = jnp.asarray(REFERENCE["teacher_logits"][:4], jnp.float32)

    params = draw(jax.eval_shape(lambda: task.init(RNG, batch))[0])
    state = train_state.TrainState(0, params, {}, None, RNG, {"teacher": {"params": {"logits": teacher}}}, {})

    @jax.jit
    def compared(params):
        logits, out = model.apply({"params": params}, batch["image"], train=True)
        return task.loss(params, state, batch, RNG)[0], logits, {k: v for k, v in out.items() if "logits" in k}

    loss, logits, out = compared(params)
    first, second = (out["class_logits"], out["distillation_logits"]) if distilled else (logits, logits)
    rows = np.arange(4)
    label = -jax.nn.log_softmax(first)[rows, batch["label"]].sum()
    taught = -jax.nn.log_softmax(second)[rows, np.asarray(teacher).argmax(axis=1)].sum()
    assert loss == pytest.approx(float(0.5 * label + 0.5 * taught), rel=1e-5)
    assert not np.array_equal(batch["label"], np.asarray(teacher).argmax(axis=1))  # else the halves could be exchanged


# Hints


class Stages(nn.Module):
    """A map of 4x4 or 2x2 and tokens."""

    features: int
    stride: int = 1
    tokens: int = 3

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.Conv(self.features, (1, 1), strides=self.stride, name="conv")(images)
        out = {"stage1": x, "tokens": jnp.ones((len(x), self.tokens, self.features)), "pre_logits": x.mean((1, 2))}
        return nn.Dense(3, name="fc")(out["pre_logits"]), out


def hinted(hints, teacher, **settings):
    task = Distill(Supervised(Stages(5)), lambda: Teacher(teacher), hints=hints, **settings)
    batch = make_batch(6)
    params = draw(jax.eval_shape(lambda: task.init(RNG, batch))[0])
    variables = draw(jax.eval_shape(lambda: teacher.init(jax.random.key(1), batch["image"], train=False)), seed=1)
    return task, batch, train_state.TrainState(0, params, {}, None, RNG, {"teacher": variables}, {})


def test_hints_are_a_mean_square_through_a_trained_projection():
    task, batch, state = hinted([("stage1", "stage1"), ("pre_logits", "pre_logits")], Stages(7), hint_weight=3.0)
    assert {k: v["kernel"].shape for k, v in state.params["hints"].items()} == {"stage1": (5, 7), "pre_logits": (5, 7)}
    student = {k: v for k, v in state.params.items() if k != "hints"}
    ours = Stages(5).apply({"params": student}, batch["image"], train=True)[1]
    theirs = Stages(7).apply(state.extra["teacher"], batch["image"], train=False)[1]
    apart = sum(
        float(((np.asarray(ours[k]) @ state.params["hints"][k]["kernel"] - np.asarray(theirs[k])) ** 2).mean() * 6)
        for k in ("stage1", "pre_logits")
    )
    plain = Distill(Supervised(Stages(5)), lambda: Teacher(Stages(7)))
    with_hints = jax.value_and_grad(lambda p: task.loss(p, state, batch, RNG), has_aux=True)
    (loss, aux), gradient = jax.jit(with_hints)(state.params)
    without, _ = plain.loss(student, state, batch, RNG)
    assert float(loss - without) == pytest.approx(3 * apart, rel=1e-4)
    assert float(aux.metrics["hints"][0]) == pytest.approx(apart, rel=1e-5)
    assert all(np.abs(g["kernel"]).max() > 0 for g in gradient["hints"].values())
    np.testing.assert_array_equal(
        task.predict(state, batch)["logits"], plain.predict(state.replace(params=student), batch)["logits"]
    )


def test_a_smaller_map_of_the_teacher_is_resampled():
    task, batch, state = hinted([("stage1", "stage1")], Stages(7, stride=2))
    assert np.isfinite(task.loss(state.params, state, batch, RNG)[1].metrics["hints"][0])
    theirs = jnp.full((1, 2, 2, 7), 2.0)
    assert distill.mean_square(jnp.zeros((1, 4, 4, 5)), theirs, jnp.zeros((5, 7))) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("stage9", "stage1"), "the student has no 'stage9'; it has pre_logits, stage1, tokens"),
        (("stage1", "stage9"), "the teacher has no 'stage9'"),
        (("tokens", "tokens"), r"tokens of the student \(3, 5\) can't be compared with tokens of the teacher \(2, 7\)"),
        (("stage1", "tokens"), "can't be compared"),
    ],
)
def test_hints_that_cannot_be_compared_are_refused(pair, message):
    with pytest.raises(UserError, match=message):
        hinted([pair], Stages(7, tokens=2))


# The teacher in the step


def test_a_frozen_teacher_gets_no_gradient_and_does_not_change_a_bit():
    teacher = ConvNet(features=6)
    task, tx, batch = Distill(Supervised(ConvNet()), lambda: Teacher(teacher)), sgd(constant(0.5)), make_batch(8)
    variables = draw(jax.eval_shape(lambda: teacher.init(jax.random.key(1), batch["image"], train=False)))
    held = jax.tree.map(np.array, variables)
    state = jax.jit(lambda: train_state.create(task, tx, RNG, batch))().replace(extra={"teacher": variables})
    slope = jax.grad(lambda held: task.loss(state.params, state.replace(extra={"teacher": held}), batch, RNG)[0])
    assert all(not np.any(g) for g in jax.tree.leaves(jax.jit(slope)(variables)))
    step, begun = jax.jit(make_train_step(task, tx)), state.params
    for seed in range(3):
        state, _ = step(state, make_batch(8, seed=seed))
    jax.tree.map(np.testing.assert_array_equal, held, state.extra["teacher"])
    assert np.any(np.asarray(begun["conv1"]["kernel"]) != np.asarray(state.params["conv1"]["kernel"]))


def test_the_teachers_weights_are_arguments_of_the_step_and_not_constants():
    teacher = Linear(num_classes=3)
    task, tx, batch = Distill(Supervised(Linear()), lambda: Teacher(teacher)), sgd(constant(0.5)), make_batch(8)
    state = train_state.create(task, tx, RNG, batch)
    state = state.replace(extra={"teacher": teacher.init(jax.random.key(1), batch["image"], train=False)})
    jaxpr = jax.make_jaxpr(make_train_step(task, tx))(state, batch)
    assert max((np.size(c) for c in jaxpr.consts), default=0) <= 3  # of 48 weights


def test_a_teacher_normalised_otherwise_sees_the_same_pictures():
    raw = np.random.default_rng(0).integers(0, 256, (4, 3, 3, 3)) / 255
    ours, theirs = build.NORMALIZE["cifar10"], build.NORMALIZE["imagenet"]
    normalised = [((raw - np.array(m)) / np.array(s)).astype(np.float32) for m, s in (ours, theirs)]
    np.testing.assert_allclose(distill.renormalize(normalised[0], ours, theirs), normalised[1], atol=2e-6)
    assert distill.renormalize(normalised[0], ours, None) is normalised[0]
    assert distill.renormalize(normalised[0], ours, ours) is normalised[0]
    grey = distill.renormalize(np.float32(raw[..., :1]), ((0.0,), (1.0,)), ((0.5,), (0.5,)))
    np.testing.assert_allclose(grey, raw[..., :1] * 2 - 1, atol=1e-6)


# Whole runs


def make_config(**distilled):
    """6 steps on 64 pictures of 8x8; keys of config.distill by name."""
    config = default_config()
    config.data.name, config.data.validation = "synthetic/64x8x1x4", 0.25
    config.model.name, config.batch_size = "simple_cnn_16_32", 8
    config.duration, config.log_every, config.eval.every = "6 steps", "1 step", "3 steps"
    config.checkpoint.every = "3 steps"
    config.schedule.name, config.schedule.peak = "constant", 0.1
    for key, value in distilled.items():
        config.distill[key] = value
    return config


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The workdir of a run that can teach."""
    workdir = tmp_path_factory.mktemp("teacher")
    config = make_config()
    config.ema_decay = 0.9
    train.run(config, workdir)
    return workdir


def arrays(workdir):
    return checkpoint_view.read_arrays(checkpoint_view.find_step(workdir))


def recorded(workdir, name="loss"):
    return [line[name] for line in read_metrics(workdir) if line["split"] == "train"]


@pytest.mark.parametrize("cache", [False, True])
def test_a_run_that_goes_on_has_the_bits_of_one_that_was_not_stopped(tmp_path, teacher, cache, capsys):
    job = build.build(make_config(teacher=str(teacher), cache=cache))
    train.fit(job, tmp_path / "whole")
    assert capsys.readouterr().out.count("the teacher's accuracy: ") == 1
    train.fit(dataclasses.replace(job, total_steps=3), tmp_path / "twice")
    train.fit(job, tmp_path / "twice")
    assert capsys.readouterr().out.count("the teacher's accuracy: ") == 1  # at the start, not at the restart
    whole, twice = arrays(tmp_path / "whole"), arrays(tmp_path / "twice")
    assert whole.keys() == twice.keys()
    assert not [name for name in whole if whole[name].tobytes() != twice[name].tobytes()]
    assert not any("teacher" in name for name in whole)
    assert (tmp_path / "whole" / "teacher_logits.npz").is_file() == cache
    meta = checkpoint_view.read_meta(checkpoint_view.find_step(tmp_path / "whole"))
    assert meta["loop"]["teacher"]["model"] == "simple_cnn_16_32"


def test_without_augmentation_the_cached_teacher_says_what_the_living_one_says(tmp_path, teacher):
    for cache in (False, True):
        train.run(make_config(teacher=str(teacher), cache=cache), tmp_path / str(cache))
    np.testing.assert_allclose(recorded(tmp_path / "True"), recorded(tmp_path / "False"), rtol=1e-5)
    with np.load(tmp_path / "True" / "teacher_logits.npz") as file:
        assert file["logits"].shape == (48, 4) and file["logits"].dtype == np.float32


def test_a_cache_of_something_else_or_damaged_is_computed_again(tmp_path, teacher):
    config = make_config(teacher=str(teacher), cache=True)
    train.run(config, tmp_path / "a")
    for content in (b"PK nonsense", None):
        (tmp_path / "b").mkdir(exist_ok=True)
        if content is None:
            np.savez(tmp_path / "b" / "teacher_logits.npz", logits=np.zeros((48, 4), np.float32), key="another")
        else:
            (tmp_path / "b" / "teacher_logits.npz").write_bytes(content)
        job = build.build(config)
        state = job.distillation.complete(job.init_state(), {}, tmp_path / "b", Silent())
        with np.load(tmp_path / "a" / "teacher_logits.npz") as file:
            np.testing.assert_array_equal(state.extra["teacher"]["logits"], file["logits"])


class Silent:
    """A Logger that keeps what it is told."""

    def __init__(self):
        self.told = []
        self.note = self.warn = self.told.append

    def waiting(self, _):
        return contextlib.nullcontext()


@pytest.mark.parametrize("cache", [False, True])
def test_the_result_is_the_same_on_any_devices(tmp_path, teacher, cache):
    seen = []
    for mode, devices in (("jit", 1), ("jit", 4), ("pmap", 4)):
        config = make_config(teacher=str(teacher), cache=cache)
        config.parallel.mode, config.parallel.devices = mode, devices
        job = build.build(config)
        state = job.distillation.complete(job.init_state(), {}, tmp_path, Silent())
        state, told, feed = job.parallel.replicate(state), [], job.train_feed()
        for step in range(3):
            state, found, _ = feed(state, step, 3)
            told.append([float(s / c) for s, c in (found[k] for k in ("loss", "distillation", "teacher_accuracy"))])
        seen.append(told)
    np.testing.assert_allclose(seen[1], seen[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen[2], seen[0], rtol=1e-5, atol=1e-6)


def test_the_averaged_weights_teach_and_predict_as_their_own_run_did(teacher):
    """The workdir's best checkpoint; its logits are those that its run stored."""
    job = build.build(make_config(teacher=str(teacher)))
    best = next(step for step in checkpoint_view.list_steps(teacher) if step.best)
    assert f"step {best.number} " in job.distillation.teacher.title
    found = job.distillation._predict(job, "validation")
    with np.load(teacher / "eval" / f"validation-{best.number}.npz") as stored:
        np.testing.assert_allclose(found["logits"], stored["logits"], atol=1e-5)


def test_evaluating_needs_no_teacher(tmp_path, teacher):
    moved = tmp_path / "teacher"
    moved.symlink_to(teacher)
    config = make_config(teacher=str(moved))
    results = train.run(config, tmp_path / "run")
    moved.unlink()
    assert evaluate.run(config, tmp_path / "run", note=lambda _: None)["test"]["loss"] == results["test"]["loss"]


def test_another_teacher_in_its_place_is_refused(tmp_path, teacher):
    job = build.build(make_config(teacher=str(teacher)))
    with pytest.raises(UserError, match="begun with another teacher than simple_cnn_16_32 from step"):
        job.distillation.complete(job.init_state(), {"teacher": {"sha256": "0"}}, tmp_path, Silent())


def test_published_weights_teach_with_their_own_normalisation(tmp_path):
    """A file of PyTorch; the accuracy is noted, and worse than chance is a warning."""
    net = models.create("simple_cnn_32_64", num_classes=4)
    config = make_config(teacher=str(tmp_path / "t.pth"), model="simple_cnn_32_64", normalize="symmetric")
    image, apply = jnp.zeros((2, 8, 8, 1)), jax.jit(functools.partial(net.apply, train=False))
    variables = draw(jax.eval_shape(lambda key: net.init(key, image, train=False), jax.random.key(4)))
    weight_files.write(tmp_path / "t.pth", pretrained.to_state_dict(variables), {})
    job, log = build.build(config), Silent()
    state = job.distillation.complete(job.init_state(), {}, tmp_path, log)
    jax.tree.map(np.testing.assert_array_equal, state.extra["teacher"]["params"], variables["params"])
    found = job.distillation._predict(job, "validation")
    pictures = np.float32(job.sources["validation"].images) / 255 * 2 - 1
    np.testing.assert_allclose(found["logits"], apply(variables, pictures)[0], atol=1e-4)
    accuracy = (found["logits"].argmax(axis=1) == found["label"]).mean()
    assert log.told == [f"the teacher's accuracy: {accuracy:.2%} of 16 validation pictures"]


# Mistakes


def refused(tmp_path, message, config):
    with pytest.raises(UserError, match=message):
        train.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_classes_is_refused(tmp_path, teacher):
    config = make_config(teacher=str(teacher))
    config.data.name = "synthetic/64x8x1x5"
    refused(tmp_path, "knows 4 classes, the student 5", config)
    net = models.create("lenet5", num_classes=10)
    shapes = jax.eval_shape(lambda k, x: net.init(k, x, train=False), jax.random.key(0), jnp.zeros((2, 28, 28, 1)))
    zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    weight_files.write(tmp_path / "t.safetensors", pretrained.to_state_dict(zeros), {})
    config = make_config(teacher=str(tmp_path / "t.safetensors"), model="lenet5")
    config.data.name = "synthetic/64x28x1x4"
    refused(tmp_path, "for 4 classes in it .the file has 10 classes, the model 4", config)


def test_classes_in_another_order_are_refused():
    with pytest.raises(UserError, match="in another order"):
        teachers._check_classes("config.distill.teacher=x", ["a", "b"], ["b", "a"])


MISTAKES = [
    ({"teacher": "nowhere"}, "config.distill.teacher=nowhere: .*nowhere is no folder"),
    ({"teacher": "init"}, "'init' is an untrained net; name it in config.distill.model"),
    ({"teacher": "init", "model": "lenet6"}, "config.distill.model: there is no model 'lenet6'; did you mean lenet5"),
    ({"teacher": "init", "model": "lenet5"}, "teacher=init does not take pictures of .8, 8, 1."),
    ({"teacher": "none.pth", "model": "simple_cnn_16_32"}, "weights none.pth: there is no such file"),
    ({"teacher": "init", "model": "simple_cnn_16_32", "normalize": "mnits"}, "config.distill.normalize is 'mnits'"),
    ({"teacher": "init", "model": "simple_cnn_16_32", "fields": ("stem",)}, "takes name=value, .* not 'stem'"),
    ({"teacher": "init", "model": "simple_cnn_16_32", "mode": "harder"}, "config.distill.mode is 'harder'"),
    ({"teacher": "init", "model": "simple_cnn_16_32", "alpha": 1.5}, "config.distill.alpha is 1.5; it must be"),
    ({"teacher": "init", "model": "simple_cnn_16_32", "temperature": 0.0}, "config.distill.temperature is 0.0"),
    ({"teacher": "init", "model": "simple_cnn_16_32", "mode": "hard", "alpha": 0.5}, "distill.alpha=0.5 has no effect"),
    ({"teacher": "init", "model": "simple_cnn_16_32", "hints": ("stage7",)}, "the student has no 'stage7'"),
    ({"teacher": "init", "model": "simple_cnn_16_32", "hints": ("stage1",), "cache": True}, "hints need the teacher"),
    ({"alpha": 0.5}, "config.distill.alpha=0.5 has no effect"),
]


@pytest.mark.parametrize(("settings", "message"), MISTAKES)
def test_mistakes_are_told_before_anything_compiles(tmp_path, settings, message):
    refused(tmp_path, message, make_config(**settings))


def test_an_unfinished_or_damaged_teacher_and_the_run_itself_are_refused(tmp_path, teacher):
    broken = tmp_path / "broken"
    shutil.copytree(teacher, broken)
    step = checkpoint_view.find_step(broken)
    (step / "meta" / "metadata").write_text("{}")
    refused(tmp_path, "is damaged", make_config(teacher=str(step)))
    for manifest in (broken / "manifests").iterdir():
        manifest.unlink()
    refused(tmp_path, "holds no finished checkpoint", make_config(teacher=str(broken)))
    job = build.build(make_config(teacher=str(teacher)))
    with pytest.raises(UserError, match="is the --workdir of this run itself"):
        job.distillation.check(teacher)


def test_a_cache_and_mixed_pictures_are_refused(tmp_path, teacher):
    config = make_config(teacher=str(teacher), cache=True)
    config.data.augment = ("mixup(0.2)",)
    refused(tmp_path, "config.distill.cache knows no mixed pictures", config)


def test_a_cache_of_augmented_pictures_is_told(tmp_path, teacher):
    config = make_config(teacher=str(teacher), cache=True)
    assert len(build.build(config).distillation.check(tmp_path)) == 1
    config.data.augment = ("crop(8, pad=1)",)
    assert "computed once, of pictures without augmentation" in build.build(config).distillation.check(tmp_path)[1]


def test_pretrained_weights_of_the_student_leave_the_hints_alone(tmp_path):
    net = models.create("simple_cnn_16_32", num_classes=4)
    variables = draw(
        jax.eval_shape(lambda k, x: net.init(k, x, train=False), jax.random.key(0), jnp.zeros((2, 8, 8, 1)))
    )
    weight_files.write(tmp_path / "s.pth", pretrained.to_state_dict(variables), {})
    config = make_config(teacher="init", model="simple_cnn_32_64", hints=("stage1", "stage2=stage2"))
    config.model.pretrained = str(tmp_path / "s.pth")
    state, report = build.build(config).first_state()
    assert not report.kept and state.params["hints"]["stage2"]["kernel"].shape == (32, 64)
    np.testing.assert_array_equal(state.params["fc2"]["kernel"], variables["params"]["fc2"]["kernel"])


# The recipes


@pytest.mark.parametrize("name", ["distill_mobilenet_v2", "distill_resnet18"])
def test_the_recipes_for_cifar100_can_be_built(name):
    """With as many pictures as CIFAR-100 has the schedule is possible; the models fit pictures of 32x32."""
    config = config_file.load(f"{ROOT}/configs/{name}.py:cifar100")
    assert (config.distill.alpha, config.distill.temperature) == (0.7, 4.0)
    steps_per_epoch, durations = build.build_durations(build.Reader(config), 50_000, Parallel("jit", 1))
    assert (steps_per_epoch, durations["total_steps"]) == (390, 78_000)
    config.data.name = "synthetic/128x32x3x100"
    job = build.build(config)
    assert job.model.num_classes == 100 and job.model.stem == "cifar" and job.distillation.of_run
