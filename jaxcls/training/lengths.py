"""How long a run is planned to be, and what its learning rate does after an end that was not the last one.

`config.extended` names the steps at which a run had come to its end before it got a longer duration, each with the rate
that what follows begins with where that was given: ("1140 steps", "2280 steps: 0.05"). Whatever depends on the length
of a run (shares of it, the shape of a schedule) is as it was planned first, so the past of an extended run never
changes. A schedule that does not depend on it goes on as it is.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxcls.errors import UserError
from jaxcls.hyperparameters import Section, number
from jaxcls.optim import schedules
from jaxcls.optim.schedules import Schedule

LOWEST = 0.01  # of the peak: a rate below it is no rate to go on with unasked
SHAPED = ("cosine", "cosine_7_16", "linear", "polynomial", "trapezoid", "one_cycle")  # by the length of the run
DURATIONS = {"step": ("every",), "exponential": ("every",), "sgdr": ("every",), "multi_step": ("milestones",)}
WAY = "or start another run from its weights: jaxcls train --from RUN --workdir=OTHER"


class End(NamedTuple):
    """An end that was not the last: after how many steps, and the rate that goes on from there; 0: the one reached."""

    step: int
    rate: float = 0.0


def ends(extended: Any) -> list[End]:
    """config.extended, read.

    Raises:
      UserError: for an entry that is none, or does not come after the one before.
    """
    found: list[End] = []
    for text in extended:
        match = re.fullmatch(r"(\d+) steps?(?:: ([0-9.e+-]+))?", str(text).strip())
        try:
            end = End(int(match[1]), float(match[2] or 0)) if match else End(0)
        except ValueError:
            end = End(0)
        if end.step <= (found[-1].step if found else 0) or not 0 <= end.rate < np.inf:
            raise UserError(
                f"config.extended: {str(text)[:80]!r} must be like '1140 steps' or '1140 steps: 0.05', in order; "
                "jaxcls train writes it when a longer config.duration is given."
            )
        found.append(end)
    return found


def entry(step: int, rate: float = 0.0) -> str:
    """An entry of config.extended."""
    return f"{step} steps: {rate!r}" if rate else f"{step} steps"


def planned(config: Any, total: int) -> int:
    """The steps that a run was planned for at first; `total` where it was not extended.

    Raises:
      UserError: where it is shorter than what is done, or a slow encoder has come to a stop.
    """
    before = ends(config.extended)
    if not before:
        return total
    if before[-1].step >= total:
        raise UserError(
            f"config.duration={config.duration!r} is {total} steps, and the run has done {before[-1].step}: it can "
            "only become longer. Earlier checkpoints are used with --step; a shorter run needs another --workdir."
        )
    if config.ssl.method and config.ssl.momentum_schedule == "cosine":
        raise UserError(
            "config.ssl.momentum_schedule='cosine' has brought the slow encoder to a stop at the end of the run, which "
            f"can't be extended; {WAY}."
        )
    return before[0].step


def depends(section: Any) -> bool:
    """Whether the rate of config.schedule at a step depends on how long the run is."""
    texts = [section.warmup] if section.name != "one_cycle" else []
    for key in DURATIONS.get(section.name, ()):
        value = getattr(section, key)
        texts += [value] if isinstance(value, str) else list(value)
    return section.name in SHAPED or any("%" in str(text) for text in texts)


def extended(config: Any, first: Schedule, peak: Any, total: int, shape: Callable[[Any, Any], Schedule]) -> Schedule:
    """The learning rate of a run that was extended, by one that depends on its length.

    Args:
      config: a Reader.
      first: the schedule of the first plan; `peak`: its highest rate.
      total: steps of the whole run.
      shape: (rate, steps) -> the schedule of what follows an end, from that rate on.

    Raises:
      UserError: where the rate has come down to about nothing, and none is given.
    """
    before, rate = ends(config.extended), first
    stops = [*(end.step for end in before[1:]), total]
    for end, stop in zip(before, stops, strict=True):
        reached = float(rate(np.int32(end.step - 1)))
        if not end.rate and reached < LOWEST * float(peak):
            raise UserError(
                f"config.schedule.name={config.schedule.name!r} has brought the rate down to {reached:.2g} at step "
                f"{end.step}, and a longer run goes on from there: say what it shall go on with, "
                f"--config.schedule.rest={float(peak) / 2:.2g} for half the peak, {WAY}."
            )
        start = number(end.rate or reached, "schedule.rest")
        rate = _joined(rate, shape(start, stop - end.step), number(end.step, "extended"))
    return rate


def rest(section: Section, rate: Any, steps: Any, shapes: Any, durations: Callable[..., int]) -> Schedule:
    """What follows an end: the schedule's own shape from a rate on; held, where the shape has come to its last level.

    `shapes`, `durations`: recipe.SHAPES, and a duration as steps of what follows.
    """
    name = section.name
    if name == "one_cycle":
        final = section.peak / section.div_factor / section.final_div_factor
        if final >= rate:
            return schedules.constant(rate)
        if section.anneal == "cosine":
            return schedules.cosine(rate, steps, final=final)
        return schedules.linear(rate, final, steps)
    if name not in SHAPED or (name != "cosine_7_16" and section.final >= rate):
        return schedules.constant(rate)
    return shapes[name](section, rate, steps, durations)


def _joined(first, then, at):
    return lambda t: jnp.where(t < at, first(t), then(jnp.maximum(t - at, 0)))
