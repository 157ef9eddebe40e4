"""A search as Markdown and as CSV."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from jaxcls.report import search_figure as figure
from jaxcls.report.search_figure import Record
from jaxcls.text import NAME, cell, printable


def ordered(record: Record) -> list[Mapping[str, Any]]:
    """The trials: the best first, then those that have another value or none, by number."""
    place = {number: i for i, number in enumerate(record["best"])}
    return sorted(record["trials"], key=lambda trial: (place.get(trial["number"], len(place)), trial["number"]))


def keys(record: Record) -> list[str]:
    """The searched parameters, in the order of the space."""
    used = [key for trial in record["trials"] for key in trial["params"]]
    return list(dict.fromkeys([*(str(dimension["key"]) for dimension in record["space"]), *used]))


def as_csv(record: Record) -> str:
    """A line for each trial: numbers as they are, shares of 1."""
    objectives, names = record["objectives"], keys(record)
    lines = io.StringIO()
    out = csv.writer(lines, lineterminator="\n")
    head = ["trial", "state", *names, *(objective["name"] for objective in objectives)]
    out.writerow([*map(cell, head), "interval_low", "interval_high", "epochs", "seconds", "front", "why", "folder"])
    for trial in ordered(record):
        values = trial["values"] or [None] * len(objectives)
        out.writerow(
            cell("" if x is None else x)
            for x in (
                trial["number"],
                trial["state"],
                *(trial["params"].get(key) for key in names),
                *values,
                *(trial["interval"] or (None, None)),
                trial["epochs"],
                trial["seconds"],
                trial["number"] in record["front"] if len(objectives) > 1 else None,
                printable(trial["why"]),
                trial["folder"],
            )
        )
    return lines.getvalue()


def markdown(record: Record) -> str:
    """A page: what is best, how often it was repeated, a table of the trials, what has failed."""
    objectives, names = record["objectives"], keys(record)
    interval = ["95 % interval"] if any(trial["interval"] for trial in record["trials"]) else []
    head = ["trial", "state", *map(_name, names), *map(figure.name, objectives), *interval, "epochs", "seconds"]
    rows = []
    for trial in ordered(record):
        values = trial["values"] or [None] * len(objectives)
        params = [figure.parameter(trial["params"][key]) if key in trial["params"] else "" for key in names]
        shown = [figure.value(objective, x) for objective, x in zip(objectives, values, strict=True)]
        ends = [figure.interval(objectives[0], trial["interval"])] if interval else []
        cost = [figure.epochs(trial["epochs"]), f"{trial['seconds']:,.0f}"]
        rows.append([str(trial["number"]), trial["state"], *params, *shown, *ends, *cost])
    parts = [f"# Search of {_name(record['name'])}", "", _line(summary(record)), ""]
    if record["command"]:
        parts += ["```", printable(record["command"]), "```", ""]
    parts += [*(f"- {_line(line)}" for line in repeated(record)), *([""] if record["repeats"] else [])]
    parts += [_row(head), f"|{'---|' * len(head)}", *map(_row, rows)]
    failed = [trial for trial in record["trials"] if trial["why"] and trial["state"] in ("failed", "lost")]
    if failed:
        parts += ["", "Failed:", "", *(f"- trial {t['number']}: {printable(t['why'])}" for t in failed)]
    return "\n".join([*parts, ""])


def summary(record: Record) -> str:
    """One or two sentences: which trial is best by what, of how many, at what cost."""
    trials, objective = record["trials"], record["objectives"][0]
    spent = f"{figure.epochs(record['budget']['spent_epochs'])} epochs"
    count = f"{len(trials):,} trial{'s' if len(trials) != 1 else ''}"
    if not trials:
        return "There is no trial yet."
    if not record["best"]:
        return f"Not one of {count} has a result; {spent} were trained."
    best = next(trial for trial in trials if trial["number"] == record["best"][0])
    ends = figure.interval(objective, best["interval"])
    value = figure.value(objective, figure.first(best))
    told = f"{figure.name(objective)} {value} on validation" + (
        f" (95\N{NO-BREAK SPACE}% interval {ends})" if ends else ""
    )
    but = "" if best["state"] == "complete" else f", though it is not complete ({best['state']})"
    first = f"Trial {best['number']} is the best of {count} that trained {spent} together{but}"
    if len(trials) == 1:
        first = f"There is one trial, number {best['number']}, of {spent}{but}"
    return f"{first}: {told}, with {figure.parameters(best)}."


def repeated(record: Record) -> list[str]:
    """A line for each trial that was repeated with several seeds."""
    objective = record["objectives"][0]
    lines = []
    for entry in record["repeats"]:
        line = f"trial {entry['trial']} with several seeds: validation {figure.spread(objective, entry['validation'])}"
        if test := entry.get("test"):
            line += f", test {figure.spread(objective, test.get(objective['name'], []))}"
            if ends := figure.interval(objective, test.get("interval")):
                line += f", 95 % interval of the mean {ends}"
        lines.append(line)
    return lines


def _name(text):
    return printable(text, NAME)


def _row(cells):
    return "| " + " | ".join(_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _line(text):
    return printable(text.replace("\N{NO-BREAK SPACE}", " "))
