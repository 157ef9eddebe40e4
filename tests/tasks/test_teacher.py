"""The teacher's way through whole runs: where it comes from, caching, restarts, devices, mistakes, recipes."""

import contextlib
import functools
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs
from draws import draw

from jaxcls import models
from jaxcls.checkpoints import view
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.logs.records import read_metrics
from jaxcls.models import pretrained, weight_files
from jaxcls.parallel import Parallel
from jaxcls.settings import config_file
from jaxcls.tasks import networks
from jaxcls.training import build, evaluate, loop

pytestmark = pytest.mark.usefixtures("bare_end")

ROOT = Path(__file__).resolve().parents[2]


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
    loop.run(config, workdir)
    return workdir


def arrays(workdir):
    return view.read_arrays(view.find_step(workdir))


def recorded(workdir, name="loss"):
    return [line[name] for line in read_metrics(workdir) if line["split"] == "train"]


@pytest.mark.parametrize("cache", [False, True])
def test_a_run_that_goes_on_has_the_bits_of_one_that_was_not_stopped(tmp_path, teacher, cache, capsys):
    run = build.build(make_config(teacher=str(teacher), cache=cache))
    loop.fit(run, tmp_path / "whole")
    assert capsys.readouterr().out.count("the teacher's accuracy: ") == 1
    loop.fit(runs.changed(run, total_steps=3), tmp_path / "twice")
    loop.fit(run, tmp_path / "twice")
    assert capsys.readouterr().out.count("the teacher's accuracy: ") == 1  # at the start, not at the restart
    whole, twice = arrays(tmp_path / "whole"), arrays(tmp_path / "twice")
    assert whole.keys() == twice.keys()
    assert not [name for name in whole if whole[name].tobytes() != twice[name].tobytes()]
    assert not any("teacher" in name for name in whole)
    assert (tmp_path / "whole" / "teacher_logits.npz").is_file() == cache
    meta = view.read_meta(view.find_step(tmp_path / "whole"))
    assert meta.loop["teacher"]["model"] == "simple_cnn_16_32"


def test_without_augmentation_the_cached_teacher_says_what_the_living_one_says(tmp_path, teacher):
    for cache in (False, True):
        loop.run(make_config(teacher=str(teacher), cache=cache), tmp_path / str(cache))
    np.testing.assert_allclose(recorded(tmp_path / "True"), recorded(tmp_path / "False"), rtol=1e-5)
    with np.load(tmp_path / "True" / "teacher_logits.npz") as file:
        assert file["logits"].shape == (48, 4) and file["logits"].dtype == np.float32


