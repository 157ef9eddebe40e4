"""One trial: an ordinary run in a folder of its own, followed on validation. No test picture is looked at.

What a trial has reached is read from its folder (metrics.jsonl, checkpoints), so one that was killed goes on as if it
had not been.
"""

import contextlib
import dataclasses
import errno
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcls import files
from jaxcls.criteria import Figure
from jaxcls.errors import UserError, of_machine
from jaxcls.tune import objectives
from jaxcls.types import PathLike

OUTPUT = "output.txt"  # in a trial's folder: what the run printed
# What is wrong with the machine, and so would be with the next trial: it ends the search, and no trial is blamed.
MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)


@dataclasses.dataclass
class Reached:
    """How far a trial is, at an evaluation or at its end.

    Attributes:
      history: [step, value] of the first objective on validation, in order.
      epochs: trained until now, those of earlier attempts included.
      values: objective -> the best value until now, or the cost.
      seconds: of this attempt.
      last: whether the run ends here by itself.
    """

    history: list[list[float]]
    epochs: float
    values: dict[str, float]
    seconds: float
    last: bool = False


@dataclasses.dataclass
class Ended:
    """How a trial ended.

    Attributes:
      state: "complete"; "pruned", which can go on; "failed"; "stopped" by a signal, to go on with the same call.
      reached: how far it came; None where it could not begin.
      why: in words, of one line; "" for a complete one.
      status: exit status that goes with a signal.
    """

    state: str
    reached: Reached | None = None
    why: str = ""
    status: int = 0


Prune = Callable[[Reached], str]  # why the trial shall stop here; "" for going on


def run(config: Mapping[str, Any], folder: PathLike, wanted: Sequence[Figure], prune: Prune = lambda _: "") -> Ended:
    """Runs a trial, or goes on with it, until its end or until `prune` has a reason.

    Args:
      config: of the trial, whose `eval.best` is the first objective (`ranked_by`).
      folder: its workdir.
      wanted: the objectives (`objectives.choose`), the first one a figure of validation.
      prune: called after each evaluation, also for the last one of an earlier call before anything is trained: a trial
        that was killed while it was pruned is pruned, and one that was pruned goes on where that is no longer wanted.

    Raises:
      UserError: for what is wrong with the machine and not with the trial: a full disk, say.
    """
    from jaxcls.training import build, loop, watch
    from jaxcls.training.memory import explained
    from jaxcls.training.signals import Stopped

    folder, began = Path(folder), time.monotonic()
    trial: _Trial | None = None
    try:
        sizes = (config["batch_size"], config["accumulate"], config["precision"])
        with watch.of_run(folder), explained(*sizes, doing="a trial"):
            built = build.build(config, workdir=folder)
            trial = _Trial(built, folder, wanted, prune, began)
            if not trial.why:
                loop.fit(built, folder, follow=trial.follow, final=False)
    except Stopped as stopped:
        if trial is None or not trial.why:
            return Ended("stopped", _reached(trial), str(stopped), stopped.status)
    except Exception as error:
        if _of_the_machine(error):
            raise
        line = str(error) if isinstance(error, UserError) else of_machine(error)
        if line is None:
            line = f"{type(error).__name__}: {error}"
        return Ended("failed", _reached(trial), " ".join(line.split())[:400])
    assert trial is not None
    if not trial.why and not trial.history:
        return Ended("failed", trial.reached(), f"it was never evaluated on validation ({wanted[0].name})")
    return Ended("pruned" if trial.why else "complete", trial.reached(), trial.why)


def look_at_test(config: Mapping[str, Any], folder: PathLike) -> None:
    """The final evaluation of a run that has ended without one. Raises UserError."""
    from jaxcls.training import loop

    loop.run(config, folder)


class _Trial:
    """What is known of a trial while it runs. `why`: the reason to stop, once there is one."""

    def __init__(self, built, folder, wanted, prune, began):
        self.run, self.wanted, self.prune, self.began = built, wanted, prune, began
        self.costs = objectives.costs([figure.name for figure in wanted], built)
        self.kept = past(folder, [figure.name for figure in wanted])
        self.why = ""
        if self.kept and not self.reached().last:
            self.why = prune(self.reached())

    @property
    def history(self):
        name = self.wanted[0].name
        return [[step, figures[name]] for step, figures in self.kept if name in figures]

    def follow(self, step, figures):
        """For the loop: keeps the figures; the reason to stop, "" at the end, where there is nothing to stop."""
        figures = _known(figures, [figure.name for figure in self.wanted])
        self.kept = [(s, kept) for s, kept in self.kept if s < step] + [(step, figures)]
        reached = self.reached()
        self.why = self.prune(reached)
        if reached.last:
            self.why = ""
        return self.why

    def reached(self):
        best, step = {}, self.kept[-1][0] if self.kept else 0
        for figure in self.wanted:
            values = [figures[figure.name] for _, figures in self.kept if figure.name in figures]
            best |= {figure.name: objectives.best(values, figure)} if values else {}
        training = self.run.training
        epochs, seconds = step / training.steps_per_epoch, time.monotonic() - self.began
        return Reached(self.history, epochs, best | self.costs, seconds, step >= training.total_steps)


def past(folder: PathLike, names: Sequence[str]) -> list[tuple[int, dict[str, float]]]:
    """(step, figures) of the evaluations until the newest finished checkpoint of a run, from which it would go on."""
    from jaxcls.logs.records import read_metrics

    if not (last := newest(folder)):
        return []
    lines = [line for line in read_metrics(folder) if line.get("split") == "validation" and line["step"] <= last]
    return [(line["step"], _known(line, names)) for line in lines]


def newest(folder: PathLike) -> int:
    """The step of the newest finished checkpoint; 0 where there is none."""
    from jaxcls.checkpoints import view

    there = (Path(folder) / "checkpoints").is_dir()
    return max((step.number for step in view.list_steps(folder) if step.finished), default=0) if there else 0


def ranked_by(config: Any, objective: str) -> Any:
    """A config whose best checkpoint is the one that the first objective names."""
    config = config.copy_and_resolve_references()
    config.eval.best = objective
    return config


@contextlib.contextmanager
def output_to(path: PathLike) -> Iterator[None]:
    """Within this context whatever is printed is added to a file, also by libraries that are not Python's.

    Raises:
      UserError: where it can't be written.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a", buffering=1, errors="backslashreplace")  # noqa: SIM115  closed below
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror or error}; {files.REMEDY}.") from error
    kept = [(number, os.dup(number)) for number in (1, 2)]
    sys.stdout.flush()
    try:
        for number, _ in kept:
            os.dup2(file.fileno(), number)
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield
    finally:
        for number, old in kept:
            os.dup2(old, number)
            os.close(old)
        with contextlib.suppress(OSError):  # of a full disk, say, which is told by what follows
            file.close()


def _reached(trial):
    return None if trial is None else trial.reached()


def _known(figures, names):
    """Those of some figures that are there, and finite."""
    found = {name: figures.get(name) for name in names}
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def _of_the_machine(error):
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in MACHINE:
            return True
        cause = cause.__cause__
    return False
