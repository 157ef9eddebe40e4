"""Prepared pictures of a run's split, of a folder, or made ones: to calibrate on, and to compare answers on."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt8

from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.errors import UserError

if TYPE_CHECKING:
    from jaxcls.training.data import Data

MADE = 8  # pictures, where there are none


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures as `Preprocessing.prepare` makes them, read anew each time.

    Attributes:
      read: number -> uint8 [h, w, c]; None for one that can't be read and is skipped.
      count: how many there are.
      about: in words, such as "64 of 1,200 training pictures".
      labels: int [count]; None where they aren't known.
      rows: of the split, int [count]; None for other pictures.
    """

    read: Callable[[int], UInt8[np.ndarray, "h w c"] | None]
    count: int
    about: str
    labels: Int[np.ndarray, " count"] | None = None
    rows: Int[np.ndarray, " count"] | None = None

    def batches(self, size: int) -> Iterator[tuple[Int[np.ndarray, " n"], UInt8[np.ndarray, "n h w c"]]]:
        """(numbers, pictures) of `size` at a time, at the end fewer."""
        numbers: list[int] = []
        images: list[np.ndarray] = []
        for number in range(self.count):
            image = self.read(number)
            if image is not None:
                numbers.append(number)
                images.append(image)
            if images and (len(images) == size or number + 1 == self.count):
                yield np.array(numbers), np.stack(images)
                numbers, images = [], []


def spread(n: int, most: int) -> Int[np.ndarray, " rows"]:
    """At most so many of n rows, evenly spread: sets are often in the order of their classes. 0 for all."""
    return np.arange(n) if most <= 0 or most >= n else np.linspace(0, n - 1, most).round().astype(int)


def of_split(data: "Data", split: str, rows: Int[np.ndarray, " n"]) -> Pictures:
    """Rows of a run's split, as evaluation prepares them. Where the run skips pictures that can't be read, so here.

    Reading raises UserError for a picture that can't be read.
    """
    source, host = data.sources[split], data.evaluation.host

    def read(number):
        try:
            item = source[int(rows[number])]
            return host(item["image"], item["id"], None)
        except UserError:
            if data.skipped is None:
                raise
            return None

    name = "training" if split == "train" else split
    about = f"{len(rows):,} of {len(source):,} {name} pictures"
    return Pictures(read, len(rows), about, np.asarray(source.labels)[rows], np.asarray(rows))


def calibration_rows(n: int, wanted: int, held_out: int) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """(rows of a training split of n to calibrate on, others to hold files against): at most half of them, and so many
    of the rest."""
    chosen = spread(n, max(1, min(wanted, (n + 1) // 2)))
    rest = np.setdiff1d(np.arange(n), chosen)
    return chosen, rest[spread(len(rest), held_out)]


def of_folder(folder: Path, preprocessing: Preprocessing) -> list[UInt8[np.ndarray, "h w c"]]:
    """All pictures of a folder, at any depth, prepared; few are needed, so they are kept.

    Raises:
      UserError: for a folder without pictures, or a picture that can't be read.
    """
    from jaxcls.predict import reading

    found = [
        reading.read(preprocessing.prepare, path, problem)
        for path, problem in reading.paths([str(folder)], clips=preprocessing.clips)
    ]
    if bad := [picture for picture in found if picture.image is None]:
        raise UserError(f"--calibration={folder}: {bad[0].path}: {bad[0].problem}; move it away.")
    if not found:
        raise UserError(f"--calibration={folder} has no pictures; choose another.")
    return [picture.image for picture in found if picture.image is not None]


def of_list(images: list[UInt8[np.ndarray, "h w c"]], about: str) -> Pictures:
    """Pictures that are in memory."""
    return Pictures(lambda number: images[number], len(images), about)


def made(shape: tuple[int, ...]) -> Pictures:
    """Eight pictures for nets that have none: smooth noise on several scales, the same each time. Clips move, a pixel a
    frame."""
    *frames, height, width, channels = shape
    rng = np.random.default_rng(0)
    images = []
    for i in range(MADE):
        image = np.zeros((height, width, channels))
        for cells in (2, 4, 8, 16):
            rough = rng.normal(0, 70 / np.sqrt(cells), (cells, cells, channels))
            rows, columns = (np.linspace(0, cells - 1, side).astype(int) for side in (height, width))
            image += rough[rows][:, columns]
        image = (128 + (i + 1) / 2 * image).clip(0, 255).astype(np.uint8)
        images.append(np.stack([np.roll(image, t, axis=1) for t in range(frames[0])]) if frames else image)
    return of_list(images, f"{MADE} made pictures")
