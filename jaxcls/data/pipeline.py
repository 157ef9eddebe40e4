"""Batch s is computed, not remembered: rows, epochs and draws of any step from (seed, step), and streams of batches.

The tail of each epoch's permutation that does not fill a batch is dropped, another one every epoch. Nothing but the
step number is needed to go on exactly where a run stopped, on any number of processes or workers.
"""

import functools
import operator
import os
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from jaxcls.data import readers
from jaxcls.data.base import Leaf, Source, check_metadata, fitted, leaves, stacked
from jaxcls.data.skipping import stand_ins
from jaxcls.errors import UserError, of_picture
from jaxcls.text import printable
from jaxcls.types import Batch

UINT8 = np.dtype(np.uint8)
Rows = dict[str, np.ndarray]  # index, and draw and epoch or mask: an entry an example
# (encoded or array image, name, generator or None) -> uint8 [h, w, c]
Transform = Callable[[Any, str, np.random.Generator | None], np.ndarray]


@functools.lru_cache(maxsize=4)
def order(seed: int, epoch: int, n: int) -> np.ndarray:
    """The permutation of n rows in an epoch: int32 [n], from Philox with these numbers as the key."""
    return generator(seed, epoch).permutation(n).astype(np.int32)


def generator(*numbers: int) -> np.random.Generator:
    """numpy's Philox generator for a tuple of non-negative numbers, such as (seed, epoch, draw).

    Their count goes in too: SeedSequence takes (seed, epoch) and (seed, epoch, 0) for the same.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((*numbers, len(numbers)))))


def train_rows(
    step: int, *, n: int, batch_size: int, seed: int, order: Callable[[int, int, int], np.ndarray] = order
) -> Rows:
    """Which examples make up batch `step`.

    Args:
      step: from 0.
      n: draws in an epoch: the rows of the source, or the length of a sampler.
      batch_size: of the global batch.
      seed: of the run.
      order: (seed, epoch, n) -> int32 [>= n // batch_size * batch_size], the rows drawn in an epoch: a permutation, or
        a `sampling.Sampler`.

    Returns:
      dict of int32 [batch_size]: `index` (row of the source), `epoch`, `draw` (position in the epoch's order).
    """
    epoch, position = divmod(step, n // batch_size)
    draw = np.arange(position * batch_size, (position + 1) * batch_size, dtype=np.int32)
    return {"index": order(seed, epoch, n)[draw], "epoch": np.full(batch_size, epoch, np.int32), "draw": draw}


def eval_rows(step: int, *, n: int, batch_size: int) -> Rows:
    """Batch `step` of a pass over all n rows in order; `mask` is 0 for the padding of the last one.

    Returns:
      dict of `index` int32 [batch_size] and `mask` float32 [batch_size].
    """
    position = np.arange(step * batch_size, (step + 1) * batch_size)
    return {"index": np.minimum(position, n - 1).astype(np.int32), "mask": (position < n).astype(np.float32)}


def lookup(data: Batch, row: Batch) -> Batch:
    """The batch of these rows from leaves in device memory, arrays [n, ...]; for use inside a compiled step."""
    return {**{name: array[row["index"]] for name, array in data.items()}, **row}


def shapes(
    source: Any, transform: Transform, *, in_memory: bool, training: bool, views: int = 0, skip: bool = False
) -> dict[str, Leaf]:
    """What of one example reaches the device: name -> (shape, dtype), without the numbers of its row.

    Args:
      source: of the split. Where it is kept in device memory it has `arrays`; otherwise its first picture is read.
      transform: what a Stream of the source would be given.
      in_memory: whether it is kept in device memory.
      training: whether the transform is random.
      views: of the Stream. From memory none come: the device makes them all.
      skip: whether pictures that can't be read are passed over.

    Raises:
      UserError: where a Stream would refuse the first item.
    """
    if in_memory:
        return {name: Leaf(array.shape[1:], array.dtype) for name, array in source.arrays.items()}
    found = leaves(source)
    for row in range(len(source)):
        try:
            item = source[row]
            image = transform(item["image"], item["id"], generator(0) if training else None)
            break
        except UserError:
            if not skip or row + 1 == len(source):
                raise
    check_metadata(item, item.keys() - found.keys())
    for name, leaf in found.items():
        if name != "image":
            fitted(item.get(name), item["id"], name, leaf)
    found["image"] = Leaf(image.shape, image.dtype)
    return {**found, "views": Leaf((views, *image.shape), image.dtype)} if views else found


class Stream:
    """Reads, decodes and crops batches on the host, in worker threads or processes, in uint8.

    Args:
      source: a Source whose items need decoding (or are arrays).
      transform: (encoded or array image, name, generator or None) -> uint8 [h, w, c], all of one size.
      rows: step -> dict with `index`, and `epoch` and `draw` where the transform is random.
      seed: the run's seed; a picture's randomness is `generator(seed, epoch, draw)`.
      share: slice of each batch that this process provides.
      workers: processes; 0 for threads.
      threads: reading threads (of each process).
      skipped: None: a picture that can't be read ends the stream. Else it is called with a line about each, and the
        draw goes to the next picture of the same class that can be read (`Stream.example`); in evaluation it is masked.
      views: k >= 1 for `views` uint8 [n, k, h, w, c], each drawn by itself, view v >= 1 from `generator(seed, epoch,
        draw, v)`; `image` is the first. The transform must be an augment.host.HostTransform, the rows have draws.
    """

    def __init__(
        self,
        source: Source,
        transform: Transform,
        rows: Callable[[int], Rows],
        *,
        seed: int = 0,
        share: slice = slice(None),
        workers: int = 0,
        threads: int | None = None,
        views: int = 0,
        skipped: Callable[[str], None] | None = None,
    ):
        self.source, self.rows, self.seed, self.share = source, rows, seed, share
        self.transform: Any = transform  # with `views` where these are wanted
        self.workers, self.threads, self.views = workers, threads or default_threads(), views
        self.skips, self.skipped = skipped is not None, skipped
        self.leaves = {name: leaf for name, leaf in leaves(source).items() if name != "image"}
        self._most = len(self.leaves) + 2  # entries of an item beside metadata: the leaves, its picture and id
        self._pick = operator.itemgetter("id", *self.leaves)

    def __call__(self, step: int) -> Batch:
        """The batch of a step as host arrays: image uint8 [n, h, w, c], the other leaves [n, ...], and the rows.

        Where pictures were skipped there is "skipped", lines about them, and `index` names those that were taken.

        Raises:
          UserError: for pictures of different sizes, a leaf that is not as declared, an array that is not declared.
        """
        rows = self.share_of(step)
        n, images, others = len(rows["index"]), None, []
        taken = rows["index"].copy()
        bad: list[str] | None = [] if self.skips else None
        for i in range(n):
            image, other, taken[i] = self.example(i, rows, bad)
            others.append(other)
            if images is None:
                images = np.empty((n, *image.shape), np.uint8)
            elif image.shape != images.shape[1:]:
                raise UserError(
                    "the pictures of a batch differ in size after config.data's transforms; let the list begin with "
                    "'random_resized_crop(224)', 'resize(224, 224)' or 'resize(256)', 'center_crop(224)'"
                )
            if image.dtype is not UINT8 and image.dtype != UINT8:
                raise UserError(f"{other[0]}: 'image' is {image.dtype}, but pictures must be uint8.")
            images[i] = image
        ids, *columns = zip(*others, strict=True)
        leaves = zip(self.leaves.items(), columns, strict=True)
        batch: Batch = {name: stacked(values, ids, name, leaf) for (name, leaf), values in leaves}
        if bad:
            batch["skipped"] = bad
            again = taken != rows["index"]
            rows = {**rows, "mask": rows["mask"] * ~again} if "mask" in rows else {**rows, "index": taken}
        if not self.views:
            return {"image": images, **batch, **rows}
        assert images is not None
        return {"image": np.ascontiguousarray(images[:, 0]), "views": images, **batch, **rows}

    def __getstate__(self) -> dict[str, Any]:
        """For reading processes, which tell of skipped pictures through the batch."""
        return {**vars(self), "skipped": None}

    def share_of(self, step: int) -> Rows:
        """The rows of a step that this process provides."""
        return {k: v[self.share] for k, v in self.rows(step).items()}

    def example(self, i: int, rows: Rows, bad: list[str] | None = None) -> tuple[np.ndarray, tuple[Any, ...], int]:
        """Row i of `share_of(step)`: its picture [h, w, c], or views [k, h, w, c], (id, leaves ...) of its item, and
        the row of the source that was taken.

        With a list `bad` that is the first that can be read: the row itself, else the next ones of its class (in
        evaluation, where it is masked, of any), in the source's order and from the end on from its start. So it depends
        on the pictures alone, and a run that is resumed draws the same ones. A line about each that can't be read is
        appended.

        Raises:
          UserError: for a picture that can't be read; with `bad`, where none of its class can.
        """
        row = int(rows["index"][i])
        if bad is None:
            return *self._read(row, i, rows), row
        for candidate in stand_ins(self.source.labels, row, any_class="draw" not in rows):
            try:
                return *self._read(candidate, i, rows), candidate
            except UserError as error:
                bad.append(str(error))
        classes = self.source.classes if "draw" in rows else ()
        label = self.source.labels[row]
        here = " of the same labels" if label.ndim else f" of class {classes[int(label)]!r}" if classes else ""
        of = here if classes else ""
        raise UserError(f"no picture{of} can be read; the last one: {bad[-1]}")

    def _read(self, row: int, i: int, rows: Rows) -> tuple[np.ndarray, tuple[Any, ...]]:
        """The picture, or views, of a row of the source as row i of a batch, and (id, leaves ...) of its item.

        The item itself goes, so that its picture's memory, which is in the cache, is that of the next one.
        """
        item = self.source[row]
        if len(item) > self._most:
            check_metadata(item, item.keys() - {"id", "image", *self.leaves})
        try:
            others = self._pick(item)
        except KeyError:
            others = (item["id"], *map(item.get, self.leaves))
        name = printable(item["id"])  # for messages, which are one line
        try:
            if not self.views:
                random = generator(self.seed, int(rows["epoch"][i]), int(rows["draw"][i])) if "draw" in rows else None
                return self.transform(item["image"], name, random), others
            numbers = (self.seed, int(rows["epoch"][i]), int(rows["draw"][i]))
            randoms = [generator(*numbers, *([v] if v else [])) for v in range(self.views)]
            return self.transform.views(item["image"], name, randoms), others
        except Exception as error:
            raise of_picture(error, name) from error

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """Iterates over the batches of steps start..stop-1, read ahead by Grain."""
        import grain.python as grain

        readers.keep_freed_memory()
        dataset = grain.MapDataset.range(start, stop).map(_Load(self))
        # Each thread reads a whole batch, so a buffer of a few batches keeps all of them busy.
        ahead = max(2, self.threads)
        dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=ahead))
        if self.workers:
            readers.mark_flags_parsed()
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=self.workers, per_worker_buffer_size=2),
                worker_init_fn=readers.start_worker,
            )
        iterator = iter(dataset)
        try:
            for item in iterator:
                if isinstance(item, UserError):
                    raise item
                for line in item.pop("skipped", ()):
                    assert self.skipped is not None
                    self.skipped(line)
                yield item
        finally:
            if hasattr(iterator, "close"):  # otherwise Grain's threads print tracebacks at exit
                iterator.close()


class _Load:
    """A batch by its step. A UserError is passed on as a value, since Grain would wrap it in a traceback of its own."""

    def __init__(self, stream: Stream):
        self.stream = stream

    def __call__(self, step: int) -> Batch | UserError:
        try:
            return self.stream(int(step))
        except UserError as error:
            return error


def default_threads() -> int:
    """Reading threads: as many as cores, at most 16."""
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
