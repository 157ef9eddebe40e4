"""The marks of an axis: which values have one, and their texts."""

import math

import numpy as np

X_LETTERS, Y_LETTERS = 12, 7  # of the longest label of an axis that has room


def ticks(low: float, high: float, number: int = 5, *, percent: bool = False) -> list[tuple[float, str]]:
    """About so many round values between two others, with their texts."""
    rough = (high - low) / number
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    values = np.arange(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1) * step
    values = values[(values >= low - 1e-6 * step) & (values <= high + 1e-6 * step)]  # the quotients were rounded
    if percent:
        return [(float(v), f"{100 * v:.{max(0, -math.floor(math.log10(step * 100) + 1e-9))}f} %") for v in values]
    return [(float(v), f"{0.0 if abs(v) < step / 1e6 else v:.10g}") for v in values]


def short_ticks(
    low: float, high: float, *, percent: bool = False, letters: int = Y_LETTERS
) -> tuple[list[tuple[float, str]], str]:
    """(`ticks`, ""), or, where their texts would be too long, those of the distances from the first, and from what.

    A range from 0.693147 to 0.693149 is labelled 0, 5e-07, 1e-06, .. ("+ 0.693147").
    """
    marks = ticks(low, high, percent=percent)
    if max(len(text) for _, text in marks) <= letters:
        return marks, ""
    first, text = marks[0]
    if percent or max(abs(low), abs(high)) <= 10 * (high - low):  # nothing in common: fewer digits
        if percent:
            return [(value, f"{100 * (value - first):.3g}") for value, _ in marks], f"+ {text}, in points"
        return [(value, f"{value:.3g}") for value, _ in marks], ""
    return [(value, f"{value - first:.3g}") for value, _ in marks], f"+ {text}"


def decades(low: float, high: float) -> list[float]:
    """Powers of ten in a range above 0, with what lies between them where there are few: .. 1, 2, 5 .."""
    for factors in ((1,), (1, 3), (1, 2, 5)):
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        values = [f * 10.0**p for p in powers for f in factors if low / 1.0001 <= f * 10.0**p <= high * 1.0001]
        if len(values) >= 3:
            return values
    return values or [low, high]


def log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round values between two above 0, for a logarithmic axis, with their texts."""
    values = decades(low, high)
    return [(value, f"{value:g}") for value in values] if len(values) > 2 else ticks(low, high)


def opened(low: float, high: float) -> tuple[float, float]:
    """A range that is wide enough for its ticks to differ."""
    least = 1e-9 * max(abs(low), abs(high), 1e-300)
    if high - low >= least and high > low:
        return low, high
    return (low, low + 1.0) if high <= low and abs(low) < 1e9 else (low - least, low + least)
