"""Batches without a timer: an idle model answers at once, a busy one then takes what has arrived meanwhile."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

Picture = np.ndarray | Callable[[], np.ndarray]  # uint8 [H, W, C], prepared; or what prepares it, in a worker
Answer = Callable[[np.ndarray, int], list[dict[str, Any]]]  # (pictures [n, H, W, C], top) -> a row for each
LONGEST = 60  # seconds after which a client is told to come back, at most


class Full(Exception):
    """The queue has no place: try again in `retry_after` seconds (int, at least 1)."""

    def __init__(self, retry_after: int):
        super().__init__(f"the queue is full; try again in {retry_after} s")
        self.retry_after = retry_after


class Late(Exception):
    """The deadline has passed before there was an answer."""


class Failed(Exception):
    """The model raised for this picture; what, is its `__cause__`."""


@dataclasses.dataclass(eq=False)
class _Item:
    """A picture that waits; `future` and `loop` are of whoever awaits its row."""

    picture: Any  # Picture
    top: int
    deadline: float
    future: asyncio.Future
    loop: asyncio.AbstractEventLoop

    def settle(self, row=None, error=None):
        """On the loop: the row, or what went wrong, unless nobody waits any more."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(row)
        else:
            self.future.set_exception(error)

    def tell(self, row=None, error=None):
        """`settle`, from another thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
            self.loop.call_soon_threadsafe(self.settle, row, error)


class Batcher:
    """Asks a model from worker threads for whoever awaits answers; of one event loop.

    Attributes:
      bound: pictures that may have places at the same time.
      held: pictures that have places now: read, waiting or computed.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        workers: int = 1,
        take: Callable[[int], int] = lambda waiting: 1,
        bound: int = 128,
        observe: Callable[[int, float], None] = lambda size, seconds: None,
    ):
        """Starts the workers.

        Args:
          answer: asked by them, several at the same time where there are several.
          workers: threads.
          take: of n waiting pictures (1 or more), how many make the next batch (1 to n).
          bound: pictures that may have places.
          observe: told of every batch, from the worker's thread: its size and its seconds.
        """
        self.bound, self.held = bound, 0
        self._answer, self._take, self._observe = answer, take, observe
        self._queue: collections.deque[_Item] = collections.deque()
        self._change = threading.Condition()
        self._closed, self._idle, self._each = False, 0, 0.0
        self._workers = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    @property
    def waiting(self) -> int:
        """Pictures in the queue."""
        return len(self._queue)

    @contextlib.contextmanager
    def places(self, count: int = 1) -> Iterator[None]:
        """Places for pictures, before they are read: what is refused costs nothing. Raises Full."""
        if self.held + count > self.bound:
            ahead = self.held * self._each / len(self._workers)
            raise Full(min(LONGEST, max(1, math.ceil(ahead))))
        self.held += count
        try:
            yield
        finally:
            self.held -= count

    async def submit(self, picture: Picture, top: int = 5, deadline: float | None = None) -> dict[str, Any]:
        """The row of a picture; `{"error": ...}` where the model's answer to it is not finite.

        Whoever stops waiting (is cancelled) leaves the queue.

        Args:
          picture: prepared; or what prepares it, which a worker calls.
          top: how many classes are listed.
          deadline: on the clock of time.monotonic.

        Raises:
          Late: at the deadline; what waits then is not computed.
          Failed: the model raised for this picture alone: a batch that fails is asked again one by one.
          Exception: what preparing it raised.
        """
        loop = asyncio.get_running_loop()
        item = _Item(picture, top, math.inf if deadline is None else deadline, loop.create_future(), loop)
        with self._change:
            if self._closed:
                raise RuntimeError("this batcher is closed")
            self._queue.append(item)
            self._change.notify()
        timer = None
        if deadline is not None:
            timer = loop.call_later(deadline - time.monotonic(), item.settle, None, Late())
        answered = False
        try:
            row = await item.future
            answered = True
            return row
        finally:
            if timer:
                timer.cancel()
            if not answered:
                with self._change, contextlib.suppress(ValueError):  # a worker has it
                    self._queue.remove(item)
            del item  # an exception holds this frame, and would be held by it

    def close(self) -> None:
        """No more pictures: the workers end once the queue is empty. Does not wait; `join` does."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def join(self, seconds: float) -> bool:
        """Waits for the workers; whether all have ended."""
        end = time.monotonic() + seconds
        for worker in self._workers:
            worker.join(max(0.0, end - time.monotonic()))
        return not any(worker.is_alive() for worker in self._workers)

    def _work(self):
        while self._step():
            pass

    def _step(self):
        """Waits for pictures and answers a batch; False where there are none and will be none."""
        with self._change:
            self._idle += 1
            while not self._queue and not self._closed:
                self._change.wait()
            idle, self._idle = self._idle, self._idle - 1
            if not self._queue:
                return False
            fair = math.ceil(len(self._queue) / idle)  # other idle workers are on their way to the rest
            batch = [self._queue.popleft() for _ in range(max(1, min(fair, self._take(fair))))]
        now = time.monotonic()
        for item in batch:
            if item.deadline <= now:
                item.tell(error=Late())
        batch = [item for item in batch if item.deadline > now and not item.future.done()]
        if batch := [item for item in batch if _prepared(item)]:
            self._compute(batch)
            each = (time.monotonic() - now) / len(batch)
            self._each = each if not self._each else 0.9 * self._each + 0.1 * each
            with contextlib.suppress(Exception):  # a fault in what counts must not end a worker
                self._observe(len(batch), time.monotonic() - now)
        return True

    def _compute(self, batch: Sequence[_Item]):
        """Answers a batch; where that fails, each picture by itself."""
        try:
            rows = self._answer(np.stack([item.picture for item in batch]), max(item.top for item in batch))
            if len(rows) != len(batch):
                raise RuntimeError(f"the model gave {len(rows)} answers to {len(batch)} pictures")
        except Exception as error:
            if len(batch) == 1:
                failed = Failed(f"the model failed: {error}")
                failed.__cause__ = error
                batch[0].tell(error=failed)
                return
            for item in batch:
                if not item.future.done():
                    self._compute([item])
            return
        for item, row in zip(batch, rows, strict=True):
            item.tell({**row, "top": row["top"][: item.top]} if "top" in row else row)


def _prepared(item):
    """Whether the picture of an item is prepared, by now; else what is wrong with it is told."""
    try:
        if callable(item.picture):
            item.picture = item.picture()
    except Exception as error:
        item.tell(error=error)
        return False
    return True
