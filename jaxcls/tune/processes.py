"""The processes of a search's workers: started, handed signals on to, replaced where they are lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.training.signals import STATUS, Stopped, handed_on, say
from jaxcls.tune import repeats
from jaxcls.types import Note, PathLike

DEAD = 5  # workers that were lost one after the other without a trial that ended between, for each one that is wanted
POLL, LOOK = 0.1, 1.0  # seconds between two looks at the workers; at the process that has started this one


def look_after(folder: PathLike, workers: int, note: Note = print) -> int:
    """Starts workers in processes of their own and waits for their end; a lost one is replaced.

    SIGTERM and Ctrl-C are handed on: each worker saves its trial and ends; a second Ctrl-C ends them at once.

    Returns:
      The exit status: 0; 2 where a worker ended with an error, which it has told.

    Raises:
      UserError: where workers are lost one after the other.
      Stopped: after a signal, once the trials under way are saved.
    """
    processes = {i: start(folder, i, workers) for i in range(workers)}
    lost, status, seen = 0, 0, _ended(folder)

    def send(number):
        if len(signals) == 1:
            say("the trials under way are saved, then the search ends; a second Ctrl-C ends it at once.")
        for process in list(processes.values()):
            process.send_signal(number)

    with handed_on(send) as signals:
        while processes:
            time.sleep(POLL)
            for i, process in list(processes.items()):
                if (code := process.poll()) is None:
                    continue
                del processes[i]
                if code in (0, 130) or signals:
                    continue
                if code == 2:
                    status = 2
                    for other in processes.values():
                        other.send_signal(signal.SIGTERM)
                elif not status:
                    before, seen = seen, _ended(folder)
                    lost = lost + 1 if seen == before else 1
                    how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
                    if lost > DEAD * workers:
                        raise UserError(f"{lost} workers in a row were lost, the last one {how}; the search ends.")
                    note(f"worker {i} {how}; another one takes its place")
                    processes[i] = start(folder, i, workers)
    if signals:
        raise Stopped("stopped", STATUS[signals[0]])
    return status


def start(folder: PathLike, index: int, workers: int) -> subprocess.Popen:
    """A worker in a process, in a process group of its own: a terminal would send it each Ctrl-C twice."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if workers > 1:  # the first one would take three quarters of a GPU's memory
        environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / workers:.3f}")
    command = [sys.executable, "-m", "jaxcls", "tune", str(folder), f"--worker={index}/{workers}"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, process_group=0)


def settle_in(index: int, workers: int) -> None:
    """For a worker's process, before JAX is loaded: its share of the processor's cores, and an end where the process
    that has started it is gone."""
    if workers > 1 and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) >= workers:
            os.sched_setaffinity(0, cores[index::workers])
    threading.Thread(target=_follow, args=(os.getppid(),), name="parent", daemon=True).start()


def _follow(parent):
    while os.getppid() == parent:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGTERM)


def _ended(folder):
    """How many trials, repetitions and looks at test have ended."""
    rows = (files.read_json(Path(folder) / "search.json") or {}).get("trials", [])
    repeated = [*Path(folder).glob(f"repeat-*/*/{repeats.RECORD}"), *Path(folder).glob("repeat-*/*/results.json")]
    return sum(row["state"] != "running" for row in rows) + len(repeated)
