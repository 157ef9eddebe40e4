"""The loop: build, restore, step, log, evaluate, save. It knows no trick, model or data set by name."""

import contextlib
import gc
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from jaxcls import files, parallel
from jaxcls.checkpoints.meta import Meta
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.errors import UserError
from jaxcls.logs.logger import Logger
from jaxcls.state import TrainState
from jaxcls.text import printable
from jaxcls.training import (
    alike,
    begin,
    extending,
    fitting,
    lock,
    postponed,
    predictions,
    preflight,
    resampling,
    result,
    watch,
)
from jaxcls.training.evaluate import Measure
from jaxcls.training.memory import OutOfMemory, explained
from jaxcls.training.run import Run
from jaxcls.training.signals import Signals, Stopped
from jaxcls.training.window import Window
from jaxcls.types import Figures, PathLike

Follow = Callable[[int, Figures], str]  # (step, figures on validation) -> why the run shall stop; "" for going on


def run(
    config: Mapping[str, Any],
    workdir: PathLike,
    *,
    allow_changed: bool = False,
    deadline: float = math.inf,
    follow: Follow | None = None,
    final: bool = True,
) -> dict[str, Figures]:
    """Trains, or goes on from the workdir's newest good checkpoint, and evaluates at the end.

    Args:
      config: a config (defaults.py).
      workdir: folder for everything that is written.
      allow_changed: whether a run goes on though its pictures are not those that it began with (docs/running.md).
      deadline: the moment (of time.monotonic) at which it stops as by a signal (`deadline.after`).
      follow: called after each evaluation on validation; where it gives a reason the run stops there, as by a signal,
        and goes on from there when it is run again. For one process.
      final: whether the run is evaluated at its end; without, no test picture is looked at.

    Returns:
      dict split -> figures of the final evaluation (metrics.of_logits); {} without one.

    Raises:
      UserError: bad input, a loss that is not finite, a full disk; a workdir that another run uses, or that goes away.
      Stopped: after SIGTERM, Ctrl-C, the deadline or a reason of `follow`, once the state is saved.
    """
    how = {"allow_changed": allow_changed, "deadline": deadline, "follow": follow, "final": final}
    while True:
        try:
            return _run(config, workdir, **how)
        except OutOfMemory as error:
            fitting.halved(error, workdir)
        gc.collect()  # arrays of the step that failed


def _run(config, workdir, allow_changed, deadline, follow, final):
    """`run`, as far as memory suffices."""
    parallel.agree(lambda: lock.refuse(workdir))
    if jax.process_index() == 0:
        # a big folder or a set to decode takes a while
        print(f"opening {printable(config['data']['name'])} ...", flush=True)
    with watch.of_run(workdir):
        alike.check_config(config)
        config = extending.settled(fitting.taken(config, workdir), workdir)
        return fit(fitting.built(config, workdir, allow_changed=allow_changed), workdir, deadline, follow, final=final)


def fit(
    run: Run, workdir: PathLike, deadline: float = math.inf, follow: Follow | None = None, *, final: bool = True
) -> dict[str, Figures]:
    """`run` with objects that are built already."""
    workdir, main_process = Path(workdir), jax.process_index() == 0
    alike.check_pictures(run.data.sources)
    preflight.check(run, workdir, note=print if main_process else lambda _: None)
    with lock.holding(workdir) as held, watch.of_run(workdir, held.release):
        try:
            return _fit(run, workdir, held, deadline, follow, final)
        except UserError:
            held.check()  # whatever failed in a workdir that is gone, this is why
            raise


def _fit(run, workdir, held, deadline, follow, final):
    main_process = jax.process_index() == 0
    if main_process:
        extending.record(run, workdir)
        files.write_json(workdir / "config.json", run.stored, predictions.INTACT)
    checkpoints = Checkpoints(workdir, keep=run.training.keep, transient=run.task.transient)
    parallel.agree(lambda: postponed.put_back(workdir))
    state, memory = begin.restore(run, checkpoints)
    start, total = int(state.step), run.training.total_steps
    held.check()
    if main_process:
        begin.store_data(run, workdir, start)
    with begin.logger(run, workdir, start, writes=main_process) as log:
        if start:
            all_done = start == total and not memory.get("owed")
            done = "stopped early" if memory.get("stop") else "all steps are done" if all_done else ""
            log.note(f"{done}; evaluating again" if done else f"going on from step {start} of {total}")
        state = run.parallel.place(run.complete(state, memory, workdir, log))
        try:
            if (start < total or memory.get("owed")) and not memory.get("stop"):
                state = Loop(run, workdir, checkpoints, log, memory, held, deadline, follow).train(state, start)
        finally:
            checkpoints.close()
        held.check()
        if not final:
            return {}
        signals = Signals(deadline)  # for the time alone: the final evaluation is not begun when it is over
        if signals.agreed(now=True):
            raise stopped(signals, int(state.step), total)
        results, state = result.measure(run, workdir, checkpoints, state, log)
        network = run.network(state) if main_process or run.parallel.rules else None
        if network is not None and main_process:
            held.check()
            result.summarise(run, workdir, results, network, int(state.step), log)
            held.check()
    return results


