"""The search for pictures that cannot be read, quick and full."""

import numpy as np
import pytest
from pictures import encode, jpeg_of_size, noise, smooth

from jaxcls.data import decode, ends, folder, kinds, sources, unreadable
from jaxcls.data.base import subset
from jaxcls.errors import UserError


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


def write(root, pictures):
    """A folder of the classes a and b: name -> bytes, all of class a, and one good picture of class b."""
    for name, encoded in {**{f"a/{name}": encoded for name, encoded in pictures.items()}, "b/good.png": GOOD}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(encoded)
    return folder.scan(root)["all"]


GOOD = encode(noise(), "PNG")
KINDS = {
    "gif": ("GIF", {}),
    "webp": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
    "tif": ("TIFF", {}),
    "ppm": ("PPM", {}),
    "png": ("PNG", {}),
    "jpg": ("JPEG", {}),
    **({"avif": ("AVIF", {"quality": 90})} if "AVIF" in kinds.readable() else {}),
}


@pytest.mark.parametrize("full", [None, False])
@pytest.mark.parametrize("suffix", KINDS)
def test_a_cut_file_of_any_kind_is_found_and_a_whole_one_is_not(suffix, full, tmp_path):
    kind, options = KINDS[suffix]
    whole = encode(noise(200, 260), kind, **options)
    cut = {f"{share}.{suffix}": whole[: int(len(whole) * share)] for share in (0.3, 0.5, 0.9)}
    source = write(tmp_path, {**cut, f"whole.{suffix}": whole})
    assert [name for name, _ in unreadable.check(source, full=full).problems] == sorted(f"a/{name}" for name in cut)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_hole_is_found_where_all_are_decoded(suffix, tmp_path):
    kind, options = KINDS[suffix]
    data = bytearray(encode(noise(200, 260), kind, **options))
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    checked = unreadable.check(write(tmp_path, {f"hole.{suffix}": bytes(data)}))
    assert [name for name, _ in checked.problems] == [f"a/hole.{suffix}"]
    assert (checked.decoded, checked.looked_at) == (2, 0)


def test_problems_are_those_that_training_meets(tmp_path):
    encoded = {"a.png": GOOD[:-400], "b.jpg": encode(noise())[:900], "c.gif": b"GIF89a rubbish", "d.bmp": b"<html>"}
    for name, problem in unreadable.check(write(tmp_path, encoded)).problems:
        with pytest.raises(UserError) as error:
            decode.decode(encoded[name.removeprefix("a/")], name=name)
        assert str(error.value) == f"{name}: {problem}"


def test_all_are_decoded_where_that_is_quick_and_counted_where_it_is_not(tmp_path, monkeypatch):
    source = write(tmp_path, {f"{i:03d}.jpg": encode(smooth()) for i in range(120)})
    assert unreadable.check(source)[1:3] == (121, 0)
    assert unreadable.check(source, full=False)[1:3] == (0, 121)
    clock = iter(range(0, 10_000))  # a second each time that it is looked at
    monkeypatch.setattr(unreadable.time, "monotonic", lambda: next(clock))
    some = unreadable.check(source, seconds=10)
    assert 0 < some.decoded < 121 and some.decoded + some.looked_at == 121
    assert unreadable.check(source, full=True)[1:3] == (121, 0)
    assert unreadable.check(source, [])[:3] == ([], 0, 0)


@pytest.mark.parametrize("bits, factor", [(10, 64), (12, 16), (14, 4)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_few_bits_of_16_are_noted_and_no_problem(bits, factor, suffix, tmp_path):
    values = np.linspace(0, 2**bits - 1, 300).round().astype(np.uint16).reshape(15, 20)
    few = {f"few{i}.{suffix}": encode(values, KINDS[suffix][0]) for i in range(3)}
    some = {"full.png": encode(values * np.uint16(factor), "PNG"), "8.png": GOOD}
    checked = unreadable.check(write(tmp_path, {**few, **some}))
    assert not checked.problems
    (note,) = checked.notes
    assert note.startswith(f"3 of 4 pictures of 16 bits use at most {bits} bits")
    assert note.endswith(f"set config.data.window=(0, {2**bits - 1})")


def test_16_bits_that_are_used_are_not_noted(tmp_path):
    full = np.linspace(0, 65535, 300).astype(np.uint16).reshape(15, 20)
    assert (
        unreadable.check(write(tmp_path, {"full.png": encode(full, "PNG"), "black.jpg": encode(0 * noise())})).notes
        == []
    )


@pytest.mark.parametrize("suffix", KINDS)
def test_the_ends_of_a_whole_picture_leave_no_doubt(suffix):
    """So nothing is decoded for them, of pictures longer than what is read."""
    kind, options = KINDS[suffix]
    encoded = encode(noise(300, 400), kind, **options)
    assert ends.look_whole(encoded[:65536], encoded[-2048:], len(encoded))
    for cut in (1, 40, 3000):
        short = encoded[:-cut]
        if suffix not in ("jpg", "png") or cut > 1:  # within the mark
            assert not ends.look_whole(short[:65536], short[-2048:], len(short))


@pytest.mark.parametrize("name", ["new\nline.png", "\x1b[31mred.png", "\udcff.png"])
@pytest.mark.parametrize("kind", ["empty", "link to nothing"])
def test_a_problem_does_not_name_its_picture_again(tmp_path, name, kind):
    for folder_ in "ab":
        (tmp_path / folder_).mkdir()
        (tmp_path / folder_ / "x.png").write_bytes(encode(noise(), "PNG"))
    bad = tmp_path / "a" / name
    bad.write_bytes(b"") if kind == "empty" else bad.symlink_to("none")
    ((found, problem),) = unreadable.check(folder.scan(tmp_path)["all"]).problems
    assert found == f"a/{name}" and problem.startswith("empty file" if kind == "empty" else "cannot be read")
