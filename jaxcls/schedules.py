"""Durations in any unit as steps, and schedules: pure functions of the step number, traced inside the optimiser.

`schedule(t)` is what is in force at update t, counted from 0, as in PyTorch where `scheduler.step()` follows each
update.
"""

import math
import re

import jax.numpy as jnp

from jaxcls.errors import UserError

UNITS = ("step", "epoch", "%")


def steps(duration, *, steps_per_epoch, total=None, what="duration"):
    """A duration as a number of steps, rounded to the nearest.

    Args:
      duration: "500 steps", "90 epochs", "2.5 epochs", "5%" (of the whole run), or a plain number of steps. "" and
        None are 0.
      steps_per_epoch: steps in one epoch.
      total: steps of the run, needed for percentages.
      what: how to call the value in a message.

    Returns:
      int >= 0.

    Raises:
      UserError: for anything else, and for a positive duration that rounds to no step at all.
    """
    if duration in (None, "", 0):
        return 0
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(steps?|epochs?|%)?\s*", str(duration))
    if not match:
        raise UserError(f"{what} is {duration!r}; write it as '500 steps', '10 epochs' or '5%'.")
    value, unit = float(match[1]), (match[2] or "steps").rstrip("s")
    if unit == "%" and total is None:
        raise UserError(f"{what} is {duration!r}, but a share of the run makes no sense here; use steps or epochs.")
    n = math.floor(value * {"step": 1, "epoch": steps_per_epoch, "%": (total or 0) / 100}[unit] + 0.5)
    if n == 0 and value > 0:
        raise UserError(
            f"{what} is {duration!r}, which is less than one step (an epoch has {steps_per_epoch}); make it longer."
        )
    return n


def constant(value):
    """The same value for ever."""
    return lambda t: jnp.full((), value, jnp.float32)


def cosine(peak, total, *, final=0.0):
    """Half a cosine from `peak` at 0 to `final` at `total` (Loshchilov & Hutter, SGDR, eq. 5, without restarts)."""

    def schedule(t):
        share = jnp.clip(t / total, 0, 1)
        return final + (peak - final) * 0.5 * (1 + jnp.cos(jnp.pi * share))

    return schedule


def with_warmup(schedule, peak, warmup, *, start=0.0):
    """`schedule`, delayed by `warmup` steps in which the value climbs in a straight line to `peak`.

    The first update has `start + (peak - start) / warmup`, not zero: an update that does nothing is a wasted one.
    """
    if not warmup:
        return schedule

    def warmed(t):
        return jnp.where(t < warmup, start + (peak - start) * (t + 1) / warmup, schedule(t - warmup))

    return warmed


def one_cycle(peak, total, *, pct_start=0.3, div_factor=25.0, final_div_factor=1e4):
    """OneCycle (Smith & Topin, Super-Convergence), equal to PyTorch's `OneCycleLR` with cosine annealing.

    From peak / div_factor up to `peak` in the first `pct_start` of the run and down to
    peak / div_factor / final_div_factor at its last step. optax's `cosine_onecycle_schedule` peaks one step later and
    ends elsewhere (docs/design.md).
    """
    start = peak / div_factor
    return _two_phases(start, peak, start / final_div_factor, total, pct_start)


def one_cycle_momentum(base, highest, total, *, pct_start=0.3):
    """The momentum that goes with `one_cycle`: from `highest` down to `base` where the rate peaks, and back up."""
    return _two_phases(highest, base, highest, total, pct_start)


def _two_phases(start, middle, end, total, pct_start):
    turn = max(pct_start * total - 1, 1e-8)  # PyTorch's step numbers: the peak is at pct_start * total - 1
    last = total - 1

    def between(a, b, share):
        return b + (a - b) / 2 * (1 + jnp.cos(jnp.pi * jnp.clip(share, 0, 1)))

    def schedule(t):
        return jnp.where(
            t <= turn, between(start, middle, t / turn), between(middle, end, (t - turn) / max(last - turn, 1e-8))
        )

    return schedule
