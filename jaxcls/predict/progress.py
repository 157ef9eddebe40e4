"""Progress on stderr, and an end at Ctrl-C that cuts no row."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from jaxcls.text import lines

LINE_SECONDS = 10.0  # how often a line of progress is printed where there is no terminal
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Interruption:
    """Ends the process at Ctrl-C or SIGTERM, but never in the middle of a write.

    `closing`, when set, is called before. Not by KeyboardInterrupt: raised inside an import or a callback of XLA it
    comes out as some other exception.
    """

    def __init__(self) -> None:
        self.closing: Callable[[], None] = lambda: print("\nended by a signal", file=sys.stderr)
        self._busy = False
        self._number: int | None = None
        self._old: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._handle) for number in STATUS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def held_off(self) -> Iterator[None]:
        """Within this context a signal waits for its end."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
            if self._number is not None:
                self._end()

    def _handle(self, number, _):
        self._number = number
        if not self._busy:
            self._end()

    def _end(self):
        with contextlib.suppress(Exception):  # a terminal that is gone is no reason to stay
            self.closing()
        os._exit(STATUS[signal.Signals(self._number or signal.SIGINT)])


class Progress:
    """Counts on stderr: a bar on a terminal, a line now and then elsewhere; only notes where rows go to a terminal.

    `done` and `failed` are the pictures so far.
    """

    def __init__(self, quiet: bool = False):
        self.done = self.failed = 0
        self.total: int | None = None
        self._quiet, self._began, self._last_line = quiet, time.monotonic(), time.monotonic()
        self._bar: Any = None
        if not quiet and sys.stderr.isatty():
            with contextlib.suppress(ImportError):  # files are predicted without rich, too: by lines
                self._begin()

    def _begin(self):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=None, rate="")
        self._bar.start()

    def count(self, number: Callable[[], int]) -> None:
        """Finds out the total by `number()`, on the side: folders may hold millions of pictures."""

        def find() -> None:
            self.total = number()
            if self._bar:
                self._bar.update(self._task, total=self.total)

        if not self._quiet:
            threading.Thread(target=find, daemon=True).start()

    def note(self, text: str) -> None:
        """A line."""
        text = lines(text)
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def add(self, done: int, failed: int) -> None:
        """So many more pictures, of which so many could not be read."""
        self.done, self.failed = self.done + done, self.failed + failed
        if self._bar:
            self._bar.update(self._task, completed=self.done, rate=f"{self._rate():,.0f}/s")
        elif not self._quiet and time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            of = "" if self.total is None else f" of {self.total:,}"
            self.note(f"{self.done:,}{of} pictures, {self._rate():,.1f}/s")

    def close(self, name: str | None, interrupted: bool = False) -> None:
        """The last line: how many, how fast, where the rows are."""
        if self._bar:
            self._bar.stop()
            self._bar = None
        good = self.done - self.failed
        failed = f", {self.failed:,} could not be read" if self.failed else ""
        where = f"; {name}" if name else ""
        ended = "ended early: " if interrupted else ""
        took = time.monotonic() - self._began
        self.note(f"{ended}{good:,} predicted{failed}, {took:,.1f} s ({self._rate():,.1f}/s){where}")

    def _rate(self):
        return self.done / max(time.monotonic() - self._began, 1e-9)
