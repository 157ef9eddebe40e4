"""The metrics of the steps since the last log line: left on the devices until they are told, then averaged."""

import math
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxcls import metrics
from jaxcls.errors import UserError
from jaxcls.logs.logger import Logger
from jaxcls.training import memory
from jaxcls.training.run import Run
from jaxcls.training.step import Metrics
from jaxcls.types import Figures

IN_FLIGHT = 2  # calls that may be under way on the devices before the loop waits for one
PRICED = 5  # steps that are measured before a line says what they take
WORTH = 60  # seconds that a run must have before it for that line


class Window:
    """See the module. `memory` is the loop's; of it the step of the last checkpoint is told.

    Attributes:
      shown: means of the last line that people are shown: the loss, and the first figure of the task.
    """

    def __init__(self, run: Run, log: Logger, memory: Mapping[str, Any]):
        self.run, self.log, self.memory = run, log, memory
        self.names = ("loss", *[figure.name for figure in run.task.criteria[:1]])
        self.calls: list[tuple[int, Metrics, int]] = []  # (steps done before, metrics on the devices, number of steps)
        self.shown: Figures = {}
        self.remarked = False  # the line before had a remark on it
        self.priced = False
        self.restart()

    def restart(self) -> None:
        """Begins the clock of the speed anew."""
        self.since, self.timed = time.monotonic(), 0  # a moment, and the steps done since

    def add(self, step: int, values: Metrics, n: int) -> None:
        """A call that does the n steps after `step`; waits where too many are under way."""
        self.calls.append((step, values, n))
        self.timed += n
        if len(self.calls) > IN_FLIGHT:
            jax.block_until_ready(self.calls[-1 - IN_FLIGHT][1])
        if self.timed >= PRICED and not self.priced:
            jax.block_until_ready(values)
            self.priced = True
            self._price(step + n)

    def _price(self, step):
        """Says once what a step takes of time and memory, and the rest of the run of time."""
        each = (time.monotonic() - self.since) / self.timed
        left = self.run.training.total_steps - step
        if each * left < WORTH:
            return
        used = memory.most(self.run.parallel.local)
        room = "" if used is None else f" and {memory.size(used)} of memory at most so far"
        self.log.note(
            f"measured over {self.timed} steps: {each:.3g} s a step{room}; about {math.ceil(each * left / 60)} min for "
            f"the {left:,} steps left, evaluations not counted"
        )

    def speed(self) -> float:
        """Training pictures per second since the last log line; 0 before the second step."""
        return self.timed * self.run.training.batch_size / max(time.monotonic() - self.since, 1e-9)

    def record(self, step: int) -> float:
        """Fetches the metrics, records their means as those of `step`, says what the task has to remark.

        Returns the speed until now.

        Raises:
          UserError: for a loss that is not finite.
        """
        if not self.calls:
            return self.speed()
        values: dict[str, list[float]] = {}
        for before, window, n in self.calls:
            fetched = jax.device_get(window)
            self._refuse_nonfinite(fetched, before, n)
            for name, (s, c) in fetched.items():
                sums = values.setdefault(name, [0.0, 0.0])
                sums[0] += float(np.sum(np.atleast_1d(s)[:n]))
                sums[1] += float(np.sum(np.atleast_1d(c)[:n]))
        means, speed = metrics.means({name: (s, c) for name, (s, c) in values.items()}), self.speed()
        self.shown = {name: means[name] for name in self.names if name in means}
        rate = float(self.run.training.learning_rate(step - 1))
        self.log.scalars(step, {**means, "learning_rate": rate, "pictures_per_second": speed})
        if (remark := self.run.task.remark(means, step)) and not self.remarked:
            self.log.warn(remark)
        self.remarked = bool(remark)
        self.calls = []
        self.restart()
        return speed

    def _refuse_nonfinite(self, fetched, before, n):
        """Raises UserError, which leaves the last good checkpoint as it is.

        In float16 a step that is not finite is skipped and the loss scale halved, which is nothing bad until the scale
        falls below 1: then it is not the scale.
        """
        if "loss_scale" in fetched:
            scale = np.atleast_1d(fetched["loss_scale"][0])[:n]
            fetched = {name: (np.where(scale < 1, np.nan, 0.0),) for name in ("loss", "grad_norm")}
        for name in ("loss", "grad_norm"):
            bad = np.flatnonzero(~np.isfinite(np.atleast_1d(fetched[name][0])[:n]))
            if bad.size:
                raise self.not_finite(name.replace("_", " "), before + int(bad[0]) + 1)

    def not_finite(self, what: str, step: int) -> UserError:
        """What ends a run whose numbers overflow."""
        saved = self.memory.get("saved")
        kept = f"the checkpoint of step {saved} is intact" if saved else "no checkpoint was written yet"
        return UserError(
            f"{what} is not finite at step {step}; {kept}. "
            "Lower config.schedule.peak, lengthen config.schedule.warmup, or set config.optim.clip_norm=1.0"
        )
