"""Labels as sets: how sources hold them, and what stays of them in views."""

import pickle

import numpy as np
import pytest
from fixtures.streams import Encoded, Rows

from jaxcls import augment
from jaxcls.data import pipeline
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
