"""The pictures that tell most where labels are sets: labels that were missed, that were invented, and what is right."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxcls.report.evidence import Evidence
from jaxcls.report.gallery import card, looks
from jaxcls.report.markup import Section, join, label, paragraph, percent, section, tag

if TYPE_CHECKING:
    from jaxcls.report.pictures import Pictures

MISSED, INVENTED, BEST = 8, 8, 4
NAMED = 6  # classes of a picture that are listed


class Shown(NamedTuple):
    """An evaluated row, and the class that its heat map is of."""

    row: int
    about: int


def choose(evidence: Evidence) -> dict[str, list[Shown]]:
    """The surest mistakes and the surest sets without one; a picture stands in one list only.

    missed: by the probability of the right class that was not named, rising. invented: by that of the wrong class that
    was, falling. best: pictures with labels, all right, by the probability of their least sure answer, falling.
    """
    probability, said = evidence.said_of_sets
    stated = np.where(np.isfinite(probability), probability, np.where(said.label, -1.0, 2.0))  # the worst there is
    missed = np.where(said.label & ~said.chosen, stated, np.inf)
    invented = np.where(said.chosen & ~said.label, stated, -np.inf)
    out, taken = {}, set()
    for name, scores, most in (("missed", missed, MISSED), ("invented", -invented, INVENTED)):
        least = scores.min(axis=1)
        order = [int(i) for i in np.argsort(least, kind="stable") if np.isfinite(least[i]) and int(i) not in taken]
        out[name] = [Shown(i, int(scores[i].argmin())) for i in order[:most]]
        taken |= {shown.row for shown in out[name]}
    sure = np.where(said.label, stated, 1 - stated).min(axis=1)
    good = np.flatnonzero((said.chosen == said.label).all(axis=1) & said.label.any(axis=1))
    best = good[np.argsort(-sure[good], kind="stable")][:BEST]
    out["best"] = [Shown(int(i), int(np.where(said.label[i], stated[i], -np.inf).argmax())) for i in best]
    return out


def gallery(evidence: Evidence, pictures: "Pictures | None" = None, why_not: str = "") -> Section:
    """The section; arguments as of report.gallery.gallery."""
    chosen = choose(evidence)
    every = [shown for part in chosen.values() for shown in part]
    rows, about = np.array([s.row for s in every], int), np.array([s.about for s in every], np.int32)
    seen, why_not = looks(evidence, pictures if len(every) else None, rows, about, why_not)
    parts = [paragraph(_about(evidence, pictures, seen, why_not))]
    titles = {"missed": "Missed labels", "invented": "Invented labels", "best": "All right, and sure of it"}
    at = 0
    for name, part in chosen.items():
        if part:
            cards = (
                tag("li", _card(evidence, s, look)) for s, look in zip(part, seen[at : at + len(part)], strict=True)
            )
            parts.append(join([tag("h3", titles[name]), tag("ul", *cards, class_="cards")]))
        at += len(part)
    return section("pictures", "Pictures", *parts)


def _about(evidence, pictures, seen, why_not):
    said = evidence.said_of_sets[1]
    missed, invented = int((said.label & ~said.chosen).sum()), int((said.chosen & ~said.label).sum())
    wrong = int((said.chosen != said.label).any(axis=1).sum())
    if wrong:
        lost = "1 label was missed" if missed == 1 else f"{missed:,} labels were missed"
        text = (
            f"{lost} and {invented:,} {'was' if invented == 1 else 'were'} invented, in {wrong:,} of "
            f"{len(said.label):,} pictures. A confident mistake may be a label that is missing or wrong: look at the "
            "picture before blaming the model."
        )
    else:
        text = "There were no mistakes."
    if not any(seen):
        return f"{text} The pictures themselves are not shown{f': {why_not}' if why_not else ''}."
    text += " They are shown as the model saw them, after resizing and cropping."
    if any(look and look.heat is not None for look in seen):
        text += (
            f" Beside each is its heat map ({pictures.method}) for the class of its first line: the brighter, the more "
            "the place spoke for it."
        )
    return text


def _card(evidence, shown, look):
    i, about = shown
    probability, said = evidence.said_of_sets
    p, truth, named = probability[i], said.label[i], said.chosen[i]
    name = evidence.shown[about]
    mark = "✓" if truth[about] == named[about] else "✗ missed" if truth[about] else "✗ invented"
    lines = [tag("b", f"{mark} “{name}” ({percent(float(p[about]))})")]
    lines.append(tag("div", f"has: {_listed(evidence, p, np.flatnonzero(truth))}"))
    lines.append(tag("div", f"named: {_listed(evidence, p, np.flatnonzero(named))}"))
    lines.append(tag("div", label(evidence.identifier(i), 120), class_="dim"))
    alt = f"Picture with {_listed(evidence, p, np.flatnonzero(truth))}"
    return card(look, lines, alt, f"What spoke for {name}: {alt}")


def _listed(evidence, p, classes):
    """Classes with their probabilities, the surest first; "nothing" for none."""
    order = sorted(classes.tolist(), key=lambda c: -np.nan_to_num(p[c], nan=-1))
    shown = ", ".join(f"{evidence.shown[c]} ({percent(float(p[c]), 0)})" for c in order[:NAMED])
    return (shown or "nothing") + (f" and {len(order) - NAMED} more" if len(order) > NAMED else "")
