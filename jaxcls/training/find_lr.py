"""The learning-rate range test (Smith, Cyclical Learning Rates for Training Neural Networks, section 3.3): a config is
trained for some steps with a rate that rises from step to step, and the loss tells which rates are good.

In the form that fastai made common: the rate rises exponentially, the loss is smoothed, and the test ends where it
diverges. The step is the config's own, with its optimiser, batch and augmentation; nothing is saved.
"""

import copy
import math
import tempfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.logs.logger import Logger
from jaxcls.optim.schedules import scaled_rate
from jaxcls.settings.reader import resolve
from jaxcls.training import build, preflight
from jaxcls.types import Note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIVERGED = 4.0  # times the lowest smoothed loss; fastai's number
MEMORY = 1 / 20  # of the smoothing, as a share of the steps asked for: fastai's 0.98 is half of its 100 steps
LEAST = 10  # steps


class Sweep(NamedTuple):
    """What was measured, one entry a step; n may be less than asked for.

    Attributes:
      rates: learning rates.
      losses: the loss at each; NaN in steps that float16 skipped.
      smoothed: running averages of them.
      diverged: whether the loss ended the test.
    """

    rates: Float[np.ndarray, " n"]
    losses: Float[np.ndarray, " n"]
    smoothed: Float[np.ndarray, " n"]
    diverged: bool


class Suggestion(NamedTuple):
    """A learning rate and where it comes from.

    Attributes:
      rate: the smaller one of `steepest` and a tenth of `lowest`.
      steepest: where the smoothed loss falls fastest, by the logarithm of the rate.
      lowest: where it is lowest.
    """

    rate: float
    steepest: float
    lowest: float


def geometric(low: float, high: float, steps: int) -> Float[np.ndarray, " steps"]:
    """`steps` rates from `low` to `high`, each the same multiple of the one before.

    Raises:
      UserError: for what is no such range.
    """
    if not (0 < low < high < math.inf):
        raise UserError(f"--low={low:g} --high={high:g}: they must be above 0 and in this order; try 1e-5 and 1.")
    if steps < LEAST:
        raise UserError(f"--steps={steps}: at least {LEAST} are needed to see where the loss falls.")
    return np.geomspace(low, high, steps)


def sweep(step: Callable[[float], float], rates: Float[np.ndarray, " steps"]) -> Sweep:
    """Calls `step(rate) -> loss` for each rate until the loss diverges.

    That is where the smoothed loss exceeds `DIVERGED` times its lowest value, or a loss is infinite; this last step is
    left out. NaN stands for a step that did not happen (float16) and is in no average.

    The smoothed loss is an exponential average whose memory is `MEMORY` of the steps, divided by the weights so far, as
    Adam's averages are.
    """
    keep = 1 - 1 / max(1.0, MEMORY * len(rates))
    losses, smoothed, total, weight, lowest, diverged = [], [], 0.0, 0.0, math.inf, False
    for rate in rates:
        loss = step(rate)
        if not math.isnan(loss):
            total, weight = keep * total + (1 - keep) * loss, keep * weight + 1 - keep
        average = total / weight if weight else math.nan
        diverged = math.isinf(average) or average > DIVERGED * lowest
        if diverged:
            break
        lowest = min(lowest, average) if weight else lowest
        losses.append(loss)
        smoothed.append(average)
    return Sweep(np.asarray(rates)[: len(losses)], np.array(losses), np.array(smoothed), diverged)


