"""A split belongs to its run: what later becomes of the folder, or another folder, is never taken for it."""

import csv
import json
import shutil

import jax
import numpy as np
import pytest
from fixtures import toys
from flax import linen as nn
from PIL import Image

from jaxcls.cli.command import main
from jaxcls.data import dealing, sources, stored_splits
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.models.base import Classifier
from jaxcls.training import build, loop, same_run

CLASSES = ("cat", "dog", "owl")


class Linear(Classifier):
    """A model with no more than a last layer."""

    head = ("fc",)

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(self.num_classes, name="fc")(images.reshape(images.shape[0], -1)), {}


@pytest.fixture(scope="module", autouse=True)
def linear():
    with toys.registered(toy_linear=Linear):
        yield


def draw(folder, names=CLASSES, count=20, seed=0):
    """Pictures that a linear model tells apart: class k is bright in column k."""
    rng = np.random.default_rng(seed)
    for k, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image = rng.integers(0, 60, (8, 8), dtype=np.uint8)
            image[:, 2 * k : 2 * k + 2] += 150
            Image.fromarray(image).save(folder / name / f"{seed}_{i}.png")
    return folder


def config_of(folder, **changes):
    config = default_config()
    config.data.name, config.data.channels, config.data.validation = f"folder/{folder}", 1, 0.0
    config.data.normalize = "symmetric"
    config.data.augment = config.data.eval_transform = ("resize(8, 8)",)
    config.model.name, config.duration, config.batch_size, config.parallel.devices = "toy_linear", "20 steps", 8, 1
    config.schedule.peak = 0.1
    for key, value in changes.items():
        config[key] = value
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(workdir, folder) of a finished run."""
    base = tmp_path_factory.mktemp("trained")
    draw(base / "pictures")
    loop.run(config_of(base / "pictures"), base / "run")
    return base / "run", base / "pictures"


@pytest.fixture
def run(trained, tmp_path):
    """Copies of both, to be changed."""
    workdir, folder = shutil.copytree(trained[0], tmp_path / "run"), shutil.copytree(trained[1], tmp_path / "pictures")
    stored = json.loads((workdir / "config.json").read_text())
    stored["data"]["name"] = f"folder/{folder}"
    (workdir / "config.json").write_text(json.dumps(stored))
    return workdir, folder


def contents(workdir):
    """What a run has found about its own test."""
    places = [*workdir.glob("eval/test-*"), *workdir.glob("eval/validation-*"), *workdir.glob("calibration/*")]
    return {path.name: path.read_bytes() for path in [*places, workdir / "results.json"]}


def splits_of(workdir):
    """split -> ids, read without the project's code."""
    found = {}
    with open(workdir / "splits.csv", newline="") as file:
        for line in csv.DictReader(file):
            found.setdefault(line["split"], []).append(line["id"])
    return found


def test_the_splits_of_a_run_are_stored_by_name(trained):
    workdir, folder = trained
    found, dealt = splits_of(workdir), sources.load(f"folder/{folder}")
    assert {split: len(ids) for split, ids in found.items()} == {"train": 42, "validation": 9, "test": 9}
    assert found == {split: [item["id"] for item in source] for split, source in dealt.items()}
    assert json.loads((workdir / "eval" / "test-rows.json").read_text())["id"] == found["test"]


def test_pictures_that_were_added_since_are_no_part_of_the_test(run, capsys):
    workdir, folder = run
    draw(folder, count=10, seed=1)
    before = contents(workdir)
    assert main(["eval", str(workdir)]) == 0
    out = capsys.readouterr().out
    assert "30 new pictures ('cat/1_0.png'" in out and "not evaluated" in out
    after = contents(workdir)
    with np.load(workdir / "eval" / "test-20.npz") as file:
        assert len(file["label"]) == 9
    assert before.keys() <= after.keys() and before["results.json"] == after["results.json"]


