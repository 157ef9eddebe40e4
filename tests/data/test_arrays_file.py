"""Arrays of a file and in memory: which are pictures and labels, splits, sets, and that what can't be is one line."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxcls.data
from jaxcls.data import arrays, sources
from jaxcls.data.base import multilabel
from jaxcls.errors import UserError

SHARED = Path(__file__).parents[3] / "shared/data"
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


def saved(path, compressed=False, **content):
    (np.savez_compressed if compressed else np.savez)(path, **content)
    return f"arrays/{path}"


@pytest.mark.parametrize("image, label", [("x", "y"), ("images", "labels"), ("X", "Y"), ("data", "targets")])
def test_one_set(tmp_path, image, label):
    found = sources.find(saved(tmp_path / "a.npz", **{image: IMAGES, label: LABELS}))
    (source,) = found.values()
    assert list(found) == ["all"] and source.classes == ("0", "1", "2")
    np.testing.assert_array_equal(source.images, IMAGES)
    np.testing.assert_array_equal(source.labels, LABELS)
    assert len(set(source.ids)) == 12 and pickle.loads(pickle.dumps(source))[3]["label"] == 0


@pytest.mark.parametrize(
    "form", ["{split}_{role}", "{role}_{split}", "{role}-{split}", "{split}.{role}", "{role}_{split}_2"]
)
@pytest.mark.parametrize("compressed", [False, True])
def test_splits_by_names(tmp_path, form, compressed):
    content = {}
    for split, rows in (("train", slice(0, 6)), ("val", slice(6, 9)), ("test", slice(9, 12))):
        content[form.format(split=split, role="image")] = IMAGES[rows]
        content[form.format(split=split, role="label")] = LABELS[rows]
    if form.endswith("_2"):  # what the arrays are called is no longer told by their names
        name = saved(tmp_path / "a.npz", compressed, **content)
        with pytest.raises(UserError, match="which array has the pictures"):
            sources.find(name)
        return
    found = sources.find(saved(tmp_path / "a.npz", compressed, **content))
    assert {split: len(source) for split, source in found.items()} == {"train": 6, "validation": 3, "test": 3}
    np.testing.assert_array_equal(found["test"].images, IMAGES[9:])


def test_medmnist(tmp_path):
    """As its files are: labels [n, 1], or [n, k] of 0 and 1."""
    sets = RNG.integers(0, 2, (12, 14)).astype(np.uint8)
    for labels, several in ((LABELS[:, None], False), (sets, True)):
        names = {
            f"{split}_{what}": x
            for split in ("train", "val", "test")
            for what, x in (("images", IMAGES), ("labels", labels))
        }
        found = sources.find(saved(tmp_path / f"{several}.npz", True, **names))
        assert list(found) == ["train", "validation", "test"]
        assert all(multilabel(source) == several for source in found.values())
        np.testing.assert_array_equal(found["validation"].labels, labels if several else LABELS)


def test_a_single_1_in_each_row_is_a_class(tmp_path):
    name = saved(tmp_path / "a.npz", images=IMAGES, labels=np.eye(3)[LABELS], class_names=["a", "b", "c"])
    source = sources.find(name)["all"]
    assert source.classes == ("a", "b", "c")
    np.testing.assert_array_equal(source.labels, LABELS)


def test_options_and_names(tmp_path):
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    words = np.array(["x", "y", "z"])[LABELS]
    name = saved(
        tmp_path / "a.npz", train_p=IMAGES, train_q=LABELS, train_r=words, test_p=IMAGES[:3], test_q=LABELS[:3]
    )
    found = sources.find(f"{name}?images=p&labels=q&classes={tmp_path}/names.txt")
    assert list(found) == ["train", "test"] and found["test"].classes == ("ant", "bee", "cat")
    assert sources.find(f"{name}?images=train_p&labels=train_r")["all"].classes == ("x", "y", "z")
    bare = sources.find(f"{name}?images=test_p")["train"]
    assert bare.classes == () and (bare.labels == -1).all()


def test_numbers_need_not_begin_at_0(tmp_path):
    source = sources.find(saved(tmp_path / "a.npz", images=IMAGES[..., 0], labels=10 - LABELS.astype(float)))["all"]
    assert source.classes == ("8", "9", "10") and source.images.shape == (12, 6, 5, 1)
    np.testing.assert_array_equal(source.labels, 2 - LABELS)


BAD = {
    "channels first": ({"images": IMAGES.transpose(0, 3, 1, 2)}, "transpose"),
    "flat": ({"images": IMAGES.reshape(12, -1)}, "reshape"),
    "between 0 and 1": ({"images": IMAGES / 255}, r"\* 255\)"),
    "between 0 and 255": ({"images": IMAGES.astype(float)}, "lie between 0 and 255, so.*astype"),
    "16 bits": ({"images": IMAGES.astype(np.uint16) * 257}, "scale them"),
    "NaN in pictures": ({"images": np.full(IMAGES.shape, np.nan)}, "NaN"),
    "no pictures": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "and some"),
    "fewer labels": ({"labels": LABELS[:-1]}, "12 images and 11 labels"),
    "NaN": ({"labels": np.full(12, np.nan)}, "12 are NaN"),
    "fractions": ({"labels": np.arange(12) / 8}, "fractions, such as 0.125"),
    "negative": ({"labels": LABELS - 1}, "4 pictures have labels such as -1"),
    "more than names": ({"classes": ["a", "b"]}, "4 pictures have labels such as 2.*2 class names"),
    "names twice": ({"classes": ["a", "b", "a"]}, "'a' stands twice"),
    "neither 0 nor 1": ({"labels": np.stack([LABELS, LABELS], 1)}, "sets of 0 and 1, but all_2 has 2"),
    "columns and names": ({"labels": np.ones((12, 4)), "classes": ["a", "b"]}, "4 columns, but there are 2"),
    "no label at all": ({"labels": np.zeros((12, 4))}, "no picture has a label"),
    "objects": ({"labels": np.array([{}] * 12)}, "pickled objects"),
    "half a set": ({"images": IMAGES, "labels": LABELS, "x": IMAGES, "x_test": IMAGES}, None),
    "labels of one split": ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, "no labels go with 'x_test'"),
    "labels of another name": ({"images": IMAGES, "tags": LABELS}, r"\?labels=NAME"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_one_line(tmp_path, case):
    content, message = BAD[case]
    if not content.keys() & {"tags", "x_test"}:
        content = {"images": IMAGES, "labels": LABELS, **content}
    name = saved(tmp_path / "a.npz", **content)
    if message is None:  # what is not asked for does not matter
        assert len(sources.find(name)["all"]) == 12
        return
    with pytest.raises(UserError, match=message) as caught:
        sources.find(name)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("arrays/")


@pytest.mark.parametrize(
    "name, message",
    [
        ("a.npz?image=x", "no option 'image'; did you mean 'images'"),
        ("a.npz?images=imges", "no array 'imges'.*did you mean 'images'"),
        ("a.npz?classes=there.txt", "class names there.txt can't be read"),
        ("b.npz", "does not exist; did you mean 'a.npz'"),
        ("x/b.npz", "there is no folder"),
        ("cut.npz", "cut or damaged"),
        ("words.npz", "no file of np.savez"),
        ("one.npz", "single array"),
        ("changed.npz", "'images' is cut or damaged"),
        ("folder.npz", "can't be read: Is a directory"),
    ],
)
def test_bad_names_are_one_line(tmp_path, name, message):
    saved(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "changed.npz").write_bytes(whole[:400] + b"\0" * 99 + whole[499:])
    (tmp_path / "words.npz").write_text("words")
    (tmp_path / "folder.npz").mkdir()
    with open(tmp_path / "one.npz", "wb") as file:
        np.save(file, IMAGES)
    with pytest.raises(UserError, match=message) as caught:
        sources.find(f"arrays/{tmp_path}/{name}")
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_told_or_read(tmp_path_factory, data):
    """Whatever is done to some bytes: one line, or arrays (of bytes that nothing depends on)."""
    path = tmp_path_factory.mktemp("damaged") / "a.npz"
    saved(path, data.draw(st.booleans()), images=IMAGES, labels=LABELS)
    whole = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[at] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole)
    try:
        found = sources.find(f"arrays/{path}")
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert all(len(source) for source in found.values())


def test_arrays_in_memory():
    found = jaxcls.data.from_arrays({"train": (IMAGES, list("abc" * 4)), "test": (IMAGES[:2], ["c", "c"])})
    assert found["train"].classes == ("a", "b", "c") and found["test"].labels.tolist() == [2, 2]
    tags = jaxcls.data.from_arrays({"all": (IMAGES[:3], [["b", "a"], [], ["b"]])})["all"]
    assert tags.classes == ("a", "b") and tags.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    with arrays.holding(found):
        assert sources.find("arrays")["train"] is found["train"]
    with pytest.raises(UserError, match="given in memory.*arrays/FILE.npz"):
        sources.find("arrays")


@pytest.mark.parametrize(
    "splits, message",
    [
        ({"tarin": (IMAGES, LABELS)}, "'tarin' is no split.*did you mean 'train'"),
        ({"train": IMAGES}, r"must be \(images, labels\)"),
        ({"train": (IMAGES, LABELS), "all": (IMAGES, LABELS)}, '"all" alone'),
        ({}, "give splits"),
        ({"train": (IMAGES, LABELS), "test": (IMAGES, None)}, "test has no labels, but train has"),
        ({"train": (IMAGES, [["a"], "b", *("c" * 10)])}, "1 pictures have a list of labels"),
        ({"train": (IMAGES, LABELS), "test": (IMAGES, np.eye(3)[LABELS])}, "make them alike"),
        ({"train": (["a", "b"], [0, 1])}, "must have"),
    ],
)
def test_bad_arrays_in_memory_are_one_line(splits, message):
    with pytest.raises(UserError, match=message) as caught:
        jaxcls.data.from_arrays(splits)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "mnist").exists(), reason="needs ../shared/data")
def test_mnist_as_it_is_unpacked(tmp_path):
    subprocess.run([sys.executable, SHARED / "unpack.py", "arrays", tmp_path, "mnist"], check=True)
    found = sources.load(f"arrays/{tmp_path}/mnist.npz", validation=0.1)
    assert {split: len(x) for split, x in found.items()} == {"train": 54001, "validation": 5999, "test": 10000}
    assert found["test"].classes == tuple("0123456789") and found["test"].labels[:5].tolist() == [7, 2, 1, 0, 4]
