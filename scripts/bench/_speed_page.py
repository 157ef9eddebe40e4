"""What all.py tells of the rows it has stored: regressions, the tables in Markdown, a page of plots."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from _speed_jobs import HIGHER, TABLES

from jaxcls.files import replacing
from jaxcls.report.markup import Markup, figure, join, paragraph, section, tag, unordered
from jaxcls.report.style import SHEET
from jaxcls.report.svg import STYLES, Plot

Line = Mapping[str, Any]  # of the file: what, values {column: [value, unit]}, commit, date, machine, load, versions, ..

LIMIT = 0.10


def series(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """The lines of each row, oldest first; rows of other machines or quick runs are rows of their own."""
    rows: dict[tuple, list[Line]] = {}
    for line in lines:
        rows.setdefault((line["what"], machine_of(line), line["quick"]), []).append(line)
    return {_name(key): found for key, found in rows.items()}


def machine_of(line: Line) -> str:
    """The machine in words."""
    m = line["machine"]
    return f"{m['cpu']}, {m['measured_on']} of {m['cpus']} cores, {m['memory_gib']} GiB"


def _name(key):
    what, machine, quick = key
    return f"{what} ({'quick, ' if quick else ''}{machine})"


def regressions(lines: Sequence[Line], limit: float = LIMIT) -> Iterator[str]:
    """A sentence for each value of a row's last line that is worse than in the line before by more than `limit`."""
    for found in series(lines).values():
        if len(found) < 2:
            continue
        before, now = found[-2:]
        for column, (value, unit) in now["values"].items():
            old, old_unit = before["values"].get(column, (None, unit))
            if not old or unit != old_unit:
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
    newest = [found[-1] for found in series(lines).values()]
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
        yield "\n" + "\n".join(f"{text}\n" for text in dict.fromkeys(map(conditions, rows)))


def conditions(line: Line) -> str:
    """Under what a line was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in line["versions"].items())
    kind = "Quick run, its figures mean little: " if line["quick"] else ""
    return f"{kind}{line['date'][:10]}, commit {line['commit']}, {machine_of(line)}, load {load(line)}; {versions}."


def load(line: Line) -> str:
    """The load averages of a line."""
    return "{:.1f} to {:.1f}".format(*line["load"])


def plot(name: str, found: Sequence[Line]) -> Markup:
    """The values of a row, each in units of its first, over its lines."""
    columns = list(dict.fromkeys(column for line in found for column in line["values"]))
    curves = []
    for column in columns:
        values = [line["values"].get(column, (float("nan"), ""))[0] for line in found]
        first = next((value for value in values if value == value and value), None)
        if first is not None:
            curves.append((column, [value / first for value in values]))
    known = [value for _, values in curves for value in values if value == value]
    room = 0.05 + 0.1 * (max(known) - min(known))
    last = len(found)
    picture = Plot(
        name, "measurement", "of the first", (1, max(2, last)), (min(known) - room, max(known) + room), height=360
    )
    for i, (column, values) in enumerate(curves[:STYLES]):
        picture.line(range(1, last + 1), values, column, i, dots=True)
    picture.say(" ".join(f"{column}: {number(values[-1])} of the first." for column, values in curves))
    told = [f"{i}: {line['commit']}, {line['date'][:10]}, load {load(line)}" for i, line in enumerate(found, 1)]
    return figure(picture.render(), "; ".join(told[-3:]))


def write_page(lines: Sequence[Line], path: Path) -> None:
    """Writes the page of plots; a row that was measured once has a figure too, of a single point."""
    worse = list(regressions(lines))
    rows = series(line for line in lines if line["values"])
    parts = []
    for table, title in TABLES.items():
        figures = [plot(name.split("/", 1)[1], f) for name, f in rows.items() if name.split("/")[0] == table]
        if figures:
            parts.append(section(table, title, tag("div", *figures, class_="plots")).render())
    lead = unordered(worse) if worse else paragraph("Nothing became slower by more than 10 % from the last time.")
    head = tag("head", tag("meta", charset="utf-8"), tag("title", "Speed"), tag("style", Markup(SHEET)))
    body = tag("body", tag("h1", "Speed"), lead, join(parts))
    with replacing(path) as temporary:
        Path(temporary).write_text(f"<!doctype html>\n{tag('html', head, body, lang='en')}\n", encoding="utf-8")
