"""Feeds the compiled steps: from pictures in device memory, or from a stream of host batches.

A training feed is called `feed(state, step, stop) -> (state, metrics, n)`: it does n >= 1 steps, no further than
`stop`, and returns metrics name -> (sum, count), each a scalar or [length] with n valid entries, without waiting for
the devices. `feed.with_step(step)` feeds the same batches to another step function; its state needs a `step`, too.
An evaluation feed is called `feed(state)` and returns the predictions of every example, once, as host arrays on every
process. `feed.batches(state)` has them a batch at a time, on the devices (`collecting.collect`).
"""

import collections
import copy
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from jaxcls.data import pipeline
from jaxcls.data.sampling import Sampler
from jaxcls.hyperparameters import number
from jaxcls.parallel import STATE, Parallel
from jaxcls.training.collecting import collect
from jaxcls.training.step import EvalStep, Metrics, TrainStep, make_multi_step
from jaxcls.types import Batch, PyTree


class TrainFeed(Protocol):
    """See the module's docstring."""

    def __call__(self, state: PyTree, step: int, stop: int) -> tuple[PyTree, Metrics, int]:
        """Does steps."""

    def with_step(self, step: TrainStep) -> "TrainFeed":
        """The same batches for another step function."""

    def close(self) -> None:
        """Stops whatever reads."""


class EvalFeed(Protocol):
    """See the module's docstring. `n`: the number of examples; `gaps`: whether some of them may be skipped."""

    n: int
    gaps: bool

    def __call__(self, state: PyTree) -> dict[str, np.ndarray]:
        """The predictions of every example as host arrays, on every process."""

    def batches(self, state: PyTree) -> Iterator[dict[str, Any]]:
        """What the compiled step returns for each batch, in their order; every process has to go through them."""


class MemoryTrainFeed:
    """Training from a set in device memory: an epoch's rows are drawn on the host and lie on the device too.

    Inside the step the batch is looked up by the step's number, so while an epoch lasts nothing goes from the host to
    the device.

    Args:
      step: from `make_train_step`.
      source: an ArraySource.
      parallel: Parallel.
      batch_size: of the global batch.
      seed: of the order.
      sampler: sampling.Sampler, which rows make up an epoch; None for a permutation of all.
      length: steps in one compiled call. Above 1 they run in a loop on the device; on a CPU that costs more than it
        saves, since XLA computes the weight gradients of convolutions inside a loop 40 times slower.
    """

    def __init__(
        self,
        step: TrainStep,
        source: Any,
        parallel: Parallel,
        *,
        batch_size: int,
        seed: int,
        length: int,
        sampler: Sampler | None = None,
    ):
        self.parallel, self.length = parallel, length
        n = len(source if sampler is None else sampler)
        self.numbers: dict[str, Any] = {"n": n, "batch_size": batch_size, "seed": seed}
        if sampler is not None:
            self.numbers["order"] = sampler
        self.steps = n // batch_size  # of an epoch
        self.data = parallel.replicate(_roomy(source.arrays))
        self.epoch: int | None = None
        self.rows: PyTree = None
        self.counts: dict[int, PyTree] = {}
        self._compile(step)

    def _compile(self, step):
        steps = number(self.steps, "steps_per_epoch")

        def batch(data, at):
            arrays, rows = data
            return pipeline.lookup(arrays, {k: v[at % steps] for k, v in rows.items()})

        def one(state, data, rows):
            return step(state, batch((data, rows), state.step))

        many = make_multi_step(step, batch, self.length)
        if self.length == 1:
            self.compiled = self.parallel.compile(one, (STATE, None, 1), out_axes=(STATE, None), donate=(0,))
        else:
            call = lambda state, data, rows, n: many(state, (data, rows), n)  # noqa: E731
            self.compiled = self.parallel.compile(call, (STATE, None, 1, None), out_axes=(STATE, None), donate=(0,))

    def with_step(self, step: TrainStep) -> "MemoryTrainFeed":
        """See the module's docstring. The pictures are not copied."""
        other = copy.copy(self)
        other.epoch, other.rows = None, None
        other._compile(step)
        return other

    def __call__(self, state: PyTree, step: int, stop: int) -> tuple[PyTree, Metrics, int]:
        """See the module's docstring. A call does not go beyond the end of an epoch."""
        epoch, position = divmod(step, self.steps)
        if epoch != self.epoch:
            self.epoch, self.rows = epoch, self._put(epoch)
        if self.length == 1:
            return *self.compiled(state, self.data, self.rows), 1
        n = min(self.length, stop - step, self.steps - position)
        if n not in self.counts:
            self.counts[n] = self.parallel.replicate(np.int32(n))
        return *self.compiled(state, self.data, self.rows, self.counts[n]), n

    def _put(self, epoch):
        """The rows of an epoch's batches on the devices, [steps, batch_size]: between epochs nothing is transferred."""
        batches = [pipeline.train_rows(epoch * self.steps + i, **self.numbers) for i in range(self.steps)]
        rows = {k: np.stack([batch[k] for batch in batches]) for k in batches[0]}
        share = self.parallel.local_rows(self.numbers["batch_size"])
        return self.parallel.split(_roomy({k: v[:, share] for k, v in rows.items()}), axis=1)

    def close(self) -> None:
        """Nothing to stop."""