def test_a_cache_of_something_else_or_damaged_is_computed_again(tmp_path, teacher):
    config = make_config(teacher=str(teacher), cache=True)
    loop.run(config, tmp_path / "a")
    for content in (b"PK nonsense", None):
        (tmp_path / "b").mkdir(exist_ok=True)
        if content is None:
            np.savez(tmp_path / "b" / "teacher_logits.npz", logits=np.zeros((48, 4), np.float32), key="another")
        else:
            (tmp_path / "b" / "teacher_logits.npz").write_bytes(content)
        run = build.build(config)
        state = run.training.teacher.complete(run.init_state(), {}, tmp_path / "b", Silent())
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
        run = build.build(config)
        state = run.training.teacher.complete(run.init_state(), {}, tmp_path, Silent())
        state, told, feed = run.parallel.replicate(state), [], run.train_feed()
        for step in range(3):
            state, found, _ = feed(state, step, 3)
            told.append([float(s / c) for s, c in (found[k] for k in ("loss", "distillation", "teacher_accuracy"))])
        seen.append(told)
    np.testing.assert_allclose(seen[1], seen[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen[2], seen[0], rtol=1e-5, atol=1e-6)


def test_the_averaged_weights_teach_and_predict_as_their_own_run_did(teacher):
    """The workdir's best checkpoint; its logits are those that its run stored."""
    run = build.build(make_config(teacher=str(teacher)))
    best = next(step for step in view.list_steps(teacher) if step.best)
    assert f"step {best.number} " in run.training.teacher.network.title
    found = run.training.teacher._predict(run.data.sources["validation"])
    with np.load(teacher / "eval" / f"validation-{best.number}.npz") as stored:
        np.testing.assert_allclose(found["logits"], stored["logits"], atol=1e-5)


def test_evaluating_needs_no_teacher(tmp_path, teacher):
    moved = tmp_path / "teacher"
    moved.symlink_to(teacher)
    config = make_config(teacher=str(moved))
    results = loop.run(config, tmp_path / "run")
    moved.unlink()
    assert evaluate.run(config, tmp_path / "run", note=lambda _: None)["test"]["loss"] == results["test"]["loss"]


def test_another_teacher_in_its_place_is_refused(tmp_path, teacher):
    run = build.build(make_config(teacher=str(teacher)))
    with pytest.raises(UserError, match="begun with another teacher than simple_cnn_16_32 from step"):
        run.training.teacher.complete(run.init_state(), {"teacher": {"sha256": "0"}}, tmp_path, Silent())


def test_published_weights_teach_with_their_own_normalisation(tmp_path):
    """A file of PyTorch; the accuracy is noted, and worse than chance is a warning."""
    net = models.create("simple_cnn_32_64", num_classes=4)
    config = make_config(teacher=str(tmp_path / "t.pth"), model="simple_cnn_32_64", normalize="symmetric")
    image, apply = jnp.zeros((2, 8, 8, 1)), jax.jit(functools.partial(net.apply, train=False))
    variables = draw(jax.eval_shape(lambda key: net.init(key, image, train=False), jax.random.key(4)))
    weight_files.write(tmp_path / "t.pth", pretrained.to_state_dict(variables), {})
    run, log = build.build(config), Silent()
    state = run.training.teacher.complete(run.init_state(), {}, tmp_path, log)
    jax.tree.map(np.testing.assert_array_equal, state.extra["teacher"]["params"], variables["params"])
    found = run.training.teacher._predict(run.data.sources["validation"])
    pictures = np.float32(run.data.sources["validation"].images) / 255 * 2 - 1
    np.testing.assert_allclose(found["logits"], apply(variables, pictures)[0], atol=1e-4)
    accuracy = (found["logits"].argmax(axis=1) == found["label"]).mean()
    assert log.told == [f"the teacher's accuracy: {accuracy:.2%} of 16 validation pictures"]


# Mistakes


def refused(tmp_path, message, config):
    with pytest.raises(UserError, match=message):
        loop.run(config, tmp_path / "run")
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
        networks.check_classes("config.distill.teacher=x", ["a", "b"], ["b", "a"])


MISTAKES = [
    ({"teacher": "nowhere"}, "config.distill.teacher=nowhere: .*nowhere is no folder"),
    ({"teacher": "init"}, "'init' is an untrained net; name it in config.distill.model"),
    ({"teacher": "init", "model": "lenet6"}, "config.distill.model: there is no model 'lenet6'; did you mean 'lenet5'"),
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
    step = view.find_step(broken)
    (step / "meta" / "metadata").write_text("{}")
    refused(tmp_path, "is damaged", make_config(teacher=str(step)))
    for manifest in (broken / "manifests").iterdir():
        manifest.unlink()
    refused(tmp_path, "holds no finished checkpoint", make_config(teacher=str(broken)))
    run = build.build(make_config(teacher=str(teacher)))
    with pytest.raises(UserError, match="is the --workdir of this run itself"):
        run.training.teacher.check(teacher)


def test_a_cache_and_mixed_pictures_are_refused(tmp_path, teacher):
    config = make_config(teacher=str(teacher), cache=True)
    config.data.augment = ("mixup(0.2)",)
    refused(tmp_path, "config.distill.cache knows no mixed pictures", config)


def test_a_cache_of_augmented_pictures_is_told(tmp_path, teacher):
    config = make_config(teacher=str(teacher), cache=True)
    assert len(build.build(config).training.teacher.check(tmp_path)) == 1
    config.data.augment = ("crop(8, pad=1)",)
    assert "computed once, of pictures without augmentation" in build.build(config).training.teacher.check(tmp_path)[1]


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
    durations = build.durations(build.Reader(config), 50_000, Parallel("jit", 1))
    assert (durations["steps_per_epoch"], durations["total_steps"]) == (390, 78_000)
    config.data.name = "synthetic/128x32x3x100"
    run = build.build(config)
    assert run.model.module.num_classes == 100 and run.model.module.stem == "cifar" and run.training.teacher.folder
