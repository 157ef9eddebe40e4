"""What libraries say while they work: warnings are told in a line each and once, the rest is theirs."""

import contextlib
import logging
import os
import sys

from jaxcls.text import printable

# Told by us in other words, or of no concern: a run without validation has no score.
KNOWN = ("Requested `tracked_metric`",)


class Once(logging.Handler):
    """Prints each kind of warning once, on the standard error.

    Errors are left out: Orbax's threads log a traceback of each before it is raised, and whoever catches it tells.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        kind = str(record.msg)
        if record.levelno != logging.WARNING or kind in self.told or kind.startswith(KNOWN):
            return
        self.told.add(kind)
        with contextlib.suppress(OSError, ValueError, TypeError):  # a closed stream, a message without its values
            print(f"warning: {printable(' '.join(record.getMessage().split()), 180)}", file=sys.stderr, flush=True)


def silence_xla() -> None:
    """XLA's C++ writes nothing but what ends the process: before JAX is imported, which sets a level of its own.

    Its alarms of slow compilations and folded constants have the level of errors, and its errors come as exceptions,
    too. Who wants all of it sets TF_CPP_MIN_LOG_LEVEL=0. What does not go through its log (Gloo, NCCL, the driver)
    can't be held back.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def tell_warnings() -> None:
    """Warnings of Orbax and whoever else logs through absl go to the standard error by `Once`; nothing else does."""
    import absl.logging  # noqa: F401  it sets the level of its logger, so it comes first

    logger = logging.getLogger("absl")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    if not any(isinstance(handler, Once) for handler in logger.handlers):
        logger.addHandler(Once())
