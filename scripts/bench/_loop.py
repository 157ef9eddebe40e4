"""The training loop around a compiled step, for step.py."""

import contextlib
import dataclasses
import io
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _step import Step
from _timing import Times, ratio, summary
from rich.console import Console

from jaxcls.checkpoints.store import Checkpoints
from jaxcls.logs.logger import Logger
from jaxcls.training import loop
from jaxcls.training.run import Run


class Loop:
    """`loop.Loop` over the same compiled step, the same state and the same number of steps."""

    def __init__(self, run: Any, step: Step, folder: str) -> None:
        self.run, self.step, self.folder = run, step, Path(folder)
        self.validation = run.eval_feed("validation") if run.selects else None
        self.checkpoints = Checkpoints(folder, keep=run.training.keep, transient=run.task.transient)

    def round(self, steps: int) -> None:
        """Progress, logging, metrics and the check for NaN; no evaluation, nothing is saved."""
        self._train(steps, _Unsaved(self.folder), validates=False)

    def full_round(self, steps: int) -> None:
        """The same with an evaluation (if there is a validation split) and a checkpoint, written to the end."""
        self._train(steps, self.checkpoints, validates=True)
        self.checkpoints._finish()  # a run goes on meanwhile; here its work counts in full

    def _train(self, steps, checkpoints, *, validates):
        step = self.step
        lengths = dict.fromkeys(("total_steps", "eval_every", "checkpoint_every"), steps)
        lengths["log_every"] = min(self.run.training.log_every, 50)
        training = dataclasses.replace(self.run.training, **lengths)
        parts = {field.name: getattr(self.run, field.name) for field in dataclasses.fields(Run)}
        run = _Fed(**{**parts, "training": training}, feed=step.feed, validation=self.validation)
        console = Console(file=io.StringIO(), force_terminal=True, width=120)
        with _Log(self.folder, total_steps=steps, steps_per_epoch=training.steps_per_epoch, console=console) as log:
            running = loop.Loop(run, self.folder, checkpoints, log, {"saved": 0})
            if not validates:  # the loop ends with an evaluation and a checkpoint otherwise
                running.validation, running._meta = None, lambda *_: None
            step.state = running.train(step.state, 0)
            jax.block_until_ready(step.state)
        step.done = 0  # a stream that was closed is opened again where the next round starts


@dataclasses.dataclass(frozen=True)
class _Fed(Run):
    """A run whose feeds are compiled already: each round makes a loop.Loop of its own, which would compile again."""

    feed: Any = None
    validation: Any = None

    def train_feed(self):
        return self.feed

    def eval_feed(self, split, task=None):
        return self.validation


class _Log(Logger):
    def waiting(self, text):
        """No spinner: a run compiles once, a round does not."""
        return contextlib.nullcontext()


class _Unsaved(Checkpoints):
    def save(self, state, meta, score=None):
        """Nothing."""


def compare(run: Run, times: dict[str, Times], steps: int, batch: int) -> dict[str, Any]:
    """What the loop adds to the step, in percent; evaluation and checkpoint at the config's own intervals."""
    bare, around, full = times["step"], times["loop"], times["full_loop"]
    training = run.training
    every = min(training.checkpoint_every, training.eval_every if run.selects else training.checkpoint_every)
    extra = max(0.0, float(np.median([f["wall"] - p["wall"] for f, p in zip(full, around, strict=True)])))
    per_step = float(np.median([t["wall"] for t in bare])) / steps
    overhead = 100 * (ratio(around, bare) - 1)
    return summary(around, steps, batch) | {
        "overhead_percent": overhead,
        "overhead_percent_of_minima": 100 * (min(t["wall"] for t in around) / min(t["wall"] for t in bare) - 1),
        "overhead_percent_cpu": 100 * (ratio(around, bare, "cpu") - 1),
        "evaluates": run.selects,
        "evaluation_and_checkpoint_s": extra,
        "evaluation_and_checkpoint_every": every,
        "overhead_percent_with_both": overhead + 100 * extra / (per_step * every),
    }
