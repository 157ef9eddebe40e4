"""A command of jaxcls in a process of its own, with what it took."""

import dataclasses
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Ended:
    """Exit status (negative: the signal), wall and processor seconds, MiB at the peak, standard output and error."""

    status: int
    seconds: float
    cpu: float
    mebibytes: float
    out: str
    errors: str


class Counts:
    """How many cases of each kind were tried, and how many went as they should; `note` gets a line for each other."""

    def __init__(self, note: Callable[[str], None]):
        self.note, self.tried, self.good = note, Counter[str](), Counter[str]()

    def __call__(self, kind: str, good: bool, what: str) -> None:
        """Counts a case; `what`: how it went."""
        self.tried[kind] += 1
        self.good[kind] += good
        if not good:
            self.note(f"{kind}: {what}")

    @property
    def rows(self) -> list[tuple[str, int, int]]:
        """[(kind, tried, good)], in the order of their first cases."""
        return [(kind, tried, self.good[kind]) for kind, tried in self.tried.items()]


def environment(**more: str) -> dict[str, str]:
    """That of a command: the package of this checkout, on the CPU unless another platform is asked for."""
    return {"JAX_PLATFORMS": "cpu", **os.environ, "PYTHONPATH": str(ROOT), **more}


def command(words: Sequence[str], limit: float = 1200, more: Mapping[str, str] = MappingProxyType({})) -> Ended:
    """Runs `python -m jaxcls WORDS` with `more` in its environment, killed after `limit` seconds. Whoever calls must be
    small: at its start a process counts the memory of its parent as its own peak."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        words = [sys.executable, "-m", "jaxcls", *words]
        options = {
            "stdin": subprocess.DEVNULL,
            "cwd": ROOT,
            "env": environment(**more),
        }  # -m looks into the folder it is in
        process = subprocess.Popen(words, stdout=out, stderr=errors, **options)
        timer = threading.Timer(limit, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    cpu, unit = usage.ru_utime + usage.ru_stime, 2**20 if sys.platform == "darwin" else 2**10
    return Ended(process.returncode, seconds, cpu, usage.ru_maxrss / unit, *texts)
