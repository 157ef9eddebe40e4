"""`jaxcls predict --shard` and `--resume`: every picture once, in whatever pieces, however often it is killed."""

import argparse
import collections
import csv
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_predictor import Small, predict
from hypothesis import given
from hypothesis import strategies as st

from jaxcls.cli.command import main
from jaxcls.errors import UserError
from jaxcls.predict import resuming
from jaxcls.predict.sharding import Shard, numbered

TESTS = Path(__file__).resolve().parents[1]
NAMES = ["0.png", 'a"b.png', "c\nd.png", 'e"\n"f,.png', "g,\r\n.png", "h\udcff.png", "é.png", "zz.png"]


@pytest.fixture
def folder(tmp_path):
    """Files of names that CSV and JSON have to quote; one is damaged."""
    root = tmp_path / "pictures"
    root.mkdir()
    for i, name in enumerate(NAMES):
        (root / name).write_bytes(bytes([10 * i]) if i != 3 else b"")
    return root


def paths_of(out):
    """The paths of a file's rows, by other readers than the one that is tested."""
    text = Path(out).read_bytes().decode(errors="surrogateescape")
    if out.suffix == ".jsonl":
        return [json.loads(line)["path"] for line in text.split("\n")[:-1]]
    return [row["path"].removeprefix("'") for row in csv.DictReader(io.StringIO(text, newline=""))]


@given(st.lists(st.text(), max_size=30), st.integers(1, 9))
def test_every_path_is_in_one_shard_with_its_number_in_the_whole_input(paths, count):
    entries = [(path.encode("utf8", "replace").decode(), None) for path in paths]
    found = [entry for i in range(1, count + 1) for entry in numbered(entries, Shard(i, count))]
    assert sorted(found) == sorted((n, path, None) for n, (path, _) in enumerate(entries, 1))


def test_the_shard_of_a_path_is_the_same_everywhere_and_shards_are_of_one_size():
    paths = [f"archive/{i:07d}.jpg" for i in range(20_000)]
    number = lambda p: int(hashlib.blake2b(p.encode(), digest_size=8).hexdigest(), 16) % 8 + 1  # noqa: E731
    sizes = []
    for i in range(1, 9):
        found = [path for _, path, _ in numbered(((path, None) for path in paths), Shard(i, 8))]
        assert found == [path for path in paths if number(path) == i]
        sizes.append(len(found))
    assert max(abs(size - 2500) for size in sizes) < 5 * 2500**0.5


@pytest.mark.parametrize("text", ["2", "0/8", "9/8", "1/0", "-1/8", "1/8/2", "a/b", "1.0/2", "1 /2", ""])
def test_what_is_no_shard(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no part such as 2/8"):
        Shard.parse(text)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_that_is_cut_at_any_byte_becomes_whole_again(folder, tmp_path, monkeypatch, capsys, suffix):
    monkeypatch.chdir(folder)
    out = tmp_path / f"out.{suffix}"
    assert predict(["."], out, top=1) == 0
    whole = out.read_bytes()
    assert sorted(paths_of(out)) == sorted(f"./{name}" for name in NAMES)
    for end in range(0, len(whole), 2 if suffix == "csv" else 5):
        out.write_bytes(whole[:end])
        assert predict(["."], out, top=1, batch=3) == 0
        assert out.read_bytes() == whole, end
    assert predict(["."], out, top=1) == 0 and out.read_bytes() == whole  # nothing is left to do
    assert "8 rows of" in capsys.readouterr().err


def test_rows_that_stay_are_not_predicted_again(folder, tmp_path, capsys):
    class Counts(Small):
        seen = 0

        def logits(self, images):
            self.seen += len(images)
            return super().logits(images)

    out = tmp_path / "out.jsonl"
    predict([str(folder)], out)
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:5]) + lines[5][:7])
    again = Counts()
    assert predict([str(folder)], out, predictor=again) == 0 and again.seen == 3
    assert "5 rows of" in capsys.readouterr().err and out.read_bytes().splitlines(keepends=True) == lines


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_killed_at_any_time_each_picture_has_one_row(tmp_path, suffix):
    root, out = tmp_path / "pictures", tmp_path / f"out.{suffix}"
    root.mkdir()
    for i in range(500):
        (root / f"{i:04d}.png").write_bytes(bytes([i % 256]))
    rng, kills = random.Random(0), 0
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    for _ in range(40):
        command = [sys.executable, str(TESTS / "fake_predictor.py"), str(root), str(out)]
        before = out.stat().st_size if out.exists() else 0
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        while kills < 3 and process.poll() is None and (out.stat().st_size if out.exists() else 0) <= before:
            time.sleep(0.01)  # it has begun to write
        if kills < 3:
            time.sleep(rng.random() * 0.1)
            process.kill()
        process.communicate()
        kills += process.returncode == -9
        if process.returncode == 0:
            break
    assert kills == 3 and process.returncode == 0
    assert paths_of(out) == sorted(str(path) for path in root.iterdir())