def test_a_split_that_lost_a_picture_is_refused_or_scored_beside_the_own_figures(run, capsys):
    workdir, folder = run
    test = splits_of(workdir)["test"]
    (folder / test[0]).unlink()
    shutil.copy(folder / test[2], folder / test[1])
    before = contents(workdir)
    assert main(["eval", str(workdir)]) == 2
    error = capsys.readouterr().err
    assert f"1 gone from test ({test[0]!r})" in error and f"1 changed in test ({test[1]!r})" in error
    assert error.count("\n") == 1 and "--allow-changed-data" in error
    assert main(["eval", str(workdir), "--allow-changed-data"]) == 0
    assert contents(workdir) == before
    with np.load(workdir / "eval" / "remaining_test-20.npz") as file:
        assert len(file["label"]) == 8
    capsys.readouterr()
    assert main(["robustness", str(workdir)]) == 2
    assert "1 gone from test" in capsys.readouterr().err
    assert main(["report", str(workdir)]) == 0
    assert "the pictures are left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "setting",
    ["seed=3", "data.split_ratios=(0.5, 0.25, 0.25)", "data.group_by=_(\\d+)", "data.eval_transform=('resize(9, 9)',)",
     "data.normalize=unit", "data.imbalance=2.0", "precision=bfloat16"],
)  # fmt: skip
def test_an_evaluation_takes_no_other_splits_or_pictures(run, setting, capsys):
    workdir, _ = run
    before = contents(workdir)
    assert main(["eval", str(workdir), f"--config.{setting}"]) == 2
    error = capsys.readouterr().err
    assert f"config.{setting.partition('=')[0]} is" in error and error.count("\n") == 1
    assert contents(workdir) == before


def test_pictures_prepared_in_another_way_have_a_name_of_their_own(run, capsys):
    workdir, _ = run
    before = contents(workdir)
    assert main(["eval", str(workdir), "--config.data.normalize=unit", "--name=unit"]) == 0
    assert contents(workdir) == before and (workdir / "eval" / "unit_test-20.npz").is_file()


def test_another_folder_is_scored_whole_and_beside(run, tmp_path, capsys):
    workdir, _ = run
    draw(tmp_path / "new", ("Owl", "cat", "yak"), count=4, seed=5)
    before = contents(workdir)
    assert main(["eval", str(workdir), "--data", str(tmp_path / "new")]) == 0
    out = capsys.readouterr().out
    for line in (
        "12 pictures, all of it",
        "'Owl' as 'owl'",
        "1 class(es) that the model does not know, left out: 'yak'",
        "no pictures here: 'dog'",
        "4 pictures of other classes are not scored",
    ):
        assert line in out, line
    assert contents(workdir) == before
    figures = json.loads((workdir / "eval" / "new-20.json").read_text())
    assert figures["count"] == 8 and figures["classes"]["surplus"] == ["yak"] and figures["overlap"] == {
        "known": True, "renamed": 0, "altered": 0,
    }  # fmt: skip
    with np.load(workdir / "eval" / "new-20.npz") as file:
        assert sorted(set(file["label"].tolist())) == [0, 2]


def test_scores_of_another_folder_are_what_prediction_answers(run, tmp_path):
    workdir, _ = run
    draw(tmp_path / "new", count=3, seed=6)
    main(["eval", str(workdir), "--data", str(tmp_path / "new"), "--name", "mine"])
    names = json.loads((workdir / "eval" / "mine-rows.json").read_text())["id"]
    from jaxcls.api import load

    with np.load(workdir / "eval" / "mine-20.npz") as file:
        predictor = load(workdir)
        answers = predictor.logits([predictor.prepare((tmp_path / "new" / name).read_bytes()) for name in names])
        np.testing.assert_allclose(file["logits"], answers, rtol=1e-5, atol=1e-5)


