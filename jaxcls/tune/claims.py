"""Who works on what: a file for each trial under way, held as a run holds its workdir (training/lock.py).

The file names host, process and its beginning, and its time is renewed every 30 s while the process lives. Of a process
that is gone, killed with -9 too, whoever comes next on the same machine takes the claim over at once, on another one
after three minutes without a sign of life.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from jaxcls.errors import UserError
from jaxcls.training.lock import Lock, in_use
from jaxcls.types import PathLike

FOLDER = "claims"
PAUSE = 0.05  # seconds between two tries


def _silent(line: str) -> None:
    """What a lock says of a process that is gone is told by who goes on with its work."""


def take(search: PathLike, name: str) -> Lock | None:
    """The claim on a piece of work, to be released; None where a living process has it.

    Raises:
      UserError: where nothing can be written.
    """
    claim = Lock(Path(search) / FOLDER / name)
    try:
        claim.take(_silent)
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return None
    return claim


def held(search: PathLike, name: str) -> bool:
    """Whether a living process works on it."""
    return in_use(Path(search) / FOLDER / name) is not None


def is_ours(claim: Lock) -> bool:
    """Whether nobody has taken a claim over, as happens to a process that was asleep for minutes."""
    try:
        claim.check()
    except UserError:
        return False
    return True


@contextlib.contextmanager
def alone(search: PathLike, name: str = "choosing") -> Iterator[None]:
    """Within this context no other worker of the search, on any machine, is within one of the same name."""
    while (claim := take(search, name)) is None:
        time.sleep(PAUSE)
    try:
        yield
    finally:
        claim.release()
