"""Layouts of folders are read as what they are: a table of trees, and names in every form."""

import os
import re
import string
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls.data import folder, layout, sources
from jaxcls.errors import UserError


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" + os.fsencode(name))


def tree(*places, classes="ab", each=2):
    """`each` pictures of every class in every place."""
    return [
        f"{place}/{name}/{place.replace('/', '_')}{i}.jpg" for place in places for name in classes for i in range(each)
    ]


def read(root, *files):
    """split -> ids, classes and notes of a tree of files."""
    fill(root, *files)
    found = folder.scan(root)
    notes = "\n".join(note for source in found.values() for note in source.notes)
    return {split: sorted(source.ids) for split, source in found.items()}, next(iter(found.values())).classes, notes


@pytest.mark.parametrize(
    "train, other, split",
    [
        ("Training", "Testing", "test"),  # Brain Tumor MRI
        ("Training", "Test", "test"),  # Fruits-360
        ("seg_train", "seg_test", "test"),  # Intel's scenes
        ("seg_train/seg_train", "seg_test/seg_test", "test"),  # the same, as Kaggle packs it
        ("train/train", "test", "test"),
        ("train/images", "val/images", "validation"),
        ("TRAIN_SET", "DEV_SET", "validation"),
        ("trainset", "testset", "test"),
        ("train-images", "valid-images", "validation"),
        ("train2017", "val2017", "validation"),
        ("trn", "tst", "test"),
        ("Train Data", "Validation Data", "validation"),
        ("training_v2", "evaluation", "test"),
        ("split.train", "split.dev", "validation"),
        ("trainval", "test", "test"),
        ("\uff54\uff52\uff41\uff49\uff4e", "test", "test"),  # full-width letters
    ],
)
def test_well_known_names_of_splits(tmp_path, train, other, split):
    ids, classes, notes = read(tmp_path, *tree(train), *tree(other))
    assert ids == {"train": sorted(tree(train)), split: sorted(tree(other))} and classes == ("a", "b") and not notes
    assert set(sources.load(f"folder/{tmp_path}")) >= {"train", split}


@pytest.mark.parametrize(
    "name",
    [
        "tent",
        "trains",
        "value",
        "contest",
        "invalid",
        "devil",
        "pretrain",
        "t\u00ebst",
        "latest",
        "evil",
        "tester",
        "dataset",
        "images",
        "1",
        "test class",
        "tr",
        "te",
        "",
    ],
)
def test_other_names_are_no_splits(name):
    assert layout.split_of(name) is None


@settings(max_examples=60, deadline=None)
@given(
    word=st.sampled_from(
        [
            (w, s)
            for s, words in {
                "train": ("train", "training", "trn"),
                "validation": ("val", "valid", "validation", "dev"),
                "test": ("test", "testing", "tst"),
            }.items()
            for w in words
        ]
    ),
    around=st.tuples(*2 * [st.lists(st.sampled_from(["set", "data", "images", "seg", "split"]), max_size=2)]),
    between=st.sampled_from(["", "_", "-", " ", ".", "__"]),
    digits=st.sampled_from(["", "1", "_2", "2017", "-01", " (1)"]),
    upper=st.lists(st.booleans(), min_size=60, max_size=60),
    form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]),
)
def test_a_split_has_its_name_in_any_case_and_form(word, around, between, digits, upper, form):
    name = between.join([*around[0], word[0], *around[1]]) + digits
    name = "".join(c.upper() if up else c for c, up in zip(name, upper, strict=False))
    assert layout.split_of(unicodedata.normalize(form, name)) == word[1]


def test_a_long_name_is_judged_at_once():
    assert layout.split_of("dataset" * 36 + "x") is None and layout.split_of("imageset" * 30 + "test") == "test"


WITHOUT_LABELS = {
    "test1, flat": (["test1/1.jpg", "test1/2.jpg"], "test1: 2 picture"),
    "Testing, flat": (["Testing/1.jpg"], "Testing: 1 picture"),
    "one folder that is no class": (["test/unknown/1.jpg"], "test: 1 picture"),
    "one folder of its own name": (["test/test/1.jpg", "test/test/2.jpg"], "test: 2 picture"),
    "folders below that": (["test/all/x/1.jpg", "test/all/y/2.jpg"], "test: 2 picture"),
}


@pytest.mark.parametrize("name", WITHOUT_LABELS)
def test_a_test_folder_without_labels_is_pointed_to_predict(tmp_path, name):
    files, note = WITHOUT_LABELS[name]
    ids, classes, notes = read(tmp_path / "alone", *tree("train"), *files)
    place = tmp_path / "alone" / files[0].split("/")[0]
    assert ids == {"all": [path.removeprefix("train/") for path in sorted(tree("train"))]} and classes == ("a", "b")
    assert note in notes and f"`jaxcls predict RUN {place}`" in notes
    ids, _, notes = read(tmp_path / "with val", *tree("train", "val"), *files)
    assert set(ids) == {"train", "validation"} and note in notes
    assert set(sources.load(f"folder/{tmp_path / 'alone'}")) == {"train", "validation", "test"}  # dealt, as train alone


