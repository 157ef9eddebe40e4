"""One training run in a workdir: a file that names its process, and a look whether the folder is still the same.

The file appears by link(2), whole and for one of several that try at once, on network file systems as well (by what NFS
promises; it was not tried on one). While the run lives, its time is renewed every `BEAT` seconds.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxcls import parallel
from jaxcls.errors import UserError
from jaxcls.training.predictions import INTACT
from jaxcls.types import Note, PathLike

FILE = "running.json"
BEAT = 30.0  # seconds between two signs of life
GONE = 180.0  # seconds without one, after which a run of another machine counts as gone
KEPT = ("metrics.jsonl", "checkpoints", "manifests")  # what stays once it is there, as long as the run goes on
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)  # file systems without hard links


class Lock:
    """The lock of one workdir. Until `take`, and after `release`, its other methods do nothing."""

    def __init__(self, workdir: PathLike):
        self.workdir = Path(workdir)
        self.path = self.workdir / FILE
        self._text = ""
        self._seen: set[str] = set()
        self._end = threading.Event()

    def take(self, note: Note) -> None:
        """Makes the workdir and the file, in place of that of a run that is gone, which `note` is told.

        Raises:
          UserError: where another run has it, or it can't be written.
        """
        text = json.dumps(_self(), indent=1) + "\n"
        try:
            self.workdir.mkdir(parents=True, exist_ok=True)
            with _alone(self.workdir):
                self._place(text, note)
        except OSError as error:
            raise UserError(f"{self.path} can't be written: {error.strerror or error}; {INTACT}.") from error
        self._text = text
        threading.Thread(target=self._beat, name="lock", daemon=True).start()

    def check(self) -> None:
        """Raises UserError where the workdir is gone or another one, or misses what this run has written."""
        if not self._text:
            return
        try:
            now = self.path.read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            now = None
        except OSError:  # a disk that can't be read: whatever is written next says so better
            return
        if now is not None and now != self._text:
            holder, self._text = _holder(self.path), ""
            raise UserError(f"another run has taken over {self.workdir} ({_who(holder)}); this one ends.")
        there = {name for name in KEPT if (self.workdir / name).exists()}
        if missing := [FILE] if now is None else sorted(self._seen - there):
            raise UserError(
                f"{self.workdir} was deleted, moved or emptied while the run went on ({missing[0]} is not there any "
                "more); the run ends, and writes nothing more. Where the folder was moved to, it can go on."
            )
        self._seen |= there

    def release(self) -> None:
        """Removes the file, if it is this run's."""
        self._end.set()
        with contextlib.suppress(OSError):
            if self._text and self.path.read_text(errors="replace") == self._text:
                self.path.unlink()
        self._text = ""

    def _place(self, text, note):
        own = self.workdir / f".{FILE}-{secrets.token_hex(8)}"
        try:
            own.write_text(text)
            for _ in range(3):
                if _link(own, self.path, text):
                    return
                holder, seen = _holder(self.path), _modified(self.path)
                now = own.stat().st_mtime  # by the clock of the disk, which may be another machine's
                if seen is None:
                    continue
                if not _is_gone(holder, now - seen):
                    raise UserError(_refusal(self.workdir, holder))
                note(f"the run that was in {self.workdir} is gone ({_who(holder)}); its lock is taken over")
                self.path.unlink(missing_ok=True)
        finally:
            own.unlink(missing_ok=True)
        raise UserError(f"other runs begin in {self.workdir} at this moment; start this one again if it is the one.")

    def _beat(self):
        while not self._end.wait(BEAT):
            with contextlib.suppress(OSError):
                if self.path.read_text(errors="replace") == self._text:
                    os.utime(self.path)


@contextlib.contextmanager
def holding(workdir: PathLike, note: Note = print) -> Iterator[Lock]:
    """The lock of a workdir within this context, held by process 0 for all of them; `Lock.take` says what is raised."""
    lock = Lock(workdir)
    parallel.agree(lambda: lock.take(note))
    try:
        yield lock
    finally:
        lock.release()


def in_use(workdir: PathLike) -> str | None:
    """Which run trains in a workdir, in words; None where none does. Reads only."""
    path = Path(workdir) / FILE
    seen = _modified(path)
    if seen is None or _is_gone(holder := _holder(path), time.time() - seen):
        return None
    return _refusal(workdir, holder)


def refuse(workdir: PathLike) -> None:
    """Raises UserError where a run trains in the workdir: before minutes are spent on reading the data."""
    if line := in_use(workdir):
        raise UserError(line)


def _refusal(workdir, holder):
    return (
        f"{workdir} is in use: a run trains there ({_who(holder)}). Wait until it ends, give another --workdir, or, "
        f"if that process is gone, delete {Path(workdir) / FILE}."
    )


def _who(holder):
    if not holder:
        return "its file names none"
    return f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}"


def _self() -> dict[str, Any]:
    """What the file says of this process. `token` is another one for every run."""
    pid = os.getpid()
    return {
        "pid": pid,
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "started": _process(pid)[1],
        "machine": _machine(),
        "token": secrets.token_hex(16),
    }


def _machine() -> str:
    """Where process numbers mean the same: host, boot and space of process numbers (containers may share a name)."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def _process(pid: int) -> tuple[bool, str | None]:
    """(whether a process lives, when it began in ticks since the boot); None for the second where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name may hold anything
        return fields[0] not in "ZX", fields[19]
    except (OSError, IndexError):
        if Path("/proc/self/stat").exists():
            return False, None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False, None
    except OSError:  # somebody else's
        pass
    return True, None


def _is_gone(holder, age):
    """Whether the run of a lock, renewed `age` seconds ago, has ended without releasing it."""
    pid = holder.get("pid")
    if holder.get("machine") == _machine() and isinstance(pid, int) and pid > 0:
        alive, started = _process(pid)
        return not alive or started != holder.get("started")
    return age > GONE


def _holder(path):
    """What a lock file says; {} where it is gone or damaged."""
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(10_000))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _modified(path):
    try:
        return path.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None


def _link(own, path, text):
    """Gives `own` the name `path`; False where there is one already."""
    try:
        os.link(own, path)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    try:
        with open(path, "x") as file:
            file.write(text)
        return True
    except FileExistsError:
        return False


@contextlib.contextmanager
def _alone(folder):
    """Runs of one machine that begin at once look and take over one after another; elsewhere this does nothing."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(100):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:
                break
        yield
    finally:
        os.close(descriptor)
