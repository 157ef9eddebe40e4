"""Durations in any unit as steps; schedules, pure functions of the step number that are traced inside the optimiser;
and state machines that follow a validation figure (`plateau`, `early_stopping`).

`schedule(t)` is what is in force at update t, counted from 0, as in PyTorch where `scheduler.step()` follows each
update.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from jaxcls.errors import UserError
from jaxcls.hyperparameters import float32, inverse, number

UNITS = ("step", "epoch", "%")
MOST_STEPS = 2**31 - 1  # the state counts them as int32
Schedule = Callable[[Any], Array]  # step -> value, both scalars


def steps(duration: str | int | None, *, steps_per_epoch: int, total: int | None = None, what: str = "duration") -> int:
    """A duration as a number of steps, rounded to the nearest.

    Args:
      duration: "500 steps", "90 epochs", "2.5 epochs", "5%" (of the whole run), or a plain number of steps. "" and
        None are 0.
      total: steps of the run, needed for percentages.
      what: how to call the value in a message.

    Raises:
      UserError: for anything else, a positive duration that rounds to no step at all, and one of 2^31 steps or more.
    """
    if duration in (None, "", 0):
        return 0
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(steps?|epochs?|%)?\s*", str(duration))
    if not match:
        raise UserError(f"{what} is {str(duration)[:80]!r}; write it as '500 steps', '10 epochs' or '5%'.")
    value, unit = float(match[1]), (match[2] or "steps").rstrip("s")
    if unit == "%" and total is None:
        raise UserError(f"{what} is {duration!r}, but a share of the run makes no sense here; use steps or epochs.")
    exact = value * {"step": 1, "epoch": steps_per_epoch, "%": (total or 0) / 100}[unit]
    if exact > MOST_STEPS:
        raise UserError(f"{what} is {str(duration)[:80]!r}, which is {exact:.3g} steps; there can be {MOST_STEPS:,}.")
    n = math.floor(exact + 0.5)
    if n == 0 and value > 0:
        raise UserError(
            f"{what} is {duration!r}, which is less than one step (an epoch has {steps_per_epoch}); make it longer."
        )
    return n


BATCH_RULES = ("linear", "sqrt")


def scaled_rate(rate: float, batch_size: int, *, per: int = 256, rule: str = "linear") -> float:
    """The learning rate for a batch, given the one for a batch of `per`: in proportion to it (Goyal et al., Accurate,
    Large Minibatch SGD, section 2.1), or, by "sqrt", to its square root (You et al., Large Batch Optimization for Deep
    Learning, section 4.2: LAMB)."""
    times = batch_size / per
    return rate * (times**0.5 if rule == "sqrt" else times)


# Schedules


def constant(value: float) -> Schedule:
    """The same value for ever."""
    return lambda t: jnp.asarray(value, jnp.float32)


def step(peak: float, every: int, *, factor: float = 0.1) -> Schedule:
    """`peak`, multiplied by `factor` after every `every` steps (PyTorch's `StepLR`)."""
    return lambda t: peak * jnp.power(factor, t // every)


def multi_step(peak: float, milestones: Sequence[int], *, factor: float = 0.1) -> Schedule:
    """`peak`, multiplied by `factor` at each of the steps `milestones` (PyTorch's `MultiStepLR`)."""
    return lambda t: peak * jnp.power(factor, jnp.sum(t >= jnp.asarray(milestones, jnp.int32)))


def exponential(peak: float, every: int, *, factor: float) -> Schedule:
    """`peak * factor ** (t / every)`, a smooth decay (PyTorch's `ExponentialLR` with every = 1)."""
    return lambda t: peak * jnp.power(factor, t * inverse(every))


def linear(start: float, end: float, total: int) -> Schedule:
    """A straight line from `start` at 0 to `end` at `total`, and `end` from then on (PyTorch's `LinearLR`)."""
    return _through([(0, start), (total, end)], "linear")


def polynomial(peak: float, total: int, *, power: float = 2.0, final: float = 0.0) -> Schedule:
    """From `peak` at 0 down to `final` at `total`: final + (peak - final) * (1 - t / total) ** power."""
    return lambda t: final + (peak - final) * (1 - jnp.clip(t * inverse(total), 0, 1)) ** power


def cubic(start: float, end: float, total: int) -> Schedule:
    """From `start` at 0 to `end` at `total` with the cube of t / total: slow at first."""
    return lambda t: start + (end - start) * jnp.clip(t * inverse(total), 0, 1) ** 3


def cosine(peak: float, total: int, *, final: float = 0.0) -> Schedule:
    """Half a cosine from `peak` at 0 to `final` at `total` (Loshchilov & Hutter, SGDR, eq. 5, without restarts)."""
    return _through([(0, peak), (total, final)], "cosine")


def cosine_7_16(peak: float, total: int) -> Schedule:
    """peak * cos(7/16 pi t / total): from `peak` at 0 to 0.195 of it at `total` (FixMatch, section 2.3)."""
    return lambda t: peak * jnp.cos(7 / 16 * math.pi * jnp.clip(t * inverse(total), 0, 1))


def sgdr(peak: float, first: int, *, mult: int = 1, final: float = 0.0) -> Schedule:
    """Cosines from `peak` towards `final`, each followed by a restart at `peak` (Loshchilov & Hutter, SGDR, eq. 5).

    Args:
      first: steps of the first cycle, T_0.
      mult: whole number >= 1; each cycle is that many times as long as the one before, T_mult. A run ends at the end
        of a cycle if it has first * (mult^n - 1) / (mult - 1) steps, or n * first where mult is 1.
      final: value that a cycle would reach with its last step + 1.
    """
    cycle = cosine(peak, 1, final=final)
    if mult == 1:
        return lambda t: cycle((t % first) * inverse(first))
    steps = [0]
    while steps[-1] < 2**31 // mult - first:  # every step that fits int32
        steps.append(steps[-1] * mult + int(first))
    starts = number(steps + [MOST_STEPS] * (32 - len(steps)), "schedule.starts")  # of one length, whatever the first

    def schedule(t):
        k = jnp.searchsorted(jnp.asarray(starts, jnp.int32), t, side="right") - 1
        return cycle((t - jnp.asarray(starts, jnp.int32)[k]) / (first * float(mult) ** k))

    return schedule


def trapezoid(peak: float, total: int, cooldown: int, *, final: float = 0.0) -> Schedule:
    """`peak`, held until `cooldown` steps before `total`, then a straight line to `final` at `total`.

    With `with_warmup` in front the trapezoid of Zhai et al., Scaling Vision Transformers, section 3.5 (there with an
    inverse root in place of the hold), today called warm-up, stable, decay.
    """
    return _through([(0, peak), (total - cooldown, peak), (total, final)], "linear")


def with_warmup(
    schedule: Schedule, peak: float, warmup: int, *, start: float = 0.0, inclusive: bool = False, delay: bool = True
) -> Schedule:
    """`schedule`, after `warmup` steps in which the value climbs in a straight line to `peak`.

    The first update has `start + (peak - start) / warmup`, not zero: an update that does nothing is a wasted one.

    Args:
      peak: what `schedule` starts with.
      warmup: steps; 0 for none.
      start: value of the step before the first.
      inclusive: the first update has `start` itself and the first after the warm-up `peak`, as with PyTorch's
        `LinearLR` (start = factor * peak) and timm's schedulers.
      delay: the schedule begins after the warm-up; else it has run below it from step 0, as with timm's schedulers
        without `warmup_prefix`.
    """
    if not warmup:
        return schedule

    slope = float32(peak - start) * inverse(warmup)

    def warmed(t):
        climbed = t if inclusive else t + 1
        return jnp.where(t < warmup, start + slope * climbed, schedule(jnp.maximum(t - warmup, 0) if delay else t))

    return warmed


def one_cycle(
    peak: float,
    total: int,
    *,
    pct_start: float = 0.3,
    anneal: str = "cosine",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Schedule:
    """OneCycle (Smith & Topin, Super-Convergence), equal to PyTorch's `OneCycleLR`.

    From peak / div_factor up to `peak` in the first `pct_start` of the run and down to
    peak / div_factor / final_div_factor at its last step. optax's `cosine_onecycle_schedule` peaks one step later and
    ends elsewhere (docs/design.md).

    Args:
      pct_start: share of the run before the peak, at most 0.5 with three phases.
      anneal: "cosine" or "linear", the form of the pieces.
      div_factor: peak / rate at step 0.
      final_div_factor: rate at step 0 / rate at the last step.
      three_phase: down to the rate of step 0 as fast as it went up, and to the last rate in the rest of the run.
    """
    start = peak / div_factor
    turns = _turns(total, pct_start, three_phase)
    down = [start] * (len(turns) - 3)
    return _through(list(zip(turns, [start, peak, *down, start / final_div_factor], strict=True)), anneal)


def one_cycle_momentum(
    base: float,
    highest: float,
    total: int,
    *,
    pct_start: float = 0.3,
    anneal: str = "cosine",
    three_phase: bool = False,
) -> Schedule:
    """The momentum that goes with `one_cycle`: from `highest` down to `base` where the rate peaks, and back up."""
    turns = _turns(total, pct_start, three_phase)
    return _through(list(zip(turns, [highest, base, *[highest] * (len(turns) - 2)], strict=True)), anneal)


def _turns(total, pct_start, three_phase):
    """Steps where the pieces of one-cycle meet: PyTorch's numbers, with the peak at pct_start * total - 1."""
    turn = max(pct_start * total - 1, 1e-8)
    return [0, turn, *([2 * turn] if three_phase else []), total - 1]


def _through(points, anneal):
    """A curve through (step, value) points in order, constant outside of them; pieces are lines or half cosines."""
    if anneal not in ("cosine", "linear"):
        raise ValueError(f"anneal is {anneal!r}; it can be 'cosine' or 'linear'")

    def schedule(t):
        value = points[0][1]
        for (t0, a), (t1, b) in zip(points, points[1:], strict=False):
            share = jnp.clip((t - t0) * inverse(max(t1 - t0, 1e-8)), 0, 1)
            left = (1 + jnp.cos(jnp.pi * share)) / 2 if anneal == "cosine" else 1 - share
            value = jnp.where(t > t0, b + (a - b) * left, value)  # exact at the end of a piece, where rates are small
        return jnp.asarray(value, jnp.result_type(float))

    return schedule


# What follows a validation figure. The memory is {} at first; each call returns a new one, so a run that was stopped
# goes on as if it had not been.
Memory = dict[str, Any]  # of numbers that JSON can hold


def plateau(
    memory: Memory,
    figure: float,
    *,
    mode: str = "min",
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    relative: bool = True,
    cooldown: int = 0,
    min_scale: float = 0.0,
) -> Memory:
    """Lowers a scale of the learning rate when a figure stops improving (PyTorch's `ReduceLROnPlateau`).

    Args:
      figure: the newest value. One that is not finite is no improvement.
      mode: "min" if less is better, or "max".
      factor: what the scale is multiplied by.
      patience: evaluations without improvement that are tolerated; the next one lowers the scale.
      threshold: how much better than the best a figure must be.
      relative: the threshold is a share of the best figure, not a difference.
      cooldown: evaluations after a reduction in which nothing is counted.
      min_scale: lowest scale.

    Returns:
      The new memory: "best" (None before a first finite figure), "bad" (evaluations without improvement), "cooldown"
      (evaluations left) and "scale", by which the rate is to be multiplied.
    """
    best, bad, left = memory.get("best"), memory.get("bad", 0), memory.get("cooldown", 0)
    scale = memory.get("scale", 1.0)
    if _better(figure, best, mode, threshold, relative):
        best, bad = float(figure), 0
    else:
        bad += 1
    if left > 0:
        left, bad = left - 1, 0
    if bad > patience:
        scale, bad, left = max(scale * factor, min_scale), 0, cooldown
    return {"best": best, "bad": bad, "cooldown": left, "scale": scale}


def early_stopping(
    memory: Memory,
    figure: float,
    *,
    mode: str = "min",
    patience: int = 10,
    threshold: float = 0.0,
    relative: bool = False,
) -> Memory:
    """Tells when a figure has not improved for more than `patience` evaluations.

    Arguments as for `plateau`. Returns the new memory: "best", "bad" and "stop", True once training should end.
    """
    best, bad = memory.get("best"), memory.get("bad", 0)
    if _better(figure, best, mode, threshold, relative):
        best, bad = float(figure), 0
    else:
        bad += 1
    return {"best": best, "bad": bad, "stop": bool(memory.get("stop")) or bad > patience}


def _better(figure, best, mode, threshold, relative):
    if mode not in ("min", "max"):
        raise ValueError(f"mode is {mode!r}; it can be 'min' or 'max'")
    if not math.isfinite(figure):
        return False
    if best is None:
        return True
    sign = 1 if mode == "max" else -1
    bar = best * (1 + sign * threshold) if relative else best + sign * threshold
    return sign * figure > sign * bar
