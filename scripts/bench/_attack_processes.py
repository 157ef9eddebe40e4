"""Two processes of a run, one killed or stopped again and again; one that never comes; runs that share a workdir, and
workdirs that go away. How the other ends, and whether the bits are those of a run that nothing disturbed."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from _attack_run import Counts, environment

from jaxcls.checkpoints import view

STEPS, EVERY = 3000, 10
RUN = (
    "train --config=lenet5_digits --config.data.name=synthetic/256x28x1x4 --config.batch_size=16 "
    f"--config.schedule.warmup=10_steps --config.duration={STEPS}_steps --config.checkpoint.every={EVERY}_steps "
    f"--config.eval.every={STEPS // 3}_steps --config.log_every=5_steps"
).split()
KILLS = 6  # of each process
BOUND = 30.0  # seconds from a loss to the end of the other process
AWAY = ("deleted", "renamed", "replaced")


class Processes:
    """One or more processes of a run in `workdir`; their outputs lie beside it."""

    def __init__(self, workdir: Path, number: int = 2, who: tuple[int, ...] = (0, 1), more: tuple[str, ...] = ()):
        words = [word.replace("_steps", " steps") for word in (*RUN, f"--workdir={workdir}", *more)]
        if number > 1:
            with socket.create_server(("127.0.0.1", 0)) as server:
                port = server.getsockname()[1]
            words += [f"--coordinator_address=127.0.0.1:{port}", f"--num_processes={number}"]
        self.workdir, self.started, self.outputs = workdir, {}, {}
        for index in who:
            self.outputs[index] = workdir.with_name(f"{workdir.name}-{time.monotonic_ns()}-{index}.txt")
            with open(self.outputs[index], "wb") as out:
                own = [f"--process_id={index}"] if number > 1 else []
                command = [sys.executable, "-m", "jaxcls", *words, *own]
                self.started[index] = subprocess.Popen(command, stdout=out, stderr=out, env=environment())

    def until(self, come: Callable[[], bool]) -> bool:
        """Waits for it; False where a process ends before."""
        deadline = time.monotonic() + 300
        while not come():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self.started.values()):
                return False
            time.sleep(0.002)
        return True

    def end(self, index: int, seconds: float) -> tuple[int | None, str]:
        """(status, lines of error) of one process; None where it still runs after so many seconds."""
        try:
            status = self.started[index].wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        lines = self.outputs[index].read_text(errors="replace").splitlines()
        first = next((i for i, line in enumerate(lines) if line.startswith(("error", "Traceback", "***"))), len(lines))
        return status, "\n".join(lines[first:])

    def clear(self) -> None:
        """Ends what is left."""
        for process in self.started.values():
            process.kill()
            process.wait()


def saved(workdir: Path) -> int:
    """The newest sealed step; 0 where there is none."""
    return max((int(path.stem) for path in (workdir / "manifests").glob("*.json")), default=0)


def one_loss(workdir: Path, which: int, moment: str, chance: random.Random) -> tuple[bool, str]:
    """Kills (or stops) one of two; (whether the other ended well, what it came to)."""
    before, processes = saved(workdir), Processes(workdir)
    come = {
        "compiling": lambda: "compiling the training step" in processes.outputs[0].read_text(),
        "saving": lambda: saved(workdir) > before and any((workdir / "checkpoints").glob("*tmp*")),
    }.get(moment, lambda: saved(workdir) > before)
    try:
        if not processes.until(come):
            return False, "it did not come so far"
        time.sleep(0.0 if moment == "saving" else chance.uniform(0, 1))
        processes.started[which].send_signal(signal.SIGSTOP if moment == "silent" else signal.SIGKILL)
        status, text = processes.end(1 - which, BOUND)
        step = saved(workdir)
        remedy = f"goes on from step {step}." if step else "begins again."
        good = status == 1 and text.startswith(f"error: process {which} of 2 is lost") and text.endswith(remedy)
        return good and "\n" not in text, f"{status}: {text[:300]}"
    finally:
        processes.clear()


def finish(workdir: Path, number: int = 2) -> dict[str, bytes]:
    """Runs so many processes to the end; the bits of what they come to, {} where one fails."""
    processes = Processes(workdir, number, who=tuple(range(number)))
    try:
        if any(processes.end(index, 1200)[0] != 0 for index in range(number)):
            return {}
    finally:
        processes.clear()
    return {name: value.tobytes() for name, value in view.read_arrays(view.find_step(workdir)).items()}


def absent(folder: Path, which: int) -> tuple[bool, str]:
    """One of two never comes."""
    processes = Processes(folder / "absent", who=(1 - which,), more=("--initialization-timeout=5",))
    try:
        status, text = processes.end(1 - which, BOUND)
    finally:
        processes.clear()
    good = status == 2 and f"process {which} of 2 did not come within 5 s" in text and "\n" not in text
    return good, f"{status}: {text[:300]}"


def shared(folder: Path) -> tuple[bool, str]:
    """A second run in the workdir of one that trains, and whether the records of the first stay whole."""
    workdir = folder / "shared"
    first = Processes(workdir, number=1, who=(0,))
    try:
        first.until(lambda: (workdir / "running.json").exists())
        second = Processes(workdir, number=1, who=(0,))
        status, text = second.end(0, 60)
        second.clear()
        if not first.until(lambda: saved(workdir) >= 2 * EVERY):
            return False, "the first has ended"
    finally:
        first.clear()
    records = Counter()
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        records[record["step"], record["split"]] += 1
    good = status == 2 and "is in use" in text and "\n" not in text and max(records.values()) == 1
    return good, f"{status}: {text[:300]}"


def away(folder: Path, how: str) -> tuple[bool, str]:
    """The workdir of a run goes away."""
    workdir = folder / how
    run = Processes(workdir, number=1, who=(0,))
    try:
        run.until(lambda: saved(workdir) > 0)
        workdir.rename(folder / f"{how}-old")
        if how == "replaced":
            workdir.mkdir()
        if how == "deleted":
            shutil.rmtree(folder / f"{how}-old", ignore_errors=True)
        status, text = run.end(0, 60)
    finally:
        run.clear()
    left = os.listdir(workdir) if workdir.exists() else []
    return status == 2 and "\n" not in text and not left, f"{status}: {text[:300]} {left}"


def run(folder: Path, note: Callable[[str], None]) -> list[tuple[str, int, int]]:
    """Does all of it.

    Args:
      folder: empty; what is made lies there.
      note: gets a line for each case that ends otherwise than it should.

    Returns:
      [(kind, tried, good)].
    """
    count = Counts(note)

    chance = random.Random(0)
    for which in (0, 1):
        for moment in ("compiling", "saving", "silent", *["stepping"] * (KILLS - 3)):
            count(f"process {which} lost ({moment})", *one_loss(folder / "lost", which, moment, chance))
        count(f"process {which} never comes", *absent(folder, which))
    resumed, whole = finish(folder / "lost"), finish(folder / "whole")
    count("bits after all losses", bool(whole) and resumed == whole, "they differ")
    count("a second run in a workdir", *shared(folder))
    for how in AWAY:
        count(f"a workdir {how}", *away(folder, how))
    return count.rows
