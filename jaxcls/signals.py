"""SIGTERM and Ctrl-C: the first one asks the loop to save and stop, a second Ctrl-C ends the process at once."""

import os
import signal
import sys

import jax
import numpy as np

STATUS = {signal.SIGTERM: 0, signal.SIGINT: 130}  # a scheduler that asks for a stop, and gets a saved run, sees success


class Stopped(Exception):  # noqa: N818  not an error: the run did as it was told
    """A signal asked the run to stop, and it has saved its state. `status` is the exit status."""

    def __init__(self, text, status):
        super().__init__(text)
        self.status = status


class Signals:
    """Within this context SIGTERM and SIGINT are noted instead of ending the process."""

    def __init__(self):
        self.number = None

    def __enter__(self):
        try:
            self._old = {number: signal.signal(number, self._note) for number in STATUS}
        except ValueError:  # not in the main thread (a notebook's worker): then the signals stay as they are
            self._old = {}
        return self

    def __exit__(self, *_):
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number, _):
        if number == signal.SIGINT and self.number == signal.SIGINT:
            sys.stderr.write("\nended at once; the newest finished checkpoint is intact, the same command goes on from it\n")
            sys.stderr.flush()
            os._exit(STATUS[number])
        self.number = number
        if number == signal.SIGINT:
            sys.stderr.write("\nsaving before the end of the run; press Ctrl-C again to end at once\n")

    def agreed(self, *, now):
        """Whether to stop after this step. Several processes must ask at the same steps (`now`), and agree."""
        if jax.process_count() == 1 or not now:
            return self.number is not None and now
        from jax.experimental import multihost_utils

        numbers = multihost_utils.process_allgather(np.int32(self.number or 0))
        self.number = int(numbers.max()) or None
        return self.number is not None

    @property
    def name(self):
        """SIGTERM or Ctrl-C."""
        return "SIGTERM" if self.number == signal.SIGTERM else "Ctrl-C"

    @property
    def status(self):
        """The exit status that goes with the signal."""
        return STATUS[self.number]