def test_a_test_folder_with_labels_beside_one_without(tmp_path):
    ids, _, notes = read(tmp_path, *tree("train", "test"), "test1/1.jpg")
    assert ids == {"train": sorted(tree("train")), "test": sorted(tree("test"))} and "test1: 1 picture" in notes


def test_splits_inside_each_class(tmp_path):
    files = ["cat/train/1.jpg", "cat/train/2.jpg", "cat/test/3.jpg", "dog/Train/4.jpg", "dog/test_set/5.jpg"]
    ids, classes, notes = read(tmp_path, *files, "owl/train/6.jpg", "cat/notes.txt", "readme.md")
    assert ids == {"train": [*files[:2], files[3], "owl/train/6.jpg"], "test": [files[2], files[4]]}
    assert classes == ("cat", "dog", "owl") and not notes
    found = folder.scan(tmp_path)
    assert found["train"].labels.tolist() == [0, 0, 1, 2] and found["test"].labels.tolist() == [0, 1]
    assert found["train"].left_out == {"text file(s)": (2, "readme.md")}


NO_SPLITS = {
    "pictures of trains": (["train/1.jpg", "plane/2.jpg"], ("plane", "train"), "class 'train' has the name of a split"),
    "a test and a control group": (["test/1.jpg", "control/2.jpg"], ("control", "test"), "class 'test' has the name"),
    "valid and invalid": (["valid/1.jpg", "invalid/2.jpg"], ("invalid", "valid"), "class 'valid' has the name"),
    "devices in each class": (
        ["a/dev1/1.jpg", "a/dev2/2.jpg", "b/dev1/3.jpg"],
        ("a", "b"),
        "'a/dev1'.* name of a split",
    ),
    "a split's name in a class": (["a/1.jpg", "a/test/2.jpg", "b/3.jpg"], ("a", "b"), "'a/test': the name of a split"),
    "folds": (
        tree("fold1", "fold2"),
        ("fold1", "fold2"),
        "have the same sub-folders, 'a', 'b'; if those are the classes",
    ),
    "other languages": (tree("Lern", "Probe"), ("Lern", "Probe"), "'Lern', 'Probe' have the same sub-folders"),
    "letters in two cases": (["a/1.jpg", "A/2.jpg"], ("A", "a"), "'A' and 'a' look alike"),
    "separators": (["big cat/1.jpg", "big_cat/2.jpg"], ("big cat", "big_cat"), "look alike"),
    "plural": (["cat/1.jpg", "cats/2.jpg"], ("cat", "cats"), "'cat' and 'cats' look alike"),
    "signs": (["-/1.jpg", "_/2.jpg", "+/3.jpg"], ("+", "-", "_"), ""),
    "sites": (["a/site 1/1.jpg", "a/site 2/2.jpg", "b/site 1/1.jpg", "b/site 3/1.jpg"], ("a", "b"), ""),
    "newlines": (["a\nb/1.jpg", "c/2\n3.jpg"], ("a\nb", "c"), ""),
}


@pytest.mark.parametrize("name", NO_SPLITS)
def test_classes_stay_classes_with_a_note_where_they_look_otherwise(tmp_path, name):
    files, expected, note = NO_SPLITS[name]
    ids, classes, notes = read(tmp_path, *files)
    assert ids == {"all": sorted(files)} and classes == expected
    assert bool(notes) == bool(note)
    assert re.search(note, notes)


