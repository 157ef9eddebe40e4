import functools
import io
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxcls.data import sources, tfds_source
from jaxcls.data.base import subset
from jaxcls.errors import UserError

SIZES = {"train": 40, "test": 20}


def picture(row: int, shape=(32, 32, 3)) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, shape, dtype=np.uint8)


def prepare(name, data_dir, splits, example):
    """A set in the registered one's name, version and features, written without TensorFlow."""
    import tensorflow_datasets as tfds

    registered = tfds.builder(name, data_dir=data_dir)

    def encoded(image, kind):
        out = io.BytesIO()
        Image.fromarray(image.squeeze()).save(out, kind)
        out.seek(0)
        return out

    def examples(split, n):
        for row in range(n):
            item = example(split, row)
            image, kind = item["image"]
            yield f"{split}_{row:05d}", item | {"image": encoded(image, kind)}

    with tfds.core.registered.skip_registration():

        class Small(tfds.core.GeneratorBasedBuilder):
            VERSION = registered.version
            pkg_dir_path = getattr(type(registered), "pkg_dir_path", None)

            def _info(self):
                return tfds.core.DatasetInfo(builder=self, features=registered.info.features)

            def _split_generators(self, _):
                return {split: examples(split, n) for split, n in splits.items()}

            def _generate_examples(self):
                raise AssertionError("the splits are generators already")

    Small.name = name
    small = Small(data_dir=data_dir, file_format="array_record")
    small.download_and_prepare()
    return small.data_dir


