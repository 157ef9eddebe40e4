"""The report of a run: one HTML file that needs nothing else, put together from its sections."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls import files
from jaxcls.columns import IMPORTANCE
from jaxcls.errors import UserError
from jaxcls.measure import stored
from jaxcls.report import notices, record, scalars
from jaxcls.report.by_level import by_level
from jaxcls.report.classes import classes, groups
from jaxcls.report.confusion import confusion
from jaxcls.report.costs import costs
from jaxcls.report.document import document
from jaxcls.report.evidence import Evidence, read
from jaxcls.report.exports import exports
from jaxcls.report.features import features
from jaxcls.report.folds import of_folds
from jaxcls.report.gallery import gallery
from jaxcls.report.importance import importance
from jaxcls.report.markup import Markup, Section, join, tag
from jaxcls.report.multilabel import overview as set_overview
from jaxcls.report.multilabel import sections as of_sets
from jaxcls.report.overview import measured, overview, title
from jaxcls.report.pareto import smaller
from jaxcls.report.pruned import pruned
from jaxcls.report.ranking import ranking
from jaxcls.report.trust import selective, trust
from jaxcls.types import Note, PathLike

if TYPE_CHECKING:
    from jaxcls.report.pictures import Pictures

FOOTER = "Made by jaxcls from the files of the run. docs/report.md says how to read it."
NO_DATA = "the data was not opened"


def write_report(
    workdir: PathLike,
    step: int | None = None,
    split: str | None = None,
    *,
    pictures: "Pictures | None" = None,
    why_not: str = NO_DATA,
    note: Note = print,
) -> Path:
    """Writes `report.html` into a workdir, from the files there, and returns its path.

    Of a step that is not the run's result it is `report-<step>.html`; the name of an evaluation on other pictures
    stands before the step. Beside it `eval/<split>-<step>.json` gets the figures (measure.figures), for other programs;
    without logits it stays as the evaluation left it.

    Args:
      workdir: of the run.
      step, split: which evaluation; None for the run's result (evidence.read).
      pictures: for pictures, heat maps and costs; None leaves them out.
      why_not: the reason for that, which the page states.
      note: where a line goes when something was left out.

    Raises:
      UserError: where the workdir holds no run, a file is damaged or the page can't be written.
    """
    evidence = read(workdir, split, step)
    content = page(evidence, pictures, why_not, note)
    result = evidence.step is None or evidence.step == stored.final_step(workdir)
    other = "" if evidence.split in ("", *stored.SPLITS) else f"-{evidence.split}"
    path = Path(workdir) / f"report{other}{'' if result else f'-{evidence.step}'}.html"
    if evidence.with_logits:
        beside = Path(workdir) / "eval" / f"{evidence.split}-{evidence.step}.json"
        about = {key: value for key, value in evidence.about.items() if key not in evidence.measured_figures}
        about |= {IMPORTANCE: evidence.importance} if evidence.importance else {}
        figures = {"split": evidence.split, "step": evidence.step, **evidence.measured_figures, **about}
        _write(beside, json.dumps(figures) + "\n")
    _write(path, content)
    return path


def page(evidence: Evidence, pictures: "Pictures | None" = None, why_not: str = NO_DATA, note: Note = print) -> str:
    """The report as text."""
    size = None
    if pictures is not None:
        try:
            size = pictures.costs()
        except UserError as error:
            note(f"the report lacks the model's costs: {error}")
    verdict, sections = _how_good(evidence, pictures, why_not)
    sections[1:1] = [of_folds(evidence), features(evidence, pictures, why_not)]  # behind what was measured
    sections += [
        record.training(evidence),
        record.speed(evidence, size),
        pruned(evidence),
        exports(evidence),
        smaller(evidence),
        record.config(evidence),
        record.environment(evidence),
    ]
    head = [tag("p", "jaxcls · report of a run", class_="dim"), tag("h1", title(evidence)), notices.notices(evidence)]
    head.append(verdict)
    present = [part for part in sections if part is not None]
    return document(f"{title(evidence)}: report", join(head), present, FOOTER)


def _how_good(evidence: Evidence, pictures: "Pictures | None", why_not: str) -> tuple[Markup, list[Section | None]]:
    """What the page says first, and the sections on how good the model is: more where there are logits."""
    if not evidence.measured:
        return scalars.overview(evidence), []
    if not evidence.with_logits:
        return scalars.overview(evidence), [scalars.measured(evidence)]
    if evidence.sets:
        return set_overview.overview(evidence), of_sets.sections(evidence, pictures, why_not)
    parts = [
        measured(evidence),
        confusion(evidence),
        classes(evidence),
        by_level(evidence),
        groups(evidence),
        importance(evidence),
        gallery(evidence, pictures, why_not),
        ranking(evidence),
        costs(evidence),
        trust(evidence),
        selective(evidence),
    ]
    return overview(evidence), [notices.told(part, evidence) for part in parts]


def _write(path, content):
    with files.replacing(path) as temporary:
        temporary.write_bytes(content.encode("utf-8", "replace"))  # names of files may be no Unicode
