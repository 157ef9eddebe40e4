"""A run that learns from the captions of a table: pairs of colour and form."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from jaxcls import pytree
from jaxcls.checkpoints import view
from jaxcls.cli.command import main
from jaxcls.training import build, zeroshot
from jaxcls.words import bpe

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 60, 230)}
FORMS = ("square", "bar", "frame")
NAMES = [(colour, form) for colour in COLOURS for form in FORMS]
UNSEEN = ("red bar", "blue square")


def drawn(colour, form, rng):
    image = np.zeros((16, 16, 3), np.uint8)
    y, x = rng.integers(2, 6, 2)
    if form == "bar":
        image[y : y + 2, x : x + 9] = COLOURS[colour]
    else:
        image[y : y + 8, x : x + 8] = COLOURS[colour]
    if form == "frame":
        image[y + 2 : y + 6, x + 2 : x + 6] = 0
    return image


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    rows, labelled = [], [("path", "label", "split")]
    for split, count in (("train", 12), ("test", 4)):
        for name in map(" ".join, NAMES):
            for i in range(0 if split == "train" and name in UNSEEN else count):
                path = f"{split}-{name}-{i}.png".replace(" ", "-")
                Image.fromarray(drawn(*name.split(), rng)).save(root / path)
                rows.append((path, f"a {name}", name.split()[1], split))
                if split == "test":
                    labelled.append((path, name, "test" if i else "train"))
    for name, table in (("captions.csv", [("path", "caption", "label", "split"), *rows]), ("labels.csv", labelled)):
        with open(root / name, "w", newline="") as file:
            csv.writer(file).writerows(table)
    (root / "vocabulary").write_text("#version\na r\n")
    return root


SETTINGS = (
    "--config.data.augment=resize(16, 16)", "--config.data.eval_transform=resize(16, 16)", "--config.data.channels=3",
    "--config.data.validation=0", "--config.batch_size=16", "--config.schedule.peak=0.003", "--config.schedule.warmup=",
    "--config.words.context=24",
)  # fmt: skip


def command(place, workdir, *more, method="clip"):
    return main(
        ["train", "--config=pairs_table:tiny", f"--data=table/{place / 'captions.csv'}", f"--workdir={workdir}",
         f"--config.words.vocab={place / 'vocabulary'}", f"--config.words.method={method}", *SETTINGS, *more]
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("method", ["clip", "siglip"])
def test_pictures_are_named_by_words_that_captions_taught(place, tmp_path, method):
    assert command(place, tmp_path / "run", "--config.duration=60 epochs", method=method) == 0
    found = json.loads((tmp_path / "run" / "results.json").read_text())["test"]
    assert found["captions"] == 9 and found["recall"] > 0.6
    vocabulary = str(place / "vocabulary")
    data = f"--data=table/{place / 'labels.csv'}"
    arguments = ["zeroshot", str(tmp_path / "run"), data, "--vocab", vocabulary, "--out", str(tmp_path / "zero")]
    assert main([*arguments, "--template", "a {}", "--config.batch_size=8"]) == 0
    assert main(["eval", str(tmp_path / "zero")]) == 0
    with np.load(tmp_path / "zero" / "eval" / "test-0.npz") as file:
        right, label = file["logits"].argmax(axis=1) == file["label"], file["label"]
    classes = sorted(map(" ".join, NAMES))
    unseen = np.isin(label, [classes.index(name) for name in UNSEEN])
    assert right[~unseen].mean() > 0.7  # by chance 1/9; what was not shown together: scripts/bench/coloured_digits.py
    asked = zeroshot.asked(tmp_path / "zero", bpe.read(place / "vocabulary"), ["a red bar", "a blue bar"])
    again = zeroshot.asked(tmp_path / "run", bpe.read(place / "vocabulary"), ["a red bar", "a blue bar"])
    assert np.array_equal(asked, again)


def test_a_run_takes_steps_is_asked_by_names_and_its_features_are_found(place, tmp_path, capsys):
    assert command(place, tmp_path / "run") == 0
    assert "recall" in capsys.readouterr().out
    zero = [
        "zeroshot",
        str(tmp_path / "run"),
        f"--data=table/{place / 'labels.csv'}",
        f"--vocab={place / 'vocabulary'}",
    ]
    assert main([*zero, f"--out={tmp_path / 'zero'}", "--config.batch_size=8"]) == 0
    assert json.loads((tmp_path / "zero" / "config.json").read_text())["model"]["neck"] == "cosine(16)"
    assert main(["eval", str(tmp_path / "zero")]) == 0
    assert "accuracy" in capsys.readouterr().out
    one = str(place / "test-red-bar-0.png")
    assert main(["find", str(tmp_path / "run"), one, "--data", str(place), "--top", "1"]) == 0
    assert "1.000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (["--config.words.vocab="], "config.words.vocab"),
        (["--config.words.column=text"], "no such column of captions; there are caption"),
        (["--config.words.method=clop"], "config.words.method"),
        (["--config.model.neck="], "config.model.neck='cosine(512)'"),
        (["--config.accumulate=2"], "does not go with config.words.method='clip'"),
        (["--config.ssl.method=simclr"], "does not go with config.words.method='clip'"),
    ],
)
def test_what_does_not_go_together_is_one_line(place, tmp_path, capsys, settings, match):
    assert command(place, tmp_path / "run", *settings) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert all(line.startswith("error: ") for line in lines) and match in lines[-1]


@pytest.mark.slow
def test_a_locked_tower_stays_and_the_texts_learn(place, tmp_path):
    workdir = tmp_path / "run"
    assert command(place, workdir, "--config=lit_table:tiny", "--config.data.normalize=symmetric") == 0
    folder = view.find_step(workdir)
    before = build.build(json.loads((workdir / "config.json").read_text())).init_state()
    after = view.read_arrays(folder)
    moved = {True: 0, False: 0}
    for name, leaf in pytree.flatten_names({"params": before.params, "model_state": before.model_state}).items():
        same = np.array_equal(np.asarray(leaf), after[name])
        text = name.startswith(("params/_text", "params/_scale"))
        assert same or text, f"{name} has moved"
        moved[text] += not same
    assert moved[True] > 10 and moved[False] == 0


def test_a_picture_without_a_caption_is_named(place, tmp_path, capsys):
    text = (place / "captions.csv").read_text().replace("a red bar", "", 1)
    (place / "bare.csv").write_text(text)
    assert command(place, tmp_path / "run", f"--data=table/{place / 'bare.csv'}") == 2
    assert "have no caption in 'caption', the first is" in capsys.readouterr().err


def test_tokens_reach_the_batch(place, tmp_path):
    from jaxcls.settings import config_file

    config = config_file.load("pairs_table:tiny")
    settings = [(part.removeprefix("--config.").split("=", 1)) for part in SETTINGS]
    config_file.override(config, [*map(tuple, settings), ("words.vocab", str(place / "vocabulary"))])
    config.data.name = f"table/{place / 'captions.csv'}"
    run = build.build(config)
    source = run.data.sources["test"]
    rows = bpe.read(place / "vocabulary")([f"a {colour} {form}" for colour, form in NAMES for _ in range(4)], 24)
    assert np.array_equal(np.stack([source[i]["text"] for i in range(len(source))]), rows)
    assert run.data.leaves("train", training=True)["text"].shape == (24,)
