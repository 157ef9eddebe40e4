"""Batches without a timer: an idle model answers at once, a busy one then takes what has arrived meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import UInt8

Answer = Callable[[np.ndarray, int], list[dict[str, Any]]]  # (pictures [n, H, W, C], top) -> a row for each


class Full(Exception):
    """The queue has no place: try again in `retry_after` seconds (int, at least 1)."""

    def __init__(self, retry_after: int):
        super().__init__(f"the queue is full; try again in {retry_after} s")
        self.retry_after = retry_after


class Late(Exception):
    """The deadline has passed before there was an answer."""


class Batcher:
    """Asks a model from worker threads for whoever awaits answers; of one event loop.

    Attributes:
      bound: pictures that may have places at the same time.
      held: pictures that have places now: read, waiting or computed. waiting: those in the queue.
    """

    bound: int
    held: int
    waiting: int

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
          take: of n waiting pictures (1 or more), how many make the next batch.
          bound: pictures that may have places.
          observe: told of every batch, from the worker's thread: its size and its seconds.
        """
        raise NotImplementedError

    @contextlib.contextmanager
    def places(self, count: int = 1) -> Iterator[None]:
        """Places for pictures, before they are read: what is refused costs nothing. Raises Full."""
        raise NotImplementedError
        yield

    async def submit(self, picture: UInt8[np.ndarray, "H W C"], top: int = 5, deadline: float | None = None) -> dict:
        """The row of a prepared picture. Whoever stops waiting (is cancelled) leaves the queue.

        Args:
          picture: prepared.
          top: how many classes are listed.
          deadline: on the clock of time.monotonic.

        Raises:
          Late: at the deadline; what waits then is not computed.
          Exception: what the model raised for this picture alone: a batch that fails is asked again one by one.
        """
        raise NotImplementedError

    def close(self) -> None:
        """No more pictures: the workers end once the queue is empty. Does not wait; `join` does."""
        raise NotImplementedError

    def join(self, seconds: float) -> bool:
        """Waits for the workers; whether all have ended."""
        raise NotImplementedError
