"""A version of a model that answers, and how a request holds it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.errors import UserError
from jaxcls.serve.artefacts import Served
from jaxcls.serve.batching import Batcher, Late
from jaxcls.serve.choosing import Plan

if TYPE_CHECKING:
    from jaxtyping import UInt8

Check = Callable[[bytes, str], None]  # of the bytes of a picture and what it is called
Observe = Callable[[str, int, float], None]  # (name, size of a batch, seconds), from a worker's thread
Reloaded = Callable[[str, str], None]  # (name, why a newer version was refused; "" where it was taken up)


class Unknown(UserError):
    """There is no model of this name."""


class NotReady(Exception):
    """The model is not warm yet."""


class Live:
    """A version with its workers; they end once it has been replaced and nobody holds it.

    Attributes:
      served, plan, batcher: the version, how it is asked, and who asks it.
      leases: requests that hold it.
    """

    def __init__(self, served: Served, plan: Plan, bound: int, observe: Observe):
        """Starts the workers. `bound`: pictures that may have places."""
        self.served, self.plan, self.leases, self.retired = served, plan, 0, False
        name = served.name
        self.batcher = Batcher(
            served.answer,
            workers=plan.workers,
            take=plan.take,
            bound=bound,
            observe=lambda size, seconds: observe(name, size, seconds),
        )

    @contextlib.contextmanager
    def held(self, pictures: int) -> Iterator[None]:
        """Held by a request, with places for its pictures. Raises batching.Full."""
        with self.batcher.places(pictures):
            self.leases += 1
            try:
                yield
            finally:
                self.leases -= 1
                self._end()

    def retire(self) -> None:
        """There is a newer version: the workers end when nobody holds this one."""
        self.retired = True
        self._end()

    def _end(self):
        if self.retired and not self.leases:
            self.batcher.close()


class Lease:
    """One version of a model, held while a request is answered: all its pictures are answered by this version.

    Attributes:
      served: the version (artefacts.Served): name, version, describe(), ...
    """

    def __init__(self, live: Live, readers: ThreadPoolExecutor, painter: ThreadPoolExecutor):
        """Of a Registry: `readers` decode, `painter` makes heat maps."""
        self.served, self._batcher, self._reads = live.served, live.batcher, live.plan.reads
        self._readers, self._painter = readers, painter

    async def prepare(
        self, data: bytes, name: str = "", deadline: float | None = None, check: Check | None = None
    ) -> UInt8[np.ndarray, "H W C"]:
        """A picture decoded and resized, in a thread; one that nobody waits for any more is not begun.

        Args:
          data: bytes of a file.
          name: what messages call it.
          deadline: on the clock of time.monotonic.
          check: called with data and name before it is decoded, in that thread; what it raises is raised here.

        Raises:
          UserError: for what is no picture, or a damaged one.
          Late: at the deadline.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
                return await loop.run_in_executor(self._readers, self._read, data, name, check)
        except TimeoutError as error:
            raise Late() from error

    async def submit(
        self, picture: UInt8[np.ndarray, "H W C"], top: int = 5, deadline: float | None = None
    ) -> dict[str, Any]:
        """The row of a prepared picture, as Batcher.submit. Raises Late, Failed."""
        return await self._batcher.submit(picture, top, deadline)

    async def answer(
        self, data: bytes, name: str = "", top: int = 5, deadline: float | None = None, check: Check | None = None
    ) -> dict[str, Any]:
        """The row of the bytes of a file: `submit` of `prepare`, with a thread less where the workers decode (Plan).

        Raises:
          UserError, Late: as `prepare`. Failed: as `submit`.
        """
        if self._reads:
            return await self._batcher.submit(functools.partial(self._read, data, name, check), top, deadline)
        return await self.submit(await self.prepare(data, name, deadline, check), top, deadline)

    def _read(self, data, name, check):
        if check:
            check(data, name)
        return self.served.prepare(data, name)

    async def heatmap(self, picture: UInt8[np.ndarray, "H W C"], name: str | None = None) -> UInt8[np.ndarray, "h w 3"]:
        """Served.heatmap in a thread, one at a time. Raises UserError."""
        return await asyncio.get_running_loop().run_in_executor(self._painter, self.served.heatmap, picture, name)