def suggest(measured: Sweep) -> Suggestion:
    """The Suggestion of a Sweep: the smaller one of two customary rules, which errs on the safe side.

    Where the loss falls fastest training is quick; where it is lowest it is about to diverge, and a tenth of that rate
    keeps a distance. The first tenth of the steps is left out of the search for the fastest fall: few losses have been
    averaged there.

    Raises:
      UserError: where the loss did not fall.
    """
    rates, losses = measured.rates, measured.smoothed
    good = np.flatnonzero(np.isfinite(losses))
    at = good[np.argmin(losses[good])] if good.size else 0
    falling = good[(good <= at) & (good >= len(rates) // 10)]
    slopes = np.gradient(losses[falling], np.log(rates[falling])) if falling.size > 1 else np.zeros(1)
    if slopes.min() >= 0:
        remedy = "lower --low" if measured.diverged else "raise --high, or --steps where it is noisy"
        raise UserError(f"the loss fell at no rate, so there is none to suggest; {remedy}.")
    steepest, lowest = float(rates[falling[np.argmin(slopes)]]), float(rates[at])
    return Suggestion(min(steepest, lowest / 10), steepest, lowest)


def prepare(config: Mapping[str, Any]) -> ConfigDict:
    """The config with a constant rate of 1, which `lr_scale` then makes any other, and nothing that follows figures.

    A momentum that one_cycle would have changed is `optim.momentum` (or b1) here, and pictures have the size that
    `data.augment` gives them, whatever `data.resize_schedule` says.
    """
    constant, default = copy.deepcopy(resolve(config)), default_config()
    for section in ("schedule", "plateau", "early_stopping"):
        constant[section] = default[section]
    constant.schedule.name, constant.schedule.peak = "constant", 1.0
    constant.data.resize_schedule = ()
    return constant


def range_test(config: Mapping[str, Any], rates: Float[np.ndarray, " steps"], note: Note = print) -> Sweep:
    """The Sweep of a config.

    Args:
      config: a config (defaults.py).
      rates: from `geometric`.
      note: where lines about data and model go.

    Raises:
      UserError: for anything in the config that cannot work.
    """
    run = build.build(prepare(config))
    with tempfile.TemporaryDirectory() as place:
        preflight.check(run, place, note=note)
        state, _ = run.first_state()
        with Logger(place, total_steps=len(rates), steps_per_epoch=run.training.steps_per_epoch) as log:
            state = run.parallel.place(run.complete(state, {}, place, log))
            feed, done = run.train_feed(), 0

            def step(rate):
                nonlocal state, done
                scale = run.parallel.replicate({"lr_scale": np.float32(rate)})
                state, values, _ = feed(state.replace(controls={**state.controls, **scale}), done, done + 1)
                done += 1
                total, count = (float(np.atleast_1d(x)[0]) for x in jax.device_get(values)["loss"])
                if not count:
                    return math.nan  # float16 skipped the step
                return total / count if math.isfinite(total) else math.inf

            try:
                return sweep(step, rates)
            finally:
                feed.close()


def peak(config: ConfigDict, rate: float) -> float:
    """The value of config.schedule.peak that gives this rate: it may be meant for another batch size."""
    per = config.schedule.per_batch
    return rate / scaled_rate(1.0, config.batch_size, per=per, rule=config.schedule.batch_rule) if per else rate


def draw(measured: Sweep, chosen: Suggestion | None, title: str = "") -> "Figure":
    """The matplotlib figure of a Sweep: losses by rate, and the Suggestion where there is one.

    Made without pyplot: no display is needed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.semilogx(measured.rates, measured.losses, color="#0072B2", alpha=0.25, linewidth=0.8)
    axes.semilogx(measured.rates, measured.smoothed, color="#0072B2", linewidth=1.8, label="loss, smoothed")
    if chosen is not None:
        marks = [
            ("suggested", chosen.rate, "#D55E00", "-"),
            ("steepest", chosen.steepest, "#009E73", "--"),
            ("lowest", chosen.lowest, "#333333", ":"),
        ]
        for name, rate, colour, dashes in marks:
            axes.axvline(rate, color=colour, linestyle=dashes, linewidth=1.4, label=f"{name} {rate:.3g}")
    good = measured.smoothed[np.isfinite(measured.smoothed)]
    if good.size:
        room = 0.1 * (np.ptp(good) or 1.0)
        axes.set_ylim(good.min() - room, good.max() + room)  # single steps may lie far beyond
    axes.set_title(title, fontweight="bold")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.grid(True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    return figure
