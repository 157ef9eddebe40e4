"""The models of a service: by name, warmed up, and exchanged for newer ones without a lost request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.errors import UserError
from jaxcls.serve.artefacts import Served
from jaxcls.types import Note

if TYPE_CHECKING:
    from jaxtyping import UInt8

QUEUE = 128  # pictures that may be read, waiting or computed for one model
POLL = 10.0  # seconds between two looks for something newer


class Unknown(UserError):
    """There is no model of this name."""


class NotReady(Exception):
    """The model is not warm yet."""


class Lease:
    """One version of a model, held while a request is answered: all its pictures are answered by this version.

    Attributes:
      served: the version (artefacts.Served): name, version, describe(), ...
    """

    served: Served

    async def prepare(self, data: bytes, name: str = "", deadline: float | None = None) -> UInt8[np.ndarray, "H W C"]:
        """A picture decoded and resized, in a thread; `name` is what messages call it. Raises UserError, Late."""
        raise NotImplementedError

    async def submit(self, picture: UInt8[np.ndarray, "H W C"], top: int = 5, deadline: float | None = None) -> dict:
        """The row of a prepared picture, as Batcher.submit."""
        raise NotImplementedError

    async def answer(self, data: bytes, name: str = "", top: int = 5, deadline: float | None = None) -> dict:
        """`submit` of `prepare`."""
        raise NotImplementedError

    async def heatmap(self, picture: UInt8[np.ndarray, "H W C"], name: str | None = None) -> np.ndarray:
        """Served.heatmap in a thread, one at a time. Raises UserError."""
        raise NotImplementedError


class Registry:
    """Models by name.

        registry = Registry.open(["runs/digits", "pets=pets.onnx"])     # UserError before anything listens
        await registry.start()                                          # warms up behind it; `ready` tells when
        with registry.lease("digits", pictures=2) as lease:             # Unknown, NotReady, Full
            rows = await asyncio.gather(*(lease.answer(data, name, top=3, deadline=...) for data, name in found))
            lease.served.version                                        # of all rows
        await registry.stop()                                           # waits for the workers

    All but `open` is called on one event loop.

    Attributes:
      ready: whether every model is warm.
      problem: the line of a model that could not be warmed up, which then never is ready; "".
    """

    problem: str = ""

    @classmethod
    def open(
        cls,
        artefacts: Sequence[str],
        *,
        device: str = "",
        share: int = 1,
        queue: int = QUEUE,
        poll: float = POLL,
        note: Note = print,
        observe: Callable[[str, int, float], None] = lambda name, size, seconds: None,
    ) -> Registry:
        """Opens all models; nothing is computed yet.

        Args:
          artefacts: paths of runs and ONNX files, each with "NAME=" before it or named by its last part.
          device: as of artefacts.open_model.
          share: processes that share the cores of this machine.
          queue: pictures that may be read, waiting or computed for one model.
          poll: seconds between two looks for a newer best checkpoint or a replaced file; 0 for none.
          note: where lines go: what was chosen, what was taken up, what was refused.
          observe: told of each batch from a worker's thread: name, size, seconds.

        Raises:
          UserError: for one that can't be opened, or two of one name.
        """
        raise NotImplementedError

    @property
    def ready(self) -> bool:
        """Whether every model is warm."""
        raise NotImplementedError

    def names(self) -> tuple[str, ...]:
        """In the order they were given; the first one is the default."""
        raise NotImplementedError

    def get(self, name: str = "") -> Served:
        """The version that new requests get; "" for the first model. Raises Unknown."""
        raise NotImplementedError

    @contextlib.contextmanager
    def lease(self, name: str = "", pictures: int = 1) -> Iterator[Lease]:
        """The version that new requests get, with places for this many pictures, until the block ends.

        Raises:
          Unknown, NotReady, Full (batching).
        """
        raise NotImplementedError
        yield

    def load(self) -> dict[str, dict[str, int]]:
        """For metrics, by name: held, waiting and bound (pictures, as of Batcher, of all versions), taken_up and
        refused (newer versions so far)."""
        raise NotImplementedError

    def describe(self) -> list[dict[str, Any]]:
        """Of each model Served.describe with `ready` and `plan` (a line for people: workers, threads, batches)."""
        raise NotImplementedError

    async def start(self) -> None:
        """Starts to warm up and to poll; does not wait for it."""
        raise NotImplementedError

    async def stop(self, seconds: float = 10.0) -> None:
        """Ends polling, answers what is queued, ends the workers; waits at most this long."""
        raise NotImplementedError
