"""How a run begins or goes on: its log, its state, which picture is in which split."""

from pathlib import Path
from typing import Any

import jax

from jaxcls import files
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.data import stored_splits, tree_file
from jaxcls.logs.logger import Logger
from jaxcls.state import TrainState
from jaxcls.training import columns, predictions, same_run
from jaxcls.training.run import Run
from jaxcls.types import PathLike


def logger(run: Run, workdir: PathLike, start: int, *, writes: bool) -> Logger:
    """The Logger of a run that begins or goes on at step `start`; `writes` as its own."""
    training = run.training
    return Logger(
        workdir,
        total_steps=training.total_steps,
        steps_per_epoch=training.steps_per_epoch,
        start_step=start,
        writes=writes,
        to=training.log_to,
        config=run.stored,
        shares=[figure.name for figure in run.task.criteria if figure.share],
    )


def restore(run: Run, checkpoints: Checkpoints) -> tuple[TrainState, dict[str, Any]]:
    """(state, the loop's memory): the newest good checkpoint as host arrays (where it is cut, as `Parallel.place` puts
    it), or a fresh start on the devices."""
    note = lambda text: print(f"warning: {text}")  # noqa: E731
    checkpoint = checkpoints.restore(run.blank_state, note=note, places=run.parallel.places)
    if checkpoint is None:
        state, report = run.first_state()
        if report is None:
            return state, {}
        if jax.process_index() == 0:
            files.write_json(checkpoints.workdir / "pretrained.json", report.to_dict(), predictions.INTACT)
        return state, {"pretrained": report.source}
    state, meta = checkpoint
    same_run.check_fingerprint(run.data, meta, checkpoints.workdir)
    return state, dict(meta.loop)


def store_data(run: Run, workdir: Path, step: int) -> None:
    """Writes what later commands have to know of the pictures: their splits, the tree of their classes, and how the
    columns beside them are read."""
    store_splits(run, workdir, step)
    store_tree(run, workdir)
    if run.data.columns:
        columns.write(workdir, run.data.columns, predictions.INTACT)


def store_tree(run: Run, workdir: PathLike) -> None:
    """Writes a copy of the tree of classes, where the config names one."""
    if run.data.tree is not None:
        tree_file.write(workdir, run.data.tree, predictions.INTACT)


def store_splits(run: Run, workdir: Path, step: int) -> None:
    """Writes which picture is in which split, where that is not stored yet or has changed (data.stored_splits).

    Of changed data what was stored before gets the step into its name, with what was measured on it.
    """
    members, path = run.data.members, workdir / stored_splits.FILE
    if members is None or (members.stored is not None and not members.allowed):
        return
    now = stored_splits.store(members.found)
    if now is None or now == members.stored:
        return
    if members.stored is not None:
        for old in (path, workdir / "eval"):
            if old.exists():
                old.rename(files.free_name(old.with_name(f"{old.stem}-{step}{old.suffix}")))
    stored_splits.write(workdir, now, predictions.INTACT)
