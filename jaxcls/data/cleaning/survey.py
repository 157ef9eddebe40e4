"""One pass over all pictures of a set: what the searches for duplicates, outliers and wrong labels need of each."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxcls import files
from jaxcls.data import decode, deep, folder, metadata, query, resample, samples, sources, tfds_source
from jaxcls.data.base import refuse_clips
from jaxcls.errors import UserError

GREY = 32  # side of the small grey copies
CHUNK = 64  # pictures of a task, and of a batch of features


class Collection:
    """All splits of a set as one sequence. `ids`, `splits` (names; "" where there are none) and `labels` (a class each,
    or a set of them where `sets`) have one entry for each picture; `root` is the folder that the ids start from, None
    for sets that are not folders.
    """

    def __init__(self, by_split: Mapping[str, sources.Source], root: Path | None = None):
        self.root, self.parts = root, list(by_split.values())
        self.classes = self.parts[0].classes
        self.starts = np.cumsum([0, *map(len, self.parts)])
        self.splits = ["" if name == "all" else name for name, part in by_split.items() for _ in range(len(part))]
        self.labels = np.concatenate([part.labels for part in self.parts])
        self.ids = [name for part in self.parts for name in metadata.ids(part)]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sets(self) -> bool:
        """Whether a picture has a set of labels."""
        return self.labels.ndim == 2

    def label(self, i: int) -> str:
        """The class of a picture; of a set all of them, with `|` between; "" for none."""
        if not self.sets:
            return self.classes[self.labels[i]] if self.labels[i] >= 0 else ""
        return "|".join(str(self.classes[c]) for c in np.flatnonzero(self.labels[i]))

    def alike(self, i: int, j: int) -> bool:
        """Whether two pictures have the same label, or the same set of them."""
        return bool(np.all(self.labels[i] == self.labels[j]))

    def read(self, i: int) -> bytes | np.ndarray:
        """The bytes of a file, or pixels where the source has pixels."""
        part = int(np.searchsorted(self.starts, i, "right")) - 1
        return self.parts[part][i - int(self.starts[part])]["image"]

    def picture(self, i: int) -> np.ndarray:
        """uint8 [h, w, 3]. Raises UserError where it cannot be read."""
        return pixels(self.read(i), self.ids[i])


def folder_of(name: str, data_dir: str | Path | None = None) -> Path | None:
    """The folder that a name such as `folder/pictures` means; None for sets that are no folders."""
    kind, _, path = name.partition("/")
    return files.path(data_dir or ".") / files.path(path) if kind == "folder" and path else None


def collect(name: str, data_dir: str | Path | None = None) -> Collection:
    """Opens a set by its name, as `sources.load` takes it; unlike there, sets without splits stay whole.

    Raises:
      UserError: as `sources.load`.
    """
    if path := folder_of(name, data_dir):
        return Collection(folder.scan(path), path.resolve())
    if name.partition("/")[0] in query.KEYS:
        bases = sources.find(name, data_dir=data_dir)
        refuse_clips(next(iter(bases.values())), "jaxcls clean")
        return Collection(bases)
    if name.startswith("tfds/"):
        return Collection(tfds_source.load(name.removeprefix("tfds/"), data_dir))
    return Collection(sources.load(name, data_dir=data_dir))


def pixels(image: bytes | np.ndarray, name: str = "") -> np.ndarray:
    """uint8 [h, w, 3] of encoded bytes or of pixels: of other than 1 and 3 channels the first three, or the first."""
    if not isinstance(image, np.ndarray):
        bands = deep.channels_of(image)
        image = decode.decode(image, channels=bands if bands and bands > 4 else 3, name=name)
    return np.repeat(image[..., :1], 3, axis=-1) if image.shape[-1] < 3 else image[..., :3]


@dataclasses.dataclass
class Survey:
    """What a pass has found, one entry for each of n pictures; zeros where one cannot be read.

    Attributes:
      unreadable: row -> why.
      files, pixels: uint64 [n, 2], hashes of the stored bytes and of size and pixels.
      sides: int32 [n, 2], height and width. sizes: int64 [n], stored bytes.
      greys: uint8 [n, 32, 32], small grey copies.
      features: float32 [n, d], or None.
    """

    unreadable: dict[int, str]
    files: np.ndarray
    pixels: np.ndarray
    sides: np.ndarray
    sizes: np.ndarray
    greys: np.ndarray
    features: np.ndarray | None = None

    @property
    def readable(self) -> np.ndarray:
        """Rows that can be read, int64, sorted."""
        return np.setdiff1d(np.arange(len(self.sizes)), list(self.unreadable))


def survey(
    collection: Collection,
    *,
    features: Callable[[np.ndarray], np.ndarray] | None = None,
    side: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Reads and decodes every picture fully, once, in threads. Takes 1 KiB a picture of memory, and the features.

    Args:
      collection: the pictures.
      features: uint8 [b, side, side, 3] -> float32 [b, d], b at most CHUNK; None: no features are computed.
      side: each picture is resized to side x side for it (antialiased, without regard to its proportions: nothing
        is cut off).
      progress: called as progress(done, total) now and then.
    """
    n = len(collection)
    files, pixels = (np.zeros((n, 2), np.uint64) for _ in range(2))
    sides, sizes, greys = np.zeros((n, 2), np.int32), np.zeros(n, np.int64), np.zeros((n, GREY, GREY), np.uint8)
    result = Survey({}, files, pixels, sides, sizes, greys)

    def look(chunk: range) -> np.ndarray:
        batch = np.zeros((len(chunk), side, side, 3), np.uint8)
        for k, i in enumerate(chunk):
            try:
                batch[k] = _look(result, collection, i, side)
            except UserError as error:
                result.unreadable[i] = str(error).removeprefix(f"{collection.ids[i]}: ")
        return batch

    chunks = [range(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
    threads = min(16, 2 * (os.cpu_count() or 1))
    with ThreadPoolExecutor(threads) as pool:
        ahead = [pool.submit(look, chunk) for chunk in chunks[: 2 * threads]]
        for k, chunk in enumerate(chunks):
            batch = ahead.pop(0).result()
            if k + 2 * threads < len(chunks):  # not all at once: batches wait in memory
                ahead.append(pool.submit(look, chunks[k + 2 * threads]))
            if features is not None:
                values = np.asarray(features(batch), np.float32)
                if result.features is None:
                    result.features = np.zeros((n, values.shape[1]), np.float32)
                result.features[chunk.start : chunk.stop] = values
            if progress:
                progress(chunk.stop, n)
    result.unreadable = dict(sorted(result.unreadable.items()))
    return result


def _look(result: Survey, collection: Collection, i: int, side: int) -> np.ndarray:
    """Fills row i and returns the picture at side x side."""
    stored = collection.read(i)
    result.sizes[i] = stored.nbytes if isinstance(stored, np.ndarray) else len(stored)
    result.files[i] = _digest(stored)
    image = pixels(stored, collection.ids[i])
    result.sides[i] = image.shape[:2]
    result.pixels[i] = _digest(repr(image.shape).encode(), image)
    result.greys[i] = resample.resized(samples.grey(image), (GREY, GREY), Image.Resampling.BOX)[..., 0]
    return resample.resized(image, (side, side), resample.FILTERS["bilinear"])


def _digest(*parts: Any) -> np.ndarray:
    """uint64 [2]: 128 bits of BLAKE2b."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(np.ascontiguousarray(part).data if isinstance(part, np.ndarray) else part)
    return np.frombuffer(state.digest(), np.uint64)
