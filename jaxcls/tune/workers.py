"""Workers of a search: processes that take one trial after the other (`processes` starts them).

They share nothing but the search's folder and its study, so they may be on several machines. One that is killed leaves
a trial that another one goes on with, from its newest checkpoint.
"""

import gc
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.training.signals import Stopped
from jaxcls.tune import choosing, claims, records, repeats, running, study, told
from jaxcls.tune.choosing import Job, Search
from jaxcls.tune.running import Ended
from jaxcls.types import Note, PathLike

ALIKE = 3  # trials in a row that fail for one reason before any has succeeded, after which a search ends
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
    record = write(search, "running")
    while (job := choosing.next_repeat(search, record)) != "done":
        if job == "wait":
            time.sleep(IDLE)
            continue
        _again(search, job, note, run)
        record = write(search, "running")
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
        ended = run(config, job.folder, search.budget.objectives, prune)
    gc.collect()  # the pictures and programs of a run hang in circles, and the next one needs the room
    return ended


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


def close(folder: PathLike) -> None:
    """Notes that nobody works on a search that is not done: in search.json, and of trials that were ended by the way,
    for whom that is no death."""
    search = choosing.opened(folder)
    left = [record for record in search.records if record.state == "running"]
    for record in left:
        if not claims.held(folder, str(record.latest)):
            study.note(search.study, record.latest, stopped=True)
    if left or (files.read_json(Path(folder) / "search.json") or {}).get("state") == "running":
        write(search, "stopped")
