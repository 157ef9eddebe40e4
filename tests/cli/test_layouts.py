"""Layouts of folders x commands: each cell works, or ends in one line that says what to do."""

import io
import json
import shutil

import numpy as np
import pytest
from fixtures import toys
from PIL import Image

from jaxcls.cli.command import main

CONFIG = """
from jaxcls.defaults import default_config

def get_config(arg=""):
    config = default_config()
    config.data.normalize, config.data.validation = "symmetric", 0.2
    config.data.augment = config.data.eval_transform = ("resize(8, 8)",)
    config.model.name, config.duration, config.batch_size, config.parallel.devices = "toy_linear", "2 steps", 4, 1
    return config
"""


def picture(seed, suffix="PNG"):
    """Bytes of a picture that no other seed has."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (9, 11, 3), np.uint8)).save(buffer, suffix)
    return buffer.getvalue()


def tree(root, *places, count=6):
    """Pictures in folders."""
    for k, place in enumerate(places):
        (root / place).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / place / f"{i}.png").write_bytes(picture([k, i]))


def bad(root):
    tree(root, "cat", "dog")
    (root / "cat" / "3.png").write_bytes(picture(1)[:200])
    (root / "dog" / "14.tif").write_bytes(picture(2, "TIFF")[:150])


def odd(root):
    tree(root, "cat", "dog")
    (root / "cat" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (root / "dog" / "page.jpg").write_bytes(b"<!DOCTYPE html><html><body>404</body></html>")


def places(form, splits=("train", "test")):
    """A maker of folders of this form, for each split and the classes cat and dog."""
    return lambda root: tree(
        root, *(form.format(split=split, name=name) for split in splits for name in ("cat", "dog"))
    )


def unlabelled(root):
    tree(root, "train/cat", "train/dog", "test1")


# name -> (maker, whether it can be trained on, what is told)
LAYOUTS = {
    "tree": (places("{name}", ("",)), True, ""),
    "splits": (places("{split}/{name}", ("train", "val", "test")), True, ""),
    "Training": (places("{split}/{name}", ("Training", "Testing")), True, ""),
    "wrapped": (places("seg_{split}/seg_{split}/{name}"), True, ""),
    "inside": (places("{name}/{split}"), True, ""),
    "unlabelled": (unlabelled, True, "jaxcls predict RUN"),
    "left out": (odd, False, "page.jpg: not a picture that is read here, but HTML"),
    "bad": (bad, False, "cat/3.png"),
    "twins": (lambda root: tree(root, "cat", "Cat", "dog"), False, "differ by case alone"),
    "split or class": (lambda root: tree(root, "cat", "dog", "test/cat", "test/dog"), False, "rename it"),
    "flat": (lambda root: tree(root, "."), False, "lie outside of class folders"),
}


@pytest.fixture(scope="module", autouse=True)
def linear(bare_end):
    with toys.registered(toy_linear=toys.Linear):
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(folder with the config and a run on cats and dogs, folder of the layouts)."""
    base = tmp_path_factory.mktemp("world")
    (base / "small.py").write_text(CONFIG)
    tree(base / "own", "cat", "dog", count=12)
    assert main(["train", f"--config={base}/small.py", "--data", f"{base}/own", f"--workdir={base}/run"]) == 0
    return base


def check(base, folder):
    return ["check", f"--config={base}/small.py", "--data", str(folder), f"--workdir={folder}.run"]


def train(base, folder):
    return ["train", *check(base, folder)[1:]]


def evaluate(base, folder):
    return ["eval", str(base / "run"), "--data", str(folder), "--name", folder.name.replace(" ", "_")]


def predict(base, folder):
    return ["predict", str(base / "run"), str(folder), "--out", f"{folder}.jsonl"]


def clean(base, folder):
    return ["clean", str(folder), "--out", f"{folder}.found"]


COMMANDS = {command.__name__: command for command in (check, train, evaluate, predict, clean)}
# what a command takes although nothing can be trained on it
ALSO = {("clean", "bad"), ("clean", "left out"), *(("predict", name) for name in LAYOUTS)}


# cleaning takes seconds: of the layouts that are read alike one is enough, the others are slow
CELLS = [
    pytest.param(command, layout, marks=pytest.mark.slow)
    if command == "clean" and fit and layout not in ("tree", "inside")
    else (command, layout)
    for command in COMMANDS
    for layout, (_, fit, _) in LAYOUTS.items()
]


@pytest.mark.parametrize("command, layout", CELLS)
def test_each_cell_works_or_says_what_to_do(world, command, layout, tmp_path, capsys):
    make, fit, told = LAYOUTS[layout]
    folder = tmp_path / layout
    folder.mkdir()
    make(folder)
    before = sorted(str(path) for path in folder.rglob("*"))
    status = main(COMMANDS[command](world, folder))
    out, error = capsys.readouterr()
    assert "Traceback" not in error
    if fit or (command, layout) in ALSO:
        assert status in (0, 1) and (status == 0 or command == "clean"), error
    else:
        assert status == 2 and error.count("\n") <= 3, error
        assert told in error
    if command in ("check", "train") and fit:
        assert "cat" in out and "dog" in out and told in out  # the table of classes
        stored = (tmp_path / f"{layout}.run" / "splits.csv") if command == "train" else None
        if stored is not None:
            lines = [line.split(",") for line in stored.read_text().splitlines()[1:]]
            assert {(line[0], line[2]) for line in lines} >= {(s, c) for s in ("train", "test") for c in ("cat", "dog")}
            assert all(line[2] in line[4] for line in lines)
    if command == "predict":
        assert ("1 HEIC" in error) == (layout == "left out")
        rows = [json.loads(line) for line in (tmp_path / f"{layout}.jsonl").read_text().splitlines()]
        assert len(rows) == sum(path.endswith((".png", ".jpg", ".tif")) for path in before)
    if command != "clean":
        assert sorted(str(path) for path in folder.rglob("*")) == before  # nothing is written beside the pictures
    shutil.rmtree(folder)
