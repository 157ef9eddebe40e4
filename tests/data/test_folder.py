import os
import pickle
import shutil
import time

import numpy as np
import pytest

from jaxcls.data import folder, folder_source, sources
from jaxcls.data.base import subset
from jaxcls.errors import UserError
from jaxcls.predict import reading


def fill(root, *names, content=b"x"):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content + name.encode())


def test_one_tree(tmp_path):
    fill(
        tmp_path, "cat10/a.jpg", "cat9/b.JPEG", "cat9/deep/er/c.png", "cat9/.hidden.jpg", "cat9/notes.txt", "README.md"
    )
    fill(tmp_path, ".git/x.jpg", "__MACOSX/y.jpg")
    source = folder.scan(tmp_path)["all"]
    assert source.classes == ("cat9", "cat10")  # natural order
    assert [source[i]["id"] for i in range(3)] == ["cat9/b.JPEG", "cat9/deep/er/c.png", "cat10/a.jpg"]
    assert source.labels.tolist() == [0, 0, 1] and source.labels.dtype == np.int32
    assert source[1] == {"image": b"xcat9/deep/er/c.png", "label": 0, "id": "cat9/deep/er/c.png"}
    assert source.left_out == {
        "hidden file(s) or folder(s)": (2, ".git"),
        "folder(s) of the system or of a NAS": (1, "__MACOSX"),
        "text file(s)": (2, "README.md"),
    }
    with pytest.raises(IndexError):
        source[3]


@pytest.mark.parametrize("name", ["@eaDir", "@EADIR", "#recycle", "$RECYCLE.BIN", "System Volume Information",
                                  "lost+found", "__pycache__", ".ipynb_checkpoints", "@Recently-Snapshot", "@sharebin",
                                  "~snapshot", "Network Trash Folder", "Temporary Items"])  # fmt: skip
def test_what_systems_put_beside_pictures_is_neither_class_nor_picture(tmp_path, name):
    """At the top, in a split and in a class; and for predictions."""
    fill(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "test/a/3.jpg", "test/b/4.jpg")
    fill(tmp_path, f"{name}/x.jpg", f"train/{name}/x.jpg", f"train/a/{name}/1.jpg/SYNOPHOTO_THUMB_M.jpg")
    found = folder.scan(tmp_path)
    assert {split: source.ids for split, source in found.items()} == {
        "train": ("train/a/1.jpg", "train/b/2.jpg"),
        "test": ("test/a/3.jpg", "test/b/4.jpg"),
    }
    walked = [os.path.relpath(path, tmp_path) for path, problem in reading.paths([str(tmp_path)]) if not problem]
    assert walked == ["test/a/3.jpg", "test/b/4.jpg", "train/a/1.jpg", "train/b/2.jpg"]


def test_split_folders_in_any_case(tmp_path):
    fill(tmp_path, "TRAIN/b/1.jpg", "TRAIN/a/2.jpg", "Valid/a/3.jpg", "Valid/b/4.jpg", "other/5.jpg")
    found = sources.load(f"folder/{tmp_path}")
    assert list(found) == ["train", "validation"]
    assert found["train"][0] == {"image": b"xTRAIN/a/2.jpg", "label": 0, "id": "TRAIN/a/2.jpg"}
    fill(tmp_path, "test/a/6.jpg")
    (tmp_path / "test/b").mkdir()  # no example of b here
    assert list(sources.load(f"folder/{tmp_path.name}", data_dir=tmp_path.parent)) == ["train", "validation", "test"]


def test_a_class_may_be_called_train(tmp_path):
    fill(tmp_path, "train/1.jpg", "plane/2.jpg", "car/3.jpg")
    assert folder.scan(tmp_path)["all"].classes == ("car", "plane", "train")


def test_train_alone_is_one_tree(tmp_path):
    fill(tmp_path, *(f"train/{name}/{i}.jpg" for name in "ab" for i in range(20)))
    found = sources.load(f"folder/{tmp_path}")
    assert {split: np.bincount(source.labels).tolist() for split, source in found.items()} == {
        "train": [14, 14],
        "validation": [3, 3],
        "test": [3, 3],
    }


def test_split_ratios_of_a_tree(tmp_path):
    fill(tmp_path, *(f"{name}/{i}.jpg" for name in "ab" for i in range(10)))
    sizes = {split: len(x) for split, x in sources.load(f"folder/{tmp_path}", split_ratios=(7, 2, 1)).items()}
    assert sizes == {"train": 14, "validation": 4, "test": 2}
    found = sources.load(f"folder/{tmp_path}", split_ratios=(0.8, 0, 0.2), validation=0.25)
    assert {split: len(x) for split, x in found.items()} == {"train": 12, "validation": 4, "test": 4}
    ids = [item["id"] for source in found.values() for item in source]
    assert sorted(ids) == sorted(f"{name}/{i}.jpg" for name in "ab" for i in range(10))
    with pytest.raises(UserError, match="share of train"):
        sources.load(f"folder/{tmp_path}", split_ratios=(0, 0.5, 0.5))
    with pytest.raises(UserError, match="three shares"):
        sources.load(f"folder/{tmp_path}", split_ratios=(0.5, 0.5))


