"""The page of a search, `search.html`, with its tables as Markdown and CSV: made of `search.json` alone."""

import json
from pathlib import Path

from jaxcls import files
from jaxcls.report import search_head as head
from jaxcls.report import search_parts as parts
from jaxcls.report import search_plots as plots
from jaxcls.report.document import document
from jaxcls.report.markup import Section, join, label, paragraph, tag
from jaxcls.report.search_figure import Record
from jaxcls.report.search_scale import scales
from jaxcls.report.search_text import as_csv, markdown
from jaxcls.types import PathLike


def write(record: Record, folder: PathLike) -> list[Path]:
    """Writes search.html, search.md and search.csv into a search's folder; returns their paths.

    Args:
      record: as search.json has it (tune.records.collect).
      folder: of the search.

    Raises:
      UserError: where they can't be written.
    """
    record = json.loads(json.dumps(record))  # the page of a record and of its file are the same
    texts = {"html": page(record), "md": markdown(record), "csv": as_csv(record)}
    paths = [Path(folder) / f"search.{kind}" for kind in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        with files.replacing(path) as temporary:
            temporary.write_bytes(text.encode("utf-8", "replace"))  # names of files may be no Unicode
    return paths


def page(record: Record) -> str:
    """The page as text."""
    axes = scales(record["space"], record["trials"])
    drawn = join([plots.progress(record), plots.curves(record)])
    sections = [
        parts.front(record),
        _plotted("history", "Course of the search", drawn, parts.COURSE),
        parts.importance(record),
        _plotted("slices", "Each parameter", join(plots.slices(record, axes)), parts.SLICES),
        parts.parallel(record, axes),
        parts.trials(record),
        parts.cost(record),
        parts.left_out(record),
        parts.about(record),
    ]
    title = f"Search of {label(str(record['name']))}"
    top = [tag("p", "jaxcls · report of a search", class_="dim"), tag("h1", title), head.cautions(record)]
    footer = "Made by jaxcls from search.json. docs/tune.md says how to read it."
    return document(
        f"{title}: report", join([*top, *head.best(record)]), [part for part in sections if part is not None], footer
    )


def _plotted(identifier, title, drawn, about) -> Section | None:
    if not drawn:
        return None
    return Section(identifier, title, join([paragraph(about), tag("div", drawn, class_="plots")]))
