"""ArrayRecord of one's own: what is written comes back as it was, nothing stays half, and bad folders are one line."""

import json
import pickle
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxcls.cli import command
from jaxcls.data import decode, marks, record_files, sources
from jaxcls.data.base import LEAVES, ArraySource, Leaf
from jaxcls.errors import UserError

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path):
    """Pictures of two classes in two splits, of several sizes and formats."""
    for split, count in (("train", 7), ("val", 3)):
        for i in range(count):
            path = tmp_path / "pictures" / split / "ab"[i % 2] / f"{i}.{('png', 'jpg', 'bmp')[i % 3]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(RNG.integers(0, 256, (8 + i, 9, 3), dtype=np.uint8)).save(path)
    return tmp_path / "pictures"


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_a_folder_comes_back_as_it_was(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(record_files, "MOST", 3)  # several files
    assert not command.main(["prepare", str(folder), "--to", "array_record", "--out", str(tmp_path / "out")])
    assert f"records/{tmp_path}/out" in capsys.readouterr().out
    before, after = sources.find(f"folder/{folder}"), sources.find(f"records/{tmp_path}/out")
    assert len(list((tmp_path / "out").glob("train-*.array_record"))) == 3
    assert list(before) == list(after) == ["train", "validation"]
    for split, source in before.items():
        found = pickle.loads(pickle.dumps(after[split]))
        assert found.ids == source.ids and found.classes == source.classes
        assert found.fingerprint == after[split].fingerprint
        np.testing.assert_array_equal(found.labels, source.labels)
        assert all(same(found[row], source[row]) for row in range(len(source)))
        assert all(same(a, source[row]) for row, a in enumerate(found.items()))
        assert marks.marks(found) == marks.marks(source)


@pytest.mark.parametrize("sets", [False, True])
def test_arrays_come_back_into_memory(tmp_path, sets):
    images = RNG.integers(0, 256, (9, 4, 5, 2), dtype=np.uint8)
    labels = RNG.integers(0, 2, (9, 3)).astype(np.uint8) if sets else np.arange(9) % 3
    ages, boxes = RNG.random(9).astype(np.float32), RNG.integers(0, 9, (9, 4)).astype(np.int16)
    ids = [f"é {i}" for i in range(9)]
    source = ArraySource(images, labels, ["a", "b", "c"], ids, more={"age": ages, "boxes": boxes})
    record_files.write({"all": source}, tmp_path / "out")
    found = sources.find(f"records/{tmp_path}/out")["all"]
    assert isinstance(found, ArraySource) and found.fingerprint == source.fingerprint and found.ids == source.ids


class Told:
    """Encoded pictures with more that is known of them, and a leaf."""

    classes, ids = ("a", "b"), ("x", "y", "z")
    labels, fingerprint = np.array([0, 1, 0], np.int32), "0" * 16
    leaves = {**LEAVES, "age": Leaf((), np.dtype(np.float32))}

    def __len__(self):
        return 3

    def __getitem__(self, row):
        if row == self.bad:
            raise UserError(f"{self.ids[row]}: it can't be read")
        more = {"age": np.float32(0.1 * row), "site": "north", "year": np.int64(2000 + row)}
        return {"image": b"picture", "label": int(self.labels[row]), "id": self.ids[row], **more}

    bad = None


def test_metadata_and_leaves_come_back(tmp_path):
    record_files.write({"train": Told()}, tmp_path / "out")
    found = sources.find(f"records/{tmp_path}/out")["train"]
    assert found.leaves == Told.leaves
    for row in range(3):
        item = found[row]
        assert item["age"] == np.float32(0.1 * row) and (item["site"], item["year"]) == ("north", 2000 + row)


def test_a_bad_picture_or_an_interrupt_leaves_nothing(tmp_path):
    class Bad(Told):
        bad = 2

    with pytest.raises(UserError, match="z: it can't be read"):
        record_files.write({"train": Told(), "test": Bad()}, tmp_path / "out")

    class Interrupted(Told):
        def __getitem__(self, row):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record_files.write({"train": Interrupted()}, tmp_path / "out")
    assert not list(tmp_path.iterdir())


FULL = """
import sys
from pathlib import Path
from jaxcls.data import record_files, sources
from jaxcls.errors import UserError
try:
    record_files.write(sources.find("synthetic/3000x16x3x10"), Path(sys.argv[1]))
except UserError as error:
    print(error)
"""


def test_a_full_disk_leaves_nothing(tmp_path):
    def small():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "out"], preexec_fn=small, capture_output=True, text=True, timeout=120
    )
    assert "out can't be written:" in done.stdout and "free some space" in done.stdout and done.stdout.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: (f / "info.json").unlink(), "has no info.json; make it with: jaxcls prepare"),
        (lambda f: (f / "info.json").write_text("{"), "info.json cannot be read or is damaged"),
        (lambda f: (f / "info.json").write_text('{"version": 2}'), "another version"),
        (lambda f: (f / "info.json").write_text('{"version": 1, "splits": {"all": {}}}'), "info.json is damaged"),
        (lambda f: (f / "train-index.npz").unlink(), "train-index.npz is missing or damaged"),
        (lambda f: (f / "train-00000.array_record").unlink(), "train-00000.array_record is missing"),
        (lambda f: (f / "train-00000.array_record").write_bytes(b"x" * 70000), "is cut or damaged"),
        (lambda f: cut(f / "train-00000.array_record"), "is cut or damaged"),
        (lambda f: other(f), "hold 3 pictures, not 2"),
    ],
)
def test_bad_folders_are_one_line(tmp_path, change, message):
    record_files.write({"train": Told()}, tmp_path / "out")
    change(tmp_path / "out")
    with pytest.raises(UserError, match=message) as caught:
        sources.find(f"records/{tmp_path}/out")
    assert "\n" not in str(caught.value)


def cut(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def other(folder):
    """Says that there are two pictures, in info.json and the index alike."""
    info = json.loads((folder / "info.json").read_text())
    info["splits"]["train"]["count"] = 2
    (folder / "info.json").write_text(json.dumps(info))
    index = np.load(folder / "train-index.npz")
    ids = np.frombuffer(b'["x", "y"]', np.uint8)
    np.savez(folder / "train-index.npz", key=index["key"], labels=index["labels"][:2], ids=ids)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--to", "array_record"], "takes its name, --to array_record and --out"),
        (["x", "--out", "y"], "takes its name"),
        (["{}", "--to", "array_record", "--out", "{}"], "is there already"),
        (["{}/away", "--to", "array_record", "--out", "{}/out"], "does not exist"),
        (["{}", "--to", "tfrecord", "--out", "{}/out"], "array_record"),
        (["{}", "--to", "array_record", "--out", "{}/out", "--manual-dir", "x"], "--manual-dir does not go with --to"),
    ],
)
def test_bad_commands_are_one_line(folder, capsys, words, message):
    assert command.main(["prepare", *(word.format(folder) for word in words)]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_what_is_written_can_be_decoded(folder, tmp_path):
    record_files.write(sources.find(f"folder/{folder}"), tmp_path / "out")
    source = sources.find(f"records/{tmp_path}/out")["train"]
    assert [decode.decode(source[row]["image"]).shape[1] for row in range(7)] == [9] * 7
