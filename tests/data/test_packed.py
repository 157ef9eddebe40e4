"""Packed files: the pixels they give back, what they refuse, and builds that are killed or run twice."""

import fcntl
import json
import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcls import augment
from jaxcls.data import folder, packed, packing
from jaxcls.data.base import ArraySource, subset
from jaxcls.errors import UserError

SHRINK = augment.smaller(16, channels=3)


@pytest.fixture
def pictures(tmp_path):
    """A FolderSource of nine lossless pictures of different sizes in two classes."""
    for i in range(9):
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (12 + 4 * i, 40 - 2 * i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return folder.scan(tmp_path / "pictures")["all"]


def pack(source, where, size=16, **options):
    lines = []
    made = packing.pack(source, where, augment.smaller(size, channels=3), size, note=lines.append, **options)
    return made, lines


def by_pillow(source, row, size=16):
    with Image.open(os.path.join(source.root, source.ids[row])) as file:
        short = min(file.size)
        if short > size:
            file = file.resize([size if n == short else int(size * n / short) for n in file.size], Image.BILINEAR)
        return np.asarray(file)


@pytest.mark.parametrize("threads", [1, 4])
def test_pictures_come_back_smaller_with_labels_and_names(pictures, tmp_path, threads, monkeypatch):
    monkeypatch.setattr(packed, "CHUNK", 1000)
    monkeypatch.setattr(packing, "CHUNK", 1000)
    made, lines = pack(pictures, tmp_path / "cache", threads=threads)
    assert len(made) == 9 and made.classes == ("a", "b") and made.ids == pictures.ids
    np.testing.assert_array_equal(made.labels, pictures.labels)
    for row in range(9):
        item = made[row]
        np.testing.assert_array_equal(item["image"], by_pillow(pictures, row))
        assert (item["label"], item["id"]) == (pictures.labels[row], pictures.ids[row])
    assert lines[0].startswith("packing 9 pictures with 16 pixels on the short side into ")
    made.check()
    again, lines = pack(pictures, tmp_path / "cache")
    assert lines == [] and again.fingerprint == made.fingerprint
    copy = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(copy[3]["image"], made[3]["image"])
    with pytest.raises(ValueError, match="read-only"):
        made[0]["image"][0] = 0


def test_another_size_and_changed_pictures_are_built_again(pictures, tmp_path):
    first, _ = pack(pictures, tmp_path / "cache")
    other, lines = pack(pictures, tmp_path / "cache", size=20)
    assert lines and other.fingerprint != first.fingerprint and other[8]["image"].shape[1] == 20
    changed = os.path.join(pictures.root, pictures.ids[2])
    Image.new("RGB", (50, 20), "red").save(changed)
    new, lines = pack(folder.scan(pictures.root)["all"], tmp_path / "cache")
    assert lines and new.fingerprint != first.fingerprint
    np.testing.assert_array_equal(new[2]["image"], np.full((16, 40, 3), (255, 0, 0)))


def test_views_of_one_source_share_a_file(pictures, tmp_path):
    found = {"train": subset(pictures, np.array([5, 1, 2])), "validation": subset(pictures, np.array([0, 8]))}
    made = packing.pack_all(found, tmp_path / "cache", SHRINK, 16, note=lambda _: None)
    assert len(list((tmp_path / "cache").glob("*.pack"))) == 1
    assert [made["train"][i]["id"] for i in range(3)] == [pictures.ids[i] for i in (5, 1, 2)]
    np.testing.assert_array_equal(made["validation"].labels, pictures.labels[[0, 8]])
    array = ArraySource(np.zeros((2, 4, 4, 3), np.uint8), np.arange(2), ("a", "b"), ("x", "y"))
    with pytest.raises(UserError, match="lies in memory"):
        packing.pack_all({"train": array}, tmp_path, SHRINK, 16)


@pytest.mark.parametrize("where", ["pixels", "index", "header", "length", "magic", "version"])
def test_damage_is_found_and_named_with_its_remedy(pictures, tmp_path, where):
    made, _ = pack(pictures, tmp_path / "cache")
    header, path = made.header, made.path
    data = bytearray(Path(path).read_bytes())
    at = {
        "pixels": packed.HEADER + 77,
        "index": packed.HEADER + header["pixels"] + 3,
        "header": 40,
        "magic": 2,
        "version": data.index(b'"version": 1') + len(b'"version": '),
        "length": len(data) - 1,
    }[where]
    if where == "length":
        del data[at:]
    else:
        data[at] ^= 3
    Path(path).write_bytes(data)
    with pytest.raises(UserError, match="damaged, .*; delete the file, it will be built again") as caught:
        pack(pictures, tmp_path / "cache")
    assert path in str(caught.value) and "\n" not in str(caught.value)


def test_opening_looks_at_three_chunks_and_a_check_at_all(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "CHUNK", 512)
    monkeypatch.setattr(packing, "CHUNK", 512)
    made, _ = pack(pictures, tmp_path / "cache")
    n = -(-made.header["pixels"] // 512)
    for chunk in range(n):
        data = bytearray(Path(made.path).read_bytes())
        data[packed.HEADER + 512 * chunk] ^= 255
        other = tmp_path / f"{chunk}.pack"
        other.write_bytes(data)
        if chunk in (0, (n - 1) // 2, n - 1):
            with pytest.raises(UserError, match="have changed"):
                packed.PackedSource(other)
        else:
            opened = packed.PackedSource(other)
            with pytest.raises(UserError, match=f"pixels {512 * chunk:,} to .* have changed"):
                opened.check()


def test_a_picture_that_cannot_be_read_is_named_and_leaves_nothing(pictures, tmp_path):
    with open(os.path.join(pictures.root, pictures.ids[4]), "wb") as file:
        file.write(b"no picture")
    with pytest.raises(UserError, match=pictures.ids[4]):
        pack(folder.scan(pictures.root)["all"], tmp_path / "cache")
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".lock"]


def test_too_little_room_is_said_before_anything_is_written(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda _: type("", (), {"free": 100}))
    with pytest.raises(UserError, match=r"need about .* GiB, but .* has 0.0 GiB free; make config.data.pack smaller"):
        pack(pictures, tmp_path / "cache")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be written or read: .* set config.data.pack_dir"):
        pack(pictures, tmp_path / "file" / "cache")


class Slow:
    """Takes a while for each picture, so that a build can be caught half-way. At the top level for `spawn`."""

    def __call__(self, image, name, random):
        time.sleep(0.1)
        return SHRINK(image, name, random)


def build(source, where, locks=True):
    if not locks:
        fcntl.flock = refuse
    packing.pack(source, where, Slow(), 16, threads=1, note=lambda _: None)


def refuse(*_):
    raise OSError("no locks here")


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


def test_a_killed_build_leaves_nothing_that_is_taken_for_whole(pictures, tmp_path):
    where = tmp_path / "cache"
    process = multiprocessing.get_context("spawn").Process(target=build, args=(pictures, where))
    process.start()
    wait_for(lambda: list(where.glob("*.part")))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(where.glob("*.part")) and not list(where.glob("*.pack"))
    made, _ = pack(pictures, where)
    assert not list(where.glob("*.part"))
    np.testing.assert_array_equal(made[7]["image"], by_pillow(pictures, 7))


@pytest.mark.parametrize("locks", [True, False])
def test_processes_that_build_at_the_same_time_do_no_harm(pictures, tmp_path, locks):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=build, args=(pictures, tmp_path, locks)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    (path,) = tmp_path.glob("*.pack")
    made = packed.PackedSource(path)
    made.check()
    np.testing.assert_array_equal(made[8]["image"], by_pillow(pictures, 8))
    assert not list(tmp_path.glob("*.part"))


def test_the_header_can_be_read_by_anyone(pictures, tmp_path):
    made, _ = pack(pictures, tmp_path / "cache")
    with open(made.path, "rb") as file:
        assert file.read(8) == b"JAXCLSPK"
        header = json.loads(file.read(4088))
    assert header["fingerprint"] == pictures.fingerprint
    assert (header["version"], header["size"], header["channels"], header["count"]) == (1, 16, 3, 9)
