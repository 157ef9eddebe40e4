"""Batch s is computed, not remembered: rows, epochs and draws of any step from (seed, step), and streams of batches.

The tail of each epoch's permutation that does not fill a batch is dropped, another one every epoch. Nothing but the
step number is needed to go on exactly where a run stopped, on any number of processes or workers.
"""

import ctypes
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from jaxcls.data.base import Source
from jaxcls.errors import UserError
from jaxcls.types import Batch

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
    """The batch of these rows from pictures in device memory; for use inside a compiled step."""
    return {"image": data["image"][row["index"]], "label": data["label"][row["index"]], **row}


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
    ):
        self.source, self.transform, self.rows, self.seed, self.share = source, transform, rows, seed, share
        self.workers, self.threads = workers, threads or default_threads()

    def __call__(self, step: int) -> Batch:
        """The batch of a step as host arrays: image uint8 [n, h, w, c], label int32 [n], and the rows."""
        rows = self.share_of(step)
        n, images = len(rows["index"]), None
        labels = np.empty(n, np.int32)
        for i in range(n):
            image, labels[i] = self.example(i, rows)
            if images is None:
                images = np.empty((n, *image.shape), np.uint8)
            elif image.shape != images.shape[1:]:
                raise UserError(
                    "the pictures of a batch differ in size after config.data's transforms; let the list begin with "
                    "'random_resized_crop(224)', 'resize(224, 224)' or 'resize(256)', 'center_crop(224)'"
                )
            images[i] = image
        return {"image": images, "label": labels, **rows}

    def share_of(self, step: int) -> Rows:
        """The rows of a step that this process provides."""
        return {k: v[self.share] for k, v in self.rows(step).items()}

    def example(self, i: int, rows: Rows) -> tuple[np.ndarray, int]:
        """Picture and label of row i of `share_of(step)`."""
        item = self.source[int(rows["index"][i])]
        random = generator(self.seed, int(rows["epoch"][i]), int(rows["draw"][i])) if "draw" in rows else None
        return self.transform(item["image"], item["id"], random), item["label"]

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """Iterates over the batches of steps start..stop-1, read ahead by Grain."""
        import grain.python as grain

        keep_freed_memory()
        dataset = grain.MapDataset.range(start, stop).map(_Load(self))
        # Each thread reads a whole batch, so a buffer of a few batches keeps all of them busy.
        ahead = max(2, self.threads)
        dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=ahead))
        if self.workers:
            mark_flags_parsed()
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=self.workers, per_worker_buffer_size=2),
                worker_init_fn=_start_worker,
            )
        iterator = iter(dataset)
        try:
            for item in iterator:
                if isinstance(item, UserError):
                    raise item
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


def _start_worker(*_):
    """Sets up a reading process: it answers no signal, and ends with the process that started it.

    Ctrl-C and SIGTERM often go to all processes of a group, but the training process alone answers them. If that one
    is killed, Grain's workers would wait for it for ever.
    """
    keep_freed_memory()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    def end_with_parent():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


@functools.cache
def keep_freed_memory() -> None:
    """Lets glibc reuse the memory of decoded pictures in place of returning it to the system after each.

    Getting it back costs a page fault every 4 KiB, as much as a third of the time of decoding and cropping. The limits
    are those at which glibc's own rule arrives after the first large block was freed (mallopt(3), M_MMAP_THRESHOLD);
    without them it depends on chance. Does nothing where the C library is another.
    """
    trim_threshold, mmap_threshold, limit = -1, -3, 32 * 2**20
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt(mmap_threshold, limit)
    mallopt(trim_threshold, 2 * limit)


def default_threads() -> int:
    """Reading threads: as many as cores, at most 16."""
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def mark_flags_parsed() -> None:
    """Grain's worker processes read absl flags, which stay unparsed outside `absl.app.run`."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
