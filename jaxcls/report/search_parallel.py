"""All parameters of a search in one picture: parallel coordinates (Inselberg 1985)."""

from collections.abc import Sequence

import numpy as np

from jaxcls.report import search_figure as figure
from jaxcls.report.markup import Markup, label, tag
from jaxcls.report.search_figure import Record
from jaxcls.report.search_plots import thinned, told_of
from jaxcls.report.search_scale import Scale
from jaxcls.report.svg import path
from jaxcls.report.ticks import short_ticks

NAMES = 24  # letters of a key above an axis
WIDE, TALL = 880, 330


def parallel(record: Record, axes: Sequence[Scale]) -> Markup:
    """Each trial as a line across all parameters to its value: the better, the stronger; the best in colour.

    Nothing with fewer than two parameters, or two trials.
    """
    objective = record["objectives"][0]
    valued = [trial for trial in record["trials"] if figure.first(trial) is not None]
    if len(axes) < 2 or len(valued) < 2:
        return Markup("")
    factor, unit = figure.axis(objective)
    low, high = figure.focus(objective, [trial["values"][0] for trial in valued])
    marks = [(_share(v, low, high), t) for v, t in short_ticks(low, high)[0]]
    columns = [(label(scale.key, NAMES), scale.marks()) for scale in axes] + [(unit, marks)]
    places = np.linspace(60, WIDE - 70, len(columns))
    sign = 1 if objective["best"] == "max" else -1
    ranked = sorted(
        valued, key=lambda t: (t["number"] in record["best"][:1], sign * t["values"][0])
    )  # the best is last
    parts = []
    for rank, trial in enumerate(ranked):
        end = min(max(_share(factor * trial["values"][0], low, high), 0.0), 1.0)
        y = np.array([*(scale.at(trial["params"].get(scale.key)) for scale in axes), end])
        best = rank == len(ranked) - 1
        look = {"opacity": f"{0.08 + 0.6 * (rank / len(ranked)) ** 2:.2f}"} if not best else {"opacity": 1}
        line = path(places, _down(y))
        parts.append(tag("path", tag("title", told_of(objective, trial)), d=line, class_=f"line s{int(best)}", **look))
    for i, (x, (name, ticks)) in enumerate(zip(places, columns, strict=True)):
        parts.append(tag("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=_down(1), y2=_down(0), class_="grid"))
        parts.append(tag("text", name, x=f"{x:.1f}", y=18 if i % 2 or len(columns) < 6 else 34, class_="small middle"))
        aside, class_ = (8, "small") if i == len(columns) - 1 else (-6, "small end")
        for at, text in thinned(ticks, 120):
            parts.append(tag("text", text, x=f"{x + aside:.1f}", y=f"{_down(at) + 4:.1f}", class_=class_))
    alt = f"Parallel coordinates of {len(valued)} trials. The best is trial {ranked[-1]['number']}."
    box = {"viewBox": f"0 0 {WIDE} {TALL}", "role": "img", "aria_label": alt}
    return tag("figure", tag("svg", tag("title", alt), *parts, **box), class_="wide scroll")


def _share(value, low, high):
    return (value - low) / (high - low) if high > low else 0.5


def _down(share):
    return TALL - 14 - np.asarray(share) * (TALL - 64)
