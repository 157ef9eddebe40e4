"""Workers of a search: processes that take one trial after the other, and the process that looks after them.

They share nothing but the search's folder and its study, so they may be on several machines. One that is killed leaves
a trial that another one goes on with, from its newest checkpoint.
"""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.training.signals import STATUS, Stopped
from jaxcls.tune import choosing, claims, records, repeats, running, study, told
from jaxcls.tune.choosing import Job, Search
from jaxcls.tune.running import Ended
from jaxcls.types import Note, PathLike

ALIKE = 3  # trials in a row that fail for one reason before any has succeeded, after which a search ends
DEAD = 5  # workers that were lost one after the other without a trial that ended between, for each one that is wanted
IDLE = 1.0  # seconds between two looks for something to do
Run = Callable[..., Ended]  # as running.run


def work(folder: PathLike, note: Note = print, run: Run = running.run) -> None:
    """One worker: trials, and then repetitions, until nothing is left to do, here or with other workers.

    Args:
      folder: of the search.
      note: gets a line for each trial that ends.
      run: in place of running.run.

    Raises:
      UserError: the first trials fail for one reason; the storage can't be reached; the disk is full.
      Stopped: after SIGTERM or Ctrl-C, once the trial under way has saved its state.
    """
    search, failures = choosing.opened(folder), list[str]()
    while (job := choosing.next_job(search)) != "done":
        if job == "wait":
            time.sleep(IDLE)
            continue
        ended = _one(search, job, note, run)
        write(search, "running")
        failures = [*failures, _reason(ended)] if ended.state == "failed" else []
        if len(failures) >= ALIKE and len(set(failures)) == 1 and not _any_value(search):
            raise UserError(f"the first {len(failures)} trials failed alike, so the search ends: {ended.why}")
    while (job := choosing.next_repeat(search, write(search, "running"))) != "done":
        if job == "wait":
            time.sleep(IDLE)
        else:
            _again(search, job, note, run)
    write(search, "done")


def write(search: Search, state: str) -> dict[str, Any]:
    """Writes search.json and its pages (`records.write`), one worker at a time; returns what the first one has."""
    plan, asked = search.plan, search.budget
    with claims.alone(search.folder, "records"):
        return records.write(
            search.folder,
            search.records,
            plan,
            name=asked.config,
            objectives=asked.objectives,
            state=state,
            budget={"trials": asked.trials or 0} if asked.epochs is None else {"epochs": asked.epochs},
        )


def _one(search: Search, job: Job, note: Note, run: Run) -> Ended:
    """A trial until it ends here, which the study is told. Raises Stopped where a signal has ended it."""
    wanted, number = search.budget.objectives, job.number
    assert number is not None
    if job.again not in ("", "promoted"):
        note(f"{job.name}: {job.again}; it goes on from its newest checkpoint")

    def noted(reached):
        study.note(search.study, number, epochs=reached.epochs, seconds=job.seconds + reached.seconds)

    def prune(reached):
        noted(reached)
        evaluations = len(reached.history)
        if not evaluations:  # only values that are not finite until now
            return ""
        return study.judge(search.study, search.plan, number, evaluations, reached.epochs, reached.history[-1][1])

    try:
        ended = _run(search, job, run, prune)
        reached = ended.reached
        if not claims.is_ours(job.claim):  # it was asleep, and another worker has gone on with the trial
            return ended
        if reached:
            noted(reached)
        if ended.state == "stopped":
            study.note(search.study, number, stopped=True)
            raise Stopped(f"{job.name} is saved", ended.status)
        values = [reached.values.get(figure.name, math.nan) for figure in wanted] if reached else []
        study.tell(search.study, number, ended.state, values if all(map(math.isfinite, values)) else (), ended.why)
    finally:
        job.claim.release()
    note(_line(search, job, ended))
    return ended


def _again(search: Search, job: Job, note: Note, run: Run) -> None:
    """A repetition: its training, or its look at test."""
    repeat = job.repeat
    assert repeat is not None
    try:
        if repeat.test:
            with running.output_to(job.folder / running.OUTPUT):
                running.look_at_test(job.config(search), job.folder)
            note(f"{job.name}: looked at test")
            return
        ended = _run(search, job, run, lambda _: "")
        if ended.state == "stopped":
            raise Stopped(f"{job.name} is saved", ended.status)
        files.write_json(job.folder / repeats.RECORD, {"state": ended.state, "why": ended.why})
        note(_line(search, job, ended))
    finally:
        job.claim.release()


def _run(search, job, run, prune):
    try:
        config = job.config(search)
    except UserError as error:
        return Ended("failed", None, " ".join(str(error).split()))
    with running.output_to(job.folder / running.OUTPUT):
        return run(config, job.folder, search.budget.objectives, prune)


def _line(search, job, ended):
    """ "trial 3: accuracy 97.10 %, 5 epochs, 12 s (schedule.peak=0.1)"."""
    parts = [] if ended.state == "complete" else [f"{ended.state}: {ended.why}"]
    if reached := ended.reached:
        parts += told.values(search.budget.objectives, reached.values)
        parts.append(f"{reached.epochs:.4g} epochs, {reached.seconds:.0f} s")
    return f"{job.name}: {', '.join(parts)} ({told.setting(job.params)})"


def _reason(ended):
    """Why a trial failed, without its numbers."""
    return "".join(character for character in ended.why if not character.isdigit())


def _any_value(search):
    return any(record.state in ("complete", "pruned") for record in search.records)


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
    with _handed_on(processes) as signals:
        while processes:
            time.sleep(0.1)
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


def close(folder: PathLike) -> None:
    """Says in search.json that nobody works on a search that is not done."""
    if (files.read_json(Path(folder) / "search.json") or {}).get("state") == "running":
        write(choosing.opened(folder), "stopped")


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
        time.sleep(IDLE)
    os.kill(os.getpid(), signal.SIGTERM)


def _ended(folder):
    """How many trials, repetitions and looks at test have ended."""
    rows = (files.read_json(Path(folder) / "search.json") or {}).get("trials", [])
    repeated = [*Path(folder).glob(f"repeat-*/*/{repeats.RECORD}"), *Path(folder).glob("repeat-*/*/results.json")]
    return sum(row["state"] != "running" for row in rows) + len(repeated)


@contextlib.contextmanager
def _handed_on(processes: dict[int, subprocess.Popen]) -> Iterator[list[int]]:
    """Within this context SIGTERM and SIGINT are sent on to processes. Yields the list of those that came."""
    numbers: list[int] = []

    def hand_on(number, _):
        numbers.append(number)
        for process in list(processes.values()):
            process.send_signal(number)

    old = {number: signal.signal(number, hand_on) for number in STATUS}
    try:
        yield numbers
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