def test_what_was_trained_on_is_found_under_any_name(run, tmp_path, capsys):
    workdir, folder = run
    held = splits_of(workdir)
    draw(tmp_path / "mixed", count=2, seed=7)
    for i, name in enumerate([*held["train"][:3], held["validation"][0], held["test"][0]]):
        shutil.copy(folder / name, tmp_path / "mixed" / "cat" / f"copy {i}.png")
    assert main(["eval", str(workdir), "--data", str(tmp_path / "mixed")]) == 0
    figures = json.loads((workdir / "eval" / "mixed-20.json").read_text())
    assert {split: figures["overlap"][split] for split in held} == {"train": 3, "validation": 1, "test": 1}
    assert figures["count"] == 11 and figures["unseen"]["count"] == 7
    assert "3 of 11 pictures are in the run's train split" in capsys.readouterr().out


def test_the_own_folder_as_other_data_says_that_it_was_trained_on(run, capsys):
    workdir, folder = run
    assert main(["eval", str(workdir), "--data", str(folder)]) == 0
    figures = json.loads((workdir / "eval" / "pictures-20.json").read_text())
    assert figures["overlap"] == {"known": True, "train": 42, "validation": 9, "test": 9, "renamed": 0, "altered": 0}
    assert figures["unseen"]["count"] == 9
    with np.load(workdir / "eval" / "test-20.npz") as own:
        hits = int((own["logits"].argmax(1) == own["label"]).sum())
    assert figures["unseen"]["correct"] == hits


def test_classes_that_the_model_does_not_know_are_refused(run, tmp_path, capsys):
    workdir, _ = run
    draw(tmp_path / "other", ("yak", "zebra", "emu"), count=2)
    before = contents(workdir)
    assert main(["eval", str(workdir), f"--config.data.name=folder/{tmp_path / 'other'}"]) == 2
    error = capsys.readouterr().err
    assert "no class of these pictures ('emu', 'yak', 'zebra') is one of the model's ('cat', 'dog', 'owl')" in error
    assert contents(workdir) == before


def test_a_moved_folder_is_the_run_s_own(run, tmp_path, capsys):
    workdir, folder = run
    moved = folder.rename(tmp_path / "elsewhere")
    draw(moved, count=1, seed=3)
    assert main(["eval", str(workdir), f"--config.data.name=folder/{moved}"]) == 0
    assert "step 20, test: accuracy" in capsys.readouterr().out
    assert not list(workdir.glob("eval/elsewhere*"))


def test_an_evaluation_does_not_take_the_place_of_another_one(run, tmp_path, capsys):
    workdir, _ = run
    for place in ("a", "b"):
        draw(tmp_path / place / "new", count=1, seed=4)
    assert main(["eval", str(workdir), "--data", str(tmp_path / "a" / "new")]) == 0
    assert main(["eval", str(workdir), "--data", str(tmp_path / "b" / "new")]) == 2
    assert "another --name" in capsys.readouterr().err
    for name in ("test", "a/b", ""):
        with pytest.raises(UserError, match="can't be the name"):
            from jaxcls.training.evaluate_other import check_name

            check_name(name)


def test_a_run_goes_on_beside_new_pictures_as_if_they_were_not_there(tmp_path):
    folder = draw(tmp_path / "pictures")
    half = config_of(folder)
    half.checkpoint.every = "10 steps"
    loop.run(half, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "20")
    draw(folder, count=5, seed=9)
    loop.run(half, tmp_path / "cut")
    from jaxcls.checkpoints import view

    whole, cut = (view.read_arrays(view.find_step(tmp_path / name)) for name in ("whole", "cut"))
    jax.tree.map(np.testing.assert_array_equal, whole, cut)


