"""The findings for people: a CSV whose column `action` can be edited, and a sheet with thumbnails to choose from."""

import base64
import collections
import csv
import html
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from jaxcls.data.cleaning.findings import PROBLEMS, Finding
from jaxcls.data.cleaning.sheet import PAGE
from jaxcls.data.cleaning.survey import Collection
from jaxcls.errors import UserError
from jaxcls.text import cell, from_cell

COLUMNS = ("path", "split", "class", "problem", "score", "suggestion", "action", "group", "detail")
THUMBNAIL = 176  # pixels of the longer side


def cells(x: Finding) -> list[str]:
    """One row, in the order of COLUMNS."""
    group = str(x.group or "")
    return [x.path, x.split, x.label, x.problem, f"{x.score:.4f}", x.suggestion, x.action, group, x.detail]


def counts(findings: list[Finding]) -> dict[str, int]:
    """Pictures with each of PROBLEMS."""
    number = collections.Counter(x.problem for x in findings)
    return {problem: number[problem] for problem in PROBLEMS}


def write_csv(path: Path, findings: list[Finding]) -> None:
    """UTF-8 with the mark at its start by which spreadsheets know it; text that they would compute behind an
    apostrophe (`text.cell`), which `to_move` takes away."""
    with open(path, "w", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(map(cell, cells(x)) for x in findings)


def to_move(path: Path) -> list[str]:
    """The paths of a CSV with `move` in any of their rows, in order. Commas, semicolons or tabs separate.

    Raises:
      UserError: not such a CSV; an action that is neither `move` nor `keep`.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); name the CSV that this script has written"
        ) from error
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    if not {"path", "action"} <= set(reader.fieldnames or ()):
        raise UserError(f"{path} has no columns 'path' and 'action'; name the CSV that this script has written")
    paths: dict[str, None] = {}
    for row in reader:
        action = (row["action"] or "").strip().lower()
        if action not in ("move", "keep", ""):
            raise UserError(f"{path}, line {reader.line_num}: action {row['action']!r} must be 'move' or 'keep'")
        if action == "move":
            paths[from_cell(row["path"])] = None
    return list(paths)


def write_html(
    path: Path,
    title: str,
    summary: str,
    findings: list[Finding],
    collection: Collection,
    *,
    most: int = 300,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """One file with everything in it: thumbnails, choices, and a button that saves them as a CSV like `write_csv`'s.

    Args:
      path: of the file.
      title, summary: text at its top.
      findings: in the order in which they are shown.
      collection: for the pictures.
      most: of a problem are shown; of what is left out the sheet tells the number, and the CSV it saves has it.
      progress: called as progress(done, total).
    """
    numbered = list(enumerate(findings))
    sections, total, done = [], sum(min(most, n) for n in counts(findings).values()), 0
    for problem, what in PROBLEMS.items():
        rows = [(number, x) for number, x in numbered if x.problem == problem]
        figures, group = [], None
        for number, x in rows[:most]:
            figures.append(_figure(number, x, thumbnail(collection, x.row), first=bool(x.group) and x.group != group))
            group, done = x.group, done + 1
            if progress:
                progress(done, total)
        if rows:
            left = f"<p>{len(rows) - most:,} more are in the CSV.</p>" if len(rows) > most else ""
            heading = f"{problem.replace('_', ' ')}: {what} ({len(rows):,})"
            sections.append(f'<section><h2>{heading}</h2><div class="grid">{"".join(figures)}</div>{left}</section>')
    data = json.dumps([list(COLUMNS), *map(cells, findings)]).replace("<", "\\u003c")
    parts = {
        "TITLE": html.escape(title),
        "SUMMARY": html.escape(summary),
        "SECTIONS": "\n".join(sections),
        "DATA": data,
    }
    page = re.sub(r"<!--([A-Z]+)-->", lambda match: parts[match[1]], PAGE)
    path.write_text(page, encoding="utf-8", errors="replace")


def _figure(number: int, x: Finding, image: str, *, first: bool) -> str:
    source = f'<img src="{image}" alt="">' if image else '<span class="none">no picture</span>'
    place = " / ".join(filter(None, (x.split, x.label)))
    group = f"group {x.group}, " if x.group else ""
    checked = " checked" if x.action == "move" else ""
    return (
        f"<figure{' class=first' if first else ''}>{source}<figcaption><b>{html.escape(place)}</b>"
        f"<span>{html.escape(x.path)}</span><span>{html.escape(x.detail)}</span>"
        f"<small>{group}score {x.score:.3f}, suggested: {x.suggestion}</small></figcaption>"
        f'<label><input type="checkbox" data-row="{number}"{checked}> move aside</label></figure>\n'
    )


def thumbnail(collection: Collection, row: int) -> str:
    """A JPEG as a data URI, THUMBNAIL pixels at most; "" if the picture cannot be read any more."""
    try:
        picture = Image.fromarray(collection.picture(row))
    except UserError:
        return ""
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
