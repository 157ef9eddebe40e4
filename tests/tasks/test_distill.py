"""The distillation task: its formulas against PyTorch's values and closed forms, hints, the teacher in the step."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import draw
from fixtures.toys import ConvNet, Linear, make_batch
from flax import linen as nn

from jaxcls import models
from jaxcls import state as train_state
from jaxcls.errors import UserError
from jaxcls.optim import sgd
from jaxcls.optim.schedules import constant
from jaxcls.tasks import distill
from jaxcls.tasks.distill import Distill
from jaxcls.tasks.supervised import Supervised
from jaxcls.training import build
from jaxcls.training.step import make_train_step

REFERENCE = np.load(Path(__file__).parents[1] / "fixtures" / "losses.npz")
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
