"""Line plots as small SVG: text stays text, colours come from the page (style.py) and so follow its dark mode.

Written by hand since a page of matplotlib's SVG has ten times the bytes and its colours are fixed.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxcls.report.markup import Markup, join, tag
from jaxcls.report.ticks import X_LETTERS, Y_LETTERS, log_ticks, opened, short_ticks

WIDTH, HEIGHT = 420, 300  # in units that are pixels on a phone: text of 12 units can be read there
LEFT, RIGHT, BOTTOM = 62, 24, 44
LETTER = 6.4  # mean width of a letter of the legend
NOTE = 12  # height of words beside a point
STYLES = 5  # series that style.py tells apart by colour and dashes


Values = Sequence[float] | Float[np.ndarray, " points"]


class Series(NamedTuple):
    """One curve: classes of the page's style, and what the legend calls it ("" for nothing)."""

    x: Float[np.ndarray, " points"]
    y: Float[np.ndarray, " points"]
    style: str
    name: str = ""
    dots: bool = False
    line: bool = True
    cloud: bool = False


class Plot:
    """A plot with axes, curves, bars and a legend.

    Args:
      title: heading, also what a screen reader says first.
      x_label, y_label: of the axes.
      x_range, y_range: (low, high).
      percent: axes whose values are shares shown in percent, of "x" and "y".
      height: of the whole picture.
      log: whether x is logarithmic: its range and values are above 0.
    """

    def __init__(
        self,
        title: str,
        x_label: str,
        y_label: str,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        *,
        percent: str = "",
        height: int = HEIGHT,
        log: bool = False,
    ):
        self.title, self.labels, self.percent, self.height = title, (x_label, y_label), percent, height
        self.log = log
        x_low, x_high = map(math.log10, x_range) if log else map(float, x_range)
        self.ranges = opened(x_low, x_high), opened(*map(float, y_range))
        self.series: list[Series] = []
        self.bars: list[tuple[float, float, float, str]] = []
        self.spans: list[tuple[float, float, float, int]] = []
        self.notes: list[tuple[float, float, str]] = []
        self.summary: list[str] = []

    def line(
        self,
        x: Values,
        y: Values,
        name: str = "",
        style: int = 0,
        *,
        faint: bool = False,
        dots: bool = False,
        reference: bool = False,
    ) -> None:
        """A curve in style 0 to 4; `dots` marks its points, `faint` sets it into the background; `reference` is the
        style of what others are compared with."""
        classes = "line reference" if reference else f"line s{style % STYLES}{' faint' if faint else ''}"
        self.series.append(Series(np.asarray(x, float), np.asarray(y, float), classes, name, dots))

    def dots(self, x: Values, y: Values, name: str = "", style: int = 0) -> None:
        """Points without a line."""
        self.series.append(
            Series(np.asarray(x, float), np.asarray(y, float), f"line s{style % STYLES}", name, True, line=False)
        )

    def cloud(self, x: Values, y: Values, name: str = "", style: int | None = 0) -> None:
        """Many points, in any order: round ones in styles 0 to 4, square ones in 5 to 9, grey ones for None."""
        shape = "round" if style is None or style < STYLES else "square"
        classes = f"cloud {shape} {'rest' if style is None else f's{style % STYLES}'}"
        self.series.append(Series(np.asarray(x, float), np.asarray(y, float), classes, name, line=False, cloud=True))

    def diagonal(self) -> None:
        """The line y = x, for comparison."""
        self.series.append(Series(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "line reference"))

    def bar(self, low: float, high: float, top: float, name: str = "") -> None:
        """A bar from the lower edge of the plot to `top`."""
        self.bars.append((low, high, top, name))

    def span(self, x: float, low: float, high: float, style: int = 0) -> None:
        """A vertical interval, in the style of a curve."""
        self.spans.append((x, low, high, style % STYLES))

    def note(self, x: float, y: float, words: str) -> None:
        """Words beside a point."""
        self.notes.append((x, y, words))

    def say(self, sentence: str) -> None:
        """Adds to what a screen reader says of the plot."""
        self.summary.append(sentence)

    def render(self) -> Markup:
        """The `svg` element."""
        legend, top = self._legend()
        self.top = top
        parts = [
            self._grid(),
            *self._draw_bars(),
            *map(self._draw, self.series),
            *self._draw_spans(),
            *self._draw_notes(),
            legend,
        ]
        alt = " ".join([self.title + ".", *self.summary])
        heading = tag("text", self.title, x=LEFT, y=15, class_="title")
        attributes = {"viewBox": f"0 0 {WIDTH} {self.height}", "role": "img", "aria_label": alt, "class_": "plot"}
        return tag("svg", tag("title", alt), heading, *parts, **attributes)

    def _x(self, value):
        low, high = self.ranges[0]
        value = np.log10(value) if self.log else np.asarray(value)
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def _y(self, value):
        low, high = self.ranges[1]
        bottom = self.height - BOTTOM
        return bottom - (np.asarray(value) - low) / (high - low) * (bottom - self.top)

    def _grid(self):
        parts, bottom, names = [], self.height - BOTTOM, list(self.labels)
        wide = (WIDTH - LEFT - RIGHT) / LETTER  # letters along the lower edge
        if self.log:
            marks, offset = log_ticks(*(10**end for end in self.ranges[0])), ""
        else:
            marks, offset = short_ticks(*self.ranges[0], percent="x" in self.percent, letters=X_LETTERS)
        names[0] += f" ({offset})" if offset else ""
        while len(marks) > 2 and sum(len(label) + 1 for _, label in marks) > wide:
            marks = marks[::2]
        for value, label in marks:
            x = f"{self._x(value):.1f}"
            parts.append(tag("line", x1=x, x2=x, y1=f"{self.top:.1f}", y2=bottom, class_="grid"))
            parts.append(tag("text", label, x=x, y=bottom + 16, class_="middle"))
        marks, offset = short_ticks(*self.ranges[1], percent="y" in self.percent, letters=Y_LETTERS)
        names[1] += f" ({offset})" if offset else ""
        for value, label in marks:
            y = f"{self._y(value):.1f}"
            parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
            parts.append(tag("text", label, x=LEFT - 6, y=f"{self._y(value) + 4:.1f}", class_="end"))
        middle = (self.top + bottom) / 2
        parts.append(tag("text", names[0], x=(LEFT + WIDTH - RIGHT) / 2, y=self.height - 8, class_="middle"))
        turned = f"rotate(-90 12 {middle:.1f})"
        parts.append(tag("text", names[1], x=12, y=f"{middle:.1f}", transform=turned, class_="middle"))
        return join(parts)

    def _draw(self, series):
        if series.cloud:
            return tag("path", d=marks(self._x(series.x), self._y(series.y)), class_=series.style)
        x, y = thin(self._x(series.x), self._y(series.y))
        y = np.clip(y, self.top - 1, self.height - BOTTOM + 1)  # a little beyond the edge, where it can be seen
        parts = []
        if series.line:
            parts.append(tag("path", d=path(x, y), class_=series.style))
        if series.dots:
            style = series.style.replace("line ", "dot ")
            good = np.isfinite(x) & np.isfinite(y)
            parts += [
                tag("circle", cx=f"{a:.1f}", cy=f"{b:.1f}", r=3.2, class_=style)
                for a, b in zip(x[good], y[good], strict=True)
            ]
        return join(parts)

    def _draw_bars(self):
        for low, high, value, name in self.bars:
            x, y = float(self._x(low)), float(self._y(value))
            width = max(1.0, float(self._x(high)) - x - 1)
            size = {"width": f"{width:.1f}", "height": f"{max(0.0, self.height - BOTTOM - y):.1f}"}
            yield tag("rect", tag("title", name) if name else "", x=f"{x:.1f}", y=f"{y:.1f}", class_="bar", **size)

    def _draw_spans(self):
        for x, low, high, style in self.spans:
            at = f"{self._x(x):.1f}"
            yield tag(
                "line", x1=at, x2=at, y1=f"{self._y(low):.1f}", y2=f"{self._y(high):.1f}", class_=f"line span s{style}"
            )

    def _draw_notes(self):
        """To the right of a point, to its left, or a line higher or lower: the first place that hides no other words,
        no point and no interval."""
        taken = [(float(self._x(x)) - 3, float(self._y(y)) - 3, 6.0, 6.0) for x, y, _ in self.notes]
        taken += [
            (float(self._x(x)), float(self._y(high)), 1.0, float(self._y(low) - self._y(high)))
            for x, low, high, _ in self.spans
        ]
        for x, y, words in self.notes:
            at, up, width = float(self._x(x)), float(self._y(y)), LETTER * len(words)
            places = [
                (left, up + down, width, NOTE) for down in (-6, -18, 6, -30, 18) for left in (at + 6, at - 6 - width)
            ]
            free = (place for place in places if self._inside(place) and not any(_meet(place, o) for o in taken))
            best = next(free, places[0])
            taken.append(best)
            yield tag("text", words, x=f"{best[0]:.1f}", y=f"{best[1] + 10:.1f}", class_="small")

    def _inside(self, place):
        left, top, width, height = place
        return left >= LEFT and left + width <= WIDTH and self.top <= top and top + height <= self.height - BOTTOM

    def _legend(self):
        """(the legend below the title, where the plot begins below it)."""
        named = [series for series in self.series if series.name]
        x, y, parts = LEFT, 31, []
        for series in named:
            width = 26 + LETTER * len(series.name)
            if x > LEFT and x + width > WIDTH:
                x, y = LEFT, y + 16
            if series.line:
                parts.append(tag("line", x1=x, x2=x + 18, y1=y, y2=y, class_=series.style))
            if series.cloud:
                parts.append(tag("path", d=marks([x + 9], [y]), class_=series.style))
            if series.dots:
                parts.append(tag("circle", cx=x + 9, cy=y, r=3.2, class_=series.style.replace("line ", "dot ")))
            parts.append(tag("text", series.name, x=f"{x + 22}", y=y + 4, class_="small"))
            x += math.ceil(width) + 8
        return join(parts), (y + 12 if named else 26)