@pytest.mark.parametrize(
    "files,message",
    [
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/bb/1.jpg"],
            "class 'bb' is not in train; rename it to 'b'|",
        ),
        (["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg"], "val: class 'b' of train has no folder; make one"),
        (
            ["train/ants/1.jpg", "train/b/1.jpg", "val/ant/1.jpg", "val/b/1.jpg"],
            "'ant' is not in train; rename it to 'ants'",
        ),
        (["train/a/1.jpg", "val/a/1.jpg"], "train has one sub-folder, 'a'"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "Valid/a/1.jpg"], "two folders for validation"),
        (["val/a/1.jpg", "test/a/1.jpg"], "has test, val but no train folder"),
        (["pets/cats/1.jpg", "pets/dogs/1.jpg"], "one sub-folder, 'pets'.*use folder/.*pets"),
        (["a/1.jpg", "b/1.txt"], "b: class folder without pictures"),
        (["a/1.jpg", "b/1.jpg", "2.png", "3.png"], r"2 picture\(s\) lie outside of class folders, e.g. '[23].png'"),
        (["1.jpg"], r"1 picture\(s\) lie outside"),
        (["notes.txt"], "has no sub-folders"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/1.jpg", "val/2.jpg"], r"val: 2 picture\(s\) lie outside"),
    ],
)
def test_unusable_folders(tmp_path, files, message):
    fill(tmp_path, *files)
    with pytest.raises(UserError, match=message) as caught:
        folder.scan(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_split_without_any_picture(tmp_path):
    fill(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.txt", "val/b/1.txt")
    with pytest.raises(UserError, match="val has no pictures"):
        folder.scan(tmp_path)


def test_missing_folder_names_what_is_near(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UserError, match=f"nearest that does is {tmp_path}, which has 'pictures'"):
        folder.scan(tmp_path / "picturs" / "train")
    with pytest.raises(UserError, match="which has no 'zzz'"):
        folder.scan(tmp_path / "zzz")
    fill(tmp_path, "pets.zip")
    with pytest.raises(UserError, match="is a file, not a folder; unpack it"):
        folder.scan(tmp_path / "pets.zip")


def test_fingerprint_of_many_files_opens_none(tmp_path, monkeypatch):
    """Above MANY files names and sizes count."""
    fill(tmp_path, "x/a.png", "y/b.png", "y/c.png")
    scan = lambda: folder.scan(tmp_path)["all"]  # noqa: E731
    before = scan().fingerprint
    monkeypatch.setattr(folder_source, "MANY", 2)
    monkeypatch.setattr(folder_source.FolderSource, "_open", lambda *_: pytest.fail("a file was opened"))
    many = scan().fingerprint
    assert many not in ("", before) and scan().fingerprint == many
    (tmp_path / "x/a.png").write_bytes(b"z" * 8)
    assert scan().fingerprint == many
    (tmp_path / "x/a.png").write_bytes(b"z" * 10)
    assert scan().fingerprint != many
    gone = scan()
    (tmp_path / "x/a.png").unlink()
    assert len(gone.fingerprint) == 16


def test_fingerprint_is_of_the_data_not_the_place(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    fill(a, *(f"{name}/{i}.jpg" for name in "xy" for i in range(300)))
    shutil.copytree(a, b)
    os.utime(b / "x/1.jpg", (1, 1))

    def now(root):
        return folder.scan(root)["all"].fingerprint

    first = now(a)
    assert len(first) == 16 and int(first, 16) >= 0 and now(b) == first
    (b / "x/1.jpg").write_bytes(b"yx/1.jpg")  # same size, other content
    assert now(b) != first
    (b / "x/1.jpg").write_bytes(b"xx/1.jpg")
    assert now(b) == first
    (b / "y/299.jpg").rename(b / "x/300.jpg")
    assert now(b) != first


def test_pickling_and_subsets(tmp_path):
    fill(tmp_path, *(f"{name}/{i}.jpg" for name in "ab" for i in range(5)))
    source = folder.scan(tmp_path)["all"]
    part = subset(subset(source, np.array([9, 0, 3, 5])), np.array([2, 0]))
    assert [item["id"] for item in part] == ["a/3.jpg", "b/4.jpg"] and part.labels.tolist() == [0, 1]
    assert part.classes == ("a", "b") and part.fingerprint != subset(source, np.array([9, 3])).fingerprint
    copy = pickle.loads(pickle.dumps(part))
    assert copy[1] == part[1] and copy.fingerprint == part.fingerprint


def test_links_to_folders(tmp_path):
    fill(tmp_path, "store/1.jpg", "root/b/2.jpg")
    os.symlink(tmp_path / "store", tmp_path / "root/a")  # a class may be a link
    os.symlink(tmp_path / "root", tmp_path / "root/b/loop")  # a loop must not hang
    assert folder.scan(tmp_path / "root")["all"].ids == ("a/1.jpg", "b/2.jpg")


def test_scanning_is_fast(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(5000):
            os.close(os.open(tmp_path / name / f"{i}.jpg", os.O_CREAT))
    start = time.perf_counter()
    assert len(folder.scan(tmp_path)["all"]) == 10_000
    assert time.perf_counter() - start < 1  # 0.02 s on an idle core: a stat or an open per file would show


def test_real_folders(shared):
    found = sources.load("folder/hymenoptera", data_dir=shared / "data")
    assert {split: len(source) for split, source in found.items()} == {"train": 244, "validation": 153}
    assert found["train"].classes == ("ants", "bees") and np.bincount(found["train"].labels).tolist() == [123, 121]
    tiles = sources.load("folder/magnetic_tile", data_dir=shared / "data")
    assert sum(map(len, tiles.values())) == 1344
    for label, count in enumerate(np.bincount(np.concatenate([x.labels for x in tiles.values()]))):
        sizes = [np.sum(source.labels == label) for source in tiles.values()]
        assert np.all(np.abs(sizes - count * np.array([0.7, 0.15, 0.15])) < 1)
    with pytest.raises(UserError, match="100 picture"):
        sources.load("folder/imagenet_sample", data_dir=shared / "data")
