"""The plots of a search: best so far, learning curves, each parameter by itself, the Pareto front."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcls.report import search_figure as figure
from jaxcls.report.markup import Markup, capital, join, label, tag
from jaxcls.report.search_figure import Record, Trial
from jaxcls.report.search_scale import Scale
from jaxcls.report.svg import BOTTOM, LEFT, LETTER, RIGHT, WIDTH, Plot, Values
from jaxcls.report.ticks import short_ticks

STYLE = {"complete": 0, "pruned": 4, "running": 2}  # of dots; what has failed is a cross
BEST = 1


class Dots(Plot):
    """A plot whose dots say what they are, and whose lower axis may be any scale of 0 to 1."""

    def __init__(self, *arguments: Any, scale: Scale | None = None, **options: Any):
        super().__init__(*arguments, **options)
        self.scale = scale
        self.told: dict[int, Sequence[str]] = {}
        self.crosses: list[tuple[float, str]] = []

    def trials(self, x: Values, y: Values, told: Sequence[str], name: str, style: int) -> None:
        """Dots with what each is, in one style."""
        if len(x):
            self.dots(x, y, name, style)
            self.told[len(self.series) - 1] = told

    def cross(self, x: float, told: str) -> None:
        """A mark on the lower axis."""
        self.crosses.append((x, told))

    def _draw(self, series):
        told = next((told for i, told in self.told.items() if self.series[i] is series), None)
        if told is None:
            return super()._draw(series)
        bottom = self.height - BOTTOM
        return join(
            tag(
                "circle",
                tag("title", words),
                cx=f"{self._x(x):.1f}",
                cy=f"{np.clip(self._y(y), self.top, bottom):.1f}",
                r=5 if "s1" in series.style else 3.6,
                class_=series.style.replace("line ", "dot "),
            )
            for x, y, words in zip(series.x, series.y, told, strict=True)
            if math.isfinite(x) and math.isfinite(y)
        )

    def _draw_spans(self):
        yield from super()._draw_spans()
        for x, told in self.crosses:
            at = {"x": f"{self._x(x):.1f}", "y": self.height - BOTTOM - 3}
            yield tag("text", tag("title", told), "×", class_="middle", **at)

    def _grid(self):
        if self.scale is None:
            return super()._grid()
        bottom, parts = self.height - BOTTOM, []
        marks = thinned(self.scale.marks(), (WIDTH - LEFT - RIGHT) / LETTER)
        for value, text in marks:
            x = f"{self._x(value):.1f}"
            parts.append(tag("line", x1=x, x2=x, y1=f"{self.top:.1f}", y2=bottom, class_="grid"))
            parts.append(tag("text", text, x=x, y=bottom + 16, class_="middle"))
        marks, offset = short_ticks(*self.ranges[1])
        for value, text in marks:
            y = f"{self._y(value):.1f}"
            parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
            parts.append(tag("text", text, x=LEFT - 6, y=f"{self._y(value) + 4:.1f}", class_="end"))
        middle, name = (self.top + bottom) / 2, self.labels[1] + (f" ({offset})" if offset else "")
        turned = f"rotate(-90 12 {middle:.1f})"
        parts.append(tag("text", self.labels[0], x=(LEFT + WIDTH - RIGHT) / 2, y=self.height - 8, class_="middle"))
        parts.append(tag("text", name, x=12, y=f"{middle:.1f}", transform=turned, class_="middle"))
        return join(parts)


def thinned(marks: list[tuple[float, str]], letters: float) -> list[tuple[float, str]]:
    """Every second mark as long as they don't fit beside each other."""
    while len(marks) > 2 and sum(len(text) + 1 for _, text in marks) > letters:
        marks = marks[::2]
    return marks


def progress(record: Record) -> Markup:
    """The best value so far over the epochs that all trials have spent; nothing where there is none."""
    points, objective = record.get("progress") or [], record["objectives"][0]
    if not points:
        return Markup("")
    spent, best = (np.array([point[i] for point in points], float) for i in (0, 1))
    x, y = np.repeat(spent, 2)[1:], np.repeat(best, 2)[:-1]  # steps: it holds until there is a better one
    total = max(float(spent[-1]), record["budget"].get("spent_epochs") or 0.0)
    factor, unit = figure.axis(objective)
    y_range, title = figure.focus(objective, best.tolist()), f"Best {figure.name(objective)} so far"
    plot = Dots(title, "epochs spent by all trials", unit, (0, total), y_range)
    plot.line(np.r_[x, total], factor * np.r_[y, best[-1]])
    told = [f"trial {trial}: {figure.value(objective, value)}, after {figure.epochs(at)} epochs"
            for at, value, trial in points]  # fmt: skip
    plot.trials(spent, factor * best, told, "", 0)
    plot.say(f"It ends at {figure.value(objective, best[-1])} after {figure.epochs(total)} epochs.")
    return tag("figure", plot.render())


