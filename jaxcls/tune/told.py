"""What a search has come to, in lines for people."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcls import files
from jaxcls.criteria import Figure
from jaxcls.tune import repeats
from jaxcls.tune.choosing import Search
from jaxcls.types import PathLike


def setting(params: Mapping[str, Any]) -> str:
    """ "schedule.peak=0.1 batch_size=64"."""
    return " ".join(f"{key}={f'{value:.4g}' if isinstance(value, float) else value}" for key, value in params.items())


def values(figures: tuple[Figure, ...], known: Mapping[str, float]) -> list[str]:
    """ "accuracy 97.10 %" for each figure that is known."""
    pairs = [(figure, known[figure.name]) for figure in figures if known.get(figure.name) is not None]
    shown = [f"{100 * value:.2f} %" if figure.share else f"{value:,.4g}" for figure, value in pairs]
    return [f"{figure.name.replace('_', ' ')} {text}" for (figure, _), text in zip(pairs, shown, strict=True)]


def listed(search: Search) -> list[str]:
    """A line for each trial."""
    names, lines = [figure.name for figure in search.budget.objectives], []
    for record in search.records:
        known = dict(zip(names, record.values, strict=False)) if record.values else {}
        why = record.attrs.get("why")
        parts = [record.state + (f" ({why})" if why else ""), *values(search.budget.objectives, known)]
        lines.append(f"trial {record.number}: {', '.join(parts)} ({setting(record.params)})")
    return lines or ["no trial was begun yet"]


def summary(folder: PathLike) -> list[str]:
    """What search.json has: how many trials ended how, the best one, repetitions, where it is written."""
    record = files.read_json(Path(folder) / "search.json") or {}
    rows = {row["number"]: row for row in record.get("trials", [])}
    figures = tuple(Figure(**figure) for figure in record.get("objectives", []))
    counts = Counter(row["state"] for row in rows.values())
    spent = record.get("budget", {}).get("spent_epochs", 0.0)
    lines = ["", f"{len(rows)} trials: {', '.join(f'{n} {state}' for state, n in counts.items())}; {spent:.4g} epochs"]
    if record.get("best"):
        best = rows[record["best"][0]]
        known = dict(zip([figure.name for figure in figures], best["values"], strict=True))
        shown = ", ".join(values(figures, known))
        lines.append(f"best on validation: trial {best['number']}, {shown} ({setting(best['params'])})")
    lines += repeats.lines(record.get("repeats", []), figures[0]) if figures else []
    return [*lines, f"written to {folder}/search.html, .md, .csv and .json"]
