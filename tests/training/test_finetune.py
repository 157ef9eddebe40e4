"""Runs that start from published weights: what they start with, what they tell, when they need the file."""

import json

import jax
import numpy as np
import pytest
import runs

from jaxcls import main, models
from jaxcls.checkpoints import view
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.models import pretrained, weight_files
from jaxcls.models.fpn import FPN
from jaxcls.models.pretrained import to_state_dict
from jaxcls.training import build, loop, preflight

FIELDS = {"channels": (3, 4), "hidden": 5}
HEAD = {"fc2.weight", "fc2.bias"}


def make_config(file, **settings):
    config = default_config()
    config.data.name = "synthetic/64x8x1x4"
    config.model.name, config.model.fields = "simple_cnn_16_32", FIELDS
    config.model.pretrained = str(file)
    config.batch_size, config.duration, config.parallel.devices = 16, "4 steps", 1
    config.eval.every = config.checkpoint.every = "2 steps"
    config.schedule.name, config.schedule.peak = "constant", 0.05
    config.ema_decay = 0.9
    for key, value in settings.items():
        config[key] = value
    return config


@pytest.fixture
def weights(tmp_path):
    """(path, state dict) of the same net for 7 classes and colour."""
    model, rng = models.create("simple_cnn_16_32", num_classes=7, **FIELDS), np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32))
    draw = lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32)  # noqa: E731
    state = to_state_dict(jax.tree.map(draw, shapes))
    path = tmp_path / "published.safetensors"
    weight_files.write(path, state, {})
    return path, state


def params_of(state):
    return to_state_dict({"params": state.params})


def test_a_fresh_run_starts_from_the_weights_with_every_copy(weights):
    path, published = weights
    run = build.build(make_config(path))
    plain = run.init_state()
    state, report = run.first_state()
    fresh, got, average = params_of(plain), params_of(state), to_state_dict(state.extra["ema"])
    assert report.resized.keys() == {"conv1.weight"} and report.kept.keys() == HEAD
    np.testing.assert_allclose(got["conv1.weight"][:, 0], published["conv1.weight"].sum(1), rtol=1e-6)
    for name in got.keys() - {"conv1.weight"}:
        np.testing.assert_array_equal(got[name], fresh[name] if name in HEAD else published[name])
    assert all(np.array_equal(got[name], average[name]) for name in got)
    rest = (plain.replace(params=0, extra=0), state.replace(params=0, extra=0))
    jax.tree.map(np.testing.assert_array_equal, *rest)


def test_the_weights_are_no_constants_of_the_compiled_program(weights):
    run = build.build(make_config(weights[0]))
    made = jax.make_jaxpr(run._create)(jax.random.PRNGKey(0), run.pretrained[0])
    assert sum(np.size(constant) for constant in made.consts) < 1000


def test_a_run_tells_what_it_loaded_and_goes_on_without_the_file(weights, tmp_path, capsys):
    path, _ = weights
    config, workdir = make_config(path), tmp_path / "run"
    run = build.build(config)
    run = runs.changed(run, total_steps=2)
    loop.fit(run, workdir)
    out = capsys.readouterr().out
    assert f"weights {path}: 6 of 8 tensors loaded" in out
    assert "as initialised: fc2.bias, fc2.weight (the file has 7 classes, the model 4)" in out
    told = json.loads((workdir / "pretrained.json").read_text())
    assert len(told["loaded"]) == 6 and told["kept"].keys() == HEAD
    source = {"file": str(path), "sha256": weight_files.read(path).sha256}
    assert {key: told[key] for key in source} == source
    path.unlink()
    loop.fit(build.build(config), workdir)
    assert "going on from step 2" in capsys.readouterr().out
    main.main(["--mode=eval", f"--workdir={workdir}"])
    for step in view.list_steps(workdir):
        assert view.read_meta(step.path).pretrained == source


def test_a_run_whose_checkpoints_are_all_damaged_needs_the_file_again(weights, tmp_path):
    path, _ = weights
    config, workdir = make_config(path, duration="2 steps"), tmp_path / "run"
    loop.fit(build.build(config), workdir)
    first = view.read_arrays(view.find_step(workdir))

    def damage():
        for file in (workdir / "checkpoints").rglob("metadata"):
            file.write_text("{}")

    damage()
    loop.fit(build.build(config), workdir)
    again = view.read_arrays(view.find_step(workdir))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    damage()
    path.unlink()
    with pytest.raises(UserError, match="there is no such file"):
        loop.fit(build.build(config), workdir)


