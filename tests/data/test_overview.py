"""The overview tells what is there: counted by hand, and in lines that stay few."""

import numpy as np
import pytest
from PIL import Image

from jaxcls.data import overview, sources
from jaxcls.data.base import ArraySource


def save(path, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def arrays(counts, classes=None, size=8):
    labels = np.repeat(np.arange(len(counts)), counts)
    names = classes or [f"c{i}" for i in range(len(counts))]
    return ArraySource(np.zeros((len(labels), size, size, 3), np.uint8), labels, names, [str(i) for i in labels])


def test_a_folder(tmp_path):
    for i in range(4):
        save(tmp_path / f"Training/cat2/{i}.png")
        save(tmp_path / f"Training/cat10/{i}.png", (400, 300))
        save(tmp_path / f"Testing/cat2/{i}.png")
    (tmp_path / "Testing/cat10").mkdir()
    (tmp_path / "Testing/cat10/x.jp2").write_bytes(b"\xff\x4f\xff\x51")
    (tmp_path / "Training/cat10/x.jp2").write_bytes(b"\xff\x4f\xff\x51")
    (tmp_path / "test1").mkdir()
    save(tmp_path / "test1/1.png")
    (tmp_path / "other").mkdir()
    lines = overview.lines(sources.load(f"folder/{tmp_path}"), size=64)
    assert lines == [
        "class  train  test",
        "cat2       4     4",
        "cat10      4     0",
        "all 2      8     4",
        "note: test has no picture of 1 of 2 classes: cat10",
        "sizes of train's pictures: from 40 x 30 to 400 x 300, median 400 x 300 pixels",
        "left out: 2 JPEG 2000 file(s) (convert it to JPEG or PNG), e.g. Training/cat10/x.jp2",
        "left out: 1 folder(s) beside the split folders (jaxcls predict answers pictures without labels), e.g. other",
        "note: test1: 1 picture(s) in no class folders, so without labels, are left out; "
        f"`jaxcls predict RUN {tmp_path}/test1` answers them",
    ]


def test_parts_of_one_folder_count_what_was_left_out_once(tmp_path):
    for i in range(20):
        save(tmp_path / f"a/{i}.png")
        save(tmp_path / f"b/{i}.png")
    (tmp_path / "a/notes.txt").write_text("x")
    found = sources.load(f"folder/{tmp_path}")
    assert len(found) == 3
    assert overview.lines(found)[-1] == "left out: 1 text file(s), e.g. a/notes.txt"
    assert overview.left_out(found) == overview.lines(found)[-1:]


def test_a_long_table_is_cut():
    lines = overview.lines({"train": arrays([2] * 1000), "test": arrays([1] * 1000)})
    assert len(lines) == 1 + 20 + 1 + 5 + 1 + 1
    assert lines[20].split() == ["c19", "2", "1"] and lines[21] == "... 975 more" and lines[22].split()[0] == "c995"
    assert (
        lines[-2].split() == ["all", "1,000", "2,000", "1,000"]
        and len({*map(len, lines[:21])}) == 1
        and lines[-1] == "sizes of train's pictures: all 8 x 8 pixels"
    )


def test_names_of_classes_stay_in_their_line():
    lines = overview.lines({"train": arrays([1, 1], ["a\nb\x1b[31m", "x" * 300])})
    assert lines[1].split() == [r"a\nb\x1b[31m", "1"] and len(lines[2]) < 60 and "…" in lines[2]


@pytest.mark.parametrize("counts, told", [([10, 100], False), ([10, 101], True), ([0, 5, 60], True), ([0, 0], False)])
def test_uneven_classes(counts, told):
    lines = [line for line in overview.lines({"train": arrays(counts)}) if "uneven" in line]
    assert bool(lines) == told
    assert not told or f"{max(counts)} pictures" in lines[0] and "(1" in lines[0]


@pytest.mark.parametrize("small, told", [(5, ""), (6, "55 %"), (11, "all")])
def test_a_note_where_more_than_half_are_enlarged(tmp_path, small, told):
    for i in range(11):
        save(tmp_path / f"train/{'ab'[i % 2]}/{i}.png", (300, 63) if i < small else (64, 300))
    for name in "ab":
        save(tmp_path / f"test/{name}/1.png")
    lines = overview.lines(sources.load(f"folder/{tmp_path}"), size=64)
    notes = [line for line in lines if "enlarges" in line]
    assert notes == ([f"note: training at 64 pixels enlarges {told} of them; a smaller size is faster"] if told else [])


def test_sizes_are_of_a_sample_upright_and_without_the_bad_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(overview, "SAMPLE", 10)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(30):
            Image.new("RGB", (20, 10)).save(tmp_path / name / f"{i}.jpg", exif=exif)
    (tmp_path / "a/0.jpg").write_bytes(b"no picture")
    found = sources.load(f"folder/{tmp_path}", split_ratios=(1, 0, 0))
    assert "sizes of train's pictures: all 10 x 20 pixels (of 9 pictures)" in overview.lines(found)


def test_any_source_has_one():
    class Encoded:
        """The least that a source is."""

        classes, labels = ("a", "b"), np.array([0, 1, 1])
        leaves, fingerprint = {}, "0" * 16

        def __len__(self):
            return 3

        def __getitem__(self, row):
            return {"image": np.zeros((5 + row, 7, 3), np.uint8), "label": int(self.labels[row]), "id": str(row)}

    lines = overview.lines({"train": Encoded()}, 4)
    assert lines[-1] == "sizes of train's pictures: from 7 x 5 to 7 x 7, median 7 x 6 pixels"
    assert overview.lines(sources.load("synthetic/64x16x3x4"))[-1] == "sizes of train's pictures: all 16 x 16 pixels"
    assert overview.lines({}) == []
