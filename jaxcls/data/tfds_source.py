"""Sets prepared by tensorflow-datasets as ArrayRecord, read without TensorFlow and without a network."""

import functools
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data import decode
from jaxcls.data.base import LEAVES, ArraySource, digest
from jaxcls.errors import UserError, did_you_mean

IN_MEMORY = 2**30  # bytes of pixels up to which a set with pictures of one size is decoded at once
CHUNK = 512  # records read by one call

# tensorflow-datasets reads CIFAR's class names from the published archives; a set prepared from other files lacks them.
_NAMES = {
    "fashion_mnist": "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle_boot",
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck",
    "cifar100": """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
        man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
        pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
        tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm""",
}
CLASSES = {name: tuple(word.replace("Ankle_", "Ankle ") for word in names.split()) for name, names in _NAMES.items()}
TENSORFLOW = "pip install 'tensorflow-cpu>=2.21,<2.22'"


class TfdsSource:
    """Encoded pictures of one split, read record by record. Without `classes` every label is -1."""

    leaves = LEAVES

    def __init__(self, prepared: Any, split: str, classes: tuple[str, ...]):
        import tensorflow_datasets as tfds

        self.split, self.classes = split, classes
        self.records = prepared.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        self._files = [str(path) for path in sorted(prepared.info.splits[split].filepaths)]
        self._name, self._folder = prepared.info.full_name, str(prepared.data_dir)
        self._id = next((key for key in ("id", "file_name") if key in prepared.info.features), None)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, row: int) -> dict[str, Any]:
        row = range(len(self))[row]
        return self._item(row, self.records[row])

    def _item(self, row: int, record: dict[str, Any]) -> dict[str, Any]:
        name = record[self._id].decode() if self._id else f"{self.split}_{row}"
        return {"image": record["image"], "label": int(record["label"]), "id": name}

    def items(self) -> Iterator[dict[str, Any]]:
        """All items in order, read in chunks."""
        for start in range(0, len(self), CHUNK):
            rows = range(start, min(start + CHUNK, len(self)))
            yield from map(self._item, rows, self.records.__getitems__(list(rows)))

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int32 [n]. Read from all records once (minutes for ImageNet), then kept beside the records.

        `jaxcls prepare` does that. Where the records' folder cannot be written, they are kept in the user's
        cache.
        """
        if not self.classes:
            return np.full(len(self), -1, np.int32)
        user = files.cache() / "jaxcls"
        paths = [folder / f"jaxcls-labels-{self.fingerprint}.npy" for folder in (Path(self._folder), user)]
        for path in paths:
            if path.exists():
                return np.load(path)
        labels = np.fromiter((item["label"] for item in self.items()), np.int32, len(self))
        for path in paths:
            part = path.with_suffix(f".{os.getpid()}.npy")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(part, labels)
                part.replace(path)  # at once, so that another process never reads half a file
                break
            except OSError:
                continue  # without a cache only time is lost
        return labels

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of the set's name, version and split, and of the name, size and first 4 KiB of its files."""
        parts = [repr((self._name, self.split)).encode()]
        for path in self._files:
            with open(path, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                parts += [f"{os.path.basename(path)}\0{size}\0".encode(), file.read(4096)]
        return digest(*parts)


def load(name: str, data_dir: str | Path | None = None) -> dict[str, Any]:
    """The splits of a prepared set; {"all": ...} if it has only train. See `sources.load`.

    With a name such as stl10:unlabelled it is that split alone: {"all": ...}, or, where its labels are -1, {"train":
    ...} without classes. So is the train split of a set that has no labels at all; beside labelled splits those
    without are left out (ImageNet's test split, which is for a competition).

    Raises:
      UserError: unknown name or split, not prepared or prepared as TFRecord only, no pictures with one label each.
    """
    name, split = split_name(name)
    prepared = _readable(name, data_dir)
    features = prepared.info.features
    for key in ("image", "label"):
        if key not in features:
            raise UserError(f"tfds/{name} has no {key!r} (it has {', '.join(features)}); only sets with one label fit")
    if features["image"].np_dtype != np.uint8:
        kind = np.dtype(features["image"].np_dtype).name
        raise UserError(f"tfds/{name} has {kind} pictures; only 8-bit ones can be read")
    classes = tuple(features["label"].names)
    if all(label.isdecimal() for label in classes):
        classes = CLASSES.get(prepared.name, classes)
    by_split = _splits(name, prepared, classes, split)
    shape = features["image"].shape
    if None not in shape and np.prod(shape) * sum(map(len, by_split.values())) < IN_MEMORY:
        return {key: _into_memory(source, shape) for key, source in by_split.items()}
    return by_split


def split_name(name: str) -> tuple[str, str]:
    """("stl10", "unlabelled") of "stl10:unlabelled"; the split is "" where none is: cifar10:3.0.2 is a version."""
    first, _, last = name.rpartition(":")
    return (first, last) if first and last.isidentifier() else (name, "")


def _splits(name, prepared, classes, wanted):
    """The splits, or the wanted one, as `load` has them."""
    have = list(prepared.info.splits)
    if wanted and wanted not in have:
        raise UserError(f"tfds/{name} has no split {wanted!r}; it has {', '.join(have)}{did_you_mean(wanted, have)}")
    names = [wanted] if wanted else [split for split in ("train", "validation", "test") if split in have]
    found = {split: TfdsSource(prepared, split, classes) for split in names}
    labelled = {split: source for split, source in found.items() if source[0]["label"] >= 0}
    if not labelled and names and names[0] in (wanted, "train"):
        return {"train": TfdsSource(prepared, names[0], ())}
    if "test" not in labelled and "validation" in labelled and not wanted:
        labelled["test"] = labelled.pop("validation")
    if len(labelled) == 1 and (wanted or "train" in labelled):
        return {"all": next(iter(labelled.values()))}
    if not labelled:
        raise UserError(f"tfds/{name} has no labelled split train, validation or test")
    return labelled


def builder(name: str, data_dir: str | Path | None = None) -> Any:
    """tensorflow-datasets' builder of a set, prepared or not.

    Raises:
      UserError: unknown name, version or configuration.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        remedy = "pip install tensorflow-datasets importlib_resources array_record"
        raise UserError(
            f"tfds/{name} is read by tensorflow-datasets, which can't be loaded ({error}); {remedy}"
        ) from error
    try:
        return tfds.builder(name, data_dir=data_dir and files.path(data_dir))
    except tfds.core.DatasetNotFoundError as error:
        hint = did_you_mean(name, tfds.list_builders(with_community_datasets=False))
        raise UserError(f"tfds/{name}: tensorflow-datasets has no set of this name{hint}") from error
    except ModuleNotFoundError as error:
        remedy = TENSORFLOW if "tensorflow" in str(error) else "install what is missing"
        raise UserError(f"tfds/{name}: {' '.join(str(error).split())}; {remedy}") from error
    except (ValueError, AssertionError) as error:
        raise UserError(f"tfds/{name}: {' '.join(str(error).split())}") from error


def formats(prepared: Any) -> set[str]:
    """The file formats in which a builder's set is on the disk; empty if it is not there."""
    return {form.value for form in prepared.info.available_file_formats()} if prepared.info.splits else set()


def command(name: str, data_dir: str | Path | None) -> str:
    """The command line that prepares a set."""
    where = f" --data-dir={shlex.quote(str(data_dir))}" if data_dir else ""
    return f"jaxcls prepare {shlex.quote(name)}{where}"


def _readable(name: str, data_dir: str | Path | None) -> Any:
    """The builder of a set that is there as ArrayRecord."""
    prepared = builder(name, data_dir)
    have = formats(prepared)
    if not have:
        raise UserError(f"tfds/{name} is not in {prepared.data_dir}; get it with: {command(name, data_dir)}")
    if "array_record" not in have:
        raise UserError(
            f"tfds/{name} in {prepared.data_dir} is prepared as {', '.join(sorted(have))}, which cannot be read at "
            f"random; prepare it as ArrayRecord with: {command(name, data_dir)}"
        )
    prepared.info.set_file_format("array_record", override=True, override_if_initialized=True)
    files = [path for split in prepared.info.splits.values() for path in split.filepaths]
    if lost := [path for path in files if not os.path.exists(path)]:
        remedy = f"delete {prepared.data_dir}, then: {command(name, data_dir)}"
        raise UserError(f"tfds/{name}: {lost[0]} is missing; {remedy}")
    return prepared


def _into_memory(source: TfdsSource, shape: tuple[int, int, int]) -> ArraySource:
    """Decodes all pictures. One thread: for pictures this small, threads wait for the interpreter's lock."""
    images = np.empty((len(source), *shape), np.uint8)
    labels, ids = np.empty(len(source), np.int32), []
    for row, item in enumerate(source.items()):
        images[row] = decode.decode(item["image"], channels=shape[-1], name=item["id"])
        labels[row] = item["label"]
        ids.append(item["id"])
    return ArraySource(images, labels, source.classes, ids)
