"""A run that begins with the whole state of another one, at its step: `jaxcls train --from RUN --state`.

The new workdir gets a copy of that checkpoint, of the splits and of its predictions on validation, and is then a run
that goes on. So parameters, averages, optimiser, random numbers, the step and what a controller remembers are the
parent's, and a branch whose config is the same ends with the parent's bits. The schedule is the new config's, at that
step.
"""

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from jaxcls import files, parallel
from jaxcls.checkpoints import view
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.data import stored_splits
from jaxcls.errors import UserError
from jaxcls.text import printable
from jaxcls.training import build, lock, loop, same_run, watch
from jaxcls.training.predictions import INTACT
from jaxcls.training.run import Run
from jaxcls.types import Figures, PathLike

FILE = "branched.json"
WEIGHTS = "or take its weights alone, without --state"
# Part of a state -> what it belongs to, and the settings that shape it; the first that does not fit is told.
PARTS = {
    "params": ("model", ("model.", "data.")),
    "model_state": ("model", ("model.", "data.")),
    "opt_state": ("optimiser", ("optim.", "sparsity.")),
    "extra": ("task", ("ema_decay", "ssl.", "distill.", "few.", "loss.", "sparsity.")),
    "controls": ("controller", ("plateau.",)),
    "loss_scale": ("precision", ("precision",)),
}


def run(
    config: Mapping[str, Any],
    workdir: PathLike,
    folder: Path,
    *,
    allow_changed: bool = False,
    deadline: float = math.inf,
) -> dict[str, Figures]:
    """Trains a branch, or goes on with it.

    Args:
      config: of the branch.
      workdir: its own; where a branch of this parent has begun there, it goes on.
      folder: of the parent's step, `RUN/checkpoints/N`.
      allow_changed, deadline: as of `loop.run`, which also says what is returned and raised.

    Raises:
      UserError: where the state is damaged, fits no run of this config, or is of other pictures.
    """
    workdir = Path(workdir)
    parallel.agree(lambda: lock.refuse(workdir))
    view.check_name(workdir)
    if (workdir / "config.json").exists():
        _check_begun(workdir, folder)
        return loop.run(config, workdir, allow_changed=allow_changed, deadline=deadline)
    with _placed(folder, workdir), watch.of_run(workdir):
        if jax.process_index() == 0:
            print(f"opening {printable(config['data']['name'])} ...", flush=True)
        built = build.build(config, workdir=workdir, allow_changed=allow_changed)
        check(built, folder)
        return loop.fit(built, workdir, deadline)


def check(run: Run, folder: Path) -> None:
    """The state of a step is one that this run can go on from.

    Raises:
      UserError: for another model, optimiser or task, pictures of another name, or a run that is over by then.
    """
    step, parent = int(folder.name), folder.parents[1]
    changed = same_run.differences(run.stored, parent)
    if "data.name" in changed:
        there, now = changed["data.name"]
        raise UserError(f"--state: {parent} has learned from {there} and this is {now}; leave --data out, {WEIGHTS}.")
    if reason := view.read_meta(folder).loop.get("stop"):
        raise UserError(f"--state: {parent} stopped early at step {step}, since {reason}: give an earlier --step.")
    checkpoints = Checkpoints(parent, transient=run.task.transient, read_only=True)
    if wrong := checkpoints.misfits(folder, run.blank_state()):
        parts = {text.partition("/")[0].partition(" ")[0] for text in wrong}
        what, keys = next((PARTS[part] for part in PARTS if part in parts), ("config", ()))
        own = {key: values for key, values in changed.items() if key.startswith(keys)}
        told = same_run.shown(own or changed) or wrong[0]
        raise UserError(f"--state: {folder} is the state of another {what}: {told}; leave that out, {WEIGHTS}.")
    if run.training.total_steps <= step:
        raise UserError(
            f"--state: config.duration={run.stored['duration']!r} is {run.training.total_steps} steps and the state is "
            f"of step {step}: give a longer one, an earlier --step, {WEIGHTS}."
        )


@contextlib.contextmanager
def _placed(folder, workdir) -> Iterator[None]:
    """Within, the workdir has what a branch begins with; afterwards, too, unless no run began there."""
    main, there = jax.process_index() == 0, workdir.is_dir()
    parallel.agree(lambda: _ready(folder, workdir))
    try:
        parallel.agree(lambda: _place(folder, workdir))
        yield
    finally:
        if main and not (workdir / "config.json").exists():
            _clear(workdir)
            if not there:
                with contextlib.suppress(OSError):
                    workdir.rmdir()


def _ready(folder, workdir):
    """Raises UserError for a step that is no whole one, and for a workdir whose files are not those of a branch."""
    if not view.manifest_path(folder).is_file():
        raise UserError(f"{folder} is unfinished, the run ended while it was written; give another --step.")
    if (workdir / "checkpoints").exists() and not (workdir / FILE).exists():
        raise UserError(f"--workdir={workdir} has checkpoints of a run without config.json; choose another.")


def _place(folder, workdir):
    """Copies what is needed; what another attempt has left, which was killed, goes first."""
    parent, step = folder.parents[1], folder.name
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        files.write_json(workdir / FILE, {"from": os.path.realpath(parent), "step": int(step)}, INTACT)
        _clear(workdir, keep=(FILE,))
        shutil.copytree(folder, workdir / "checkpoints" / step)
        eval_files = sorted((parent / "eval").glob(f"validation-{step}.*")) + [parent / "eval/validation-rows.json"]
        for path in (parent / stored_splits.FILE, *eval_files, view.manifest_path(folder)):  # what seals it last
            if path.is_file():
                target = workdir / path.relative_to(parent)
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, target)
    except OSError as error:
        raise UserError(f"--workdir={workdir} can't be written: {error.strerror or error}; choose another.") from error
    if problems := view.verify(workdir / "checkpoints" / step):
        raise UserError(f"{folder} is damaged ({problems[0]}); give another --step.")


def _clear(workdir, keep=()):
    for name in {FILE, stored_splits.FILE} - set(keep):
        (workdir / name).unlink(missing_ok=True)
    for name in ("checkpoints", "manifests", "eval"):
        shutil.rmtree(workdir / name, ignore_errors=True)


def _check_begun(workdir, folder):
    """The run in the workdir is a branch of this parent. Raises UserError elsewhere."""
    found = files.read_json(workdir / FILE)
    if not isinstance(found, dict) or found.get("from") != os.path.realpath(folder.parents[1]):
        told = json.dumps(found.get("from")) if isinstance(found, dict) else "no other one"
        raise UserError(
            f"--workdir={workdir} has a run that began with the state of {told}; leave --from out to go on with it, or "
            "choose another."
        )
