"""What `jaxcls prune` took away: the counts and groups of prune.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Markup, Section, facts, join, label, paragraph, percent, section, table, tag, unordered

FILE = "prune.json"  # training.prune_run writes it
SHOWN = 40  # groups, those with the most channels
NAMED = 6  # groups named beside a reason


def pruned(evidence: Evidence) -> Section | None:
    """The section; None of a run that was not made by pruning. A damaged file is a line of it."""
    try:
        found = files.read_json(evidence.workdir / FILE, strict=True)
    except UserError as error:
        return section("pruned", "What was pruned", paragraph(f"{error}."))
    if found is None:
        return None
    if not isinstance(found, dict) or not (rows := _counts(found)):
        return section("pruned", "What was pruned", paragraph(f"{FILE} is not of a form that this version knows."))
    if isinstance(found.get("of"), str):
        rows.insert(0, ("Made of", tag("code", label(found["of"], 300))))
    groups = found.get("groups")
    return section("pruned", "What was pruned", facts(rows), _groups(groups) if isinstance(groups, dict) else "")


def _counts(found):
    """Lines of what went from how much to how much."""
    rows = []
    for key, title in (("parameters", "Parameters"), ("multiply_adds", "Multiply-adds of a picture")):
        match found.get(key):
            case [int(before), int(after)] if before > 0:
                rows.append((title, f"{before:,} → {after:,}, that is {percent(after / before)}"))
    return rows


def _groups(found: Mapping[str, Any]) -> Markup:
    """What was kept of the groups, the largest first, and why others stayed whole."""
    sound = {label(name): group for name, group in found.items() if _sound(group)}
    whole = {name: group for name, group in sound.items() if isinstance(group.get("why"), str)}
    rows = [
        (n, g["kept"], g["units"]) for n, g in sorted(sound.items(), key=lambda x: -x[1]["units"]) if n not in whole
    ]
    rest, rows = rows[SHOWN:], rows[:SHOWN]
    if rest:
        name = "another group" if len(rest) == 1 else f"{len(rest):,} smaller groups together"
        rows.append((name, sum(row[1] for row in rest), sum(row[2] for row in rest)))
    parts = []
    if rows:
        about = (
            "Channels that go together are a group, called by the layer that makes them; they are counted of the net "
            "before it was ever pruned."
        )
        cells = [
            (name, f"{kept:,}", f"{units:,}", percent(kept / units), _bar(kept / units)) for name, kept, units in rows
        ]
        parts = [paragraph(about), table(("Group", "Kept", "Of", "Share", ""), cells, words=(0, 4))]
    return join([*parts, _whole(whole)])


def _sound(group):
    match group:
        case {"units": int(units), "kept": int(kept)}:
            return 0 <= kept <= units and units > 0
    return False


def _whole(groups: Mapping[str, Mapping[str, Any]]) -> Markup:
    """The groups of which none might go, by reason."""
    if not groups:
        return Markup("")
    lines = []
    for reason in sorted({group["why"] for group in groups.values()}):
        names = [name for name, group in groups.items() if group["why"] == reason]
        lines.append(f"{_named(names)}: {label(reason, 200)}")
    return join([paragraph("Stayed whole, and why:"), unordered(lines)])


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _bar(share):
    ground, bar = (
        tag("rect", width=f"{w:.1f}", height="10", class_=c) for w, c in ((100, "ground"), (100 * share, "bar"))
    )
    about = {"class_": "strip", "viewBox": "0 0 100 10", "preserveAspectRatio": "none", "aria_hidden": "true"}
    return tag("svg", ground, bar, **about)