def cifar(split, row):
    return {"image": (picture(row), "PNG"), "label": row % 10, "id": f"{split}_{row:05d}"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """cifar10 (fixed size), imagenet2012 (train, validation, unlabelled test), tf_flowers (train only)."""
    path = str(tmp_path_factory.mktemp("tfds"))
    prepare("cifar10", path, SIZES, cifar)
    prepare(
        "imagenet2012",
        path,
        {"train": 30, "validation": 10, "test": 5},
        lambda split, row: {
            "image": (picture(row, (40 + row, 50, 3)), "JPEG"),
            "label": -1 if split == "test" else row * 7,
            "file_name": f"{split}_{row}.JPEG",
        },
    )
    prepare(
        "tf_flowers",
        path,
        {"train": 50},
        lambda _, row: {"image": (picture(row, (9, 9 + row, 3)), "JPEG"), "label": row % 5},
    )
    return path


def test_a_split_alone_and_one_without_labels(tmp_path):
    """STL-10 as it is published: its split `unlabelled` has labels of -1."""
    prepare(
        "stl10",
        tmp_path,
        {"train": 6, "test": 4, "unlabelled": 5},
        lambda split, row: {"image": (picture(row, (96, 96, 3)), "PNG"), "label": -1 if split == "unlabelled" else row},
    )
    find = functools.partial(sources.find, data_dir=tmp_path)
    assert {key: len(base) for key, base in find("tfds/stl10").items()} == {"train": 6, "test": 4}
    bare = find("tfds/stl10:unlabelled")
    assert bare.keys() == {"train"} and bare["train"].classes == () and bare["train"].labels.tolist() == [-1] * 5
    images = {bare["train"][row]["image"].tobytes() for row in range(5)}  # tensorflow-datasets shuffles
    assert images == {picture(row, (96, 96, 3)).tobytes() for row in range(5)}
    alone = find("tfds/stl10:1.0.0:test")["all"]
    assert len(alone) == 4 and len(alone.classes) == 10 and sorted(alone.labels.tolist()) == [0, 1, 2, 3]
    streamed = tfds_source.TfdsSource(tfds_source._readable("stl10", tmp_path), "unlabelled", ())
    assert streamed.labels.tolist() == [-1] * 5 and streamed[0]["label"] == -1
    with pytest.raises(UserError, match="no split 'unlabeled'; it has train, test, .*did you mean 'unlabelled'"):
        find("tfds/stl10:unlabeled")


def test_small_fixed_size_set_is_decoded(data_dir):
    found = sources.load("tfds/cifar10", data_dir=data_dir)
    assert {split: len(source) for split, source in found.items()} == SIZES
    for split, source in found.items():
        assert isinstance(source, sources.ArraySource) and source.images.shape == (SIZES[split], 32, 32, 3)
        rows = [int(name.removeprefix(f"{split}_")) for name in source.ids]  # tensorflow-datasets shuffles
        assert sorted(rows) == list(range(SIZES[split]))
        np.testing.assert_array_equal(source.images, np.stack([picture(row) for row in rows]))
        np.testing.assert_array_equal(source.labels, np.array(rows) % 10)
        assert source[3]["id"] == source.ids[3] and source[3]["label"] == rows[3] % 10
    assert found["train"].classes[:2] + found["train"].classes[-2:] == ("airplane", "automobile", "ship", "truck")
    grey = sources.load("tfds/cifar10", data_dir=data_dir, channels=1)["test"]
    want = [np.asarray(Image.fromarray(image).convert("L")) for image in found["test"].images]
    np.testing.assert_array_equal(grey.images[..., 0], want)


def test_validation_is_cut_from_train(data_dir):
    found = sources.load("tfds/cifar10", data_dir=data_dir, validation=0.25, seed=3)
    assert list(found) == ["train", "validation", "test"] and len(found["validation"]) == 10
    assert np.bincount(found["validation"].labels).tolist() == [1] * 10
    assert not set(found["train"].ids) & set(found["validation"].ids)
    assert isinstance(found["train"], sources.ArraySource)
    again = sources.load("tfds/cifar10", data_dir=data_dir, validation=0.25, seed=3)
    assert again["validation"].ids == found["validation"].ids
    with pytest.raises(UserError, match="validation=1.5"):
        sources.load("tfds/cifar10", data_dir=data_dir, validation=1.5)


def test_imagenets_validation_plays_test(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = sources.load("tfds/imagenet2012", data_dir=data_dir)
    assert {split: len(source) for split, source in found.items()} == {"train": 30, "test": 10}
    source = found["test"]
    assert not hasattr(source, "images") and source.classes[0] == "n01440764" and len(source.classes) == 1000
    item = source[4]
    row = int(item["id"].removeprefix("validation_").removesuffix(".JPEG"))
    assert item["label"] == row * 7
    assert Image.open(io.BytesIO(item["image"])).size == (50, 40 + row)
    assert source.labels.tolist() == [item["label"] for item in source] and source.labels.dtype == np.int32
    with pytest.raises(IndexError):
        source[10]
    copy = pickle.loads(pickle.dumps(source))
    assert copy[4] == item and copy.fingerprint == source.fingerprint != found["train"].fingerprint
    minival = sources.load("tfds/imagenet2012", data_dir=data_dir, validation=0.1)
    assert set(minival) == {"train", "validation", "test"}
    names = [item["id"] for split in ("train", "validation") for item in minival[split]]
    assert sorted(names) == sorted(f"train_{row}.JPEG" for row in range(30))


def test_labels_are_read_once_and_kept(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = sources.load("tfds/imagenet2012", data_dir=data_dir)["train"].labels
    again = sources.load("tfds/imagenet2012", data_dir=data_dir)["train"]
    monkeypatch.setattr(again, "items", lambda: pytest.fail("read again"))
    np.testing.assert_array_equal(again.labels, first)
    assert not list(tmp_path.iterdir())  # kept beside the records


def test_labels_where_the_records_cannot_be_written_beside(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = sources.load("tfds/imagenet2012", data_dir=data_dir)["test"]
    source._folder = "/proc/nowhere"
    labels = source.labels
    (kept,) = tmp_path.rglob("*.npy")
    np.testing.assert_array_equal(np.load(kept), labels)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")  # no cache at all is no error
    source = sources.load("tfds/imagenet2012", data_dir=data_dir)["test"]
    source._folder = "/proc/nowhere"
    np.testing.assert_array_equal(source.labels, labels)


def test_train_only_set_is_split(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = sources.load("tfds/tf_flowers", data_dir=data_dir, split_ratios=(0.6, 0.2, 0.2))
    assert {split: np.bincount(source.labels).tolist() for split, source in found.items()} == {
        "train": [6] * 5,
        "validation": [2] * 5,
        "test": [2] * 5,
    }
    ids = [item["id"] for source in found.values() for item in source]
    assert sorted(ids) == sorted(f"train_{row}" for row in range(50))


def test_tensorflow_is_not_imported(data_dir, tmp_path):
    code = f"""
import sys
from jaxcls.data import sources
sources.load("tfds/cifar10", data_dir={data_dir!r})
found = sources.load("tfds/imagenet2012", data_dir={data_dir!r}, validation=0.1)
found["train"][0], found["train"].labels, found["train"].fingerprint
assert "tensorflow_datasets" in sys.modules and "tensorflow" not in sys.modules
"""
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, timeout=120)


def test_missing_and_unknown_sets(tmp_path):
    with pytest.raises(UserError, match=f"not in .*; get it with: jaxcls prepare mnist --data-dir={tmp_path}$"):
        sources.load("tfds/mnist", data_dir=tmp_path)
    with pytest.raises(UserError, match="no set of this name; did you mean .*cifar10"):
        sources.load("tfds/cifar11", data_dir=tmp_path)
    with pytest.raises(UserError, match="cannot be loaded at version 9.9.9"):
        sources.load("tfds/mnist:9.9.9", data_dir=tmp_path)


def test_a_set_prepared_as_tfrecord(tmp_path):
    folder = prepare("cifar10", str(tmp_path), {"train": 12, "test": 10}, cifar)
    info = os.path.join(folder, "dataset_info.json")
    with open(info) as file:
        text = json.load(file)
    text["fileFormat"] = "tfrecord"
    text["splits"] = [
        {**split, "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"} for split in text["splits"]
    ]
    with open(info, "w") as file:
        json.dump(text, file)
    with pytest.raises(UserError, match="prepared as tfrecord.*ArrayRecord with: jaxcls prepare cifar10"):
        sources.load("tfds/cifar10", data_dir=tmp_path)


def test_a_set_that_lost_a_file(tmp_path):
    folder = prepare("cifar10", str(tmp_path), {"train": 12, "test": 10}, cifar)
    os.remove(os.path.join(folder, "cifar10-test.array_record-00000-of-00001"))
    with pytest.raises(UserError, match="cifar10-test.array_record-00000-of-00001 is missing; delete"):
        sources.load("tfds/cifar10", data_dir=tmp_path)


def test_class_names():
    assert {name: len(classes) for name, classes in tfds_source.CLASSES.items()} == {
        "fashion_mnist": 10,
        "cifar10": 10,
        "cifar100": 100,
    }
    assert tfds_source.CLASSES["cifar100"] == tuple(sorted(tfds_source.CLASSES["cifar100"]))  # as published
    assert tfds_source.CLASSES["fashion_mnist"][-1] == "Ankle boot"


def test_digits():
    found = sources.load("digits")
    assert {split: source.images.shape[1:] for split, source in found.items()} == dict.fromkeys(found, (8, 8, 1))
    assert sum(map(len, found.values())) == 1797 and list(found) == ["train", "validation", "test"]
    from sklearn.datasets import load_digits

    digits = load_digits()
    for source in found.values():
        rows = [int(name.removeprefix("digits_")) for name in source.ids]
        np.testing.assert_array_equal(source.labels, digits.target[rows])
        assert np.abs(source.images[..., 0] * (16 / 255) - digits.images[rows]).max() < 0.032  # half of 16/255
    assert found["train"].images.max() == 255 and found["train"].images.min() == 0
    assert sources.load("digits", channels=3)["test"].images.shape[1:] == (8, 8, 3)
    other = sources.load("digits", seed=1)
    assert other["test"].fingerprint != found["test"].fingerprint
    assert sources.load("digits")["test"].fingerprint == found["test"].fingerprint


def test_synthetic():
    found = sources.load("synthetic/60x16x1x4")
    assert {split: source.images.shape for split, source in found.items()} == {
        "train": (60, 16, 16, 1),
        "test": (15, 16, 16, 1),
    }
    assert sources.load("synthetic")["train"].images.shape == (512, 32, 32, 3)
    assert len(sources.load("synthetic/3x4x3x3")["test"]) == 1
    assert found["train"].fingerprint != sources.load("synthetic/60x16x1x4", seed=1)["train"].fingerprint
    images = np.concatenate([source.images for source in found.values()])
    assert len(np.unique(images.reshape(75, -1), axis=0)) == 75  # no picture twice


def test_synthetic_is_learnable():
    """The nearest class mean of train classifies test, where chance is 10 %."""
    found = sources.load("synthetic")
    train, test = (found[split].images.reshape(len(found[split]), -1).astype(float) for split in ("train", "test"))
    means = np.stack([train[found["train"].labels == label].mean(0) for label in range(10)])
    guesses = np.argmin(((test[:, None] - means) ** 2).sum(-1), 1)
    assert np.mean(guesses == found["test"].labels) > 0.95


def test_large_synthetic_sets_are_made_when_asked_for(monkeypatch):
    ready = sources.load("synthetic/40x8x3x5")
    monkeypatch.setattr(sources, "IN_MEMORY", 0)
    lazy = sources.load("synthetic/40x8x3x5")
    for split, source in lazy.items():
        assert not hasattr(source, "images") and len(source) == len(ready[split])
        np.testing.assert_array_equal(source.labels, ready[split].labels)
        for i in (0, len(source) - 1):
            np.testing.assert_array_equal(source[i]["image"], ready[split][i]["image"])
            assert source[i]["label"] == ready[split][i]["label"] and source[i]["id"] == ready[split][i]["id"]
        copy = pickle.loads(pickle.dumps(subset(source, np.array([2, 1]))))
        np.testing.assert_array_equal(copy[1]["image"], ready[split].images[1])
        with pytest.raises(IndexError):
            source[len(source)]


def test_array_source_and_its_subsets():
    images = np.stack([picture(row, (4, 5, 3)) for row in range(6)])
    source = sources.ArraySource(images, np.arange(6) % 2, ["a", "b"], [f"p{i}" for i in range(6)])
    part = subset(source, np.array([5, 1]))
    assert isinstance(part, sources.ArraySource) and part.ids == ("p5", "p1") and part.labels.tolist() == [1, 1]
    np.testing.assert_array_equal(part.images, images[[5, 1]])
    changed = images.copy()
    changed[5, 3, 4, 2] ^= 1
    assert sources.ArraySource(changed, source.labels, source.classes, source.ids).fingerprint != source.fingerprint
    assert pickle.loads(pickle.dumps(source)).fingerprint == source.fingerprint
    assert len(source.fingerprint) == 16 and int(source.fingerprint, 16) >= 0
    with pytest.raises(ValueError, match="do not match"):
        sources.ArraySource(images, [0], ["a"], ["x"])


@pytest.mark.parametrize(
    "name,message",
    [
        ("cifar10", "did you mean 'tfds/cifar10'"),
        ("digts", "did you mean 'digits'"),
        ("foldr/x", "did you mean 'folder/<path>'"),
        ("synthetic/1x2", "names are .*did you mean 'synthetic/<n>x<size>x<channels>x<classes>'"),
        ("synthetic/5x8x3x10", "a picture per class"),
        ("/", "'folder//'"),
        ("qqq", "names are digits, tfds/<name>"),
        ("", "names are digits"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(UserError, match=message) as caught:
        sources.load(name)
    assert "\n" not in str(caught.value)
