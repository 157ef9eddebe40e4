"""Sources of labelled pictures (`data.base`), opened by name."""

import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data import arrays, dealing, folder, query, tfds_source, unlabelled
from jaxcls.data.base import LEAVES, ArraySource, Leaf, Source, digest
from jaxcls.errors import UserError, did_you_mean

FORMS = (
    *("digits", "tfds/<name>", "folder/<path>", "unlabelled/<path>", "clips/<path>"),
    *("table/<file>", "names/<path>?label=<regex>"),
    *("arrays/<file>.npz", "shards/<path>", "hf/<path>", "records/<path>", "graphs/<path>"),
    *("synthetic", "synthetic/<n>x<size>x<channels>x<classes>"),
    "moving_digits/<n>",
)
IN_MEMORY = 2**28  # bytes up to which synthetic pictures are made at once
MOST, PATTERNS = 10**8, 2**28  # synthetic pictures; numbers of their classes' patterns


class Synthetic:
    """Pictures drawn from (seed, row): a coarse pattern per class plus as much noise, made when asked for.

    Rows `first` to `first + n - 1`; classes take turns, so every class has the same number of pictures.
    """

    def __init__(self, n: int, shape: tuple[int, int, int], classes: int, seed: int, first: int = 0):
        self.shape, self.seed, self.first = shape, seed, first
        self.classes = tuple(f"class {i}" for i in range(classes))
        self.labels = ((first + np.arange(n)) % classes).astype(np.int32)
        self.fingerprint = digest(repr(("synthetic", n, shape, classes, seed, first)).encode())
        height, width, channels = shape
        rng = np.random.Generator(np.random.Philox(key=_key(seed, 2**64 - 1)))  # a key that no row has
        coarse = rng.integers(48, 208, (classes, 4, 4, channels))
        self.patterns = coarse[:, np.arange(height) * 4 // height][:, :, np.arange(width) * 4 // width]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def leaves(self) -> dict[str, Leaf]:
        """The pictures' one size is known."""
        return {**LEAVES, "image": Leaf(self.shape, LEAVES["image"].dtype)}

    def __getitem__(self, row: int) -> dict[str, Any]:
        label, row = int(self.labels[row]), self.first + range(len(self))[row]
        noise = np.random.Generator(np.random.Philox(key=_key(self.seed, row))).integers(-48, 49, self.shape)
        image = (self.patterns[label] + noise).clip(0, 255).astype(np.uint8)
        return {"image": image, "label": label, "id": f"synthetic_{row}"}


def _key(seed: int, row: int) -> np.ndarray:
    return np.array([seed, row], np.uint64)


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    validation: float | None = None,
    split_ratios: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    channels: int | None = None,
    group_by: str = "",
) -> dict[str, Source]:
    """Opens a set by name: {"train": source, "validation": ..., "test": ...}, with those splits that the set has.

    Args:
      name, data_dir, channels: as of `find`.
      validation: share of train (between 0 and 1) that is held out, stratified, if the set has no validation split
        of its own. None: only the set's own.
      split_ratios: shares of train, validation and test for sets without splits (`digits`, one tree of class folders).
      seed: of splits, and of synthetic pictures.
      group_by: which pictures no such split tears apart: a regular expression on ids or a CSV file, see
        `jaxcls.data.groups`; "": each picture is for itself. Splits that a set has are left as they are.

    Raises:
      UserError: unknown name, missing or unusable data, impossible shares; with the remedy.
    """
    rule = dealing.Rule(validation, split_ratios, seed, group_by)
    bases = find(name, data_dir=data_dir, seed=seed, channels=channels)
    return dealing.sources(dealing.deal(bases, rule), bases)


