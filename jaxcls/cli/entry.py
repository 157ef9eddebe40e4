"""What every command does alike: a mistake of its user is a line on stderr, and `... | head` ends quietly."""

import functools
import os
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from jaxcls.errors import UserError
from jaxcls.training import signals


def entry_point(main: Callable[..., int | None]) -> Callable[..., int]:
    """Decorates a `main(argv=None)`, which then returns its exit status.

    That is what main returns, 0 for None; 2 for a UserError, which is printed; 130 after Ctrl-C; that of a run which
    a signal stopped; 0 where whoever read the output has seen enough of it.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        if sys.unraisablehook is sys.__unraisablehook__:
            sys.unraisablehook = _unraisable
        with signals.ending_at_once():
            try:
                status = main(argv)
                sys.stdout.flush()
            except UserError as error:
                return fail(error)
            except signals.Stopped as stopped:
                print(f"{stopped}. The same command goes on from there.", flush=True)
                return stopped.status
            except BrokenPipeError:
                if not _reader_gone():
                    raise  # another pipe broke, such as one to a worker
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end
                return 0
        return status or 0

    return run


def fail(error: UserError) -> int:
    """Prints a UserError on stderr, a line for each problem; returns the exit status 2.

    With JAXCLS_TRACEBACK=1 in the environment the traceback comes first, for whoever mends jaxcls itself.
    """
    if os.environ.get("JAXCLS_TRACEBACK"):
        traceback.print_exception(error)
    for line in str(error).splitlines():
        print(f"error: {line}", file=sys.stderr)
    return 2


def _unraisable(problem: Any) -> None:
    """After a failed read or write TensorStore's threads report that their loop is gone; the error is told already."""
    if str(problem.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(problem)


def _reader_gone() -> bool:
    """Whether nobody reads the standard output any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # POLLERR is told unasked
    return any(events & select.POLLERR for _, events in poll.poll(0))