def test_a_run_goes_on_with_what_is_there_where_that_is_allowed(run, capsys):
    workdir, folder = run
    before = splits_of(workdir)
    for name in (before["train"][0], before["test"][0]):
        (folder / name).unlink()
    draw(folder, count=10, seed=2)
    arguments = ["train", f"--workdir={workdir}"]
    assert main(arguments) == 2
    assert "1 gone from train" in capsys.readouterr().err
    assert main(["check", f"--workdir={workdir}"]) == 2
    capsys.readouterr()
    assert main([*arguments, "--allow-changed-data"]) == 0
    after = splits_of(workdir)
    for split in before:
        kept = [name for name in before[split] if (folder / name).exists()]
        assert after[split][: len(kept)] == kept
    assert sum(map(len, after.values())) == 60 - 2 + 30 and len(set().union(*after.values())) == 88
    assert {split: len(after[split]) - len(before[split]) for split in after} == {
        "train": 20, "validation": 6, "test": 2,
    }  # fmt: skip  # 21, 6 and 3 of 30 by the ratios, less what is gone
    assert (workdir / "splits-20.csv").is_file() and (workdir / "eval-20" / "test-20.npz").is_file()
    assert main(arguments) == 0  # and from now on these are its pictures


def test_a_class_that_the_model_does_not_know_is_refused(run, capsys):
    workdir, folder = run
    draw(folder, ("ant",), count=2)
    assert main(["eval", str(workdir)]) == 0  # labels are found by name, though every number has moved
    assert "2 new pictures ('ant/" in capsys.readouterr().out
    with np.load(workdir / "eval" / "test-20.npz") as file:
        assert np.bincount(file["label"]).tolist() == [3, 3, 3]
        assert (file["logits"].argmax(1) == file["label"]).mean() > 0.8
    assert main(["train", f"--workdir={workdir}", "--allow-changed-data"]) == 2
    assert "knows no class 'ant'" in capsys.readouterr().err


def test_new_pictures_of_a_group_go_where_the_group_is(tmp_path):
    folder = draw(tmp_path / "pictures", count=12)
    rule = dealing.Rule(ratios=(0.5, 0.25, 0.25), seed=1, group_by=r"_(\d+)\.")
    bases = sources.find(f"folder/{folder}")
    first = dealing.deal(bases, rule)
    stored = stored_splits.store(dealing.sources(first, bases))
    group = lambda name: name.rpartition("_")[2]  # noqa: E731
    home = {group(name): split for split, part in stored.parts.items() for name in part.ids}
    draw(folder, count=14, seed=5)  # 12 groups that are known and two that are new
    bases = sources.find(f"folder/{folder}")
    placed, new = stored_splits.place(stored, bases)
    assert sum(map(len, new.values())) == 42
    after = stored_splits.store(dealing.sources(dealing.deal_new(placed, new, bases, rule), bases))
    for split, part in after.parts.items():
        for name in part.ids:
            assert home.get(group(name), split) == split
    splits_of_group = {}
    for split, part in after.parts.items():
        for name in part.ids:
            splits_of_group.setdefault(group(name), set()).add(split)
    assert all(len(found) == 1 for found in splits_of_group.values()) and len(splits_of_group) == 14


def test_a_damaged_file_of_splits_is_one_line(run, capsys):
    workdir, _ = run
    whole = (workdir / "splits.csv").read_text()
    for text in ("", whole.replace("train", "tran"), whole.replace(",0,cat", ",x,cat"), whole[:-5]):
        (workdir / "splits.csv").write_text(text)
        status = main(["eval", str(workdir)])
        error = capsys.readouterr().err
        assert status == 2 and error.count("\n") == 1, text[:50]


def test_names_come_back_whatever_they_are(tmp_path):
    names = ["a,b.png", 'q"uote.png', "new\nline.png", "ü 字.png", "  blank .png", "=1+1.png", "undecodable\udcff.png"]
    part = stored_splits.Part(tuple(names), tuple([0, 1, 0, 1, 0, 1, 0]), tuple(f"{i:016x}" for i in range(7)))
    stored = stored_splits.Stored(("cat", 'd"og,'), {"train": part})
    stored_splits.write(tmp_path, stored)
    assert stored_splits.read(tmp_path) == stored


