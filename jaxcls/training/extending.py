"""A finished run goes on to a longer config.duration: what its config becomes, whether that can be, what is noted."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcls import files
from jaxcls.checkpoints import view
from jaxcls.errors import UserError
from jaxcls.optim import schedules
from jaxcls.settings.reader import resolve
from jaxcls.training import from_weights, lengths, same_run
from jaxcls.training.run import Run
from jaxcls.types import Note, PathLike

FILE = "extended.jsonl"
MAY = {"duration", "schedule.rest", "extended"}  # keys that an extension changes


def settled(config: Any, workdir: PathLike) -> Mapping[str, Any]:
    """The config that a run in `workdir` goes on with: its ends so far are those of the run that is there, and its
    present end is one of them where config.duration is another now, and nothing else.

    Raises:
      UserError: for a run whose config or checkpoints can't be read.
    """
    stored = files.read_json(Path(workdir) / "config.json")
    if not isinstance(stored, dict):
        return config
    config = from_weights.resolved(config, workdir)
    before = tuple(stored.get("extended", ()))
    if not config.extended:
        config.extended = before
    changed = same_run.differences(same_run.to_json(config), workdir)
    rest = config.schedule.rest
    if changed.keys() == {"schedule.rest"} and before and lengths.ends(before)[-1].rate == rest:
        config.schedule.rest = 0.0  # the command that has extended it, given again
    elif "duration" in changed and changed.keys() <= MAY and (step := last_step(workdir)):
        ends = [end for end in map(str, before) if lengths.ends([end])[0].step < step]
        config.extended, config.schedule.rest = (*ends, lengths.entry(step, rest)), 0.0
    return config


def last_step(workdir: PathLike) -> int:
    """The newest finished checkpoint; 0 where there is none."""
    try:
        return max((step.number for step in view.list_steps(workdir) if step.finished), default=0)
    except UserError:
        return 0


def check(run: Run, workdir: PathLike, note: Note) -> None:
    """A run that is longer now had come to its end, and told is how it goes on.

    Raises:
      UserError: where it had not: it was stopped, or no evaluation made it better.
    """
    stored = _extends(run, workdir)
    if stored is None:
        return
    done, training = lengths.ends(run.stored["extended"])[-1].step, run.training
    total = schedules.steps(stored["duration"], steps_per_epoch=training.steps_per_epoch)
    if done < total:
        raise UserError(
            f"the run in {workdir} has done {done} of its {total} steps, and only a run at its end is made longer: let "
            f"it come there first (jaxcls train --workdir={workdir}), {lengths.WAY}."
        )
    if reason := view.read_meta(view.find_step(workdir, done)).loop.get("stop"):
        raise UserError(f"the run in {workdir} stopped early, since {reason}: it can't be made longer; {lengths.WAY}.")
    schedule = resolve(run.stored).schedule
    if lengths.depends(schedule):
        now = f"depends on the run's length: it goes on with a rate of {float(training.learning_rate(done)):.3g}"
    else:
        now = "does not depend on the run's length: all is as if it had been planned so long"
    note(f"extended from {stored['duration']} to {run.stored['duration']}; schedule {schedule.name} {now}")


def _extends(run, workdir) -> dict[str, Any] | None:
    """The config of the run in the workdir, where this one makes it longer; None elsewhere."""
    stored = files.read_json(Path(workdir) / "config.json")
    if not isinstance(stored, dict) or len(run.stored["extended"]) <= len(stored.get("extended", ())):
        return None
    return stored if last_step(workdir) else None


def record(run: Run, workdir: PathLike) -> None:
    """Adds a line to `extended.jsonl` for a run that is longer now, before its config is written: the step, the
    durations before and after, the result so far. Once, however often the run begins."""
    stored = _extends(run, workdir)
    path = Path(workdir) / FILE
    if stored is None:
        return
    end = lengths.ends(run.stored["extended"])[-1]
    lines = path.read_text().splitlines() if path.is_file() else []
    kept = [line for line in lines if f'"step": {end.step},' not in line]
    told = {
        "step": end.step,
        "duration": stored["duration"],
        "then": run.stored["duration"],
        "rate": end.rate or None,
        "time": time.time(),
        "results": files.read_json(Path(workdir) / "results.json"),
    }
    with files.replacing(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in [*kept, json.dumps(told)]))
