"""What every command does alike: what its user can cause is a line on stderr, and `... | head` ends quietly."""

import contextlib
import functools
import io
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxcls import files
from jaxcls.errors import UserError, of_machine
from jaxcls.text import printable
from jaxcls.training import signals

PATIENCE = 5.0  # seconds that threads have after an error
LONGEST = 400  # characters that a line of an error stays below
BUG = "this is a bug of jaxcls, not a mistake of yours: please report it with the lines above (issues of the project)"


def entry_point(main: Callable[..., int | None]) -> Callable[..., int]:
    """Decorates a `main(argv=None)`, which then returns its exit status.

    That is what main returns, 0 for None; 2 for a UserError and for what the machine refuses (errors.of_machine), which
    are printed; 130 after Ctrl-C; that of a run which a signal stopped; 0 where whoever read the output has seen enough
    of it; 1 for a bug, whose traceback is followed by a line that says that it is one. Without arguments it is the
    process itself that ends: after an error no thread of a library keeps it (Orbax waits ten minutes for a folder that
    could not be made).
    """

    @functools.wraps(main)
    def process(argv: Sequence[str] | None = None) -> int:
        status = run(argv)
        if argv is None and status:
            _leave(status)
        return status

    def run(argv):
        if sys.unraisablehook is sys.__unraisablehook__:
            sys.unraisablehook = _unraisable
        _write_any_character()
        _home()
        with signals.ending_at_once():
            try:
                status = main(argv)
                sys.stdout.flush()
            except UserError as error:
                return fail(error)
            except signals.Stopped as stopped:
                print(f"{stopped}. The same command goes on from there.", flush=True)
                return stopped.status
            except Exception as error:
                if isinstance(error, BrokenPipeError) and _reader_gone():
                    _drop_output()
                    return 0
                return _of_machine_or_bug(error)
        return status or 0

    return process


def _leave(status):
    """Ends the process where threads would keep it for longer than PATIENCE; else it ends by itself."""
    deadline = time.monotonic() + PATIENCE
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            threading.Thread.join(thread, max(0.0, deadline - time.monotonic()))  # Orbax's own one raises
            if thread.is_alive():
                _drop_what_fails()
                os._exit(status)


def fail(error: BaseException) -> int:
    """Prints an error on stderr, a line below 400 characters for each problem; returns the exit status 2.

    With JAXCLS_TRACEBACK=1 in the environment the traceback comes first, for whoever mends jaxcls itself.
    """
    if os.environ.get("JAXCLS_TRACEBACK"):
        traceback.print_exception(error)
    for line in str(error).splitlines():
        _say(f"error: {line}")
    return 2


def _of_machine_or_bug(error):
    """The exit status after an exception that is no UserError, which is told."""
    line = of_machine(error)
    _drop_what_fails()
    if line is not None:
        if os.environ.get("JAXCLS_TRACEBACK"):
            traceback.print_exception(error)
        return fail(UserError(line))
    traceback.print_exception(error)
    _say(f"error: {BUG}")
    return 1


def _say(line):
    with contextlib.suppress(OSError, ValueError):  # nobody reads it; the status tells
        print(printable(line, LONGEST - 1), file=sys.stderr, flush=True)


def _write_any_character():
    """What the encoding of the output lacks is written as an escape, "\\xe4", in place of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _home():
    """Libraries look for the home folder; where there is none (docker run -u 12345) they get one without files, and
    caches lie in a temporary folder."""
    try:
        Path.home()
    except RuntimeError:
        os.environ.setdefault("XDG_CACHE_HOME", str(files.cache()))
        os.environ["HOME"] = os.devnull


def _drop_what_fails():
    """What the standard output does not take now it would not at the end, which would be a second error."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _drop_output()


def _drop_output():
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end


def _unraisable(problem: Any) -> None:
    """After a failed read or write TensorStore's threads report that their loop is gone; the error is told already."""
    if str(problem.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(problem)


def _reader_gone() -> bool:
    """Whether nobody reads the standard output any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # POLLERR is told unasked
    return any(events & select.POLLERR for _, events in poll.poll(0))
