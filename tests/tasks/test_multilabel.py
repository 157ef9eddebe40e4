"""The task of sets of labels: its formulas, what mixes and distils them, and which settings go with it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures.toys import Linear, make_batch
from flax import linen as nn
from sklearn.metrics import f1_score

from jaxcls import augment, losses, optim, set_metrics
from jaxcls import state as train_state
from jaxcls.augment.base import Context
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.optim import schedules
from jaxcls.tasks.base import SIGMOID
from jaxcls.tasks.distill import Distill
from jaxcls.tasks.multilabel import MultiLabel
from jaxcls.tasks.supervised import Supervised
from jaxcls.tasks.tta import averaged
from jaxcls.tasks.wrappers import Ema
from jaxcls.training import build
from jaxcls.training.step import make_train_step

RNG = np.array([0, 11], np.uint32)
RANDOM = np.random.default_rng(3)
LOGITS = RANDOM.normal(size=(16, 5)).astype(np.float32) * 2
TEACHER = RANDOM.normal(size=(16, 5)).astype(np.float32) * 2
SETS = (RANDOM.random((16, 5)) < 0.4).astype(np.uint8)
SETS[3] = 0


class Given(nn.Module):
    """Logits are the parameters themselves, a row a picture."""

    @nn.compact
    def __call__(self, images, *, train):
        return self.param("logits", nn.initializers.zeros, (len(images), 5)), {}


@dataclasses.dataclass
class Teacher:
    model: object
    normalize: tuple | None = None


def batch_of(label=SETS, **more):
    return {"image": np.zeros((16, 2, 2, 1), np.float32), "label": label, "index": np.arange(16), **more}


def summed(task, label=SETS, **more):
    """(loss, aux) of the given logits."""
    batch = batch_of(label, **more)
    state = train_state.create(task, optim.sgd(schedules.constant(0.1)), RNG, batch)
    state = state.replace(extra={"teacher": {"params": {"logits": jnp.asarray(TEACHER)}}})
    return task.loss({"logits": jnp.asarray(LOGITS)}, state, batch, RNG)


def binary(logits, y):
    """The binary cross entropy [n, classes], float64."""
    x = logits.astype(np.float64)
    return y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x)


# The formulas


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_binary_cross_entropy_with_smoothing_over_yes_and_no(smoothing):
    weight, mask = np.linspace(0, 2, 16).astype(np.float32), np.float32([1] * 14 + [0, 0])
    loss, aux = summed(MultiLabel(Given(), label_smoothing=smoothing), weight=weight, mask=mask)
    expected = binary(LOGITS, (1 - smoothing) * SETS + smoothing / 2).mean(axis=1)
    assert loss == pytest.approx(np.dot(expected, weight * mask), rel=1e-5)
    assert aux.count == pytest.approx(np.sum(weight * mask))


def test_metrics_of_training_are_scikit_learns_of_the_unmasked():
    mask = np.float32([1] * 12 + [0] * 4)
    _, aux = summed(MultiLabel(Given()), mask=mask)
    said, there = LOGITS[:12] >= 0, SETS[:12]
    pairs = {name: float(s / n) for name, (s, n) in aux.metrics.items()}
    assert pairs["exact"] == pytest.approx((said == there).all(axis=1).mean())
    assert pairs["f1_micro"] == pytest.approx(f1_score(there, said, average="micro"))
    _, aux = summed(MultiLabel(Given()), label=(0.6 * SETS + 0.4 * (1 - SETS)).astype(np.float32), mask=mask)
    assert float(aux.metrics["exact"][0]) == (said == there).all(axis=1).sum()  # the larger share of a mix counts


def test_metrics_of_training_agree_with_those_of_evaluation_where_a_row_is_not_finite():
    task, logits = MultiLabel(Given()), LOGITS.copy()
    logits[[2, 7]] = np.nan
    figures, pairs = set_metrics.of_sets(logits, SETS), task.measured(jnp.asarray(logits), SETS, jnp.ones(16))
    for name, (total, count) in pairs.items():
        assert float(total / count) == pytest.approx(figures[name]), name


def test_auxiliary_classifiers_and_weights_of_presence():
    weight = np.float32([1, 2, 0.5, 3, 1])

    def loss(logits, target, label_smoothing):
        return losses.binary_cross_entropy(logits, target, label_smoothing=label_smoothing, positive_weight=weight)

    total, label_weight = MultiLabel(Given(), loss=loss, aux_weight=0.3).example_loss(
        jnp.asarray(LOGITS), {"aux_logits": [jnp.asarray(TEACHER)]}, SETS
    )
    each = [binary(x, SETS) * np.where(SETS, weight, 1) for x in (LOGITS, TEACHER)]
    np.testing.assert_allclose(total, (each[0] + 0.3 * each[1]).mean(axis=1), rtol=1e-5)
    assert label_weight == 1


def test_micro_batches_give_the_step_of_the_whole_batch_and_the_average_learns():
    batch = {**make_batch(12), "label": SETS[:12, :3]}
    task, tx = Ema(MultiLabel(Linear()), 0.5), optim.sgd(schedules.constant(0.2))
    state = train_state.create(task, tx, RNG, batch)
    whole, parts = (jax.jit(make_train_step(task, tx, accumulate=a))(state, batch)[0] for a in (1, 3))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    before, after = (task.loss(s.params, s, batch, RNG)[0] for s in (state, whole))
    assert after < before


# Mixing


@pytest.mark.parametrize("spec", ["mixup(1.0)", "cutmix(1.0)"])
def test_sets_mix_as_pictures_do(spec):
    """White and black pictures: the share of white is that of the first label, which a pair's two labels share out."""
    context = Context(classes=5, batch_size=16)
    train = augment.device_transform([augment.parse(spec)], random=True, context=context)
    image = np.zeros((16, 4, 4, 1), np.uint8)
    image[::2] = 255
    label = np.zeros((16, 5), np.uint8)
    label[:, 4], label[::2, :2], label[1::2, 2] = 1, 1, 1  # pictures of two labels and of one; the last is everywhere
    keys = jax.random.split(jax.random.key(0), 16)
    made = jax.jit(train)(keys, {"image": image, "label": label})
    assert made["label"].dtype == jnp.float32 and made["label"].shape == (16, 5)
    white = np.asarray(made["image"]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(made["label"][:, 0], white, atol=1e-5)
    np.testing.assert_allclose(made["label"][:, 1], white, atol=1e-5)
    np.testing.assert_allclose(made["label"][:, 2], 1 - white, atol=1e-5)
    np.testing.assert_allclose(made["label"][:, 4], 1, atol=1e-6)
    assert white.std() > 0.05


# Distillation and views


@pytest.mark.parametrize("sum_classes", [False, True])
def test_soft_distillation_compares_yes_and_no_of_each_class(sum_classes):
    loss = lambda x, y, **k: losses.binary_cross_entropy(x, y, sum_classes=sum_classes, **k)  # noqa: E731
    task = MultiLabel(Given(), loss=loss, sum_classes=sum_classes)
    total, aux = summed(Distill(task, lambda: Teacher(Given()), alpha=0.7, temperature=3.0))
    p, q = (1 / (1 + np.exp(-x.astype(np.float64) / 3)) for x in (TEACHER, LOGITS))
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    expected = 0.7 * 9 * divergence + 0.3 * binary(LOGITS, SETS)
    assert total == pytest.approx(expected.sum() / (1 if sum_classes else 5), rel=1e-4)
    assert {"exact", "f1_micro", "teacher_exact", "teacher_f1_micro", "distillation"} == set(aux.metrics)


def test_hard_distillation_learns_the_classes_that_the_teacher_finds():
    total, _ = summed(Distill(MultiLabel(Given()), lambda: Teacher(Given()), mode="hard"))
    expected = 0.5 * binary(LOGITS, SETS) + 0.5 * binary(LOGITS, TEACHER >= 0)
    assert total == pytest.approx(expected.mean(axis=1).sum(), rel=1e-5)


def test_the_mean_of_probabilities_over_views_is_that_of_sigmoids():
    images = jnp.asarray(RANDOM.normal(size=(3, 2, 4, 1)).astype(np.float32))
    answer = lambda x: {"logits": x[:, 0, :, 0] * 3}  # noqa: E731
    out = averaged(answer, images, ("flip",), "probabilities", SIGMOID)["logits"]
    p = [1 / (1 + np.exp(-np.asarray(answer(x)["logits"], np.float64))) for x in (images, images[:, :, ::-1])]
    np.testing.assert_allclose(1 / (1 + np.exp(-np.asarray(out, np.float64))), np.mean(p, axis=0), rtol=1e-5)


# Configs


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """A file of 80 pictures with sets of three classes."""
    path = tmp_path_factory.mktemp("sets") / "sets.npz"
    rng = np.random.default_rng(0)
    labels = (rng.random((80, 3)) < [0.5, 0.25, 0.1]).astype(np.uint8)
    labels[:3] = np.eye(3)
    labels[3] = 1
    np.savez(path, images=rng.integers(0, 256, (80, 8, 8, 1), np.uint8), labels=labels)
    return f"arrays/{path}"


def config_of(arrays, **changes):
    config = default_config()
    config.data.name, config.data.validation, config.batch_size, config.model.name = arrays, 0.25, 8, "simple_cnn_16_32"
    config.update_from_flattened_dict(changes)
    return config


def test_a_config_on_sets_learns_sets(arrays):
    run = build.build(config_of(arrays))
    assert isinstance(run.task.inner, MultiLabel) and run.task.output == SIGMOID
    assert run.training.best.name == "mAP" and run.task.inner.sum_classes
    assert isinstance(build.build(config_of("synthetic/96x8x1x3")).task.inner, Supervised)


def test_the_cross_entropy_of_sets_has_the_slope_of_the_softmax_ones(arrays):
    slope = jax.grad(lambda x: build.build(config_of(arrays)).task.inner.loss_of(x, SETS * 1.0).sum())(LOGITS)
    np.testing.assert_allclose(slope, 1 / (1 + np.exp(-LOGITS)) - SETS, rtol=1e-4, atol=1e-6)


def test_auto_weights_are_those_of_absence_against_presence(arrays):
    run = build.build(config_of(arrays, **{"loss.class_weight": "auto"}))
    labels = run.data.sources["train"].labels
    weight = run.task.inner.loss_of.keywords["positive_weight"]
    np.testing.assert_allclose(np.array(weight), (labels == 0).sum(axis=0) / labels.sum(axis=0), rtol=1e-6)


def test_the_asymmetric_loss_takes_its_numbers_from_the_config(arrays):
    changes = {"loss.name": "asymmetric", "loss.gamma_neg": 2.0, "loss.clip": 0.1, "loss.sum_classes": True}
    loss = build.build(config_of(arrays, **changes)).task.inner.loss_of
    expected = losses.asymmetric(LOGITS, SETS * 1.0, gamma_neg=2.0, clip=0.1, sum_classes=True)
    np.testing.assert_allclose(loss(LOGITS, SETS * 1.0), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"loss.name": "focal"}, "config.loss.name 'focal' is of one class a picture"),
        ({"loss.name": "poly1"}, "use binary_cross_entropy or asymmetric"),
        ({"loss.name": "asymetric"}, "asymmetric"),
        ({"loss.consistency": 12.0, "data.augment": ("augmix",)}, "config.loss.consistency is of one class"),
        ({"data.sampling": "balanced"}, "config.data.sampling 'balanced' is of one class"),
        ({"data.imbalance": 4.0}, "config.data.imbalance is of one class"),
        ({"loss.class_weight": "1, 2"}, "2 numbers, but there are 3 classes"),
        ({"ssl.method": "simclr", "data.augment": ("flip",)}, "the labels are sets; set config.monitor.knn=''"),
        ({"eval.best": "accuracies"}, "mAP"),
        ({"loss.gamma_neg": -1.0}, "loss.gamma_neg"),
    ],
)
def test_what_does_not_go_with_sets_is_refused_in_a_line(arrays, changes, told):
    with pytest.raises(UserError) as error:
        build.build(config_of(arrays, **changes))
    assert told in str(error.value) and "\n" not in str(error.value)


def test_features_are_learned_without_looking_at_sets(arrays):
    changes = {"ssl.method": "simclr", "monitor.knn": "", "monitor.probe": False, "data.augment": ("flip",)}
    run = build.build(config_of(arrays, **changes))
    feed, state = run.train_feed(), run.parallel.replicate(run.init_state())
    _, metrics, _ = feed(state, 0, 1)
    assert np.isfinite(metrics["loss"][0])


def test_a_teacher_that_knows_one_class_does_not_teach_sets(arrays, tmp_path):
    changes = {"distill.teacher": "init", "distill.model": "simple_cnn_16_32"}
    run = build.build(config_of(arrays, **changes))
    teacher = run.training.teacher
    assert teacher.check(tmp_path)  # an untrained one is taken for what is learned
    teacher.network = dataclasses.replace(teacher.network, output="softmax")
    with pytest.raises(UserError, match="answers with softmax, but what is learned is sigmoid"):
        teacher.check(tmp_path)
