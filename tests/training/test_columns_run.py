"""Runs whose net takes columns beside the picture: the class is told by both together alone."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from jaxcls.cli.command import main
from jaxcls.data import metadata
from jaxcls.errors import UserError
from jaxcls.serve import artefacts
from jaxcls.settings import config_file
from jaxcls.training import build, columns

SIZES = {"train": 96, "validation": 24, "test": 24}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures that are dark or bright, and a table: `yes` where either the picture is bright or the place is south."""
    root, rng = tmp_path_factory.mktemp("columns"), np.random.default_rng(0)
    rows = []
    for split, count in SIZES.items():
        for i in range(count):
            bright, south = i % 2, i // 2 % 2
            image = (rng.integers(0, 60, (28, 28)) + 150 * bright).astype(np.uint8)
            Image.fromarray(image).save(root / f"{split}{i}.png")
            age = "" if i % 8 == 5 else f"{rng.normal(50 if split == 'train' else 90, 10):.1f}"
            label = ("no", "yes")[bright ^ south]
            rows.append((f"{split}{i}.png", label, split, ("north", "south")[south], age, label.upper(), f"case {i}"))
    with open(root / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "place", "age", "said", "case"), *rows])
    return root


def config(place, *names):
    made = config_file.load("lenet5_digits:tiny")
    made.data.name, made.data.columns = f"table/{place / 't.csv'}", names
    made.data.channels, made.data.normalize = 1, "unit"
    made.data.augment = made.data.eval_transform = ("resize(28, 28)",)
    made.batch_size, made.schedule.warmup = 24, ""
    return made


def test_every_split_is_read_by_the_rows_of_training_alone(place, tmp_path):
    run = build.build(config(place, "age", "place"))
    age, where = run.data.columns
    source = run.data.sources["train"]
    ages = np.array([float(x) for x in metadata.rows(source)[1]["age"] if x])
    assert (age.mean, age.std) == pytest.approx((ages.mean(), ages.std()))
    assert where.values == ("north", "south")
    test = np.stack([run.data.sources["test"][i]["columns"] for i in range(24)])
    there = test[test[:, 1] == 0]
    assert abs(there[:, 0].mean() - 40 / age.std) < 1  # whose ages are 40 higher
    assert (test[:, 1] == [i % 8 == 5 for i in range(24)]).all()
    assert run.answer.problem == "" and run.answer.model["columns"][1] == {
        "name": "place",
        "values": ["north", "south"],
    }
    assert any("'age' is empty in 12 of 96 rows" in line for line in run.data.notes)
    columns.write(tmp_path, (age._replace(mean=1.0), where), "")
    again = build.build(config(place, "age", "place"), workdir=tmp_path)
    assert again.data.columns[0].mean == 1.0  # a run that goes on reads as it began


@pytest.mark.parametrize(
    "names, change, message",
    [
        (("agge",), {}, "no column 'agge'; did you mean 'age'"),
        (("label",), {}, "'label' is the column of the label"),
        (("said",), {}, "'said' says the class of every training row"),
        (("case",), {}, "'case' has 96 values in 96 training rows, one for each"),
        (("age", "age:number"), {}, "'age' is named twice"),
        (("age",), {"data.augment": ("resize(28, 28)", "mixup(0.2)")}, "mixup, which makes one picture of two"),
        (("age",), {"data.pack": 16}, "config.data.pack=16, which keeps no columns"),
        (("age",), {"model.neck": "cosine"}, "neck 'cosine' takes no columns"),
        ((), {"model.neck": "columns"}, "name them: config.data.columns"),
    ],
)
def test_what_can_not_be_is_one_line(place, names, change, message):
    made = config(place, *names)
    with made.unlocked():
        made.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=message) as error:
        build.build(made)
    assert "\n" not in str(error.value)


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_run_learns_from_both_and_says_so_everywhere(place, tmp_path, capsys):
    workdir, table = tmp_path / "run", f"table/{place / 't.csv'}"
    settings = [f"--config.data.{key}={value}" for key, value in {
        "columns": "place,age", "channels": 1, "normalize": "symmetric", "augment": '("resize(28, 28)",)',
        "eval_transform": '("resize(28, 28)",)', "validation": 0}.items()]  # fmt: skip
    train = ["train", "--config=lenet5_digits:tiny", f"--data={table}", f"--workdir={workdir}", *settings]
    more = ["--config.duration=60 epochs", "--config.batch_size=24", "--config.optim.name=adam",
            "--config.schedule.peak=0.003", "--config.schedule.warmup=", "--config.ema_decay=0"]  # fmt: skip
    assert main([*train, *more]) == 0
    assert json.loads((workdir / "results.json").read_text())["test"]["accuracy"] > 0.95  # of either alone: 0.5
    step = json.loads((workdir / "results.json").read_text())["test"]["step"]
    owed = json.loads((workdir / f"eval/test-{step}.json").read_text())["importance"]
    told = {name: drop["mean"] for name, drop in owed["drops"].items()}
    assert owed["rows"] == 24 and told["place"] > 0.3 and told["picture"] > 0.3 and told["age"] < 0.1
    assert main(["eval", str(workdir), "--data", table, "--split", "test", "--name", "again"]) == 0
    with np.load(workdir / f"eval/test-{step}.npz") as own, np.load(workdir / f"eval/again-{step}.npz") as again:
        np.testing.assert_allclose(own["logits"], again["logits"], atol=1e-5)
        answers = own["logits"].argmax(axis=1)
    rows = [row for row in read(place / "t.csv") if row["split"] == "test"]
    with open(place / "asked.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "age", "place"), *((r["path"], r["age"], r["place"]) for r in rows)])
    out = tmp_path / "answers.csv"
    assert main(["predict", str(workdir), str(place / "asked.csv"), "--out", str(out)]) == 0
    assert [row["class"] for row in read(out)] == [("no", "yes")[i] for i in answers]
    assert main(["calibrate", str(workdir), "--apply"]) == 0
    assert main(["report", str(workdir)]) == 0 and "Picture and columns" in (workdir / "report.html").read_text()
    capsys.readouterr()
    for verb, *arguments in (
        ("predict", place),
        ("predict", place / "asked.csv", "--heatmaps", tmp_path / "maps"),
        ("export", "--to", "onnx", "--out", tmp_path / "x.onnx"),
        ("prune", "--ratio", "0.5", "--out", tmp_path / "small"),
    ):
        assert main([verb, str(workdir), *map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert "'place', 'age'" in said and said.count("error:") == 1, said
    with pytest.raises(UserError, match="'place', 'age' beside each picture, and a request has pictures alone"):
        artefacts.open_model(workdir)
