"""How good the model is at each level of a tree of the classes, and how far its mistakes go."""

from typing import Any

from jaxcls.measure import hierarchy
from jaxcls.report.answered import deciding
from jaxcls.report.classes import strip
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Section, join, label, number, paragraph, percent, section, table, tag
from jaxcls.report.ranking import answers

NAMED = 3  # groups of a level that are named
LETTERS = 24


def by_level(evidence: Evidence) -> Section | None:
    """The section; None where no tree is known."""
    tree = evidence.tree
    if tree is None:
        return None
    found = {"Most probable class": evidence.figures["tree"]}
    if deciding(evidence):
        found["As stored by “jaxcls calibrate”"] = hierarchy.of_mistakes(evidence.label, tree, answers(evidence))
    about = paragraph(
        "At a level of the tree the answer is the group whose classes have the largest probability together; on the "
        "right stands what the group of the answered class would be worth. The last level is that of the classes."
    )
    return section("tree", "By level of the tree", about, _levels(evidence), _mistakes(found), _across(found))


def _levels(evidence):
    rows = [
        (
            str(row["level"]),
            f"{row['groups']:,}",
            _such_as(evidence, row),
            percent(row["accuracy"]),
            strip(row["accuracy"], row["interval"]),
            _ends(row["interval"], percent),
            percent(row["of_answer"]),
        )
        for row in evidence.figures["tree"]["levels"]
    ]
    head = ("Level", "Groups", "Such as", "Right", "", "95\N{NO-BREAK SPACE}% interval", "By the answered class")
    return table(head, rows, words=(0, 2, 4))


def _such_as(evidence, row):
    names = evidence.tree.groups(row["level"])[0]
    return ", ".join(label(name, LETTERS) for name in names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _mistakes(found: dict[str, Any]):
    """A column for each way to answer."""
    ways = list(found.values())
    if not any(of["mistakes"] for of in ways):
        return paragraph("There were no mistakes.")
    rows = [("Mistakes", *(f"{of['mistakes']:,}" for of in ways))]
    for title, key, shown in (
        ("Severity of a mistake, mean", "severity", number),
        ("Edges between answer and truth, mean", "edges", number),
        ("Mistakes within one parent", "same_parent", percent),
        ("Severity over all pictures, mean", "cost", number),
    ):
        rows.append((title, *(_with_ends(of[key], of[f"{key}_interval"], shown) for of in ways)))
    first = ways[0]["top5"]  # by the order of the probabilities, whatever decides
    rows.append(("Severity of the first five classes, mean", number(first), *("" for _ in ways[1:])))
    about = (
        "The severity of a mistake is the height of the lowest node that stands above both classes: 1 where they share "
        "a parent of leaves, more the further apart they are (Bertinetto et al. 2020). The mean over mistakes falls "
        "where mild ones are added, that over all pictures does not."
    )
    return join([tag("h3", "How bad mistakes are"), paragraph(about), table(("", *found), rows)])


def _across(found):
    rows = [
        (label(row["true"]), label(row["answer"]), f"{row['number']:,}", label(row["meeting"]), f"{row['severity']}")
        for row in list(found.values())[-1]["across"]
    ]
    if not rows:
        return ""
    about = "The kinds of mistakes that add most to the mean severity: frequent ones, and those across branches."
    head = ("True class", "Answer", "Pictures", "Common node", "Severity")
    return join([tag("h3", "Dearest mistakes"), paragraph(about), table(head, rows, words=(0, 1, 3))])


def _with_ends(value, interval, shown):
    return shown(value) if interval is None else f"{shown(value)} ({_ends(interval, shown)})"


def _ends(interval, shown):
    return f"{shown(interval[0])} to {shown(interval[1])}"