def find(
    name: str,
    *,
    data_dir: str | Path | None = None,
    seed: int = 0,
    channels: int | None = None,
    trains: bool = True,
) -> dict[str, Source]:
    """A set as it is: {"all": source} where it has no splits of its own, else {"train": source, ...}.

    Args:
      name: one of
        `digits`: scikit-learn's 1,797 8x8 digits, grey;
        `tfds/<name>`: a set that `jaxcls prepare <name>` has prepared. Small ones with pictures of one size
        are decoded into memory; others yield encoded bytes. Where a set has a validation split but no test split
        (ImageNet), that validation split is the test set;
        `tfds/<name>:<split>`: that split alone, such as STL-10's `unlabelled`;
        `folder/<path>`: sub-folders per class, see `jaxcls.data.folder`. A relative path counts from data_dir;
        `unlabelled/<path>`: all pictures below a folder, without labels (`jaxcls.data.unlabelled`): {"train": source};
        `clips/<path>`: a folder of clips, see `jaxcls.data.clip_source`;
        `moving_digits/<n>`: n clips of digits whose class is how they move (`jaxcls.data.moving_digits`);
        `table/<file>`: the pictures of a CSV, TSV, Parquet or JSON lines file, see `jaxcls.data.table`;
        `names/<path>?label=<regex>`: pictures whose class is in their file names, see `jaxcls.data.names`;
        `arrays`: what `jaxcls.train(data=...)` was given in memory;
        `arrays/<file>.npz`: pictures and labels as NumPy arrays, see `jaxcls.data.arrays_file`;
        `shards/<path>`: a folder or pattern of tar shards, see `jaxcls.data.shards`;
        `hf/<path>`: a Hugging Face set on the disk, Parquet or `save_to_disk`, see `jaxcls.data.hf`;
        `records/<path>`: what `jaxcls prepare ... --to array_record` has written, see `jaxcls.data.records`;
        `graphs/<path>`: pictures with a graph beside each, as `jaxcls prepare ... --superpixels` writes them, or a file
        of arrays (`jaxcls.data.graphs`);
        `synthetic/<n>x<size>x<channels>x<classes>`: a learnable set of n training and n // 4 test pictures.
      data_dir: where tensorflow-datasets keeps its sets, or where relative folders start.
      seed: of synthetic pictures.
      channels: of pictures that are decoded into memory; 1 and 3 are made of each other. None leaves them as they are.
      trains: whether a model is trained on it (folder.scan), else it needs labels.

    Raises:
      UserError: unknown name, missing or unusable data; with the remedy.
    """
    kind, _, rest = name.partition("/")
    if name == "digits":
        bases: dict[str, Source] = {dealing.ALL: _digits()}
    elif name == arrays.NAME:
        bases = arrays.held()
    elif kind == "synthetic" and (match := re.fullmatch(r"synthetic(?:/(\d+)x(\d+)x(\d+)x(\d+))?", name)):
        n, size, depth, classes = map(int, match.groups()) if rest else (512, 32, 3, 10)
        bases = _synthetic(n, size, depth, classes, seed)
    elif kind == "folder" and rest:
        bases = dict(folder.scan(files.path(data_dir or ".") / files.path(rest), trains=trains))
    elif kind == "unlabelled" and rest:
        bases = dict(unlabelled.scan(files.path(data_dir or ".") / files.path(rest)))
    elif kind == "moving_digits":
        bases = _moving_digits(rest, data_dir, seed)
    elif kind == "tfds" and rest:
        bases = tfds_source.load(rest, data_dir)
    elif kind in OPENERS and rest:
        base, options = query.split(name)
        bases = dict(OPENERS[kind](base.partition("/")[2], options, files.path(data_dir or "."), trains))
    else:
        raise UserError(_unknown(name))
    if not trains and not all(base.classes for base in bases.values()):
        raise UserError(f"{name} has no labels, which this needs; `jaxcls predict` answers pictures without labels.")
    return bases if channels is None else {key: _with_channels(base, channels) for key, base in bases.items()}


def _moving_digits(rest: str, data_dir: str | Path | None, seed: int) -> dict[str, Source]:
    from jaxcls.data import moving_digits

    return dict(moving_digits.load(rest, data_dir, seed))


def _clips(path: str, options: Mapping[str, str], root: Path, trains: bool) -> Mapping[str, Source]:
    from jaxcls.data import clip_source

    return clip_source.scan(root / files.path(path), trains=trains)


def _table(path: str, options: Mapping[str, str], root: Path, trains: bool) -> Mapping[str, Source]:
    from jaxcls.data import table

    return table.scan(root / files.path(path), options, trains=trains)


def _names(path: str, options: Mapping[str, str], root: Path, trains: bool) -> Mapping[str, Source]:
    from jaxcls.data import names

    return names.scan(root / files.path(path), options, trains=trains)


def _arrays(path: str, options: Mapping[str, str], root: Path, trains: bool) -> Mapping[str, Source]:
    from jaxcls.data import arrays_file

    return arrays_file.scan(root / files.path(path), options)