def curves(record: Record) -> Markup:
    """The learning curves of all trials, that of the best in front; nothing where there is none."""
    objective = record["objectives"][0]
    drawn = [trial for trial in record["trials"] if _finite(trial)]
    if not drawn:
        return Markup("")
    best = record["best"][0] if record["best"] else None
    last = max(float(_finite(trial)[0][-1]) for trial in drawn)
    factor, unit = figure.axis(objective)
    y_range = figure.focus(objective, np.concatenate([_finite(trial)[1] for trial in drawn]).tolist())
    plot = Plot("Learning curves", "epochs of the trial", f"validation {unit}", (0, last), y_range)
    named = set()
    for trial in sorted(drawn, key=lambda t: t["number"] == best):  # the best is drawn last
        x, y = _finite(trial)
        style = BEST if trial["number"] == best else STYLE.get(trial["state"], 4)
        name = f"trial {best}, the best" if style == BEST else trial["state"]
        faint = style != BEST and len(drawn) > 1
        plot.line(x, factor * y, "" if name in named else name, style, faint=faint, dots=len(x) == 1)
        named.add(name)
    plot.say(f"{len(drawn)} trials.")
    return tag("figure", plot.render())


def _finite(trial):
    """(epochs, values) of a trial's evaluations; () where there are none."""
    points = np.array([point[1:] for point in trial["history"] if None not in point], float).reshape(-1, 2)
    return tuple(points.T) if len(points) else ()


def slices(record: Record, axes: Sequence[Scale]) -> list[Markup]:
    """A plot for each parameter: the trials' values over it, what failed as crosses on the axis."""
    objective = record["objectives"][0]
    valued = [trial for trial in record["trials"] if figure.first(trial) is not None]
    if not valued:
        return []
    y_range = figure.focus(objective, [trial["values"][0] for trial in valued])
    factor, unit = figure.axis(objective)
    plots = []
    for scale in axes:
        key = label(scale.key, 48)
        plot = Dots(key, key, unit, (-0.03, 1.03), y_range, scale=scale)
        for name, style, group in _groups(record, [t for t in valued if scale.key in t["params"]]):
            x = [scale.at(trial["params"][scale.key]) for trial in group]
            told = [
                f"{told_of(objective, trial)}; {key} {figure.parameter(trial['params'][scale.key])}" for trial in group
            ]
            plot.trials(x, [factor * trial["values"][0] for trial in group], told, name, style)
        for trial in record["trials"]:
            at = scale.at(trial["params"].get(scale.key)) if trial["state"] in ("failed", "lost") else math.nan
            if math.isfinite(at):
                plot.cross(at, f"trial {trial['number']} {trial['state']}")
        plots.append(tag("figure", plot.render()))
    return plots


def _groups(record, trials):
    """(name, style, trials) of each state, the best trial by itself and last."""
    best = record["best"][:1]
    for state in figure.STATES:
        group = [trial for trial in trials if trial["state"] == state and trial["number"] not in best]
        if group:
            yield state, STYLE.get(state, 4), group
    if group := [trial for trial in trials if trial["number"] in best]:
        yield f"trial {best[0]}, the best", BEST, group


def told_of(objective: Mapping[str, Any], trial: Trial) -> str:
    """A trial in a few words, for a dot or a line."""
    state = "" if trial["state"] == "complete" else f" ({trial['state']})"
    return f"trial {trial['number']}{state}: {figure.value(objective, figure.first(trial))}"


def front(record: Record) -> list[Markup]:
    """A plot for each further objective over the first, the Pareto front as a line."""
    objectives, plots = record["objectives"], []
    trials = [trial for trial in record["trials"] if trial["values"] and None not in trial["values"]]
    if not trials:
        return []
    for i, other in enumerate(objectives[1:], 1):
        (x_factor, x_unit), (y_factor, y_unit) = figure.axis(other), figure.axis(objectives[0])
        pairs = {t["number"]: (x_factor * t["values"][i], y_factor * t["values"][0]) for t in trials}
        x_range, y_range = (_padded([pair[k] for pair in pairs.values()]) for k in (0, 1))
        title = f"{capital(figure.name(objectives[0]))} over {figure.name(other)}"
        plot = Dots(title, x_unit, y_unit, x_range, y_range)
        on = sorted(pairs[number] for number in record["front"] if number in pairs)
        plot.line([x for x, _ in on], [y for _, y in on], style=BEST)
        for name, style, inside in (("trials", 0, False), ("Pareto front", BEST, True)):
            group = [trial for trial in trials if (trial["number"] in record["front"]) == inside]
            x, y = ([pairs[trial["number"]][k] for trial in group] for k in (0, 1))
            told = [f"trial {t['number']}: {_both(objectives, t, i)}; {figure.parameters(t)}" for t in group]
            plot.trials(x, y, told, name, style)
        plots.append(tag("figure", plot.render()))
    return plots


def _both(objectives: Sequence[Mapping[str, Any]], trial: Trial, i: int) -> str:
    """Two of a trial's values in words."""
    return ", ".join(f"{figure.name(objectives[k])} {figure.value(objectives[k], trial['values'][k])}" for k in (0, i))


def _padded(values):
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room