def test_runs_of_before_are_judged_by_their_fingerprint(run, capsys):
    workdir, folder = run
    (workdir / "splits.csv").unlink()
    assert main(["eval", str(workdir)]) == 0
    draw(folder, count=2, seed=8)
    assert main(["eval", str(workdir)]) == 2
    assert "have changed since" in capsys.readouterr().err


def test_checks_of_evaluations_are_pure(run):
    workdir, folder = run
    built = build.build(config_of(folder), workdir=workdir)
    assert not same_run.check_evaluated(built.data, ["validation", "test"], workdir, False, print)
    assert built.data.members.change().of_splits() == ""


@pytest.mark.parametrize(
    "places, count, classes",
    [
        (["test/cat", "test/dog", "test/owl"], 6, 3),  # no train folder
        (["cat"], 2, 1),  # one class
        (["val/cat", "val/dog", "test/cat", "test/dog"], 8, 2),
        (["seg_test/seg_test/cat", "seg_test/seg_test/dog"], 4, 2),
        (["cat/deep/er", "dog"], 4, 2),
    ],
)
def test_any_labelled_folder_can_be_scored(run, tmp_path, places, count, classes):
    workdir, _ = run
    for place in places:
        draw(tmp_path / "new" / place / "..", [place.rpartition("/")[2]], count=2, seed=11)
    (tmp_path / "new" / places[-1]).with_name("empty").mkdir()
    assert main(["eval", str(workdir), "--data", str(tmp_path / "new")]) == (0 if "val/cat" not in places else 2)
    if "val/cat" in places:  # its splits have other classes, which is told
        (tmp_path / "new" / "test" / "empty").rmdir()
        assert main(["eval", str(workdir), "--data", str(tmp_path / "new")]) == 0
    figures = json.loads((workdir / "eval" / "new-20.json").read_text())
    assert figures["count"] == count and len(figures["classes"]["missing"]) == 3 - classes


def test_one_split_of_a_folder_can_be_scored(run, tmp_path, capsys):
    workdir, _ = run
    for split, count in (("train", 3), ("test", 2)):
        draw(tmp_path / "new" / split, count=count, seed=12)
    assert main(["eval", str(workdir), "--data", str(tmp_path / "new"), "--split", "test"]) == 0
    assert json.loads((workdir / "eval" / "new-20.json").read_text())["count"] == 6
    assert main(["eval", str(workdir), "--data", str(tmp_path / "new"), "--split", "validation"]) == 2
    assert "it has train, test" in capsys.readouterr().err


def test_weights_without_a_run_are_scored(run, tmp_path, capsys):
    """The weights of the run, exported, score what the run scores."""
    workdir, folder = run
    from jaxcls.checkpoints import view

    assert main(["eval", str(workdir), "--data", str(folder)]) == 0
    own = json.loads((workdir / "eval" / "pictures-20.json").read_text())
    params = view.read_arrays(view.find_step(workdir))
    from safetensors.numpy import save_file

    kernel, bias = (
        next(a for n, a in params.items() if n.startswith("params") and n.endswith(x)) for x in ("kernel", "bias")
    )
    save_file({"fc.weight": np.ascontiguousarray(kernel.T), "fc.bias": bias}, tmp_path / "w.safetensors")
    command = ["eval", "--model", "toy_linear", "--weights", str(tmp_path / "w.safetensors"), "--data", str(folder)]
    settings = [
        "--config.data.eval_transform=('resize(8, 8)',)",
        "--config.data.normalize=symmetric",
        "--config.data.channels=1",
    ]
    assert main([*command, *settings, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "eval" / "pictures-0.json").read_text())
    assert found["correct"] == own["correct"] and found["loss"] == pytest.approx(own["loss"], rel=1e-5)
    assert "--classes=FILE names them otherwise" in capsys.readouterr().out
    (tmp_path / "names").write_text("owl\ndog\ncat\n")
    assert main([*command, *settings, "--classes", str(tmp_path / "names"), "--out", str(tmp_path / "turned")]) == 0
    turned = json.loads((tmp_path / "turned" / "eval" / "pictures-0.json").read_text())
    assert turned["accuracy"] < 0.5 < found["accuracy"]
    assert main(command[:-2]) == 2 and "--data is missing" in capsys.readouterr().err