def _shards(path: str, options: Mapping[str, str], root: Path, trains: bool) -> Mapping[str, Source]:
    from jaxcls.data import shards

    return shards.scan(root / files.path(path), options)


def _hf(path: str, options: Mapping[str, str], root: Path, trains: bool) -> Mapping[str, Source]:
    from jaxcls.data import hf

    return hf.scan(root / files.path(path), options)


def _records(path: str, options: Mapping[str, str], root: Path, trains: bool) -> Mapping[str, Source]:
    from jaxcls.data import records

    return records.scan(root / files.path(path))


def _graphs(path: str, options: Mapping[str, str], root: Path, trains: bool) -> Mapping[str, Source]:
    from jaxcls.data import graphs

    return graphs.scan(root / files.path(path), options)


# Kind -> (path, options, folder where a relative path starts, whether a model is trained on it) -> what `find` returns.
# Its options stand in query.KEYS.
Opener = Callable[[str, Mapping[str, str], Path, bool], Mapping[str, Source]]
OPENERS: dict[str, Opener] = {
    "clips": _clips,
    **{"table": _table, "names": _names, "arrays": _arrays},
    **{"shards": _shards, "hf": _hf, "records": _records, "graphs": _graphs},
}


def _digits() -> ArraySource:
    """Values 0..16 to 0..255. Source: scikit-learn's copy of UCI's optical digits (test part)."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise UserError("data.name digits is a file of scikit-learn; install it with `pip install scikit-learn`.")
    # The file alone: importing scikit-learn takes two seconds of processor time.
    table = np.loadtxt(Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    images = np.rint(table[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    ids = [f"digits_{row:04d}" for row in range(len(images))]
    return ArraySource(images, table[:, -1].astype(int), [str(i) for i in range(10)], ids)


def _synthetic(n: int, size: int, channels: int, classes: int, seed: int) -> dict[str, Source]:
    if not (n >= classes >= 2 and size >= 1 and channels >= 1):
        raise UserError(
            f"synthetic/{n}x{size}x{channels}x{classes}: it needs 2 classes, a picture per class, 1 pixel and 1 channel"
        )
    if n > MOST or classes * size * size * channels > PATTERNS:
        raise UserError(
            f"synthetic/{n}x{size}x{channels}x{classes}: it is too large; classes x size x size x channels can be "
            f"{PATTERNS:,}, and there can be {MOST:,} pictures"
        )
    by_split: dict[str, Source] = {}
    for split, count, first in (("train", n, 0), ("test", max(1, n // 4), n)):
        source = Synthetic(count, (size, size, channels), classes, seed, first)
        small = count * size * size * channels < IN_MEMORY
        by_split[split] = _into_memory(source) if small else source
    return by_split


def _into_memory(source: Source) -> ArraySource:
    items: Iterator[dict[str, Any]] = (source[row] for row in range(len(source)))
    images, ids = zip(*((item["image"], item["id"]) for item in items), strict=True)
    return ArraySource(np.stack(images), source.labels, source.classes, ids)


def _with_channels(source: Source, channels: int) -> Source:
    """Grey repeated to RGB, or RGB to ITU-R 601 luma as Pillow has it; sources not in memory stay as they are."""
    if not isinstance(source, ArraySource) or source.images.shape[-1] == channels:
        return source
    if sorted((source.images.shape[-1], channels)) != [1, 3]:
        have = source.images.shape[-1]
        raise UserError(
            f"config.data.channels={channels}: the pictures have {have} channel{'s'[: have > 1]}, and only 1 and 3 are "
            "made of each other; set it to 0"
        )
    if channels == 3:
        images = np.repeat(source.images, 3, axis=-1)
    else:
        red, green, blue = np.moveaxis(source.images.astype(np.uint32), -1, 0)
        images = ((19595 * red + 38470 * green + 7471 * blue + 2**15) >> 16).astype(np.uint8)[..., None]
    return source.with_images(images)


def _unknown(name: str) -> str:
    """The message for a name of no known form, with the nearest one."""
    if os.path.isdir(os.path.expanduser(name)):
        hint = f"; a folder of pictures is 'folder/{name}'"
    else:
        sets = {name: f"tfds/{name}" for name in ("mnist", "fashion_mnist", "cifar10", "cifar100", "imagenet2012")}
        hint = did_you_mean(name.partition("/")[0], sets | {form.partition("/")[0]: form for form in FORMS})
    return f"no data set has the name {name!r}; names are {', '.join(FORMS)}{hint}"