class StreamTrainFeed:
    """Training from a Stream: the next batches are read, and put on the devices, while the step runs."""

    def __init__(self, step: TrainStep, stream: pipeline.Stream, parallel: Parallel):
        self.stream, self.parallel = stream, parallel
        self.compiled = parallel.compile(step, (STATE, 0), out_axes=(STATE, None), donate=(0,))
        self.batches: Generator[PyTree, None, None] | None = None
        self.next: int | None = None

    def __call__(self, state: PyTree, step: int, stop: int) -> tuple[PyTree, Metrics, int]:
        """See the module's docstring."""
        if self.batches is None or self.next != step:
            self.close()
            # The stream has no end of its own: where it is cut must not depend on evaluation or saving.
            batches = self.stream.batches(step, 2**31 - 1)
            self.batches = prefetch(batches, self.parallel.split)
        batch = next(self.batches)
        self.next = step + 1
        return *self.compiled(state, batch), 1

    def with_step(self, step: TrainStep) -> "StreamTrainFeed":
        """See the module's docstring. It reads by itself."""
        return StreamTrainFeed(step, self.stream, self.parallel)

    def close(self) -> None:
        """Stops the reading threads or processes."""
        if self.batches is not None:
            self.batches.close()
        self.batches = self.next = None


class ChangingFeed:
    """Training whose step function changes on the way; each is compiled when it is first needed.

    Args:
      feeds: (first step, training feed) pairs in order; the first begins at step 0.
    """

    def __init__(self, feeds: Iterable[tuple[int, TrainFeed]]):
        self.starts, self.feeds = zip(*feeds, strict=True)

    def __call__(self, state: PyTree, step: int, stop: int) -> tuple[PyTree, Metrics, int]:
        """See the module's docstring. A call does not go beyond the next change."""
        now = sum(start <= step for start in self.starts) - 1
        for feed in self.feeds[:now]:
            feed.close()
        return self.feeds[now](state, step, min([stop, *self.starts[now + 1 :]]))

    def with_step(self, step: TrainStep) -> TrainFeed:
        """See the module's docstring: one step function from start to end."""
        return self.feeds[0].with_step(step)

    def close(self) -> None:
        """Stops the reading threads or processes."""
        for feed in self.feeds:
            feed.close()


class MemoryEvalFeed:
    """Evaluation from a set in device memory."""

    def __init__(self, step: EvalStep, source: Any, parallel: Parallel, *, batch_size: int):
        self.parallel, self.n, self.batch_size, self.gaps = parallel, len(source), batch_size, False
        self.data = parallel.replicate(_roomy(source.arrays))
        fn = lambda state, data, row: step(state, pipeline.lookup(data, row))  # noqa: E731
        self.compiled = parallel.compile(fn, (STATE, None, 0))

    def __call__(self, state: PyTree) -> dict[str, np.ndarray]:
        """See the module's docstring."""
        return collect(self.batches(state), self.n)

    def batches(self, state: PyTree) -> Iterator[dict[str, Any]]:
        """See the module's docstring."""

        def rows(s):
            row = pipeline.eval_rows(s, n=self.n, batch_size=self.batch_size)
            return {k: v[self.parallel.local_rows(len(v))] for k, v in row.items()}

        batches = (self.parallel.split(rows(s)) for s in range(-(-self.n // self.batch_size)))
        return (self.compiled(state, self.data, batch) for batch in batches)


class StreamEvalFeed:
    """Evaluation from a Stream."""

    def __init__(self, step: EvalStep, stream: pipeline.Stream, parallel: Parallel, *, n: int, batch_size: int):
        self.stream, self.parallel, self.n, self.batch_size = stream, parallel, n, batch_size
        self.gaps = stream.skips
        self.compiled = parallel.compile(step, (STATE, 0))

    def __call__(self, state: PyTree) -> dict[str, np.ndarray]:
        """See the module's docstring."""
        return collect(self.batches(state), self.n, gaps=self.gaps)

    def batches(self, state: PyTree) -> Iterator[dict[str, Any]]:
        """See the module's docstring."""
        batches = prefetch(self.stream.batches(0, -(-self.n // self.batch_size)), self.parallel.split)
        return (self.compiled(state, batch) for batch in batches)


def _roomy(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays [n, ...] with zeros behind, up to a size that others of about as many rows have, too: folds then share one
    compiled program. At most a sixteenth more."""
    n = len(next(iter(arrays.values())))
    unit = max(1, 2 ** (n.bit_length() - 5))
    more = -n % unit
    return {name: np.pad(x, [(0, more)] + [(0, 0)] * (x.ndim - 1)) for name, x in arrays.items()} if more else arrays


def prefetch(
    batches: Generator[Batch, None, None], put: Callable[[Batch], PyTree], ahead: int = 2
) -> Generator[PyTree, None, None]:
    """Iterates over `put(batch)`, keeping `ahead` of them on their way to the devices."""
    queue: collections.deque[PyTree] = collections.deque()
    try:
        for batch in batches:
            queue.append(put(batch))
            if len(queue) > ahead:
                yield queue.popleft()
        while queue:
            yield queue.popleft()
    finally:
        batches.close()