class Loop:
    """The loop of one run. `memory` is what it saves of its own: the last save, a controller's patience."""

    def __init__(
        self,
        run: Run,
        workdir: Path,
        checkpoints: Checkpoints,
        log: Logger,
        memory: dict[str, Any],
        held: lock.Lock | None = None,
        deadline: float = math.inf,
        follow: Follow | None = None,
    ):
        self.follow, self.reason = follow or (lambda step, figures: ""), ""
        self.run, self.workdir, self.checkpoints, self.log, self.memory = run, workdir, checkpoints, log, memory
        self.held = held or lock.Lock(workdir)  # one that was not taken does nothing
        self.signals = Signals(deadline)
        self.validation = Measure(run, "validation", workdir / "eval", self._leave) if run.selects else None
        self.window = Window(run, log, memory)
        self.validated: Figures = {}  # figures of validation for the progress line
        self.evaluated = False
        self.norm = jax.jit(optax.tree.norm)
        # what the state goes through before it is evaluated
        self.refresh: Callable[[TrainState, int], TrainState] | None = None

    def train(self, state: TrainState, step: int) -> TrainState:
        """Steps until the end of the run. Returns the final state."""
        run, feed, first = self.run, self.run.train_feed(), True
        self.refresh, training = run.refresher(feed), run.training
        periods = [training.log_every, training.checkpoint_every, training.eval_every, training.total_steps]
        with self.signals as signals, contextlib.closing(feed):
            if owed := self.memory.pop("owed", None):
                state = self._catch_up(state, step, owed)
            while step < training.total_steps and not self.memory.get("stop"):
                stop = min((step // every + 1) * every for every in periods)
                waiting = self.log.waiting("compiling the training step") if first else contextlib.nullcontext()
                signals.moment = "once the step is compiled" if first else "after this step"
                with waiting, self._explained("a training step"):
                    state, values, n = feed(state, step, stop)
                    if first:
                        jax.block_until_ready(values)
                self.window.add(step, values, n)
                step += n
                if first:
                    first = False
                    self.window.restart()
                state = self._between(state, step)
        if self.memory.get("stop"):
            self.log.note(f"stopped early after step {step}: {self.memory['stop']}")
        return state

    def _between(self, state, step):
        """Whatever is due after `step` steps: a log line, an evaluation, a checkpoint, a stop."""
        run, training = self.run, self.run.training
        end, logging = step == training.total_steps, step % training.log_every == 0
        stopping = self.signals.agreed(now=logging or end or jax.process_count() == 1)
        evaluating = self.validation is not None and (end or step % training.eval_every == 0)
        refreshing = self.refresh is not None and (evaluating or end)
        saving = evaluating or stopping or end or step % training.checkpoint_every == 0
        if logging or saving:
            self.held.check()
        speed = self.window.record(step) if logging or saving else self.window.speed()
        if saving and not np.isfinite(self.norm(state.params)):  # a finite loss can still end in an infinite update
            raise self.window.not_finite("a parameter", step)
        score, figures = None, {}
        if stopping and (evaluating or refreshing):
            self.memory["owed"] = "all"
        elif evaluating or refreshing:
            state, score, figures, stopping = self._settle(state, step, refreshing, evaluating)
        if figures and (reason := self.follow(step, figures)):
            stopping, self.reason = True, reason
        if stopping:
            self.log.note(f"saving step {step}, then the run ends")
        if self.window.shown or self.log.live:  # a terminal shows the step before there are any metrics
            self.log.progress(step, self.window.shown | self.validated, speed)
        if saving:
            self.held.check()
            self.checkpoints.save(run.parallel.saveable(state), self._meta(step, figures), score)
            self.window.restart()
        else:
            self.checkpoints.poll()
        if stopping:
            self.checkpoints.close()
            raise stopped(self.signals, step, training.total_steps, self.reason)
        return state

    def _settle(self, state, step, refreshing, evaluating):
        """What is due where a step is evaluated. Returns (state, score, figures, whether a stop left it undone)."""
        if refreshing:
            state = self.refresh(state, step)
        try:
            return (*(self._evaluate(state, step) if evaluating else (state, None, {})), False)
        except postponed.Left:
            self.signals.agreed(now=True)
            self.memory["owed"] = "evaluation"
            return state, None, {}, True

    def _catch_up(self, state, step, owed):
        """The evaluation that a stop has put off, and the step's checkpoint once more, with the score."""
        refreshing = self.refresh is not None and owed == "all"
        evaluating = self.validation is not None
        state, score, figures, left = self._settle(state, step, refreshing, evaluating)
        if left:  # the checkpoint says already that it is due
            raise stopped(self.signals, step, self.run.training.total_steps)
        with postponed.replacing(self.workdir, step):
            self.checkpoints.save(self.run.parallel.saveable(state), self._meta(step, figures), score)
            self.checkpoints.close()
        if figures and (reason := self.follow(step, figures)):
            raise stopped(self.signals, step, self.run.training.total_steps, reason)
        return state

    def _leave(self):
        """Ends an evaluation when the run shall stop; one of several processes can't, as the others wait for it."""
        if self.signals.waiting and jax.process_count() == 1:
            raise postponed.Left

    def _explained(self, doing):
        config = self.run.stored
        values = (self.run.training.batch_size, config.get("accumulate", 1), config.get("precision", "float32"))
        return explained(*values, doing=doing)

    def _evaluate(self, state, step):
        """Evaluates on validation; returns (state with new controls, score, figures)."""
        began = time.monotonic()
        self.signals.moment = "without this evaluation" if jax.process_count() == 1 else "after this evaluation"
        first = contextlib.nullcontext() if self.evaluated else self.log.waiting("evaluating")  # which compiles
        with first, self._explained("an evaluation"):
            figures, outputs = self.validation(state)
        speed = {"pictures_per_second": figures["count"] / (time.monotonic() - began)} if self.evaluated else {}
        self.evaluated = True
        self.held.check()
        predictions.save(self.workdir, "validation", step, outputs, figures)
        self.log.scalars(step, {**figures, **speed}, split="validation")
        best = [self.run.training.best.name] if self.run.training.best else []
        shown = dict.fromkeys((*self.window.names[1:], *best))
        self.validated = {f"validation_{name}": figures[name] for name in shown if name in figures}
        if self.run.training.control is not None:
            controls = self.run.training.control(self.memory, figures)
            controls = self.run.parallel.replicate({k: np.float32(v) for k, v in controls.items()})
            state = state.replace(controls={**state.controls, **controls})
        return state, self.run.score(figures), figures

    def _meta(self, step, figures):
        self.memory["saved"] = step
        return meta_of(self.run, step, figures, self.memory)


def stopped(signals: Signals, step: int, total: int, reason: str = "") -> Stopped:
    """What ends a run that was asked to stop, by a signal or for a reason, and has saved its state."""
    if reason:
        return Stopped(f"stopped after step {step} of {total}: {reason}; the state is saved", 0)
    return Stopped(f"stopped by {signals.name} after step {step} of {total}; the state is saved", signals.status)


def meta_of(run: Run, step: int, figures: Figures, memory: Mapping[str, Any]) -> Meta:
    """What is known of a checkpoint of a run: its step, figures on validation ({} without), the loop's memory."""
    mean, std = run.data.normalize
    return Meta(
        step=step,
        config=run.stored,
        model=run.model.name,
        parameters=preflight.parameters(run),
        classes=tuple(map(str, run.data.classes)),
        normalize={"mean": list(mean), "std": list(std)},
        metrics={f"validation_{name}": value for name, value in figures.items()},
        data={
            "name": run.data.name,
            "fingerprint": run.data.sources["train"].fingerprint,
            "picture": run.data.evaluation.picture,
            resampling.KEY: resampling.used(run.data),
        },
        versions=preflight.versions(run.parallel.devices[0]),
        loop=memory,
        pretrained=memory.get("pretrained"),
        figures=run.task.criteria,
        answer=run.answer,
    )
