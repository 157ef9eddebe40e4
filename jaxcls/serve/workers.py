"""The processes of a service: one that holds the port and watches, and workers that answer.

The port is taken at once and opened (listened on) by the first worker that has opened all models: whatever a user can
get wrong is told before anybody connects. A model that can't be warmed up ends the service, too; the other workers are
started once the first one is warm. Several workers have a socket each at this port, among which the kernel deals
connections: of one that is shared, the worker that wakes first takes all that wait. A worker that dies is started
again. SIGTERM and Ctrl-C let requests that are on their way end, and new ones are refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from jaxcls.serve import logs, ports
from jaxcls.serve.metrics import Metrics, shared
from jaxcls.serve.settings import Settings

if TYPE_CHECKING:
    from jaxcls.runtime.foreign import Given

STATUS: dict[int, int] = {signal.SIGTERM: 0, signal.SIGINT: 130}
SHORT, MOST = 3.0, 5  # seconds with its models warm; a worker that dies earlier, so often on end, is given up
OPEN, WARM = b"1", b"2"  # what a worker tells
LONGEST = 10.0  # seconds between two starts
GRACE = 5.0  # seconds beyond the time of a request, after which what still runs at the end is killed


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker does; it is pickled.

    Attributes:
      paths, device, foreign: of the models (Registry.open).
      settings: limits.
      host: that is listened on.
      workers: how many there are; row: which one this is, from 0.
      listener, memory, ready: file descriptors: the port, the counters, where it tells OPEN and WARM of its models.
      wait: whether it takes no connection before its models are warm: others do meanwhile.
    """

    paths: tuple[str, ...]
    device: str
    settings: Settings
    host: str
    workers: int
    row: int
    listener: int
    memory: int
    ready: int
    wait: bool
    foreign: Given | None = None


class Worker:
    """One worker's process.

    Attributes:
      row: which one it is.
      process: the newest. deaths: short lives on end.
      again: when (time.monotonic) it is to be started again; None while it runs.
      opened: whether its models are open. warm: since when (time.monotonic) they are warm; None before.
    """

    def __init__(self, row: int):
        self.row, self.deaths = row, 0
        self.process: subprocess.Popen | None = None
        self.again: float | None = None
        self.opened = False
        self.warm: float | None = None

    def start(self, job: Job, command: Sequence[str], wait: bool) -> None:
        """Starts the process; it ends when our end of its standard input is closed, however that comes about."""
        reading, writing = os.pipe()
        job = dataclasses.replace(job, row=self.row, ready=writing, wait=wait)
        handed = (job.listener, job.memory, writing)
        self.again = self.warm = None
        self.opened = False
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=handed, start_new_session=True)
        os.close(writing)
        assert self.process.stdin
        with contextlib.suppress(OSError):  # it is dead already
            self.process.stdin.write(pickle.dumps(job))
            self.process.stdin.flush()
        threading.Thread(target=self._listen, args=(os.fdopen(reading, "rb"), self.process), daemon=True).start()

    def _listen(self, pipe: IO[bytes], process: Any):
        with pipe:
            while (told := pipe.read(1)) and process is self.process:
                self.opened = True
                if told == WARM:
                    self.warm = time.monotonic()

    def stop(self) -> None:
        """Asks it to end."""
        if self.process and self.process.poll() is None:
            self.process.terminate()


class Watch:
    """Starts the workers, starts again those that die, ends all of them. `run` once."""

    def __init__(self, job: Job, command: Sequence[str], listener: socket.socket, counters: Metrics):
        self._job, self._command, self._listener, self._counters = job, command, listener, counters
        self._workers = [Worker(row) for row in range(job.workers)]
        self._signal: int | None = None
        self._began = False  # whether the first worker has ever been warm, and so all are started
        self._wake = threading.Event()

    def run(self) -> int:
        """Until a signal comes; the exit status: 0 for SIGTERM, 130 for Ctrl-C, 1 where workers die at once again and
        again, 2 where the first one has told why its models can't be opened or warmed up."""
        old = {number: signal.signal(number, self._note) for number in STATUS}
        try:
            status = self._begin()
            while status is None:
                self._wake.wait(0.2)
                status = STATUS[self._signal] if self._signal else self._look()
            return status
        finally:
            self._end()
            for number, handler in old.items():
                signal.signal(number, handler)

    def _note(self, number, frame):
        del frame
        if number == signal.SIGINT and self._signal == signal.SIGINT:
            self._kill()
        self._signal = number
        self._wake.set()

    def _begin(self) -> int | None:
        """The first worker alone opens the models and warms them up, then come the others: a mistake is told once."""
        first = self._workers[0]
        self._start(first)
        assert first.process
        while not first.opened:
            self._wake.wait(0.02)
            if self._signal:
                return STATUS[self._signal]
            if (status := first.process.poll()) is not None and not first.opened:
                return 2 if status == 2 else 1  # it has told why
        print(
            f"{ports.address(self._listener, self._job.host)} is open; GET /readyz tells when all is warm", flush=True
        )
        return None

    def _look(self) -> int | None:
        """Starts what has died; a status where it is of no use."""
        now = time.monotonic()
        if not self._began and self._workers[0].warm:
            self._began = True
            for worker in self._workers[1:]:
                self._start(worker)
        for worker in self._workers if self._began else self._workers[:1]:
            if worker.again is not None:
                if now >= worker.again:
                    self._counters.restarted()
                    self._start(worker)
                continue
            assert worker.process
            if (status := worker.process.poll()) is None:
                continue
            if status == 2 and not self._began:
                return 2  # it has told why
            short = worker.warm is None or now - worker.warm < SHORT
            worker.deaths = worker.deaths + 1 if short else 1
            how = f"signal {-status}" if status < 0 else f"status {status}"
            if worker.deaths >= MOST:
                logs.write("giving up", worker=worker.row, how=how, deaths=worker.deaths)
                return 1
            pause = min(LONGEST, 0.1 * 4 ** (worker.deaths - 1))
            worker.again = now + pause
            logs.write("worker died", worker=worker.row, pid=worker.process.pid, how=how, again_in=round(pause, 1))
        return None

    def _start(self, worker):
        worker.start(self._job, self._command, wait=self._began and self._job.workers > 1)

    def _end(self):
        """No new connections; requests that are on their way have their time."""
        self._listener.close()
        for worker in self._workers:
            worker.stop()
        end = time.monotonic() + self._job.settings.timeout + GRACE
        for worker in self._workers:
            if worker.process:
                try:
                    worker.process.wait(max(0.0, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    logs.write("worker killed", worker=worker.row, pid=worker.process.pid)
                    worker.process.kill()
                    worker.process.wait()

    def _kill(self):
        for worker in self._workers:
            if worker.process:
                worker.process.kill()


def serve(
    paths: Sequence[str], settings: Settings, command: Sequence[str], *, host: str, port: int, workers: int,
    device: str, foreign: Given | None = None,
) -> int:  # fmt: skip
    """Serves until a signal comes; the exit status, as of `Watch.run`.

    Args:
      paths, device, foreign: as of Registry.open.
      settings: limits, the same in each worker.
      command: of a process that calls `worker.main`.
      host, port: to listen on; port 0 for one that is free.
      workers: processes.

    Raises:
      UserError: where the port can't be had.
    """
    listener = ports.bind(host, port, several=workers > 1)
    memory = shared(workers + 1)
    job = Job(tuple(paths), device, settings, host, workers, 0, listener.fileno(), memory, -1, False, foreign)
    counters = Metrics((), memory, workers + 1, workers)  # its own row, behind theirs
    return Watch(job, command, listener, counters).run()