def test_the_check_reads_the_file_before_anything_is_compiled(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(build.Run, "init_state", lambda *_: pytest.fail("something was compiled"))
    path, state = weights
    lines = []
    preflight.check(build.build(make_config(path)), tmp_path / "run", note=lines.append)
    assert f"weights {path}: 6 of 8 tensors loaded" in "\n".join(lines)
    del state["conv2.bias"]
    weight_files.write(path, state, {})
    with pytest.raises(UserError, match="1 tensors do not fit: 1 missing: conv2.bias"):
        loop.fit(build.build(make_config(path)), tmp_path / "run")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"weights {path}: is damaged or cut off"):
        loop.fit(build.build(make_config(path)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_file_is_one_line_on_the_command_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main.cli([
            "--config=configs/lenet5_digits.py", f"--config.model.pretrained={tmp_path}/no.pth", "--mode=check",
            f"--workdir={tmp_path}/run",
        ])  # fmt: skip
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: weights {tmp_path}/no.pth: there is no such file\n"


def test_a_config_that_wants_weights_does_not_start_without(tmp_path, capsys):
    arguments = ["--config=configs/finetune.py", "--config.data.name=synthetic/64x64x3x4", f"--workdir={tmp_path}/run"]
    for mode in ("check", "train"):
        with pytest.raises(SystemExit) as ended:
            main.cli([*arguments, f"--mode={mode}"])
        error = capsys.readouterr().err
        assert ended.value.code == 2 and error.count("\n") == 1 and not (tmp_path / "run").exists()
        assert "none are named; add --config.model.pretrained=NAME" in error and "--config=folder" in error
    with pytest.raises(UserError, match="starts from published weights and none are named"):
        build.build(make_config("required"))  # any config can say it


def test_what_weights_say_is_compared_with_the_config(weights):
    path, state = weights
    told = {"model": "simple_cnn_16_32", "normalize": json.dumps({"mean": [0.5], "std": [0.5]})}
    weight_files.write(path, state, told)
    run = build.build(make_config(path))
    shapes = run.task.answering(run.state_shapes, averaged=False)
    with pytest.raises(UserError, match="says mean 0.5 and std 0.5, .* add --config.data.normalize=symmetric"):
        pretrained.match(run.task.model, shapes, weight_files.read(path), run.model.use)
    config = make_config(path)
    config.data.normalize = "symmetric"
    use = build.build(config).model.use
    assert use.name == "simple_cnn_16_32" and use.mean == (0.5,) and len(use.classes) == 4
    _, report = pretrained.match(run.task.model, shapes, weight_files.read(path), use)
    assert "as its metadata says: architecture simple_cnn_16_32; mean 0.5; std 0.5" in str(report)


def test_a_neck_is_built_and_the_weights_are_its_backbones(tmp_path):
    model = models.create("resnet18", num_classes=9, width=4)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32))
    state = to_state_dict(jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes))
    weight_files.write(tmp_path / "resnet.pth", state, {})
    config = make_config(tmp_path / "resnet.pth")
    config.model.name, config.model.fields = "resnet18", {"width": 4}
    config.model.neck, config.data.name = "fpn", "synthetic/64x64x3x4"
    run = build.build(config)
    assert isinstance(run.model.module, FPN) and run.model.module.num_classes == 4
    report = preflight.check_weights(run, tmp_path / "run")
    assert {f"backbone.{name}" for name in state} - {*report.loaded} == {"backbone.fc.weight", "backbone.fc.bias"}
    assert {name.partition(".")[0] for name in report.kept} == {"fpn", "fc"}


def test_the_weight_of_auxiliary_classifiers_where_there_are_any():
    config = make_config("")
    config.loss.aux_weight = 0.5
    with pytest.raises(UserError, match="config.loss.aux_weight=0.5 has no effect"):
        build.build(config)
    config.model.name, config.model.fields = "googlenet", {"aux_logits": True}
    config.data.name = "synthetic/64x32x3x4"
    assert build.build(config).task.inner.inner.aux_weight == 0.5
    config.model.fields = {}
    with pytest.raises(UserError, match="has no effect"):
        build.build(config)
