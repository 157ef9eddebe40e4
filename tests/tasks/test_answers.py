"""Whatever changes the function, or only the learning: what comes after training gets the answer that was evaluated."""

import dataclasses
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures import toys
from flax import linen as nn
from safetensors.numpy import load_file

from jaxcls import losses, models
from jaxcls.checkpoints import store, view
from jaxcls.classical import probe
from jaxcls.cli.command import main
from jaxcls.criteria import Figure
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.models import simple_cnn
from jaxcls.models.state_dict import to_state_dict
from jaxcls.predict.predictor import Predictor
from jaxcls.state import Aux
from jaxcls.tasks import networks
from jaxcls.tasks.base import FEATURES, Task
from jaxcls.tasks.supervised import Supervised
from jaxcls.training import build, loop

BATCH = 16  # of the evaluation
CASES = {
    "plain": {},
    "average": {"ema_decay": 0.5},
    "hints": {"distill.teacher": "init", "distill.model": "toy_cnn", "distill.hints": ("stage1", "stage2")},
    "views": {"eval.tta": ("shift(1)", "flip"), "eval.tta_mean": "probabilities", "ema_decay": 0.5},
    "neck": {"model.neck": "fpn(8)"},
    "quantised": {"model.fields": {"bits": 3}, "ema_decay": 0.5},
    "projector": {},
}


class Toy(simple_cnn.SimpleCNN):
    """SimpleCNN whose weights are rounded to 2**bits levels, with a straight-through gradient; 0: as they are."""

    bits: int = 0

    @nn.compact
    def __call__(self, images, *, train=False):
        def rounded(tree):
            def fake(w):
                scale = jnp.max(jnp.abs(w)) / 2 ** (self.bits - 1)
                return w + jax.lax.stop_gradient(jnp.round(w / scale) * scale - w)

            return jax.tree.map(fake, tree) if self.bits else tree

        net = nn.map_variables(simple_cnn.SimpleCNN, "params", rounded, init=self.is_initializing())
        options = {"num_classes": self.num_classes, "channels": self.channels, "hidden": self.hidden}
        return net(name="net", **options)(images, train=train)


class Projected(Task):
    """SimCLR's shape: an encoder that stays, and a projector that only learning needs. It predicts no classes."""

    output = FEATURES
    criteria = (Figure("neighbour_accuracy", share=True),)
    needs = ("train",)

    def __init__(self, data, model):
        self.model, self.projector = model.module.clone(num_classes=0), nn.Dense(4)

    def init(self, rng, batch, weights=None):
        encoder = self.model.init(rng, batch["image"], train=False)["params"]
        features = self.model.apply({"params": encoder}, batch["image"], train=False)[1]["pre_logits"]
        return {"encoder": encoder, "projector": self.projector.init(rng, features)["params"]}, {}, {}

    def loss(self, params, state, batch, rng):
        def project(image):
            features = self.model.apply({"params": params["encoder"]}, image, train=True)[1]["pre_logits"]
            z = self.projector.apply({"params": params["projector"]}, features)
            return z / jnp.linalg.norm(z, axis=1, keepdims=True)

        a, b = (project(batch["views"][:, i]) for i in range(2))
        loss = jnp.sum(losses.cross_entropy(a @ b.T / 0.2, jnp.arange(len(a))))
        return loss, Aux({}, jnp.float32(len(a)), {})

    def answering(self, state, *, averaged=True):
        return {"params": state.params["encoder"]}

    def figures(self, predictions, others):
        bank = others["train"]
        apart = ((predictions["features"][:, None] - bank["features"][None]) ** 2).sum(-1)
        right = bank["label"][apart.argmin(1)] == predictions["label"]
        return {"neighbour_accuracy": float(right.mean()), "count": len(right)}


def make_config(**settings):
    """4 steps on 96 pictures of 8x8 and two evaluations of each split; keys with dots."""
    config = default_config()
    config.data.name, config.data.validation = "synthetic/96x8x1x4", 0.25
    config.data.augment = ("crop(8, pad=1)", "flip")
    config.model.name, config.batch_size, config.duration = "toy_cnn", 8, "4 steps"
    config.eval.every, config.eval.batch_size, config.parallel.devices = "2 steps", BATCH, 1
    config.schedule.name, config.schedule.peak = "constant", 0.05
    config.update_from_flattened_dict({key: value for key, value in settings.items() if key != "model.fields"})
    with config.model.fields.unlocked():
        config.model.fields.update(settings.get("model.fields", {}))
    return config


def toy(**fields):
    return Toy(**{"channels": (4, 8), "hidden": 16, **fields})


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """(name, built run, workdir of the finished run)."""
    with toys.registered(toy_cnn=toy):
        name, seams = request.param, {}
        if name == "projector":
            seams = {"task": Projected, "views": 2}
        run, workdir = build.build(make_config(**CASES[name]), **seams), tmp_path_factory.mktemp("run") / name
        loop.fit(run, workdir)
        yield name, run, workdir


def stored(workdir):
    """(what the evaluation of the test split stored, of which step)."""
    step = json.loads((workdir / "results.json").read_text())["test"]["step"]
    with np.load(workdir / "eval" / f"test-{step}.npz") as file:
        return dict(file), step


