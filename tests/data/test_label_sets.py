"""Labels as sets: how sources hold them, and what stays of them in views."""

import pickle

import numpy as np
import pytest
from fixtures.streams import Encoded, Rows

from jaxcls import augment
from jaxcls.data import balance, checks, dealing, overview, pipeline, skipping
from jaxcls.data.base import LEAVES, ArraySource, Leaf, Subset, leaves, multilabel, subset
from jaxcls.data.views import joined, renumbered
from jaxcls.errors import UserError

CLASSES = ("bird", "cat", "dog")
SETS = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]], np.uint8)


def in_memory(labels=SETS, classes=CLASSES):
    ids = [f"{i}.png" for i in range(len(labels))]
    images = np.arange(len(labels) * 12, dtype=np.uint8).reshape(len(labels), 2, 2, 3)
    return ArraySource(images, labels, classes, ids)


class Streamed:
    """Encoded pictures with sets, with or without saying so in `leaves`."""

    classes, fingerprint = CLASSES, "ab"

    def __init__(self, declare=True):
        self.pictures = Encoded()
        self.labels = np.resize(SETS, (len(self), 3))
        if declare:
            self.leaves = {**LEAVES, "label": Leaf((3,), np.uint8)}

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, row):
        return {**self.pictures[row], "label": self.labels[row]}


@pytest.mark.parametrize("dtype", [bool, int, np.uint8, np.float32])
def test_arrays_keep_sets_as_bytes(dtype):
    source = in_memory(np.asfortranarray(SETS.astype(dtype)))
    assert multilabel(source) and source.labels.dtype == np.uint8 and (source.labels == SETS).all()
    assert source.leaves["label"] == Leaf((3,), np.dtype(np.uint8))
    assert source[2]["label"].tolist() == [1, 1, 1] and source[1]["label"].tolist() == [0, 0, 0]
    assert source.fingerprint == in_memory().fingerprint != in_memory(SETS[:, ::-1]).fingerprint
    single = in_memory(np.arange(5) % 3)
    assert not multilabel(single) and single.labels.dtype == np.int32 and single[4]["label"] == 1
    assert not multilabel(object())


@pytest.mark.parametrize("labels", [SETS + 1, SETS * 0.5, SETS[:, :2]])
def test_sets_of_anything_else_are_refused(labels):
    with pytest.raises(ValueError, match="3 classes"):
        in_memory(labels)


@pytest.mark.parametrize("make", [in_memory, Streamed, lambda: Streamed(declare=False)])
def test_views_keep_sets(make):
    source = make()
    view = subset(subset(source, [4, 2, 1]), [2, 0])
    assert multilabel(view) and view.labels.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert leaves(view)["label"] == Leaf((3,), np.dtype(np.uint8)) and view[1]["label"].tolist() == [0, 0, 1]
    turned = pickle.loads(pickle.dumps(renumbered(source, ("dog", "eel", "bird", "cat"))))
    assert turned.labels.dtype == np.uint8 and leaves(turned)["label"].shape == (4,)
    assert turned.labels[:3].tolist() == [[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 1]]
    assert turned[2]["label"].tolist() == [1, 0, 1, 1] and turned[4]["label"].tolist() == [1, 0, 0, 0]
    merged = renumbered(source, ("pet", "bird"), ["bird", "pet", "pet"])  # two old classes are one new class
    assert merged.labels[2:4].tolist() == [[1, 1], [1, 0]]
    less = renumbered(source, ("cat",))
    assert multilabel(less) and less.labels[:4, 0].tolist() == [0, 0, 1, 1]
    bare = renumbered(source, ())
    assert not multilabel(bare) and set(bare.labels.tolist()) == {-1} and bare[0]["label"] == -1
    both = joined([source, view])
    assert both.labels.shape == (len(source) + 2, 3) and both[len(source) + 1]["label"].tolist() == [0, 0, 1]
    assert leaves(both)["label"].shape == (3,)
    assert isinstance(view, Subset) == isinstance(source, Streamed)


def test_one_label_and_many_do_not_join():
    with pytest.raises(UserError, match="one label a picture and others sets"):
        joined([in_memory(), in_memory(np.arange(5) % 3)])