def test_pictures_that_cannot_be_read_end_a_scoring_or_are_left_out(run, tmp_path, capsys):
    workdir, folder = run
    draw(tmp_path / "new", count=3, seed=13)
    (tmp_path / "new" / "dog" / "13_1.png").write_bytes(b"no picture")
    shutil.copy(folder / splits_of(workdir)["train"][0], tmp_path / "new" / "owl" / "known.png")
    command = ["eval", str(workdir), "--data", str(tmp_path / "new")]
    assert main(command) == 2
    assert "dog/13_1.png: not a picture" in capsys.readouterr().err
    assert main([*command, "--config.data.bad_pictures=skip"]) == 0
    figures = json.loads((workdir / "eval" / "new-20.json").read_text())
    assert (figures["count"], figures["unseen"]["count"]) == (9, 8)
    assert "skipped: dog/13_1.png" in capsys.readouterr().out


def test_an_evaluation_on_other_pictures_has_a_page_of_its_own(run, tmp_path, capsys):
    workdir, folder = run
    draw(tmp_path / "new", count=3, seed=14)
    shutil.copy(folder / splits_of(workdir)["train"][0], tmp_path / "new" / "owl" / "known.png")
    assert main(["eval", str(workdir), "--data", str(tmp_path / "new")]) == 0
    before = json.loads((workdir / "eval" / "new-20.json").read_text())
    assert main(["report", str(workdir), "--split", "new"]) == 0
    assert not (workdir / "report.html").exists()  # the runs of these tests write none
    page = (workdir / "report-new.html").read_text()
    assert "own test pictures" in page and "1 are in its train split" in page
    after = json.loads((workdir / "eval" / "new-20.json").read_text())
    assert {key: after[key] for key in ("overlap", "unseen", "data", "accuracy")} == {
        key: before[key] for key in ("overlap", "unseen", "data", "accuracy")
    }
    capsys.readouterr()
    assert main(["report", str(workdir), "--split", "other"]) == 2
    assert capsys.readouterr().err.count("\n") <= 2


def test_other_views_stand_beside_and_a_taken_name_is_told_before_scoring(run, tmp_path, capsys, monkeypatch):
    workdir, _ = run
    command = ["eval", str(workdir), "--data", str(draw(tmp_path / "a" / "new", count=2, seed=15))]
    assert main(command) == 0
    before = (workdir / "eval" / "new-20.npz").read_bytes()
    assert main([*command, "--config.eval.tta=flip"]) == 0
    assert (workdir / "eval" / "new-20-tta.npz").is_file() and (workdir / "eval" / "new-20.npz").read_bytes() == before
    monkeypatch.setattr("jaxcls.training.evaluate_other.score", lambda *_, **__: 1 / 0)
    draw(tmp_path / "b" / "new", count=2, seed=16)
    assert main(["eval", str(workdir), "--data", str(tmp_path / "b" / "new")]) == 2
    assert "another --name" in capsys.readouterr().err


def test_known_classes_without_a_picture_are_one_line(run, tmp_path, capsys):
    workdir, _ = run
    draw(tmp_path / "new", ("yak",), count=2)
    (tmp_path / "new" / "cat").mkdir()
    assert main(["eval", str(workdir), "--data", str(tmp_path / "new")]) == 2
    assert "the folders of 'cat' are empty" in capsys.readouterr().err
