"""The search for pictures that cannot be read, quick and full."""

import numpy as np
from pictures import encode, jpeg_of_size, noise

from jaxcls.data import folder, sources, unreadable
from jaxcls.data.base import subset


def test_check_finds_what_is_broken(tmp_path):
    good = {
        f"{name}/{i}.{kind.lower()}": encode(noise(), kind)
        for name in "ab"
        for i in range(3)
        for kind in ("JPEG", "PNG")
    }
    large = encode(noise(900, 900), quality=90)  # more than is read of a file's beginning
    bad = {
        "a/cut.jpg": large[:-3000],
        "a/empty.jpg": b"",
        "b/cut.png": encode(noise(), "PNG")[:-40],
        "b/huge.jpg": jpeg_of_size(30_000, 30_000),
        "b/text.jpg": b"hello",
    }
    for name, encoded in {**good, **bad, "a/large.jpg": large}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded)
    source = folder.scan(tmp_path)["all"]
    seen = []
    problems = unreadable.check(source, progress=lambda done, total: seen.append((done, total))).problems
    assert [name for name, _ in problems] == sorted(bad)
    assert seen[-1] == (len(source), len(source))
    text = dict(problems)
    assert text["a/empty.jpg"].startswith("empty file") and text["b/text.jpg"].startswith("not a picture")
    assert text["a/cut.jpg"].startswith("truncated JPEG") and text["b/huge.jpg"].startswith("30000 x 30000")
    assert unreadable.check(source, full=True).problems == problems
    part = subset(source, np.arange(len(source))[::-1])
    assert sorted(unreadable.check(part).problems) == problems
    rows = [row for row in range(len(source)) if source.ids[row] in ("a/cut.jpg", "a/large.jpg")]
    assert [name for name, _ in unreadable.check(source, rows, full=False).problems] == ["a/cut.jpg"]


def test_full_check_finds_damage_in_the_middle(tmp_path):
    encoded = encode(noise())
    middle = len(encoded) // 2
    for name, data in (("a", encoded), ("b", encoded[:middle] + b"\xff\xd9" * 40 + encoded[middle:])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes(data)
    source = folder.scan(tmp_path)["all"]
    assert unreadable.check(source, full=False) == ([], 0, 2, [])
    assert [name for name, _ in unreadable.check(source).problems] == ["b/x.jpg"]


def test_a_file_that_vanished_is_a_problem(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(encode(noise(), "PNG"))
    source = folder.scan(tmp_path)["all"]
    (tmp_path / "b" / "x.png").unlink()
    ((name, problem),) = unreadable.check(source).problems
    assert name == "b/x.png" and "cannot be read (No such file" in problem


def test_pictures_in_memory_have_no_problems():
    assert unreadable.check(sources.load("synthetic/8x8x3x2")["train"]).problems == []
