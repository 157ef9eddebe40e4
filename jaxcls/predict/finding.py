"""Pictures by what they look like: the features of many, kept in a file, and which lie nearest to a question."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from jaxcls import files
from jaxcls.errors import UserError, listed
from jaxcls.predict.named import Pictures
from jaxcls.predict.predictor import Predictor
from jaxcls.predict.progress import Progress
from jaxcls.predict.reading import ahead, batches, paths, read
from jaxcls.predict.resuming import digest
from jaxcls.predict.sharding import numbered
from jaxcls.text import printable

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int

BATCH, THREADS, BLOCK = 32, 2, 65_536


class Bank(NamedTuple):
    """Pictures and their features.

    Attributes:
      names: their paths.
      features: of each, at length 1.
      kept: whether they were read from a file that an earlier call has written.
    """

    names: list[str]
    features: "Float32[np.ndarray, 'n d']"
    kept: bool


def bank(predictor: Predictor, arguments: Sequence[str | Pictures], folder: str | Path) -> Bank:
    """The features of all pictures of files, folders, patterns and sets (`named.opened`).

    They are kept in `folder` and found again by the weights and by names, sizes and times of the files. What can't be
    read is left out, with a line.

    Raises:
      UserError: where there is no picture that can be read.
    """
    entries = list(paths(arguments, clips=predictor.clips))
    key = digest([*map(np.asarray, jax.tree.leaves(predictor.variables)), *map(_told, entries)])
    place = Path(folder) / f"{key}.npz"
    if (kept := files.read_arrays(place, key)) is not None:
        return Bank(kept["names"].tolist(), kept["features"], True)
    names: list[str] = []
    rows = []
    progress = Progress()
    progress.count(lambda: len(entries))
    get = lambda entry: (entry[0], read(predictor.prepare, *entry[1:]))  # noqa: E731
    with contextlib.closing(ahead(get, numbered(entries), THREADS, 2 * BATCH)) as prepared:
        for batch in batches(prepared, BATCH):
            good = {picture.path: picture.image for _, picture in batch if picture.image is not None}
            for _, picture in batch:
                if picture.image is None:
                    progress.note(printable(f"skipped {picture.path}: {picture.problem}"))
            if good:
                rows.append(predictor.features(np.stack([*good.values()])))
                names += good
            progress.add(len(batch), len(batch) - len(good))
    progress.close(None)
    if not names:
        raise UserError(f"there is no picture that can be read in {listed(map(str, arguments))}")
    features = unit(np.concatenate(rows))
    Path(folder).mkdir(parents=True, exist_ok=True)
    files.write_arrays(place, key, names=np.array(names), features=features)
    return Bank(names, features, False)


def _told(entry):
    path, problem = entry
    try:
        found = os.stat(path)
    except OSError:
        return f"{path}\0{problem}\0".encode(errors="surrogateescape")
    return f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0".encode(errors="surrogateescape")


def unit(rows: "Float[np.ndarray, 'n d']") -> "Float32[np.ndarray, 'n d']":
    """Rows at length 1; those of zeros stay so."""
    rows = np.asarray(rows, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def nearest(
    features: "Float32[np.ndarray, 'n d']", question: "Float32[np.ndarray, ' d']", top: int
) -> "tuple[Int[np.ndarray, ' k'], Float32[np.ndarray, ' k']]":
    """(rows, cosines) of the `top` features of length 1 that are most like a question of length 1, the nearest first;
    of equal ones the first row. All are looked at."""
    cosines = np.concatenate([features[i : i + BLOCK] @ question for i in range(0, len(features), BLOCK)])
    top = min(top, len(cosines))
    least = np.partition(cosines, len(cosines) - top)[len(cosines) - top]
    among = np.flatnonzero(cosines >= least)
    order = among[np.argsort(-cosines[among], kind="stable")][:top]
    return order, cosines[order]
