"""How a model is asked: worker threads, threads of one answer, sizes of batches; measured at the start."""

from __future__ import annotations

import dataclasses

from jaxcls.serve.artefacts import Served


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a model is asked.

    Attributes:
      workers: threads that ask it at the same time.
      threads: that compute one answer; 0 where the backend has its own.
      seconds: of an answer to a batch, by its size: the sizes that are used, ascending.
      padded: whether a batch between two sizes costs as much as the larger one (compiled sizes).
      line: what was measured, for people.
    """

    workers: int
    threads: int
    seconds: dict[int, float]
    padded: bool
    line: str

    def take(self, waiting: int) -> int:
        """How many of the waiting pictures make the next batch: what costs least a picture."""
        raise NotImplementedError


def cores(share: int = 1) -> int:
    """Those that this process may use (affinity, cgroup quota), divided by the processes that share them; at least 1."""
    raise NotImplementedError


def choose(served: Served, share: int = 1) -> tuple[Served, Plan]:
    """Measures, and so warms up: all sizes are compiled. A second or two for files, for runs as long as they compile.

    Gives the model again, a file with as many threads as were chosen.

    Raises:
      UserError: where the model can't answer.
    """
    raise NotImplementedError


def warm(served: Served, plan: Plan) -> None:
    """A newer version answers a batch of each size. Raises UserError where it can't."""
    raise NotImplementedError
