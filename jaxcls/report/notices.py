"""What has to be known before the figures of a page are read: that the run is unfinished, rows that are not finite."""

import re

from jaxcls.metrics import describe
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Markup, Section, join, paragraph, tag

SPLITS = ("train", "validation", "test")
# What becomes of rows that are not finite, by section.
LEFT_OUT = {
    "confusion": "they were given no class, so they stand in no cell",
    "classes": "they count as not found",
    "groups": "they count as wrong",
    "tree": "they are wrong at every level, and left out of how bad mistakes are",
    "ranking": "they rank last for every class",
    "costs": "they were given no class, so they are left out of the costs",
    "probabilities": "they state no probability, so they are left out here",
    "selective": "they are never answered",
}


def notices(evidence: Evidence) -> Markup:
    """The notices, to stand above the verdict; nothing where there are none."""
    found = (unfinished(evidence), other_pictures(evidence), not_finite(evidence), groups(evidence))
    lines = [line for line in found if line]
    return tag("div", *map(paragraph, lines), class_="cautions notices", role="note") if lines else Markup("")


def unfinished(evidence: Evidence) -> str:
    """That the run has not come to its end, and how far it is; "" for one that has, or of which nothing is recorded.

    A run that ends, early or not, records its last evaluation at the step that config.duration comes to.
    """
    if not evidence.lines or evidence.meta.averaged:
        return ""
    last, total = max(line["step"] for line in evidence.lines), total_steps(evidence)
    if total is None:
        return ""
    if last < total:
        return (
            f"This run is unfinished: its records end at step {last:,} of {total:,}. The same command goes on from the "
            "newest checkpoint; all below is of the state so far."
        )
    if evidence.measured and not (evidence.workdir / "results.json").exists():
        return (
            f"This run is unfinished: all {total:,} steps are done, the final evaluation is not (there is no "
            "results.json). The same command makes up for it."
        )
    return ""


def total_steps(evidence: Evidence) -> int | None:
    """The steps of the whole run, by config.duration ("500 steps", "2.5 epochs"); None where that can't be told."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(steps?|epochs?)?\s*", str(evidence.config.get("duration", "")))
    if not match:
        return None
    value = float(match[1])
    if (match[2] or "").startswith("epoch"):
        lengths = [line["step"] / line["epoch"] for line in evidence.lines if line.get("epoch")]
        if not lengths:
            return None
        value *= round(lengths[-1])
    return int(value + 0.5)


def other_pictures(evidence: Evidence) -> str:
    """That these are not the run's own pictures, where they come from and what the run has seen of them; "" else."""
    if not evidence.about:
        return ""
    overlap, classes = evidence.about.get("overlap", {}), evidence.about.get("classes", {})
    text = f"These are not the run's own test pictures: {evidence.about.get('data', 'other data')}."
    if not overlap.get("known"):
        text += " Whether the run has trained on some of them is not known."
    elif seen := [f"{overlap[split]:,} are in its {split} split" for split in SPLITS if overlap.get(split)]:
        text += f" Of {evidence.figures['count']:,}, by content, {', '.join(seen)}."
        if unseen := evidence.about.get("unseen"):
            text += f" Without what trained or chose it: {describe(unseen)}."
    else:
        text += " By content none of them is in the run's splits."
    if classes.get("not_scored"):
        text += f" {classes['not_scored']:,} pictures of classes that the model does not know were not scored."
    return text


def not_finite(evidence: Evidence) -> str:
    """How many rows of logits are not finite, and what that means for the figures; "" where all are."""
    rows = evidence.figures.get("not_finite")
    if not rows:
        return ""
    are = "row of logits is" if rows == 1 else "rows of logits are"
    if evidence.sets:
        return (
            f"{rows:,} of {evidence.figures['count']:,} {are} not finite (NaN or infinite): counted as wrong about "
            "every class. The loss is infinite. All figures are of all rows, but for Brier score and calibration "
            "errors, which are of the others."
        )
    return (
        f"{rows:,} of {evidence.figures['count']:,} {are} not finite (NaN or infinite): counted as wrong, of no class. "
        "The loss is infinite. All figures are of all rows, but for calibration errors, which are of the others."
    )


def groups(evidence: Evidence) -> str:
    """That the groups of config.data.group_by group nothing; "" where they do, or there are none."""
    if not evidence.lone_groups:
        return ""
    return (
        f"Each of the {len(evidence.label):,} groups by config.data.group_by has one picture, so intervals by group "
        "are those by picture. The pattern is probably not the one that was meant: it should give pictures that belong "
        "together (of one patient, one video) the same name."
    )


def told(section: Section | None, evidence: Evidence) -> Section | None:
    """A section that says what became of rows that are not finite, where there are any."""
    rows = evidence.figures.get("not_finite")
    if section is None or not rows or section.identifier not in LEFT_OUT:
        return section
    line = f"{rows:,} of {evidence.figures['count']:,} rows are not finite; {LEFT_OUT[section.identifier]}."
    return section._replace(body=join([paragraph(line, class_="dim"), section.body]))