def _meet(one, other):
    """Whether two boxes, (left, top, width, height), overlap."""
    return all(one[i] < other[i] + other[i + 2] and other[i] < one[i] + one[i + 2] for i in (0, 1))


def path(x: Values, y: Values) -> str:
    """The `d` of a curve. What is not finite leaves gaps; a point between two gaps becomes a dot."""
    words, drawing = [], False
    for a, b in zip(x, y, strict=True):
        if not (math.isfinite(a) and math.isfinite(b)):
            drawing = False
            continue
        words.append(f"{'L' if drawing else 'M'}{a:.1f} {b:.1f}")
        if not drawing:
            words.append(f"L{a:.1f} {b:.1f}")
        drawing = True
    return "".join(words)


def marks(x: Values, y: Values) -> str:
    """The `d` of points, each a stroke of no length: its ends make it round or square (style.py)."""
    return "".join(f"M{a:.1f} {b:.1f}h.01" for a, b in zip(x, y, strict=True))


def thin(
    x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]
) -> tuple[Float[np.ndarray, " kept"], Float[np.ndarray, " kept"]]:
    """Of the points in each column of pixels the first, the last, the highest and the lowest: it looks the same.

    `x` must rise or fall. Points that are not finite stay only where all of their column are.
    """
    if len(x) <= WIDTH:
        return x, y
    column = np.round(x, 0)
    starts = np.flatnonzero(np.r_[True, column[1:] != column[:-1]])
    kept = []
    for start, stop in zip(starts, [*starts[1:], len(x)], strict=True):
        part = y[start:stop]
        if np.isfinite(part).any():
            kept += sorted({start, start + int(np.nanargmin(part)), start + int(np.nanargmax(part)), stop - 1})
        else:
            kept.append(start)
    return x[kept], y[kept]
