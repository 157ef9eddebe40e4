"""One JSON object a line on the standard error: requests and what happens to the service. Never what was sent."""

import contextlib
import datetime
import json
import logging
import re
import sys
import traceback
import uuid
from typing import Any

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
LONGEST = 200  # characters of a text that somebody else wrote


def write(event: str, **more: Any) -> None:
    """Writes a line: time (UTC), event, and the fields that are not None."""
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    fields = {key: value for key, value in more.items() if value is not None}
    with contextlib.suppress(OSError, ValueError):  # nobody reads it; a service goes on all the same
        sys.stderr.write(json.dumps({"time": time, "event": event, **fields}) + "\n")
        sys.stderr.flush()


def bug(error: BaseException, **more: Any) -> None:
    """Writes a line with the traceback of what should not have happened."""
    write("bug", error=repr(error)[:LONGEST], traceback="".join(traceback.format_exception(error))[-8000:], **more)


def request_id(given: bytes) -> str:
    """The id of a request: what its sender calls it, where that is up to 64 letters, digits, dots, dashes; else a new
    one."""
    return given.decode() if _ID.fullmatch(given) else uuid.uuid4().hex


class Lines(logging.Handler):
    """What libraries log as lines of the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            bug(record.exc_info[1], logger=record.name)
            return
        with contextlib.suppress(TypeError, ValueError):  # a message without its values
            write("library", logger=record.name, level=record.levelname, message=record.getMessage()[:LONGEST])


def take_over() -> None:
    """Has warnings and errors of uvicorn and asyncio come as `Lines`."""
    for name in ("uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [Lines()], False
        logger.setLevel(logging.WARNING)