def test_the_shards_together_are_the_whole(folder, tmp_path):
    rows = collections.Counter()
    for i in range(1, 4):
        out = tmp_path / f"{i}.jsonl"
        assert predict([str(folder)], out, shard=f"{i}/3") < 2  # 1 where a part has broken ones alone
        rows.update(out.read_text().splitlines())
    assert predict([str(folder)], tmp_path / "all.jsonl") == 0
    assert rows == collections.Counter((tmp_path / "all.jsonl").read_text().splitlines())
    empty = next(i for i in range(1, 100) if str(folder / "0.png") not in Shard(i, 99))
    assert predict([str(folder / "0.png")], tmp_path / "none.csv", shard=f"{empty}/99") == 0  # none is no failure


def test_what_was_begun_otherwise_is_refused_in_a_line_and_stays(folder, tmp_path):
    out = tmp_path / "out.csv"
    predict([str(folder)], out)
    whole = out.read_bytes()
    later = Small()
    later.step = 2
    decided = Small()
    decided.decision = {"temperature": 2.0, "thresholds": None, "costs": None}
    first = str(folder / "0.png")
    for arguments, message in (
        ({"predictor": later}, "was begun with step 1, and this is 2"),
        ({"predictor": decided}, "was begun with decision"),
        ({"top": 1}, "was begun with top 5, and this is 1"),
        ({"shard": "1/2"}, "was begun with shard None, and this is 1/2"),
        ({"pictures": [first]}, "has more rows than the 1 pictures of the input"),
        ({"pictures": [str(folder / "zz.png"), first]}, "row 1 of .* is of .*0.png, where the input has .*zz.png"),
    ):
        with pytest.raises(UserError, match=message) as error:
            predict(arguments.pop("pictures", [str(folder)]), out, **arguments)
        assert "\n" not in str(error.value) and out.read_bytes() == whole
    out.write_bytes(whole.replace(b"probability", b"chance", 1))
    with pytest.raises(UserError, match="holds what this command would not write, behind 0 rows"):
        predict([str(folder)], out)
    out.with_suffix(".jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="was begun without --resume"):
        predict([str(folder)], out.with_suffix(".jsonl"))
    resuming.state(out).write_text("{")
    with pytest.raises(UserError, match="damaged"):
        predict([str(folder)], out)


def test_what_replaces_a_file_forgets_what_its_rows_were_made_with(folder, tmp_path):
    out = tmp_path / "out.csv"
    predict([str(folder)], out)
    assert resuming.state(out).exists()
    predict([str(folder)], out, resume=False)
    assert not resuming.state(out).exists()
    with pytest.raises(UserError, match="was begun without --resume"):
        predict([str(folder)], out)


def test_two_processes_do_not_write_one_file(folder, tmp_path):
    out = tmp_path / "out.csv"
    with resuming.alone(out), pytest.raises(UserError, match="another process writes"):
        predict([str(folder)], out)
    assert predict([str(folder)], out) == 0


def test_options_that_cannot_be_are_told_before_anything_is_loaded(tmp_path, capsys):
    (tmp_path / "folder.csv").mkdir()
    for arguments, message in (
        (["--resume"], "--resume needs --out"),
        (["--resume", "--out", "x.txt"], "rows of a table can't be read back"),
        (["--resume", "--out", str(tmp_path / "folder.csv")], "is no file"),
        (["--resume", "--out", "/dev/full", "--format", "csv"], "is no file"),
        (["--shard", "9/8"], "'9/8' is no part such as 2/8"),
    ):
        assert main(["predict", "no.onnx", "x.jpg", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