def test_the_predictor_answers_as_the_evaluation_did(case):
    """To the bit at the evaluation's batch size, closely at others; its function is the same."""
    name, run, workdir = case
    expected, step = stored(workdir)
    predictor = Predictor.load(workdir, sizes=(BATCH,))
    images = np.stack([predictor.prepare(image) for image in run.data.sources["test"].images])
    answers, key = (predictor.features, "features") if name == "projector" else (predictor.logits, "logits")
    assert predictor.step == step and predictor.network.key == key and len(images) == 24
    np.testing.assert_array_equal(answers(images[:BATCH]), expected[key][:BATCH])
    np.testing.assert_allclose(answers(images), expected[key], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jax.jit(predictor.function())(images[:3]), expected[key][:3], rtol=1e-5, atol=1e-5)
    if name == "quantised":  # without its field the same weights answer otherwise
        plain = dataclasses.replace(predictor.network, model=models.create("toy_cnn", num_classes=4))
        assert np.abs(plain.function()(images) - expected[key]).max() > 0.01
    if name == "projector":
        with pytest.raises(UserError, match="its answer is features and no classes; `features` gives them"):
            predictor.logits(images)


def test_weights_for_others_hold_the_model_and_nothing_else(case, tmp_path):
    name, run, workdir = case
    assert main(["export", str(workdir), "--out", str(tmp_path / "w.safetensors")]) == 0
    network = networks.from_run(workdir)
    image = jnp.zeros((1, *run.data.picture))
    fresh = jax.eval_shape(lambda key: network.model.init(key, image, train=False), jax.random.key(0))
    found = load_file(tmp_path / "w.safetensors")
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), fresh)
    assert {key: x.shape for key, x in found.items()} == {key: x.shape for key, x in to_state_dict(zeros).items()}
    for key, value in to_state_dict(network.variables).items():
        np.testing.assert_array_equal(found[key], value)
    assert network.averaged == bool(run.data and "ema_decay" in CASES[name])


def test_a_probe_sees_the_features_of_the_model_that_answers(case, tmp_path):
    name, run, workdir = case
    options = probe.Options(method="knn", k=3)
    results = probe.run(probe.config_of_run(workdir), probe.of_run(workdir), options, tmp_path)
    assert results["test"]["count"] == 24
    network = networks.from_run(workdir)
    images = run.data.evaluation.device(run.data.sources["test"].images)
    _, out = network.model.apply(network.variables, images, train=False)
    with np.load(tmp_path / "features-test.npz") as file:
        np.testing.assert_allclose(file["features"], out["pre_logits"], rtol=1e-5, atol=1e-5)


def test_the_report_says_what_was_measured(case):
    name, run, workdir = case
    page, figures = (workdir / "report.html").read_text(), json.loads((workdir / "results.json").read_text())["test"]
    first = run.task.criteria[0].name
    assert f"{100 * figures[first]:.1f}".rstrip("0").rstrip(".") in page and "24" in page
    assert ("Confusion" in page) == (name != "projector") and "Training" in page


def test_the_best_checkpoint_is_chosen_by_the_tasks_first_figure(case):
    _, run, workdir = case
    first = run.task.criteria[0].name
    measured = {step.number: step.metrics[f"validation_{first}"] for step in view.list_steps(workdir)}
    best = next(step.number for step in view.list_steps(workdir) if step.best)
    assert measured[best] == max(measured.values())
    with np.load(workdir / "eval" / f"validation-{best}.npz") as file:
        outputs = dict(file)
    if run.task.output != FEATURES:
        right = float((outputs["logits"].argmax(1) == outputs["label"]).mean())
        assert measured[best] == pytest.approx(right)
    told = json.loads((workdir / "eval" / f"validation-{best}.json").read_text())
    assert told[first] == measured[best]


def test_a_model_that_nobody_can_build_again_is_told_before_and_after(tmp_path, capsys):
    """A task that answers with another module than config.model describes: training works, prediction says why not."""
    with toys.registered(toy_cnn=toy):
        answers = lambda data, model: Supervised(model.module.clone(bits=2))  # noqa: E731
        run = build.build(make_config(), task=answers)
        assert run.answer.model is None
        loop.fit(run, tmp_path / "run")
        assert "prediction and export will not be possible: its task answers with a Toy" in capsys.readouterr().out
        assert main(["predict", str(tmp_path / "run"), "x.png"]) == 2
    error = capsys.readouterr().err
    assert re.search("its model can't be built again: its task answers with a Toy that config.model", error)
    assert error.count("\n") == 1


def test_an_answer_of_version_1_is_right_or_refused_in_a_line(case, tmp_path):
    """Checkpoints without `answer` are read by names of before, which knew averages and hints, and no projectors."""
    name, run, workdir = case
    old = shutil.copytree(workdir, tmp_path / "old")
    for step in view.list_steps(old):
        path = step.path / "meta" / "metadata"
        meta = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("answer", "figures", "version")}
        path.write_text(json.dumps(meta))
        store.write_manifest(step.path)
    if name == "projector":
        with pytest.raises(UserError, match="does not say which of its arrays answer") as caught:
            networks.from_run(old)
        assert "\n" not in str(caught.value)
        return
    expected, images = stored(workdir)[0]["logits"], run.data.sources["test"].images
    np.testing.assert_array_equal(Predictor.load(old, sizes=(BATCH,)).logits(images[:BATCH]), expected[:BATCH])