REFUSED = {
    "train beside what is none": (
        [*tree("train"), "plane/x/1.jpg"],
        "'train' has the name of a split.*'plane'; .*call the others val and test",
    ),
    "test, and a train of another name": (
        tree("test", "mytrain"),
        "'test' .*'mytrain'.*call that of training train",
    ),
    "only test and val": (tree("Testing", "Valid"), "has Testing, Valid but no train folder"),
    "two for one split": (tree("train", "test", "Testing"), "two folders for test, 'Testing' and 'test'"),
    "two for train": (tree("train1", "train2", "test"), "two folders for train, 'train1' and 'train2'"),
    "two in a class": (["a/train/1.jpg", "a/test/2.jpg", "a/test2/3.jpg", "b/train/4.jpg"], "two folders for test"),
    "splits in one class only": (
        ["a/train/1.jpg", "a/test/2.jpg", "b/3.jpg"],
        "'a' has 'test', 'train' inside, but 'b'",
    ),
    "a class without train": (["a/train/1.jpg", "a/test/2.jpg", "b/test/3.jpg"], "'b' has no train folder"),
    "case": (["Cat/1.jpg", "cat/2.jpg"], "'Cat' and 'cat' differ by case alone; merge or rename"),
    "trailing blank": (["cat/1.jpg", "cat /2.jpg"], "'cat' and 'cat ' differ by blanks alone"),
    "inner blanks": (["big cat/1.jpg", "big  cat/2.jpg"], "differ by blanks alone"),
    "Unicode form": (["caf\u00e9/1.jpg", "cafe\u0301/2.jpg"], r"'caf\\xe9'.*differ by Unicode form alone"),
    "invisible": (["cat/1.jpg", "cat\u200b/2.jpg"], r"'cat\\u200b' differ by invisible characters alone"),
    "case, in splits": (
        tree("train", "test", classes=["x", "Owl", "owl"]),
        "train: the classes 'Owl' and 'owl' differ by",
    ),
    "case between splits": (
        [*tree("train"), "val/A/1.jpg", "val/b/2.jpg"],
        "'A' is not in train; rename it to 'a'.*case",
    ),
    "a flat val": ([*tree("train"), "val/1.jpg"], r"val: 1 picture\(s\) lie outside"),
    "only HEIC": (["a/1.jpg", "b/2.heic"], r"b: class folder without pictures \(there: 1 .*\); add some"),
    "splits in a wrapper": (
        ["archive/train/a/1.jpg", "archive/test/a/2.jpg"],
        "one sub-folder, 'archive'.*use folder/",
    ),
    "an empty test": ([*tree("train"), "test/.keep"], r"test has no sub-folders \(there: 1 hidden .*or remove it"),
    "a newline": (["a/1.jpg", "b\nc/2.txt"], r"b\\nc: class folder without pictures"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_be_either_is_refused_in_one_line(tmp_path, name):
    files, message = REFUSED[name]
    fill(tmp_path, *files)
    with pytest.raises(UserError, match=message) as caught:
        folder.scan(tmp_path)
    assert "\n" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(
    name=st.text(string.ascii_letters + "\u00e9\u00fc\u00df \u0130", min_size=2, max_size=8).filter(
        lambda x: len(x.strip()) > 1
    ),
    upper=st.booleans(),
    blanks=st.sampled_from(["", " ", "  ", "\t", "\u00a0"]),
    form=st.sampled_from(["NFC", "NFD"]),
)
def test_a_class_in_another_case_form_or_with_blanks_is_refused(name, upper, blanks, form):
    other = unicodedata.normalize(form, (name.upper() if upper else name.swapcase()) + blanks)
    if other == name:
        return
    with pytest.raises(UserError, match="alone; merge or rename"):
        layout.refuse_alike("x", ["zebra", name, "gnu", other])
    assert layout.same(name, other) and layout.same(other, name)


def test_links(tmp_path):
    fill(tmp_path, "root/b/2.jpg", "store/1.jpg")
    os.symlink("self", tmp_path / "root/b/self")
    os.symlink("self.jpg", tmp_path / "root/b/self.jpg")  # no file, yet one who expects a picture shall hear of it
    os.symlink(tmp_path / "root", tmp_path / "root/b/up")
    os.symlink(tmp_path / "store", tmp_path / "root/a")
    os.mkfifo(tmp_path / "root/a/pipe.jpg")
    source = folder.scan(tmp_path / "root")["all"]
    assert source.ids == ("a/1.jpg", "b/2.jpg", "b/self.jpg")
    assert {why.split()[0]: what for why, what in source.left_out.items()} == {
        "pipe(s),": (1, "a/pipe.jpg"),
        "link(s)": (1, "b/up"),
        "file(s)": (1, "b/self"),
    }
    os.symlink(tmp_path / "store", tmp_path / "root/c")
    with pytest.raises(UserError, match="'a' and 'c' are links to one folder"):
        folder.scan(tmp_path / "root")
    os.unlink(tmp_path / "root/c")
    os.symlink(tmp_path, tmp_path / "root/c")
    with pytest.raises(UserError, match="root/c is a link to a folder that it is in"):
        folder.scan(tmp_path / "root")
    fill(tmp_path, *tree("splits/train"))
    os.symlink("train", tmp_path / "splits/test")
    with pytest.raises(UserError, match="'train' and 'test' are links to one folder|'test' and 'train' are"):
        folder.scan(tmp_path / "splits")


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    fill(tmp_path, "a/1.jpg", "b/c/2.jpg")
    scandir = os.scandir
    refuse = PermissionError(13, "Permission denied")

    def closed(path):
        if str(path).rstrip("/").endswith("c"):
            raise refuse
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(UserError, match=r"b/c/?: cannot be read \(Permission denied\)"):
        folder.scan(tmp_path)
