"""Tar shards: samples, labels and splits, the index that is kept, and that what can't be is one line."""

import io
import json
import pickle
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcls import files
from jaxcls.data import marks, sources, tar_headers
from jaxcls.errors import UserError


def png(i):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(i).integers(0, 256, (7, 6, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def shard(path, members, format=tarfile.PAX_FORMAT):
    """A tar file of name -> content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def samples(rows, suffix="cls", label=lambda i: str(i % 3)):
    return [x for i in rows for x in ((f"{i:04d}.png", png(i)), (f"{i:04d}.{suffix}", label(i).encode()))]


def test_one_set(tmp_path, monkeypatch):
    shard(tmp_path / "a-0.tar", samples(range(5)))
    shard(tmp_path / "a-1.tar", samples(range(5, 9)))
    (tmp_path / "a-0.txt").write_text("words")
    source = sources.find(f"shards/{tmp_path}")["all"]
    assert source.classes == ("0", "1", "2") and source.labels.tolist() == [i % 3 for i in range(9)]
    again = pickle.loads(pickle.dumps(source))
    for i in range(9):
        assert again[i] == {"image": png(i), "label": i % 3, "id": f"a-{i // 5}/{i:04d}"}
    with monkeypatch.context() as patched:  # the second time no header is read
        patched.setattr(tar_headers, "members", None)
        kept = sources.find(f"shards/{tmp_path}")["all"]
    assert kept.fingerprint == source.fingerprint and kept.ids == source.ids and kept[7] == source[7]


def test_pictures_are_known_by_content(tmp_path):
    """By the mark that the same picture has as a file."""
    big = np.random.default_rng(0).bytes(10_000)
    (tmp_path / "0.png").write_bytes(png(0))
    (tmp_path / "1.png").write_bytes(big)
    shard(tmp_path / "a.tar", [("0.png", png(0)), ("0.cls", b"0"), ("1.png", big), ("1.cls", b"1")])
    source = sources.find(f"shards/{tmp_path}/a.tar")["all"]
    assert marks.can_mark(source)
    assert marks.marks(source) == [marks.of_file(str(tmp_path / f"{i}.png")) for i in range(2)]


def test_beside_what_can_not_be_written_the_index_is_kept_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shard(tmp_path / "x/a.tar", samples(range(3)))
    write = files.write_arrays

    def refuses(path, *args, **arrays):
        if path.parent == tmp_path / "x":
            raise UserError("no")
        write(path, *args, **arrays)

    monkeypatch.setattr(files, "write_arrays", refuses)
    assert len(sources.find(f"shards/{tmp_path}/x")["all"]) == 3
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["a.tar"]
    assert len(list((tmp_path / "cache/jaxcls").glob("jaxcls-index-*.npz"))) == 1
    monkeypatch.setattr(tar_headers, "members", None)
    assert len(sources.find(f"shards/{tmp_path}/x")["all"]) == 3


@pytest.mark.parametrize(
    "names",
    [
        ("train-0.tar", "train-1.tar", "val-0.tar", "test.tar"),
        ("train/0.tar", "train/1.tar", "val/0.tar", "Test/0.tar"),
    ],
)
def test_splits(tmp_path, names):
    for i, name in enumerate(names):
        shard(tmp_path / name, samples(range(3 * i, 3 * i + 3)))
    found = sources.find(f"shards/{tmp_path}")
    assert {split: len(x) for split, x in found.items()} == {"train": 6, "validation": 3, "test": 3}
    assert found["test"][0]["image"] == png(9)


def test_patterns(tmp_path):
    for i in range(3):
        shard(tmp_path / f"imagenet_train_{i:03d}.tar", samples(range(3 * i, 3 * i + 3)))
    shard(tmp_path / "other.tar", samples(range(3)))
    for pattern, count in (
        ("imagenet_train_{000..002}.tar", 9),
        ("imagenet*.tar", 9),
        ("{other,imagenet_train_001}.tar", 6),
    ):
        if count == 6:
            with pytest.raises(UserError, match="1 shards have no split in their names, the first is other.tar"):
                sources.find(f"shards/{tmp_path}/{pattern}")
            continue
        assert len(sources.find(f"shards/{tmp_path}/{pattern}")["all"]) == count


@pytest.mark.parametrize(
    "suffix, label, query, classes, first",
    [
        ("cls", lambda i: f" {i % 3}\n", "", ("0", "1", "2"), [0, 1]),
        ("cls", lambda i: "abc"[i % 3], "", ("a", "b", "c"), [0, 1]),
        ("txt", lambda i: "abc"[i % 3], "", ("a", "b", "c"), [0, 1]),
        ("json", lambda i: json.dumps({"label": i % 3, "url": "x"}), "", ("0", "1", "2"), [0, 1]),
        ("json", lambda i: json.dumps({"label": 1, "kind": i % 3}), "?label=kind", ("0", "1", "2"), [0, 1]),
        ("json", lambda i: json.dumps({"tags": ["ab"[i % 2], "c"][: i]}), "?label=tags", ("b", "c"), [[0, 0], [1, 0]]),
        ("cls", lambda i: str(i % 3), "?classes={}/names", ("x", "y", "z"), [0, 1]),
    ],
)  # fmt: skip
def test_labels(tmp_path, suffix, label, query, classes, first):
    (tmp_path / "names").write_text("x\ny\nz\n")
    shard(tmp_path / "a.tar", samples(range(2 if "tags" in query else 6), suffix, label))
    source = sources.find(f"shards/{tmp_path}/a.tar{query.format(tmp_path)}")["all"]
    if "tags" in query:
        assert source.classes == ("b",) and source.labels.tolist() == [[0], [1]]
        assert source.leaves["label"].shape == (1,) and source.leaves["label"].dtype == np.uint8
        return
    assert source.classes == classes and source.labels[:2].tolist() == first


def test_pictures_without_labels(tmp_path):
    shard(tmp_path / "a.tar", [(f"{i}.jpg", png(i)) for i in range(3)])
    source = sources.find(f"shards/{tmp_path}")["train"]
    assert source.classes == () and source.labels.tolist() == [-1] * 3 and source[1]["image"] == png(1)


def test_several_pictures_a_sample(tmp_path):
    members = [x for i in range(3) for x in ((f"{i}.left.jpg", png(i)), (f"{i}.right.jpg", png(9)), (f"{i}.cls", b"0"))]
    shard(tmp_path / "a.tar", members)
    source = sources.find(f"shards/{tmp_path}?image=left.jpg")["all"]
    assert [source[i]["image"] for i in range(3)] == [png(i) for i in range(3)]


BAD = {
    "no label": ([("1.png", png(1)), ("1.cls", b"0"), ("2.png", png(2))], "", "a sample has no label, a/2"),
    "labels gone": (samples(range(4))[:3] + [("8.png", b""), ("9.png", b"")], "", "3 samples have no label, a/0001"),
    "no picture": (samples(range(3)) + [("7.cls", b"0")], "", "a sample has no picture, a.tar: 7.cls"),
    "twice": (samples(range(3)) + samples(range(1)), "", "2 members twice, the first is 0000.png"),
    "two pictures": ([("1.png", png(1)), ("1.jpg", png(1)), ("1.cls", b"0")], "", r"several pictures.*\?image=png"),
    "no samples": ([("README", b"x")], "", "no samples"),
    "nothing": ([], "", "no samples"),
    "fractions": (samples(range(3), "json", lambda i: '{"label": 0.5}'), "", "neither a whole number nor a word"),
    "both": (samples(range(3), "json", lambda i: json.dumps({"label": [[0], 1][i % 2]})), "", "a list of.*one label"),
    "empty sets": (samples(range(3), "json", lambda i: '{"label": []}'), "", "no picture has a label"),
    "captions": (samples(range(3), "txt", lambda i: "a\nb"), "", "several lines"),
    "no field": (samples(range(3), "json", lambda i: '{"tag": 1}'), "", r"none of the fields.*\?label=FIELD"),
    "another field": (samples(range(3), "json", lambda i: '{"tag": 1}'), "?label=tags", "no sample has the label"),
    "damaged JSON": (samples(range(3), "json", lambda i: '{"label": 1'), "", ".json is damaged"),
    "a list as JSON": (samples(range(3), "json", lambda i: "[1]"), "", ".json has no fields"),
    "no UTF-8": ([("1.png", png(1)), ("1.cls", b"\xff\xfe\xff")], "", "no UTF-8 text"),
    "a mixture": (samples(range(3), "cls", lambda i: "a1b"[i]), "", "2 labels are words, such as 'a' of a/0000, and 1"),
    "names": (samples(range(3)), "?classes={}/two", "a/0002 has the label 2; there are 2 class names"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_samples_are_one_line(tmp_path, case):
    members, query, message = BAD[case]
    (tmp_path / "two").write_text("x\ny\n")
    shard(tmp_path / "s/a.tar", members)
    with pytest.raises(UserError, match=message) as caught:
        sources.find(f"shards/{tmp_path}/s{query.format(tmp_path)}")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    "name, message",
    [
        ("shards/{}/cut", "is cut, damaged or no tar file.*copy it again"),
        ("shards/{}/no_end", "its end is missing"),
        ("shards/{}/gz", "compressed.*gunzip"),
        ("shards/{}/inside", "compressed.*gunzip"),
        ("shards/{}/words", "damaged header"),
        ("shards/{}/none", "has no .tar file; it has x.txt"),
        ("shards/{}/nome", "does not exist; did you mean 'none'"),
        ("shards/{}/mixed", "1 shards have no split in their names, the first is a.tar"),
        ("shards/{}/whole/a-{{0..3}}.tar", "a-1.tar is missing"),
        ("shards/{}/whole/a-{{3..0}}.tar", "is no range"),
        ("shards/{}/whole?labels=x", "no option 'labels'; did you mean 'label'"),
    ],
)
def test_bad_shards_are_one_line(tmp_path, name, message):
    whole = shard(tmp_path / "whole/a-0.tar", samples(range(3))).read_bytes()
    broken = {"cut/a.tar": whole[:1800], "no_end/a.tar": whole.rstrip(b"\0"), "gz/a.tar.gz": b"", "none/x.txt": b""}
    broken |= {
        "inside/a.tar": b"\x1f\x8b" + whole,
        "words/a.tar": b"words" * 500,
        "mixed/a.tar": whole,
        "mixed/test.tar": whole,
    }
    end = len(whole.rstrip(b"\0")) + 511
    broken["no_end/a.tar"] = whole[: end - end % 512]
    for path, content in broken.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        sources.find(name.format(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_shard_that_becomes_shorter_is_told(tmp_path):
    path = shard(tmp_path / "a.tar", samples(range(3)))
    source = sources.find(f"shards/{tmp_path}")["all"]
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(UserError, match="has become shorter"):
        source[2]
    path.unlink()
    with pytest.raises(UserError, match="can't be read"):
        source[0]


WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/\n", exclude_categories=["Cs"]), min_size=1, max_size=130
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.lists(WORDS, min_size=1), st.binary(max_size=1100), st.sampled_from("fdl")), min_size=1),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)  # fmt: skip
def test_headers_are_what_tarfile_reads(tmp_path_factory, members, format):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    with tarfile.open(path, "w", format=format, pax_headers={"comment": "x"}) as archive:
        for words, content, kind in members:
            member = tarfile.TarInfo("/".join(words))
            if kind == "f":
                member.size = len(content)
            else:
                member.type, member.linkname = {"d": (tarfile.DIRTYPE, ""), "l": (tarfile.SYMTYPE, "x" * 120)}[kind]
            archive.addfile(member, io.BytesIO(content) if kind == "f" else None)
    with tarfile.open(path) as archive, open(path, "rb") as file:
        wanted = [(m.name, m.offset_data, m.size) for m in archive if m.isreg()]
        found = [tuple(m) for m in tar_headers.members(file.fileno())]
    assert [(name.rstrip("/"), *rest) for name, *rest in found] == wanted
