"""SIGTERM and Ctrl-C: the first one asks the loop to save and stop, a second Ctrl-C ends the process at once."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

STATUS: dict[int, int] = {
    signal.SIGTERM: 0,
    signal.SIGINT: 130,
}  # a scheduler that asks for a stop, and gets a saved run, sees success


class Stopped(Exception):  # not an error: the run did as it was told
    """A signal asked the run to stop, and it has saved its state. `status` is the exit status."""

    def __init__(self, text: str, status: int):
        super().__init__(text)
        self.status = status


class Signals:
    """Within this context SIGTERM and SIGINT are noted instead of ending the process.

    Python runs its handlers between two lines of the main thread, and so only after a compilation or a wait for the
    devices, which take minutes. Python's C handler writes the signal's number into a pipe at once, though, and a thread
    of ours reads it there: so Ctrl-C is answered at once, and a second one ends the process wherever it is.
    """

    def __init__(self):
        self.number: int | None = None

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
        if number == signal.SIGINT:
            say("saving, then the run ends; press Ctrl-C again to end it at once.")

    def agreed(self, *, now: bool) -> bool:
        """Whether to stop after this step. Several processes must ask at the same steps (`now`), and agree."""
        import jax  # here, so that Ctrl-C during its import is one line, too

        if jax.process_count() == 1 or not now:
            return self.number is not None and now
        import numpy as np
        from jax.experimental import multihost_utils

        numbers = multihost_utils.process_allgather(np.int32(self.number or 0))
        self.number = int(numbers.max()) or None
        return self.number is not None

    @property
    def name(self) -> str:
        """SIGTERM or Ctrl-C."""
        return "SIGTERM" if self.number == signal.SIGTERM else "Ctrl-C"

    @property
    def status(self) -> int:
        """The exit status that goes with the signal; 0 where there was none."""
        return STATUS[self.number] if self.number else 0


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """Within this context Ctrl-C ends the process with one line, outside of `Signals`.

    Not by KeyboardInterrupt: raised inside an import or a callback of XLA it comes out as some other exception.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, old)


def _end(number, _):
    with contextlib.suppress(RuntimeError):  # it was being written to
        sys.stdout.flush()
    say("ended by Ctrl-C; what was saved is intact, and the same command goes on from it.")
    os._exit(STATUS[number])


def say(text: str) -> None:
    """A line on stderr, below the `^C` of the terminal."""
    sys.stderr.write(f"\n{text}\n")
    sys.stderr.flush()
