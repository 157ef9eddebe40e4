"""What a search has measured, as text and as a range to draw."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcls.report.markup import in_words, label, percent

STATES = ("complete", "pruned", "running", "failed", "lost")
Trial = Mapping[str, Any]
Record = Mapping[str, Any]  # a search as search.json has it


def value(objective: Mapping[str, Any], number: float | None, digits: int = 2) -> str:
    """A value of an objective: a share in percent with so many decimals, else four digits; "–" where there is none."""
    if number is None or not math.isfinite(number):
        return "–"
    if objective["share"]:
        return percent(number, digits)
    return f"{number:,.0f}" if abs(number) >= 1e4 else f"{number:.4g}"


def interval(objective: Mapping[str, Any], ends: Sequence[float] | None) -> str:
    """ "93.10 % to 95.00 %", or nothing."""
    return f"{value(objective, ends[0])} to {value(objective, ends[1])}" if ends else ""


def spread(objective: Mapping[str, Any], values: Iterable[float | None]) -> str:
    """ "94.10 % ± 0.35 (n = 3)": mean and standard deviation; of one value no deviation."""
    known = [x for x in values if x is not None]
    if not known:
        return "–"
    mean = value(objective, float(np.mean(known)))
    if len(known) == 1:
        return f"{mean} (n = 1)"
    sd = float(np.std(known, ddof=1))
    return (
        f"{mean} ± {100 * sd:.2f} (n = {len(known)})" if objective["share"] else f"{mean} ± {sd:.2g} (n = {len(known)})"
    )


def parameter(x: Any) -> str:
    """A value of a searched parameter, three digits of numbers with a fraction."""
    if isinstance(x, float) and not isinstance(x, bool):
        return f"{x:.3g}"
    return label(", ".join(map(str, x)) if isinstance(x, list | tuple) else str(x))


def parameters(trial: Trial) -> str:
    """ "schedule.peak 0.1, batch_size 64"."""
    return ", ".join(f"{label(key)} {parameter(x)}" for key, x in trial["params"].items())


def duration(seconds: float) -> str:
    """ "3 h 5 min", "12 min", "4 min 5 s" or "17 s"."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min" if minutes >= 10 else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def epochs(number: float) -> str:
    """A number of epochs, as short as one digit after the point allows."""
    return f"{number:,.1f}".removesuffix(".0")


def name(objective: Mapping[str, Any]) -> str:
    """An objective in words."""
    return in_words(str(objective["name"]))


def first(trial: Trial) -> float | None:
    """A trial's value of the first objective; None where it has none."""
    return trial["values"][0] if trial["values"] else None


def axis(objective: Mapping[str, Any]) -> tuple[float, str]:
    """(factor, label) of an axis: shares are drawn in percent."""
    return (100.0, f"{name(objective)} (%)") if objective["share"] else (1.0, name(objective))


def focus(objective: Mapping[str, Any], values: Sequence[float]) -> tuple[float, float]:
    """The range of an axis, in its unit, where good values can be told apart.

    It goes down to twice as far from the best as the median lies. Runs that came to nothing would else press all others
    into one line; they are drawn at the edge.
    """
    sign = 1.0 if objective["best"] == "max" else -1.0
    good = sign * np.array(values)
    best, low = float(good.max()), float(good.min())
    low = max(low, best - 2 * (best - float(np.median(good))))
    if low == best:
        low = float(good.min())
    room = 0.06 * (best - low) or 0.02 * abs(best) or 1.0
    ends = sorted((sign * (low - room), sign * (best + room)))
    if objective["share"]:
        ends = [max(ends[0], 0.0), min(ends[1], 1.0)]
    factor, _ = axis(objective)
    return factor * ends[0], factor * ends[1]