@pytest.mark.parametrize("declare", [True, False])
def test_a_batch_has_sets(declare):
    source = Streamed(declare)
    crop = augment.host_transform([augment.parse("random_resized_crop(8)")], channels=3)
    shapes = pipeline.shapes(source, crop, in_memory=False, training=True)
    assert shapes["label"] == Leaf((3,), np.dtype(np.uint8))
    stream = pipeline.Stream(source, crop, Rows(len(source), 11), seed=3)
    batch = stream(0)
    assert batch["label"].dtype == np.uint8 and (batch["label"] == source.labels[batch["index"]]).all()


# What else holds or shows them


class Listed(Streamed):
    """With ids, as packing wants."""

    ids = tuple(f"cat/{row}.png" for row in range(11))


def test_packed_files_hold_sets(tmp_path):
    from jaxcls.augment.host import smaller
    from jaxcls.data import packing

    source = Listed()
    packed = packing.pack(source, tmp_path, smaller(8, 3), 8, note=lambda _: None)
    assert packed.labels.dtype == np.uint8 and (packed.labels == source.labels).all()
    assert leaves(packed)["label"] == Leaf((3,), np.dtype(np.uint8)) and packed[2]["label"].tolist() == [1, 1, 1]
    again = packing.pack(source, tmp_path, smaller(8, 3), 8, note=lambda _: None)
    assert (pickle.loads(pickle.dumps(again)).labels == source.labels).all()


def test_the_overview_counts_labels_and_pictures_without_any():
    lines = overview.lines({"train": in_memory(), "test": subset(in_memory(), [0, 4])})
    assert [line.split() for line in lines[:5]] == [
        ["class", "train", "test"], ["bird", "2", "1"], ["cat", "2", "0"], ["dog", "2", "1"], ["all", "3", "6", "2"],
    ]  # fmt: skip
    assert "train: sets of labels, 1.20 a picture, at most 3; 1 pictures have none" in lines
    assert "test: sets of labels, 1.00 a picture, at most 1" in lines


def test_checks_want_a_training_picture_of_each_label():
    checks.labels({"train": in_memory(), "test": subset(in_memory(), [1])})
    with pytest.raises(UserError, match="no training examples of cat, dog"):
        checks.labels({"train": subset(in_memory(), [0, 1])})


def test_pictures_with_the_same_set_stand_in_for_one_another():
    labels = np.concatenate([SETS, SETS[[2, 0, 2]]])
    assert list(skipping.stand_ins(labels, 2)) == [2, 5, 7]
    assert list(skipping.stand_ins(labels, 7)) == [7, 2, 5]


def test_weights_of_sets_are_those_of_presence():
    labels = np.zeros((1000, 3), np.uint8)
    labels[:500, 0] = labels[:100, 1] = labels[:1, 2] = 1
    source = ArraySource(np.zeros((1000, 1, 1, 1), np.uint8), labels, CLASSES, [str(i) for i in range(1000)])
    np.testing.assert_allclose(balance.of_source("auto", source), [1, 9, 100])  # not 999
    np.testing.assert_allclose(balance.of_source("1, 2, 3", source), [1, 2, 3])
    assert balance.of_source("", source) is None
    with pytest.raises(UserError, match="class 1 has no training examples"):
        balance.of_source("auto", subset(source, np.array([0]) + 200))


def test_a_sheet_names_the_labels_and_has_rare_ones_on_it():
    from jaxcls.training import augmented

    assert augmented.of_row(in_memory(), 2) == list(CLASSES) and augmented.of_row(in_memory(), 1) == []
    labels = np.zeros((100, 2), np.uint8)
    labels[:, 0], labels[70, 1] = 1, 1
    assert 70 in augmented.spread(labels, 4)


def test_splits_of_a_set_are_dealt_by_the_rarest_label():
    labels = np.zeros((200, 3), np.uint8)
    labels[::2, 0], labels[::20, 1], labels[[3, 4, 5], 2] = 1, 1, 1
    source = ArraySource(np.zeros((200, 1, 1, 1), np.uint8), labels, CLASSES, [f"{i // 2}_{i}" for i in range(200)])
    for group_by in ("", r"^(\d+)_"):
        placed = dealing.deal({"all": source}, dealing.Rule(group_by=group_by))
        counts = [labels[rows].sum(axis=0).tolist() for _, rows in placed.values()]
        assert all(row[2] >= 1 for row in counts) or group_by
        assert [sum(column) for column in zip(*counts, strict=True)] == [100, 10, 3]
        assert [len(rows) for _, rows in placed.values()] == [140, 30, 30]
