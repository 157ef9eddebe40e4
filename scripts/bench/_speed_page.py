"""What all.py tells of the rows it has stored: regressions, the tables in Markdown, a page of plots."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from _speed_jobs import HIGHER, TABLES, THEIR_COLUMNS, THEIR_ROWS

from jaxcls.files import replacing
from jaxcls.report.markup import Markup, figure, join, paragraph, section, tag, unordered
from jaxcls.report.style import SHEET
from jaxcls.report.svg import STYLES, Plot

Line = Mapping[str, Any]  # of the file: what, values {column: [value, unit]}, commit, date, machine, load, versions, ..

LIMIT = 0.10


def series(lines: Iterable[Line]) -> list[list[Line]]:
    """The lines of each row, oldest first; rows of other machines or quick runs are rows of their own."""
    rows: dict[tuple, list[Line]] = {}
    for line in lines:
        rows.setdefault((line["what"], machine_of(line), line["quick"]), []).append(line)
    return list(rows.values())


def machine_of(line: Line) -> str:
    """The machine in words."""
    m = line["machine"]
    return f"{m['cpu']}, {m['measured_on']} of {m['cpus']} cores, {m['memory_gib']} GiB"


def regressions(lines: Sequence[Line], limit: float = LIMIT) -> Iterator[str]:
    """A sentence for each value of a row's last line that is worse than in the line before by more than `limit`.

    What is measured for comparison only, such as PyTorch's own time, is left out.
    """
    for found in series(lines):
        if len(found) < 2 or found[-1]["what"] in THEIR_ROWS:
            continue
        before, now = found[-2:]
        for column, (value, unit) in now["values"].items():
            old, old_unit = before["values"].get(column, (None, unit))
            if not old or unit != old_unit or column.startswith(THEIR_COLUMNS):
                continue
            more = value / old if unit not in HIGHER else old / value if value else float("inf")
            if more > 1 + limit:
                yield (
                    f"{now['what']}, {column}: {number(value)} {unit} at {now['commit']}, {number(old)} at "
                    f"{before['commit']}: {100 * (more - 1):.0f} % worse (load {now['load'][0]:.1f}, "
                    f"{before['load'][0]:.1f} before)"
                )


def number(value: float) -> str:
    """Three digits, and all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def tables(lines: Sequence[Line]) -> Iterator[str]:
    """The newest line of each row, as Markdown; below each table the machine, load, versions and date."""
    newest = [found[-1] for found in series(lines)]
    for table, title in TABLES.items():
        rows = [line for line in newest if line["what"].split("/")[0] == table]
        if not rows:
            continue
        columns = {name: unit for line in rows for name, (_, unit) in line["values"].items()}
        head = [table, *(f"{name}, {unit}" for name, unit in columns.items())]
        yield "\n".join([f"### {title}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"])
        for line in rows:
            cells = (number(line["values"][name][0]) if name in line["values"] else "" for name in columns)
            yield f"| {' | '.join([line['what'].split('/', 1)[1], *cells])} |"
        yield "\n" + "\n".join(f"{text}\n" for text in conditions(rows))


def conditions(lines: Sequence[Line]) -> Iterator[str]:
    """Under what lines were measured: a sentence for all that differ in their load alone."""
    alike: dict[str, list[float]] = {}
    for line in lines:
        versions = ", ".join(f"{name} {version}" for name, version in line["versions"].items())
        kind = "Quick run, its figures mean little: " if line["quick"] else ""
        words = f"{kind}{line['date'][:10]}, commit {line['commit']}, {machine_of(line)}; {versions}"
        alike.setdefault(words, []).extend(line["load"])
    for words, loads in alike.items():
        yield f"{words}; load {min(loads):.1f} to {max(loads):.1f}."


def load(line: Line) -> str:
    """The load averages of a line."""
    return "{:.1f} to {:.1f}".format(*line["load"])


def plots(found: Sequence[Line]) -> Iterator[Markup]:
    """The values of a row that are ours, each in units of its first, over its lines: five curves a plot."""
    columns = list(dict.fromkeys(column for line in found for column in line["values"]))
    curves = {}
    for column in columns:
        values = [line["values"].get(column, (float("nan"), ""))[0] for line in found]
        first = next((value for value in values if value == value and value), None)
        if first is not None and not column.startswith(THEIR_COLUMNS):
            curves[column] = [value / first for value in values]
    told = [f"{i}: {line['commit']}, {line['date'][:10]}, load {load(line)}" for i, line in enumerate(found, 1)]
    caption = f"{machine_of(found[-1])}. {'Quick runs. ' if found[-1]['quick'] else ''}{'; '.join(told[-3:])}"
    for names in batched(curves, STYLES):
        known = [value for name in names for value in curves[name] if value == value]
        y_range = min(known) - 0.05, max(known) + 0.05
        x = range(1, len(found) + 1)
        title = found[-1]["what"].split("/", 1)[1]
        picture = Plot(title, "measurement", "of the first", (1, max(2, len(found))), y_range, height=340)
        for i, name in enumerate(names):
            picture.line(x, curves[name], name, i, dots=True)
            picture.say(f"{name}: {number(curves[name][-1])} of the first.")
        yield figure(picture.render(), caption)


def batched(names: Iterable[str], n: int) -> Iterator[list[str]]:
    """The names, n at a time."""
    found = list(names)
    yield from (found[i : i + n] for i in range(0, len(found), n))


def write_page(lines: Sequence[Line], path: Path) -> None:
    """Writes the page of plots; a row that was measured once has plots too, of single points."""
    worse = list(regressions(lines))
    rows = series(line for line in lines if line["values"])
    parts = []
    for table, title in TABLES.items():
        figures = [p for found in rows if found[0]["what"].split("/")[0] == table for p in plots(found)]
        if figures:
            parts.append(section(table, title, tag("div", *figures, class_="plots")).render())
    lead = unordered(worse) if worse else paragraph("Nothing became slower by more than 10 % from the last time.")
    head = tag("head", tag("meta", charset="utf-8"), tag("title", "Speed"), tag("style", Markup(SHEET)))
    body = tag("body", tag("h1", "Speed"), lead, join(parts))
    with replacing(path) as temporary:
        Path(temporary).write_text(f"<!doctype html>\n{tag('html', head, body, lang='en')}\n", encoding="utf-8")
