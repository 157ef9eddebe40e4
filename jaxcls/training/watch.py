"""Processes that train together end together: when one is lost, the others say which one and how to go on.

Process 0 listens at the coordinator's address. Each of the others has one connection to it, on which both give signs of
life, and reaches JAX's own coordination service, which listens for its machine only, through further ones
(`meeting.py`, `relay.py`). A process that is killed closes its connections at once; one that hangs, or whose machine is
gone, is silent for `SILENCE` seconds. Whoever notices ends its process with a line before XLA does so with a stack
trace.
"""

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxcls.errors import UserError
from jaxcls.training import meeting, relay
from jaxcls.training.relay import Link
from jaxcls.training.signals import Stopped
from jaxcls.types import PathLike

SILENCE = 25.0  # seconds without a sign of life after which a process counts as lost
BEAT = 2.0  # seconds between two signs
MOMENT = 1.0  # seconds in which an error here may turn out to be another process's end
OF_OTHERS = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "heartbeat", "Barrier")


class Watch:
    """This process's view of the others. `links`: process number -> Link; those of 0 on others, of all others on 0."""

    def __init__(self, index: int, number: int):
        self.index, self.number = index, number
        self.links: dict[int, Link] = {}
        self.workdir: Path | None = None
        self.at_end: list[Callable[[], None]] = []  # what is done before the process ends for another one's sake
        self.over = False  # this process has come to its end
        self.status: int | None = None  # with this status, by an error of its own
        self.stopped = 0  # the status of a run that a signal has stopped, else 0
        self._ending = threading.Lock()

    def begin(self) -> None:
        """Starts to listen to the others, and to give signs of life."""
        for other, link in self.links.items():
            threading.Thread(target=self._follow, args=(other, link), name=f"process {other}", daemon=True).start()
        threading.Thread(target=self._beat, name="signs of life", daemon=True).start()
        atexit.register(self._close)

    def tell(self, text: str, *, but: int | None = None) -> None:
        """Sends a line to whom this process is linked with."""
        for other, link in self.links.items():
            if other != but:
                link.send(text)

    def fail(self, status: int) -> None:
        """This process ends by an error of its own, which it prints itself; the others are told."""
        self.status = status
        self.tell(f"failed {self.index}")

    def _beat(self):
        while True:
            time.sleep(BEAT)
            self.tell(".")

    def _follow(self, other, link):
        """Reads what comes from a process until its connection ends."""
        why = "its connection ended"
        try:
            for line in link.lines(SILENCE):
                word, _, rest = line.partition(" ")
                if word == "done":
                    link.done = True
                elif word in ("failed", "lost"):
                    link.done = link.done or word == "failed"
                    who, _, reason = rest.partition(" ")
                    self._end(int(who), None if word == "failed" else reason, told_by=other)
        except TimeoutError:
            why = f"no sign of life for {SILENCE:.0f} s"
        except (OSError, ValueError):
            pass
        link.gone = True
        if not link.done or (self.index and not self.over):
            self._end(other, why, told_by=other)
        elif self.over:  # JAX's end waits for all processes, and would wait for this one in vain
            time.sleep(5 * MOMENT)
            _leave(self.stopped)

    def _end(self, who, why, told_by):
        """Ends this process since another one has ended; `why` it is lost, or None where it tells itself."""
        if self.status is not None:
            return  # this one has an error of its own to tell, and ends by it
        with self._ending:  # for good: the first one ends the process
            if self.over and not self.index:
                _leave(self.stopped)  # all that process 0 had to do is done
            self.tell(f"failed {who}" if why is None else f"lost {who} {why}", but=told_by)
            ended = "has ended by an error, which its output tells" if why is None else f"is lost ({why})"
            line = f"process {who} of {self.number} {ended}; this one ends too. {self._remedy()}"
            for action in self.at_end:
                with contextlib.suppress(Exception):
                    action()
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.write(f"\nerror: {line}\n")
            time.sleep(0.2)  # so that the others read the line before they see this connection end
            _leave(1)

    def _remedy(self):
        if self.workdir is None:
            return "Start all of them again."
        steps = [int(path.stem) for path in self.workdir.glob("manifests/*.json") if path.stem.isdigit()]
        saved = [step for step in steps if (self.workdir / "checkpoints" / str(step)).is_dir()]
        if not saved:
            return "No checkpoint was written yet: the same command in all of them begins again."
        return f"The same command in all of them goes on from step {max(saved)}."

    def _close(self):
        """At the end of the process, before JAX waits for the others."""
        if self.status is not None:
            _leave(self.status)
        self.over = True
        self.tell("done")
        if any(link.gone for link in self.links.values()):
            _leave(self.stopped)


_watch: Watch | None = None


@contextlib.contextmanager
def of_run(workdir: PathLike | None, at_end: Callable[[], None] | None = None) -> Iterator[None]:
    """Within this context an error here ends the other processes, and theirs this one with the step to go on from.

    `workdir` is None for what has no steps to go on from. `at_end` is called before this process ends for another one's
    sake. With one process nothing of this happens.
    """
    if (watch := _watch) is None:
        yield
        return
    watch.workdir = None if workdir is None else Path(workdir).absolute()
    if at_end is not None:
        watch.at_end.append(at_end)
    try:
        yield
    except Stopped as stopped:
        watch.stopped = stopped.status
        raise
    except UserError:
        if watch.status is None:
            watch.status = 2
            time.sleep(MOMENT)
            watch.fail(2)
        raise
    except Exception as error:
        if watch.status is None:
            time.sleep(SILENCE + 2 if any(word in str(error) for word in OF_OTHERS) else MOMENT)
            watch.fail(1)
        raise


def start(address: str, number: int, index: int, timeout: float) -> str:
    """Brings the processes together. Returns the address at which this one reaches JAX's coordination service.

    Args:
      address: "HOST:PORT" at which process 0 can be reached.
      number: of processes; `index`: this one's number, from 0.
      timeout: seconds in which all must have come.

    Raises:
      UserError: where one does not come (it is named), or the address can't be used.
    """
    global _watch
    if not 0 <= index < number:
        raise UserError(f"--process_id={index} is no number of {number} processes: they count from 0 to {number - 1}.")
    watch = Watch(index, number)
    if index:
        watch.links = {0: meeting.join(address, number, index, timeout)}
        service = relay.to(lambda: relay.connect(address, f"rpc {index}"))
    else:
        service = f"127.0.0.1:{relay.free_port()}"
        watch.links = meeting.gather(address, number, timeout, service)
    watch.begin()
    _watch = watch
    return service


def _leave(status):
    """Ends the process without JAX's end, which waits for all the others."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)
