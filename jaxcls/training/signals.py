"""SIGTERM, Ctrl-C and the end of `--max-time`: each asks the loop to save and stop, a second Ctrl-C ends at once."""

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

STATUS: dict[int, int] = {
    signal.SIGTERM: 0,
    signal.SIGINT: 130,
}  # a scheduler that asks for a stop, and gets a saved run, sees success
TIME = 1  # in place of a signal's number: the time is over; its status is 0


class Stopped(Exception):  # not an error: the run did as it was told
    """A signal, or the end of its time, asked the run to stop; its state is saved. `status` is the exit status."""

    def __init__(self, text: str, status: int):
        super().__init__(text)
        self.status = status


class Signals:
    """Within this context SIGTERM and SIGINT are noted instead of ending the process. So is the end of the time.

    Args:
      deadline: the moment (of time.monotonic) at which the time is over.

    Python runs its handlers between two lines of the main thread, and so only after a compilation or a wait for the
    devices, which take minutes. Python's C handler writes the signal's number into a pipe at once, though, and a thread
    of ours reads it there: so Ctrl-C is answered at once, and a second one ends the process wherever it is.
    """

    def __init__(self, deadline: float = math.inf):
        self.number: int | None = None
        self.deadline = deadline
        self.moment = "after this step"  # when the state can be saved, for the line that answers a signal

    def __enter__(self):
        self._old: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return self  # a notebook's worker: Python lets the main thread alone handle signals
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._old_pipe = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, lambda *_: None) for number in STATUS}
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        if not self._old:
            return
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_pipe)
        os.close(self._write)  # ends the thread
        self._thread.join()
        os.close(self._read)

    def _listen(self):
        while byte := os.read(self._read, 1):
            if byte[0] in STATUS:
                self._note(byte[0])

    def _note(self, number):
        if number == signal.SIGINT and self.number == signal.SIGINT:
            say("ended at once; the newest finished checkpoint is intact, and the same command goes on from it.")
            os._exit(STATUS[number])
        self.number = number
        again = "; press Ctrl-C again to end it at once" if number == signal.SIGINT else ""
        say(f"{self.name}: saving {self.moment}, then the run ends{again}.")

    @property
    def waiting(self) -> bool:
        """Whether this process was asked to stop."""
        return self.number is not None or time.monotonic() >= self.deadline

    def agreed(self, *, now: bool) -> bool:
        """Whether to stop after this step. Several processes must ask at the same steps (`now`), and agree."""
        import jax  # here, so that Ctrl-C during its import is one line, too

        if not now:
            return False
        if self.number is None and self.waiting:
            self.number = TIME
        if jax.process_count() == 1:
            return self.number is not None
        import numpy as np
        from jax.experimental import multihost_utils

        numbers = multihost_utils.process_allgather(np.int32(self.number or 0))
        self.number = int(numbers.max()) or None
        return self.number is not None

    @property
    def name(self) -> str:
        """SIGTERM, Ctrl-C or --max-time."""
        return {signal.SIGTERM: "SIGTERM", TIME: "--max-time"}.get(self.number or 0, "Ctrl-C")

    @property
    def status(self) -> int:
        """The exit status that goes with it; 0 where there was none."""
        return STATUS.get(self.number or 0, 0)


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """Within this context Ctrl-C and SIGTERM end the process with one line, outside of `Signals`.

    Not by KeyboardInterrupt: raised inside an import or a callback of XLA it comes out as some other exception.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.signal(number, _end) for number in STATUS}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def handed_on(send: Callable[[int], object]) -> Iterator[list[int]]:
    """Within this context SIGTERM and SIGINT are handed on by `send(number)`, to other processes that save and end.

    Yields the list of those that came.
    """
    numbers: list[int] = []

    def hand_on(number, _):
        numbers.append(number)
        send(number)

    old = {number: signal.signal(number, hand_on) for number in STATUS}
    try:
        yield numbers
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _end(number, _):
    with contextlib.suppress(RuntimeError):  # it was being written to
        sys.stdout.flush()
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    say(f"ended by {name}; what was saved is intact, and the same command goes on from it.")
    os._exit(128 + number)  # nothing was saved by it, unlike in `Signals`


def say(text: str) -> None:
    """A line on stderr, below the `^C` of the terminal."""
    sys.stderr.write(f"\n{text}\n")
    sys.stderr.flush()
