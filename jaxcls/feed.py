"""Feeds the compiled steps: from pictures in device memory, or from a stream of host batches.

A training feed is called `feed(state, step, stop) -> (state, metrics, n)`: it does n >= 1 steps, no further than
`stop`, and returns metrics name -> (sum, count), each a scalar or [length] with n valid entries, without waiting for
the devices.
An evaluation feed is called `feed(state)` and returns the predictions of every example, once, as host arrays.
"""

import collections

import jax
import numpy as np

from jaxcls.data import pipeline
from jaxcls.step import make_multi_step


class MemoryTrainFeed:
    """Training from a set in device memory: rows are chosen on the host, pictures indexed inside the step.

    Args:
      step: from `make_train_step`.
      source: an ArraySource.
      parallel: Parallel.
      batch_size: of the global batch.
      seed: of the order.
      length: steps in one compiled call. Above 1 they run in a loop on the device; on a CPU that costs more than it
        saves, since XLA computes the weight gradients of convolutions inside a loop 40 times slower.
    """

    def __init__(self, step, source, parallel, *, batch_size, seed, length):
        self.parallel, self.length = parallel, length
        self.numbers = {"n": len(source), "batch_size": batch_size, "seed": seed}
        self.data = parallel.replicate({"image": source.images, "label": source.labels})
        if length == 1:
            fn, axes = lambda state, data, row: step(state, pipeline.lookup(data, row)), (None, None, 0)
        else:
            fn, axes = make_multi_step(step, pipeline.lookup, length), (None, None, 1, None)
        self.compiled = parallel.compile(fn, axes, donate=(0,))

    def __call__(self, state, step, stop):
        """See the module's docstring."""
        n = min(self.length, stop - step)
        rows = [pipeline.train_rows(step + i, **self.numbers) for i in range(n)]
        rows = [{k: v[self.parallel.local_rows(len(v))] for k, v in row.items()} for row in rows]
        if self.length == 1:
            return *self.compiled(state, self.data, self.parallel.split(rows[0])), 1
        rows += [rows[-1]] * (self.length - n)
        stacked = {k: np.stack([row[k] for row in rows]) for k in rows[0]}
        return *self.compiled(state, self.data, self.parallel.split(stacked, axis=1), np.int32(n)), n

    def close(self):
        """Nothing to stop."""


class StreamTrainFeed:
    """Training from a Stream: the next batches are read, and put on the devices, while the step runs."""

    def __init__(self, step, stream, parallel):
        self.stream, self.parallel = stream, parallel
        self.compiled = parallel.compile(step, (None, 0), donate=(0,))
        self.batches, self.next = None, None

    def __call__(self, state, step, stop):
        """See the module's docstring."""
        if self.next != step:
            self.close()
            # The stream has no end of its own: where it is cut must not depend on evaluation or saving.
            batches = self.stream.batches(step, 2**31 - 1)
            self.batches = prefetch(batches, self.parallel.split)
        batch = next(self.batches)
        self.next = step + 1
        return *self.compiled(state, batch), 1

    def close(self):
        """Stops the reading threads or processes."""
        if self.batches is not None:
            self.batches.close()
        self.batches = self.next = None


class MemoryEvalFeed:
    """Evaluation from a set in device memory."""

    def __init__(self, step, source, parallel, *, batch_size):
        self.parallel, self.n, self.batch_size = parallel, len(source), batch_size
        self.data = parallel.replicate({"image": source.images, "label": source.labels})
        fn = lambda state, data, row: step(state, pipeline.lookup(data, row))  # noqa: E731
        self.compiled = parallel.compile(fn, (None, None, 0))

    def __call__(self, state):
        """See the module's docstring."""

        def rows(s):
            row = pipeline.eval_rows(s, n=self.n, batch_size=self.batch_size)
            return {k: v[self.parallel.local_rows(len(v))] for k, v in row.items()}

        batches = (self.parallel.split(rows(s)) for s in range(-(-self.n // self.batch_size)))
        return collect((self.compiled(state, self.data, batch) for batch in batches), self.n)


class StreamEvalFeed:
    """Evaluation from a Stream."""

    def __init__(self, step, stream, parallel, *, n, batch_size):
        self.stream, self.parallel, self.n, self.batch_size = stream, parallel, n, batch_size
        self.compiled = parallel.compile(step, (None, 0))

    def __call__(self, state):
        """See the module's docstring."""
        batches = prefetch(self.stream.batches(0, -(-self.n // self.batch_size)), self.parallel.split)
        return collect((self.compiled(state, batch) for batch in batches), self.n)


def prefetch(batches, put, ahead=2):
    """Iterates over `put(batch)`, keeping `ahead` of them on their way to the devices."""
    queue = collections.deque()
    try:
        for batch in batches:
            queue.append(put(batch))
            if len(queue) > ahead:
                yield queue.popleft()
        while queue:
            yield queue.popleft()
    finally:
        batches.close()


def collect(outputs, n):
    """Outputs of evaluation batches as host arrays without the padding, one row an example.

    Raises RuntimeError if that is not each of the n examples exactly once.
    """
    parts = []
    for out in outputs:
        out = {k: np.asarray(v) for k, v in jax.device_get(out).items()}
        real = out.pop("mask") > 0
        parts.append({k: v[real] for k, v in out.items()})
    result = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    if not np.array_equal(result["index"], np.arange(n)):
        raise RuntimeError("evaluation did not see every example exactly once")
    return result
