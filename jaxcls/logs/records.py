"""What a run records about itself, through writers that are all alike: `Writer`.

Every run has `metrics.jsonl` (json_lines.py) and event files (events.py) in its workdir; `config.log_to` names others
(trackers.py).
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from jaxcls.errors import UserError
from jaxcls.logs.events import EventFiles
from jaxcls.logs.json_lines import JsonLines, read_metrics
from jaxcls.logs.trackers import TRACKERS, check_writers
from jaxcls.types import Note

__all__ = ["RESERVED", "Records", "Writer", "read_metrics"]

RESERVED = ("step", "split", "epoch", "time", "nonfinite")


class Writer(Protocol):
    """Where the values of a run go. `name` stands in messages: a path, or a service.

    Where `essential` is true, a run ends if the writer fails; else the run goes on without this writer.
    """

    name: str
    essential: bool

    def scalars(self, step: int, split: str, epoch: float, time: float, values: Mapping[str, float]) -> None:
        """Records the values of one step. `time` is in seconds since 1970; values may be NaN or infinite."""

    def close(self, finished: bool = True) -> None:
        """Called once, at the end. `finished` is False where the run was interrupted or failed."""


def _tell(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)


class Records:
    """Hands scalars to the writers of a run.

    Args:
      workdir: folder of the run; made if absent.
      steps_per_epoch: to record steps as epochs too.
      start_step: the step the run resumes from. What a killed run wrote after that step is dropped from
        `metrics.jsonl` and hidden in TensorBoard. At 0 an older `metrics.jsonl` becomes `metrics.previous.jsonl`.
      to: names of further writers, of `trackers.TRACKERS`.
      config: the run's config as JSON, for those.
      warn: where a line goes when one of those fails; it is then left out.

    Raises:
      UserError: for a name that is not known or not installed; from any method, if a file of the workdir cannot be
        written. That is raised once; from then on nothing is recorded.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        *,
        steps_per_epoch: int,
        start_step: int = 0,
        to: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        warn: Note = _tell,
    ):
        check_writers(to)
        folder, self._per_epoch, self._warn = Path(workdir), max(1, steps_per_epoch), warn
        self._open = True
        self._writers: list[Writer] = []
        with self._guarded(str(folder), True):
            folder.mkdir(parents=True, exist_ok=True)
        self._start(str(folder / "metrics.jsonl"), True, partial(JsonLines, folder, start_step))
        self._start(str(folder / "events"), True, partial(EventFiles, folder, start_step))
        for name in dict.fromkeys(to):
            self._start(name, False, partial(TRACKERS[name].make, folder, start_step, config or {}))

    def scalars(self, step: int, values: Mapping[str, Any], split: str) -> None:
        """Records the values of one step; in the workdir's files they are with the operating system on return.

        Raises:
          ValueError: if a value bears a name of the format itself (`RESERVED`).
          UserError: if the disk is full or the folder cannot be written.
        """
        if not self._open:
            return
        if taken := sorted(set(values) & set(RESERVED)):
            raise ValueError(f"metrics.jsonl keeps the names {', '.join(taken)} for itself")
        now, numbers = time.time(), {name: float(value) for name, value in values.items()}
        for writer in list(self._writers):
            with self._guarded(writer.name, writer.essential):
                writer.scalars(int(step), split, step / self._per_epoch, now, numbers)

    def close(self, finished: bool = True) -> None:
        """Closes the writers. May be called twice. `finished`: whether the run came to its end."""
        self._open = False
        while self._writers:
            writer = self._writers.pop(0)
            if writer.essential:  # every line was written before; there is nothing left to lose
                with contextlib.suppress(OSError):
                    writer.close(finished)
            else:
                with self._guarded(writer.name, False):
                    writer.close(finished)

    def _start(self, name: str, essential: bool, make: Callable[[], Writer]) -> None:
        with self._guarded(name, essential):
            self._writers.append(make())

    @contextlib.contextmanager
    def _guarded(self, name: str, essential: bool) -> Iterator[None]:
        """What the failure of a writer means: the end of the run, or a line and a run without this writer."""
        try:
            yield
        except Exception as error:
            if not essential:  # whatever a client, its server or the network can do wrong
                self._writers = [writer for writer in self._writers if writer.name != name]
                why = (str(error).strip() or type(error).__name__).splitlines()[0]
                self._warn(f"{name} fails and gets no more values, metrics.jsonl has all: {why[:200]}")
                return
            self._open = False
            if not isinstance(error, OSError):
                raise
            path = error.filename or name
            remedy = "make room or choose another workdir"
            raise UserError(f"cannot write {path}: {error.strerror or error}; {remedy}") from error
