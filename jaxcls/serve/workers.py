"""The processes of a service: one that holds the port and watches, and workers that answer.

The port is taken at once and opened (listened on) by the first worker that has opened all models: whatever a user can
get wrong is told before anybody connects. Several workers have a socket each at this port, among which the kernel deals
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
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO, Any

from jaxcls.errors import UserError
from jaxcls.serve import logs
from jaxcls.serve.metrics import Metrics, shared
from jaxcls.serve.settings import Settings

STATUS: dict[int, int] = {signal.SIGTERM: 0, signal.SIGINT: 130}
SHORT, MOST = 3.0, 5  # seconds with its models open; a worker that dies earlier, so often on end, is given up
LONGEST = 10.0  # seconds between two starts
GRACE = 5.0  # seconds beyond the time of a request, after which what still runs at the end is killed


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker does; it is pickled.

    Attributes:
      paths, device: of the models (Registry.open).
      settings: limits.
      host: that is listened on.
      workers: how many there are; row: which one this is, from 0.
      listener, memory, ready: file descriptors: the port, the counters, where it tells that the models are open.
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


DEALS = sys.platform == "linux"  # elsewhere the newest socket at a port takes all connections


def bind(host: str, port: int, several: bool = False) -> socket.socket:
    """A socket that has the port and does not listen yet; `several`: others may have it with `beside`.

    Raises:
      UserError: where it can't be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = _bound(found[:3], found[4])
        if several and DEALS:  # now that the port is known to be nobody's
            place = listener.getsockname()
            listener.close()
            listener = _bound(found[:3], place, socket.SO_REUSEPORT)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--host {host} --port {port} can't be used: {reason}; choose another one") from error
    return listener


def beside(listener: socket.socket) -> socket.socket:
    """Another socket at the address of one of `bind(..., several=True)`."""
    return _bound((listener.family, listener.type), listener.getsockname(), socket.SO_REUSEPORT)


def _bound(kind, place, *options):
    made = socket.socket(*kind)
    try:
        for option in (socket.SO_REUSEADDR, *options):
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        made.bind(place)
    except BaseException:
        made.close()
        raise
    return made


class Worker:
    """One worker's process.

    Attributes:
      row: which one it is.
      process: the newest. deaths: short lives on end.
      again: when (time.monotonic) it is to be started again; None while it runs.
      opened: when its models were open; None before.
    """

    def __init__(self, row: int):
        self.row, self.deaths = row, 0
        self.process: subprocess.Popen | None = None
        self.again: float | None = None
        self.opened: float | None = None

    def start(self, job: Job, command: Sequence[str]) -> None:
        """Starts the process; it ends when our end of its standard input is closed, however that comes about."""
        reading, writing = os.pipe()
        wait = job.workers > 1 and not (self.row == 0 and self.process is None)
        job = dataclasses.replace(job, row=self.row, ready=writing, wait=wait)
        handed = (job.listener, job.memory, writing)
        self.again = self.opened = None
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=handed, start_new_session=True)
        os.close(writing)
        assert self.process.stdin
        with contextlib.suppress(OSError):  # it is dead already
            self.process.stdin.write(pickle.dumps(job))
            self.process.stdin.flush()
        threading.Thread(target=self._listen, args=(os.fdopen(reading, "rb"), self.process), daemon=True).start()

    def _listen(self, pipe: IO[bytes], process: Any):
        with pipe:
            if pipe.read(1) and process is self.process:
                self.opened = time.monotonic()

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
        self._wake = threading.Event()

    def run(self) -> int:
        """Until a signal comes; the exit status: 0 for SIGTERM, 130 for Ctrl-C, 1 where workers die at once again and
        again, 2 where the first one has told why it can't begin."""
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
        """The first worker alone opens the models, then come the others: a mistake is told once."""
        first = self._workers[0]
        first.start(self._job, self._command)
        assert first.process
        while not first.opened:
            self._wake.wait(0.02)
            if self._signal:
                return STATUS[self._signal]
            if (status := first.process.poll()) is not None and not first.opened:
                return 2 if status == 2 else 1  # it has told why
        print(f"{address(self._listener, self._job.host)} is open; GET /readyz tells when all is warm", flush=True)
        for worker in self._workers[1:]:
            worker.start(self._job, self._command)
        return None

    def _look(self) -> int | None:
        """Starts what has died; a status where it is of no use."""
        now = time.monotonic()
        for worker in self._workers:
            if worker.again is not None:
                if now >= worker.again:
                    self._counters.restarted()
                    worker.start(self._job, self._command)
                continue
            assert worker.process
            if (status := worker.process.poll()) is None:
                continue
            short = worker.opened is None or now - worker.opened < SHORT
            worker.deaths = worker.deaths + 1 if short else 1
            how = f"signal {-status}" if status < 0 else f"status {status}"
            if worker.deaths >= MOST:
                logs.write("giving up", worker=worker.row, how=how, deaths=worker.deaths)
                return 1
            pause = min(LONGEST, 0.1 * 4 ** (worker.deaths - 1))
            worker.again = now + pause
            logs.write("worker died", worker=worker.row, pid=worker.process.pid, how=how, again_in=round(pause, 1))
        return None

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


def address(listener: socket.socket, host: str) -> str:
    """Where a browser finds it."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}/"


def serve(
    paths: Sequence[str], settings: Settings, command: Sequence[str], *, host: str, port: int, workers: int, device: str
) -> int:
    """Serves until a signal comes; the exit status, as of `Watch.run`.

    Args:
      paths, device: as of Registry.open.
      settings: limits, the same in each worker.
      command: of a process that calls `worker.main`.
      host, port: to listen on; port 0 for one that is free.
      workers: processes.

    Raises:
      UserError: where the port can't be had.
    """
    listener = bind(host, port, several=workers > 1)
    memory = shared(workers + 1)
    job = Job(tuple(paths), device, settings, host, workers, 0, listener.fileno(), memory, -1, False)
    counters = Metrics((), memory, workers + 1, workers)  # its own row, behind theirs
    return Watch(job, command, listener, counters).run()
