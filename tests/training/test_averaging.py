"""Averages of checkpoints and soups of runs, against closed forms and through the command line."""

import json
import shutil

import jax
import numpy as np
import pytest
import runs
from fixtures import toys

from jaxcls import metrics
from jaxcls.checkpoints import members, view
from jaxcls.cli.command import main
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.training import averaging, build, loop


def make_config(peak=0.2, **settings):
    """6 steps on 48 pictures, a checkpoint every second step; 16 for validation, the same ones for any peak."""
    config = default_config()
    config.data.name, config.data.validation, config.data.workers = "synthetic/64x8x1x4", 0.25, 0
    config.model.name = "toy_conv"
    config.batch_size, config.duration, config.parallel.devices = 16, "6 steps", 1
    config.eval.every = config.checkpoint.every = "2 steps"
    config.checkpoint.keep, config.ema_decay = 3, 0.5
    config.schedule.name, config.schedule.peak = "constant", peak
    for key, value in settings.items():
        config[key] = value
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Workdirs of two runs of a net with BatchNorm that differ in the learning rate."""
    with toys.registered(toy_conv=toys.ConvNet):
        folder = tmp_path_factory.mktemp("soup")
        for name, peak in (("a", 0.2), ("b", 1.0)):
            loop.run(make_config(peak), folder / name)
        yield folder


def arrays(workdir, step=None):
    return view.read_arrays(view.find_step(workdir, step))


def test_a_mean_is_that_of_its_numbers_and_leaves_counters_alone():
    rng = np.random.default_rng(0)
    trees = [{"w": rng.normal(size=(3, 2)).astype(np.float32), "n": np.int32(i)} for i in range(3)]
    found = averaging.mean(trees)
    np.testing.assert_allclose(found["w"], np.mean([tree["w"] for tree in trees], axis=0), rtol=1e-6)
    assert found["w"].dtype == np.float32 and found["n"] == 0
    np.testing.assert_array_equal(averaging.mean([trees[1]] * 3)["w"], trees[1]["w"])


def test_alpha_goes_from_the_first_of_two_to_the_second():
    rng = np.random.default_rng(0)
    trees = [{"w": rng.normal(size=50).astype(np.float32), "n": np.int32(i)} for i in range(2)]
    for alpha, tree in enumerate(trees):
        np.testing.assert_array_equal(averaging.mean(trees, alpha)["w"], tree["w"])
    third = averaging.mean(trees, 0.25)
    np.testing.assert_allclose(third["w"], 0.75 * trees[0]["w"] + 0.25 * trees[1]["w"], rtol=1e-6, atol=1e-7)
    assert third["n"] == 0


@pytest.mark.parametrize("alpha, name", [("0", "a"), ("1", "b")])
def test_the_ends_of_the_way_are_the_two_nets_bit_for_bit(trained, tmp_path, alpha, name):
    out = tmp_path / "wise"
    assert main(["average", str(trained / "a"), str(trained / "b"), "--alpha", alpha, "--out", str(out)]) == 0
    best, found = view.read_arrays(view.best_step(trained / name)), arrays(out)
    answering = view.read_meta(view.find_step(out)).answer.names
    assert answering and all(np.array_equal(found[stored], best[stored]) for stored in answering.values())
    assert json.loads((out / "soup.json").read_text())["alpha"] == float(alpha)


def test_alpha_is_of_two_and_no_share_but_one(trained, tmp_path, capsys):
    a, b = str(trained / "a"), str(trained / "b")
    for runs_, alpha, message in (([a, b, a], "0.5", "of two checkpoints"), ([a, b], "1.5", "no number from 0 to 1")):
        assert main(["average", *runs_, "--alpha", alpha, "--out", str(tmp_path / "x")]) == 2
        assert message in capsys.readouterr().err


def test_the_last_checkpoints_of_a_run_are_averaged_and_evaluated_as_any_run(trained, tmp_path, capsys):
    out = tmp_path / "average"
    assert main(["average", str(trained / "a"), "--last", "3", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    found, parts = arrays(out), [arrays(trained / "a", step) for step in (2, 4, 6)]
    assert found.keys() == parts[0].keys()
    for name in found:
        if name.startswith(("params/", "extra/ema/params/")):
            np.testing.assert_allclose(found[name], np.mean([part[name] for part in parts], axis=0), atol=1e-6)
    assert found["step"] == 6 and view.verify(view.find_step(out)) == []
    meta = view.read_meta(view.find_step(out))
    assert meta.classes == tuple(f"class {i}" for i in range(4)) and len(meta.averaged["kept"]) == 3
    assert main(["eval", str(out)]) == 0
    again = capsys.readouterr().out
    accuracy = meta.metrics["validation_accuracy"]
    assert f"validation accuracy {accuracy:.2%}" in told and f"validation: accuracy {accuracy:.2%}" in again


def test_batchnorm_of_an_average_has_the_statistics_of_its_own_activations(trained, tmp_path):
    out = tmp_path / "average"
    assert main(["average", str(trained / "a"), "--steps", "2,6", "--out", str(out)]) == 0
    found = arrays(out)
    images = build.build(make_config()).data.sources["train"].images / np.float32(255)
    for start, statistics in (("params", "model_state"), ("extra/ema/params", "extra/ema/model_state")):
        conv = {name: found[f"{start}/conv1/{name}"] for name in ("kernel", "bias")}
        x = jax.lax.conv_general_dilated(
            images, conv["kernel"], (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = np.asarray(x + conv["bias"][None, None, None], np.float64)
        np.testing.assert_allclose(found[f"{statistics}/batch_stats/bn1/mean"], x.mean((0, 1, 2)), atol=1e-4)
        np.testing.assert_allclose(found[f"{statistics}/batch_stats/bn1/var"], x.var((0, 1, 2)), rtol=1e-3)


def test_a_greedy_soup_is_no_worse_on_validation_than_the_best_run(trained, tmp_path, capsys):
    out = tmp_path / "greedy"
    runs = [str(trained / "b"), str(trained / "a")]
    assert main(["average", *runs, "--greedy", "--out", str(out)]) == 0
    report = json.loads((out / "soup.json").read_text())
    best = max(step.metrics["validation_accuracy"] for run in runs for step in view.list_steps(run))
    assert max(report["figures"].values()) == best
    assert report["validation"]["accuracy"] >= best
    assert set(report["kept"]) <= set(report["figures"])
    assert "kept" in (told := capsys.readouterr().out) or "left out" in told


def test_a_greedy_soup_leaves_out_what_makes_it_worse(trained, monkeypatch):
    """With accuracies that are told: the best first, a mean that is worse is dropped, an equal one stays."""
    ingredients = members.choose([trained / "a"], steps=(2, 4, 6))
    monkeypatch.setattr(averaging, "precise_bn", type("none", (), {"STATISTICS": "absent"}))
    averager = averaging.Averager(make_config(), ingredients, note=lambda line: None)
    told = iter([0.5, 0.7, 0.6, 0.7, 0.65, 0.7])  # the three, the best again, with the second best, with the third
    monkeypatch.setattr(averager, "judge", lambda state: {"accuracy": next(told)})
    state, report = averaging.greedy(averager, ingredients)
    assert report["kept"] == [ingredients[1].title, ingredients[0].title]
    expected = np.mean([arrays(trained / "a", step)["params/fc/kernel"] for step in (2, 4)], axis=0)
    np.testing.assert_allclose(state.params["fc"]["kernel"], expected, atol=1e-6)


def test_a_uniform_soup_of_runs_is_their_mean(trained, tmp_path):
    out = tmp_path / "uniform"
    assert main(["average", str(trained / "a"), str(trained / "b"), "--out", str(out)]) == 0
    parts = [view.read_arrays(view.best_step(trained / name)) for name in "ab"]
    for name in ("params/fc/kernel", "extra/ema/params/conv1/bias"):
        np.testing.assert_allclose(arrays(out)[name], np.mean([p[name] for p in parts], axis=0), atol=1e-6)


def test_without_a_validation_split_nothing_can_be_chosen(trained):
    averager = averaging.Averager(make_config(), members.choose([trained / "a"], last=2))
    averager.run = runs.changed(averager.run, best=None)
    ingredients = members.choose([trained / "a"], last=2)
    with pytest.raises(UserError, match="there are none; leave it out"):
        averaging.greedy(averager, ingredients)
    assert "validation" not in averaging.uniform(averager, ingredients)[1]


def changed(trained, target, change):
    """A copy of run b whose checkpoints say something else of themselves."""
    shutil.copytree(trained / "b", target)
    for step in view.list_steps(target):
        path = step.path / "meta" / "metadata"
        meta = json.loads(path.read_text())
        change(meta)
        path.write_text(json.dumps(meta))
        from jaxcls.checkpoints.store import write_manifest

        write_manifest(step.path)
    return target


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda meta: meta.update(model="resnet50"), "the models are toy_conv and resnet50"),
        (lambda meta: meta["classes"].reverse(), "other classes, or the same in another order"),
        (lambda meta: meta["normalize"].update(mean=[0.5]), "normalised in different ways"),
        (lambda meta: meta["data"].update(fingerprint="0"), "--greedy needs runs that held out the same pictures"),
    ],
)
def test_runs_that_do_not_fit_together_are_refused_in_a_line(trained, tmp_path, capsys, change, message):
    other = changed(trained, tmp_path / "other", change)
    arguments = [str(trained / "a"), str(other), "--greedy", "--out", str(tmp_path / "out")]
    assert main(["average", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1 and message in told
    assert not (tmp_path / "out").exists()


def test_other_shapes_are_refused(trained):
    one = members.choose([trained / "a", trained / "b"])[0]
    shapes = {**one.tensors, "params/fc/bias": view.Tensor((7,), np.dtype("float32"))}
    with pytest.raises(UserError, match=r"params/fc/bias is \(4,\) in the first and \(7,\) in the second"):
        members._check(one, one._replace(tensors=shapes))


def test_runs_with_other_training_pictures_get_a_warning(trained, tmp_path, capsys):
    other = changed(trained, tmp_path / "other", lambda meta: meta["data"].update(fingerprint="0"))
    assert main(["average", str(trained / "a"), str(other), "--out", str(tmp_path / "out")]) == 0
    assert "trained on different pictures" in capsys.readouterr().out
    assert "validation" not in json.loads((tmp_path / "out" / "soup.json").read_text())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--last", "9"], "holds 3 finished checkpoint"),
        (["--last", "1"], "needs two checkpoints or more"),
        ([], "needs two checkpoints or more"),
        (["--steps", "2,3"], "holds no step 3"),
        (["--steps", "2,4", "--last", "2"], "exclude each other"),
    ],
)
def test_a_wrong_choice_of_checkpoints_is_told(trained, tmp_path, capsys, arguments, message):
    assert main(["average", str(trained / "a"), *arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_in_use_stays_as_it_is(trained, capsys):
    before = sorted((trained / "b").iterdir())
    assert main(["average", str(trained / "a"), "--last", "2", "--out", str(trained / "b")]) == 2
    assert "is in use" in capsys.readouterr().err
    assert sorted((trained / "b").iterdir()) == before


def test_a_disk_that_is_full_leaves_nothing_in_the_way(trained, tmp_path, capsys, monkeypatch):
    arguments = ["average", str(trained / "a"), "--last", "2", "--out", str(tmp_path / "out")]

    def full(*_):
        raise UserError("No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(averaging.Checkpoints, "save", full)
        assert main(arguments) == 2
    assert not (tmp_path / "out").exists() and main(arguments) == 0


def test_a_damaged_checkpoint_is_refused(trained, tmp_path, capsys):
    shutil.copytree(trained / "a", tmp_path / "a")
    file = next(path for path in (tmp_path / "a" / "checkpoints" / "4").rglob("*") if path.is_file())
    file.write_bytes(file.read_bytes() + b"x")
    arguments = [str(tmp_path / "a"), "--steps", "2,4", "--out", str(tmp_path / "out")]
    assert main(["average", *arguments]) == 2
    assert "is damaged" in capsys.readouterr().err


def test_the_figures_are_those_of_an_evaluation(trained):
    ingredients = members.choose([trained / "a"], last=2)
    averager = averaging.Averager(make_config(), ingredients)
    state = averager.load(ingredients[0])
    outputs = averager.run.eval_feed("validation")(averager.run.parallel.replicate(state))
    assert averager.judge(state) == metrics.of_logits(outputs["logits"], outputs["label"])
