"""The whole way: a folder with planted mistakes, the CSV, the sheet, moving and putting back."""

import base64
import csv
import html.parser
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcls.cli import clean as clean_verb
from jaxcls.cli import command
from jaxcls.data.cleaning import labels, review, search
from jaxcls.data.cleaning.survey import CHUNK
from jaxcls.errors import UserError
from jaxcls.models import features
from jaxcls.training.build import NORMALIZE


def clean(*arguments):
    return command.main(["clean", *map(str, arguments)])


def picture(rng, label):
    """Stripes, upright or lying, of a colour of the class, with noise."""
    wave = 60 * np.sin(np.arange(64) / rng.uniform(2, 4) + rng.uniform(0, 6))
    shape = (wave[:, None] if label else wave[None, :]) + np.zeros((64, 64))
    image = shape[..., None] + [(140, 110, 90), (90, 120, 150)][label] + rng.normal(0, 25, (64, 64, 3))
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two splits, two classes, 40 + 10 pictures each, and the mistakes."""
    root, rng = tmp_path_factory.mktemp("made") / "set", np.random.default_rng(0)
    for split, n in (("train", 40), ("val", 10)):
        for label, name in enumerate(("äpfel", "birnen")):
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                picture(rng, label).save(root / split / name / f"{i}.png")
    shutil.copy(root / "train/birnen/0.png", root / "train/birnen/same.png")
    shutil.copy(root / "val/birnen/1.png", root / "train/birnen/leak.png")
    shutil.copy(root / "train/birnen/2.png", root / "train/äpfel/conflict.png")
    Image.open(root / "train/äpfel/3.png").resize((48, 48)).save(root / "train/äpfel/near.jpg", quality=70)
    (root / "train/birnen/4.png").rename(root / "train/äpfel/wrong, really <b>.png")
    (root / "val/äpfel/5.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return root


@pytest.fixture
def root(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "set"))


def rows(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_everything_planted_is_found_moved_and_put_back(root, tmp_path, capsys):
    before = sorted(root.rglob("*"))
    assert clean(root, "--out", tmp_path / "out") == 1
    said = capsys.readouterr().out
    assert "104 pictures, 2 classes; train 84, validation 20" in said and "without a network" in said
    found = rows(tmp_path / "out/findings.csv")
    assert list(found[0]) == list(review.COLUMNS)
    by = {
        problem: {x["path"]: x for x in found if x["problem"] == problem} for problem in {x["problem"] for x in found}
    }
    assert set(by["unreadable"]) == {"val/äpfel/5.png"}
    assert set(by["duplicate"]) == {"train/birnen/0.png", "train/birnen/same.png"}
    assert set(by["leak"]) == {"val/birnen/1.png", "train/birnen/leak.png"}
    assert set(by["label_conflict"]) == {"train/birnen/2.png", "train/äpfel/conflict.png"}
    assert set(by["near_duplicate"]) == {"train/äpfel/3.png", "train/äpfel/near.jpg"}
    assert "train/äpfel/wrong, really <b>.png" in by["low_confidence"] and "label" not in by
    assert by["leak"]["train/birnen/leak.png"]["detail"] == "same file: val/birnen/1.png"
    suggested = {x["path"]: x["suggestion"] for x in found if x["group"]}
    assert "(birnen)" in by["label_conflict"]["train/äpfel/conflict.png"]["detail"]
    assert suggested["train/äpfel/near.jpg"] == "move" and suggested["val/birnen/1.png"] == "keep"
    assert suggested["train/birnen/2.png"] == suggested["train/äpfel/conflict.png"] == "review"
    moved = {x["path"] for x in found if x["action"] == "move"}
    assert {"val/äpfel/5.png", "train/birnen/leak.png"} < moved and len(moved) == 3  # and one of the duplicates
    assert len(moved & set(by["duplicate"])) == 1

    table = tmp_path / "out/findings.csv"
    assert clean(root, "--apply", table) == 0
    assert {str(p.relative_to(root)) for p in before} - {str(p.relative_to(root)) for p in root.rglob("*")} == moved
    assert clean(root, "--apply", table) == 0  # again
    assert "0 of 3 files moved" in capsys.readouterr().out
    assert clean("--undo", f"{root}.removed/journal.jsonl") == 0
    assert sorted(root.rglob("*")) == before


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.data, self._in = [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = dict(attrs).get("id") == "data"

    def handle_data(self, data):
        self.data += data if self._in else ""

    def handle_endtag(self, tag):
        self._in = False


def test_the_sheet_has_all_in_itself(root, tmp_path):
    assert clean(root, "--out", tmp_path / "out", "--show", "2") == 1
    text = (tmp_path / "out/findings.html").read_text(encoding="utf-8")
    page, found = Page(text), rows(tmp_path / "out/findings.csv")
    assert not re.search(r"(src|href)\s*=\s*[\"']?(?!data:)\w", text.replace("link.href", ""))  # nothing is fetched
    columns, *stored = json.loads(page.data)
    assert columns == list(review.COLUMNS) and stored == [list(x.values()) for x in found]  # what is not shown, too
    pictures = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    boxes = [attrs for tag, attrs in page.tags if tag == "input"]
    assert len(boxes) == sum(min(2, sum(x["problem"] == p for x in found)) for p in {x["problem"] for x in found})
    assert len(pictures) == len(boxes) - 1  # one cannot be read
    shown = Image.open(io.BytesIO(base64.b64decode(pictures[0].partition(",")[2])))
    assert shown.format == "JPEG" and max(shown.size) <= 176
    for box in boxes:
        assert ("checked" in box) == (found[int(box["data-row"])]["action"] == "move")
    assert "<b>.png" not in text and "really &lt;b&gt;.png" in text


def test_a_clean_folder_ends_with_0(root, tmp_path, capsys):
    for name in ("train/birnen/same.png", "train/birnen/leak.png", "train/äpfel/conflict.png", "train/äpfel/near.jpg",
                 "val/äpfel/5.png"):  # fmt: skip
        (root / name).unlink()
    arguments = [root, "--out", tmp_path / "out", "--checks", "unreadable", "duplicates"]
    assert clean(*arguments) == 0
    assert not (tmp_path / "out").exists() and "features" not in capsys.readouterr().out


def test_sets_that_are_no_folder_can_be_searched(tmp_path, capsys):
    arguments = ["synthetic/40x16x3x2", "--out", tmp_path / "out", "--checks", "duplicates", "outliers"]
    assert clean(*arguments) in (0, 1)
    assert "50 pictures, 2 classes; train 40, test 10" in capsys.readouterr().out
    assert clean("synthetic/40x16x3x2", "--apply", "x.csv") == 2
    assert "not a folder" in capsys.readouterr().err


def test_findings_that_may_have_been_edited_stay(root, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [root, "--checks", "duplicates"]
    assert clean(*arguments) == clean(*arguments) == 1
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["clean-set", "clean-set-2"]
    assert clean(*arguments, "--out", "runs/clean-set") == 2
    assert "perhaps with your choices" in capsys.readouterr().err


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_that_a_spreadsheet_has_saved(tmp_path, separator):
    lines = [
        ["path", "action"],
        ["a,1.jpg" if separator != "," else '"a,1.jpg"', "MOVE "],
        ["b.jpg", "keep"],
        ["c.jpg", ""],
    ]
    text = "\r\n".join(separator.join(cells) for cells in lines)
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert review.to_move(tmp_path / "x.csv") == ["a,1.jpg"]


@pytest.mark.parametrize(
    "text, message",
    [(None, "cannot be read"), ("a,b\n1,2\n", "no columns"), ("path,action\nx.jpg,delete\n", "line 2.*'delete'")],
)
def test_a_csv_of_another_kind_is_refused(tmp_path, text, message):
    if text:
        (tmp_path / "x.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        review.to_move(tmp_path / "x.csv")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--model resnet18 --weights none.pth", "none.pth"),
        ("--model resnet_18 --weights x.pth", "resnet18"),
        ("--model resnet18 --weights x.pth --normalize imagenett", "imagenet"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(root, capsys, arguments, message):
    assert clean(root, *arguments.split()) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_features_of_a_network(shared, root, tmp_path, capsys):
    """Stages 1 and 2 and the last features of SqueezeNet: 128 + 256 + 512."""
    weights = str(shared / "data/weights/squeezenet1_1_imagenet.safetensors")
    embed = features.stage_means("squeezenet1_1", weights, 32, *NORMALIZE["imagenet"], CHUNK)
    batch = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    values = embed(batch)
    assert values.shape == (3, 896) and np.isfinite(values).all()
    assert embed(batch[1:2])[0] == pytest.approx(values[1], rel=1e-4, abs=1e-4)  # padding has no influence
    arguments = ["--model", "squeezenet1_1", "--weights", weights, "--size", "32", "--out", tmp_path / "out"]
    assert clean(root, *arguments) == 1
    assert "squeezenet1_1 with" in capsys.readouterr().out
    assert "train/äpfel/wrong, really <b>.png" in {x["path"] for x in rows(tmp_path / "out/findings.csv")[:14]}


def test_the_arguments_default_to_those_of_the_search():
    args = command.parser("clean").parse_args(["pictures"])
    taken = (args.checks, args.radius, args.correlation, args.folds, args.confidence, "none", args.seed)
    assert search.Options(*taken) == search.Options() and args.data == "folder/pictures"
    assert (*labels.METHODS, "none") == clean_verb.METHODS


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("", "name a folder"),
        ("x --model resnet18", "--model and --weights belong together"),
        ("x --radius 12", "--radius must be 0 to 11"),
        ("x --folds 1", "--folds 2 or more"),
        ("x --data_dir y", "there is no argument --data_dir; did you mean '--data-dir'?"),
        ("nowhere", "nowhere"),
    ],
)
def test_usage(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert clean(*arguments.split()) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
