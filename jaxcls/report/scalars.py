"""How good a model is where there are no logits: by the figures that its task recorded, whatever their names are."""

import math
from typing import Any

from jaxcls.checkpoints.view import flatten_config
from jaxcls.criteria import Figure
from jaxcls.report import features
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import (
    Markup,
    Section,
    capital,
    in_words,
    join,
    paragraph,
    percent,
    section,
    table,
    unordered,
)
from jaxcls.report.overview import how_chosen, warnings

BETTER = {"max": "higher", "min": "lower"}
MOST = {"max": "highest", "min": "lowest"}


NOTHING = (
    "Nothing was measured: there are no predictions of a test or validation split in this run, so this page shows how "
    "training went, and nothing about how good the model is."
)


def overview(evidence: Evidence) -> Markup:
    """One plain sentence, made of the first of the task's figures that was recorded, and cautions."""
    said = verdict(evidence) if evidence.measured else NOTHING
    return join([paragraph(said, class_="verdict"), warnings(list(features.cautions(evidence)))])


def verdict(evidence: Evidence) -> str:
    """The value of that figure, and on what; where there is none, that the page can't tell how good the model is."""
    unseen = " that played no part in training" if evidence.split == "test" else ""
    on = f"{_pictures(evidence)}{unseen}"
    values = numbers(evidence)
    figure = next((figure for figure in evidence.choosing if figure.name in values), None)
    if figure is None:
        return (
            f"The model was run on {on}, but no figure was recorded that tells how good it is; this page shows how "
            "training went."
        )
    value = written(values[figure.name], figure, digits=1)
    return f"On {on} its {in_words(figure.name)} is {value}; {BETTER[figure.best]} is better."


def measured(evidence: Evidence) -> Section:
    """Which pictures these are, how the checkpoint was chosen, and all figures, the task's own first."""
    by, values = evidence.chosen_by, numbers(evidence)
    about = [
        f"{capital(_pictures(evidence))}, each counted once.",
        how_chosen(evidence, f"{MOST[by.best]} {in_words(by.name)}" if by else ""),
    ]
    known = {figure.name: figure for figure in evidence.choosing}
    order = [name for name in known if name in values] + [name for name in values if name not in known]
    rows = [
        (
            capital(in_words(name)),
            written(values[name], known.get(name)),
            BETTER[known[name].best] if name in known else "",
        )
        for name in order
    ]
    head = ("Figure", "Value", "Better")
    figures = table(head, rows, words=(0, 2)) if rows else paragraph("No figure was recorded.")
    return section("measured", "What was measured", unordered(about), figures)


def numbers(evidence: Evidence) -> dict[str, float]:
    """The figures that are numbers, nested ones as "macro.f1"; nothing else can be put into a line of a table."""
    flat: dict[str, Any] = flatten_config(evidence.figures)
    flat = {name: math.nan if x is None else x for name, x in flat.items()}  # so JSON has what is not finite
    return {name: x for name, x in flat.items() if isinstance(x, int | float) and not isinstance(x, bool)}


def written(value: float, figure: Figure | None, digits: int = 2) -> str:
    """A value as text: a share in percent with so many decimals, a count as it is, anything else with four digits."""
    if not math.isfinite(value):
        return "not finite"
    if figure is not None and figure.share:
        return percent(value, digits)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _pictures(evidence):
    """What was measured on, in words."""
    count = evidence.figures.get("count")
    return f"{count:,} {evidence.split} pictures" if isinstance(count, int) else f"the {evidence.split} pictures"
