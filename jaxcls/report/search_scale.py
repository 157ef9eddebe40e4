"""The axis of a searched parameter: where a value lies between 0 and 1, and which marks it has."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxcls.report.markup import label
from jaxcls.report.ticks import decades, short_ticks

LETTERS = 12  # of a choice beside an axis
LOGARITHMIC = ("log", "pow2")


class Scale(NamedTuple):
    """An axis.

    Attributes:
      key: of the config.
      kind: as of the space; "choice" where values are names.
      low, high: of numbers, logarithms of them (to base 10 or 2) where the kind is logarithmic.
      names: of a choice, in order.
    """

    key: str
    kind: str
    low: float = 0.0
    high: float = 1.0
    names: tuple[Any, ...] = ()

    def at(self, value: Any) -> float:
        """Where a value lies, 0 to 1 within the range; NaN where it is none of this axis."""
        if self.kind == "choice":
            name = tuple(value) if isinstance(value, list) else value
            return (self.names.index(name) + 0.5) / len(self.names) if name in self.names else math.nan
        if not _number(value) or (self.kind in LOGARITHMIC and value <= 0):
            return math.nan
        return (_place(self.kind, value) - self.low) / (self.high - self.low)

    def marks(self) -> list[tuple[float, str]]:
        """(position, text) of the marks."""
        if self.kind == "choice":
            return [(self.at(name), label(str(name), LETTERS)) for name in self.names]
        if self.kind == "pow2":
            powers = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
            return [(self.at(2.0**p), f"{2.0**p:g}") for p in powers]
        if self.kind == "log":
            return [(self.at(value), f"{value:g}") for value in decades(10**self.low, 10**self.high)]
        marks = short_ticks(self.low, self.high)[0]
        whole = [(value, text) for value, text in marks if self.kind != "int" or value == round(value)]
        return [(self.at(value), text) for value, text in whole]


def scales(space: Iterable[Mapping[str, Any]], trials: Sequence[Mapping[str, Any]]) -> list[Scale]:
    """The axes of a search: of each dimension that any trial has a value of.

    Args:
      space: dimensions as search.json has them: key, kind, low and high or choices.
      trials: as search.json has them.
    """
    found = []
    for dimension in space:
        key, kind = str(dimension.get("key")), str(dimension.get("kind"))
        values = [trial["params"][key] for trial in trials if key in trial["params"]]
        if not values:
            continue
        choices = dimension.get("choices") or ()
        if kind == "choice" or not all(map(_number, values)):
            names = tuple(dict.fromkeys([*_plain(choices), *_plain(values)]))
            found.append(Scale(key, "choice", names=names))
            continue
        ends = [x for x in (dimension.get("low"), dimension.get("high"), *values) if _number(x)]
        if kind in LOGARITHMIC and min(ends) <= 0:
            kind = "linear"
        low, high = (_place(kind, x) for x in (min(ends), max(ends)))
        room = 0.5 if high <= low else 0.0
        found.append(Scale(key, kind, low - room, high + room))
    return found


def _plain(values):
    return [tuple(value) if isinstance(value, list) else value for value in values]


def _place(kind, value):
    return math.log2(value) if kind == "pow2" else math.log10(value) if kind == "log" else float(value)


def _number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
