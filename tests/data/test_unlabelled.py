"""Pictures without labels: what is found, what is told, and that nothing takes them for pictures of a class."""

import numpy as np
import pytest
from fixtures.streams import Rows
from PIL import Image

from jaxcls import augment
from jaxcls.data import checks, dealing, overview, packing, pipeline, sources, stored_splits
from jaxcls.data.base import ArraySource
from jaxcls.data.views import renumbered
from jaxcls.errors import UserError


@pytest.fixture
def bare(tmp_path):
    """Eight pictures at three depths, and what is none."""
    rng = np.random.default_rng(0)
    for name in ("b/1.png", "b/x y/2.png", "a/3.png", "0.png", "c/4.png", "c/5.png", "c/6.png", "z.png"):
        path = tmp_path / "bare" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(path)
    (tmp_path / "bare/.hidden.png").touch()
    (tmp_path / "bare/b/@eaDir").mkdir()
    (tmp_path / "bare/b/@eaDir/0.png").touch()
    (tmp_path / "bare/b/words.txt").write_text("words")
    return tmp_path / "bare"


def test_all_pictures_below_a_folder_train(bare):
    found = sources.load(f"unlabelled/{bare}", validation=0.5)
    assert list(found) == ["train"]
    source = found["train"]
    assert list(source.ids) == sorted(source.ids) and len(source) == 8 and "b/x y/2.png" in source.ids
    assert source.classes == () and (source.labels == -1).all() and source[2]["label"] == -1
    assert sum(count for count, _ in source.left_out.values()) == 3
    checks.labels(found)
    lines = overview.lines(found)
    assert lines[0] == "train: 8 pictures without labels" and "all 8 x 9 pixels" in lines[1]


def test_split_folders_are_noted(bare):
    (bare / "c").rename(bare / "Test")
    assert any(
        "the name of a split" in line and "unlabelled/" in line
        for line in overview.lines(sources.load(f"unlabelled/{bare}"))
    )


def test_one_line_each(bare, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/x.txt").write_text("words")
    for name, message in {
        f"unlabelled/{tmp_path}/empty": "has no pictures .there: 1 text file",
        f"unlabelled/{tmp_path}/bar": "does not exist.*'bare'",
        f"folder/{bare}/c": f"outside of class folders.*unlabelled/{bare}/c",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            sources.find(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="has no labels"):
        sources.find(f"unlabelled/{bare}", trains=False)


def test_a_packed_file_of_it_is_none_of_the_same_files_with_labels(bare, tmp_path):
    for loose in ("0.png", "z.png"):
        (bare / loose).unlink()
    (bare / "b/x y/2.png").unlink()
    kinds = {"unlabelled": (), "folder": ("a", "b", "c")}
    bases = {kind: next(iter(sources.find(f"{kind}/{bare}").values())) for kind in kinds}
    bases["other"] = renumbered(bases["folder"], kinds.setdefault("other", ("c", "b", "a")))
    assert bases["unlabelled"].ids == bases["folder"].ids
    assert len({base.fingerprint for base in bases.values()}) == 3
    for kind, base in bases.items():
        packed = packing.pack(base, tmp_path / "packed", augment.smaller(8, channels=3), 8, note=lambda _: None)
        assert packed.classes == kinds[kind]
        np.testing.assert_array_equal(packed.labels, base.labels)


def test_the_next_picture_stands_in_for_a_bad_one(bare):
    (bare / "a/3.png").write_bytes(b"no picture")
    source = sources.load(f"unlabelled/{bare}")["train"]
    row = source.ids.index("a/3.png")
    lines = []
    transform = augment.host_transform([augment.parse("resize(8, 8)")], channels=3)
    batch = pipeline.Stream(source, transform, Rows(8, 8), seed=0, skipped=lines.append)(0)
    assert len(batch["skipped"]) == 1 and (batch["index"] == row).sum() == 0 and (batch["index"] == row + 1).sum() == 2
    for name in source.ids:
        (bare / name).write_bytes(b"no picture")
    with pytest.raises(UserError, match="^no picture can be read"):
        pipeline.Stream(source, transform, Rows(8, 8), seed=0, skipped=lines.append)(0)


def test_stored_splits_of_two_sets(tmp_path):
    """Names that both have are pictures of each; a picture without a label has none when it is read again."""
    images = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2, 1)
    names = [f"{i}.png" for i in range(6)]
    bare = ArraySource(images + 100, np.full(6, -1), (), names)
    known = ArraySource(images, np.array([0, 1, 0, 1, 0, 1]), ("a", "b"), names)
    dealt = dealing.sources(dealing.deal({"all": known}, dealing.Rule(ratios=(2, 1, 0))), {"all": known})
    found = {"train": bare, "bank": dealt["train"], "validation": dealt["validation"]}
    stored = stored_splits.store(found)
    stored_splits.write(tmp_path, stored)
    assert stored_splits.read(tmp_path) == stored
    assert stored.classes == ("a", "b") and set(stored.parts["train"].labels) == {-1}
    assert stored.only(["train"]).parts.keys() == {"train"} and stored.only(["test"]) is None
    twice = ArraySource(images, np.full(6, -1), (), ["x"] * 6)
    assert stored_splits.store({**found, "train": twice}).parts.keys() == {"bank", "validation"}
    assert stored_splits.store({"train": twice}) is None
