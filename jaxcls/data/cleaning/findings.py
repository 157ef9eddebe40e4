"""What was found about single pictures, in one list: the rows of the CSV and of the sheet."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxcls.data.cleaning import duplicates
from jaxcls.data.cleaning.duplicates import Link
from jaxcls.data.cleaning.labels import Suspects
from jaxcls.data.cleaning.outliers import Outliers
from jaxcls.data.cleaning.set_labels import Judged
from jaxcls.data.cleaning.survey import Collection, Survey

# In the order of the sheet, with what it says of each.
PROBLEMS = {
    "unreadable": "cannot be decoded",
    "label_conflict": "copies of one picture bear different labels",
    "leak": "copies of one picture lie in different splits",
    "duplicate": "the same pixels",
    "near_duplicate": "re-encoded, resized, mirrored or slightly changed copies",
    "label": "the label is probably wrong",
    "low_confidence": "the given label is improbable",
    "outlier": "unlike the other pictures of its class",
}
STAYS = {"test": 3, "validation": 2, "train": 1}  # of copies in several splits the one in the rarest stays


@dataclasses.dataclass
class Finding:
    """A picture with a problem.

    Attributes:
      path: its id: the path relative to the folder.
      split, label: names; split is "" where there are none; of a set of labels all of them, with `|` between.
      problem: one of PROBLEMS.
      score: the higher the worse; comparable within a problem only.
      suggestion: `move`, `keep` or `review`.
      action: `move` or `keep`: what `--apply` will do. Only what no one needs to look at starts as `move`.
      group: number of a group of copies, from 1; 0: none.
      detail: the reason in words.
      row: in the collection.
    """

    path: str
    split: str
    label: str
    problem: str
    score: float
    suggestion: str
    action: str
    group: int
    detail: str
    row: int = -1


class Findings:
    """Builds the list for a collection: call what is wanted, then take `list`."""

    def __init__(self, collection: Collection):
        self.collection = collection
        self.list: list[Finding] = []

    def add(
        self, row: int, problem: str, score: float, suggestion: str, detail: str, *, group: int = 0, move: bool = False
    ) -> None:
        c, row = self.collection, int(row)
        name = c.label(row)
        action = "move" if move else "keep"
        score = round(float(score), 4)
        self.list.append(
            Finding(c.ids[row], c.splits[row], name, problem, score, suggestion, action, group, detail, row)
        )

    def unreadable(self, survey: Survey) -> None:
        """Files that cannot be decoded."""
        for row, why in survey.unreadable.items():
            self.add(row, "unreadable", 1, "move", why, move=True)

    def copies(self, survey: Survey, links: list[Link]) -> None:
        """Groups of copies. A picture gets the gravest of its own: conflict, leak, duplicate, near duplicate.

        What stays: test before validation before train, then more pixels, then more bytes. Only copies with the same
        pixels and the same label start as `move`; in conflicts nothing does.
        """
        c = self.collection
        members: dict[int, set[int]] = {}
        inside: dict[int, list[Link]] = {}
        of_row = duplicates.components(len(c), links)
        for link in links:
            group = int(of_row[link.a])
            members.setdefault(group, set()).update((link.a, link.b))
            inside.setdefault(group, []).append(link)
        for number, (group, rows) in enumerate(members.items(), 1):
            prefer = {
                row: (STAYS.get(c.splits[row], 0), int(survey.sides[row].prod()), int(survey.sizes[row]), -row)
                for row in rows
            }
            own = duplicates.centred(survey, inside[group], prefer)
            gone = duplicates.kept(sorted(rows), own, prefer)
            for row in sorted(rows, key=lambda row: prefer[row], reverse=True):
                self._copy(row, [link for link in own if row in link[:2]], gone.get(row), number)

    def _copy(self, row: int, links: list[Link], goes: Link | None, group: int) -> None:
        """One member: its own links, and the one to what stays in its place (None: it stays)."""
        c = self.collection
        kinds = {
            "label_conflict": [x for x in links if not c.alike(x.a, x.b)],
            "leak": [x for x in links if c.splits[x.a] != c.splits[x.b]],
            "duplicate": [x for x in links if x.how != "similar"],
            "near_duplicate": links,
        }
        problem = next(kind for kind, own in kinds.items() if own)
        conflict = problem == "label_conflict"
        link = goes if goes and not conflict else max(kinds[problem], key=lambda x: x.score)
        other = link.a if link.b == row else link.b
        detail = f"{link.how}{', mirrored' if link.mirrored else ''}: {c.ids[other]}"
        if conflict:
            detail += f" ({c.label(other) or 'no label'})"
        suggestion = "review" if conflict else "move" if goes else "keep"
        move = bool(suggestion == "move" and link.how != "similar")
        self.add(row, problem, link.score, suggestion, detail, group=group, move=move)

    def outliers(self, outlying: Outliers, rows: np.ndarray) -> None:
        """`rows` are those of the collection that were searched."""
        for row in outlying.rows:
            score = outlying.scores[row]
            detail = f"its 4th neighbour is {score:.2f} times as far as the class allows"
            self.add(rows[row], "outlier", score, "review", detail)

    def labels(
        self,
        suspects: Suspects,
        probabilities: np.ndarray,
        given: np.ndarray,
        classes: np.ndarray,
        rows: np.ndarray,
        least: float,
    ) -> None:
        """Suspects of confident learning, and other pictures whose label has a probability below `least`."""
        own = probabilities[np.arange(len(given)), given]
        chosen = set(suspects.rows.tolist())
        low = [row for row in np.flatnonzero(own < least) if row not in chosen]
        for problem, which in (("label", suspects.rows), ("low_confidence", low)):
            for row in which:
                best = suspects.best[row]
                name = self.collection.classes[int(classes[best])]
                detail = f"{name!r}? {probabilities[row, best]:.0%}, the given class {own[row]:.0%}"
                self.add(rows[row], problem, 1 - own[row], "review", detail)

    def set_labels(self, found: Sequence[Judged], rows: np.ndarray, least: float) -> None:
        """As `labels`, of each class by itself; `rows` are those of the collection that were searched."""
        for each in found:
            name = self.collection.classes[each.column]
            own = each.probabilities[np.arange(len(each.given)), each.given]
            chosen = set(each.suspects.rows.tolist())
            low = [row for row in np.flatnonzero(own < least) if row not in chosen]
            for problem, which in (("label", each.suspects.rows), ("low_confidence", low)):
                for row in which:
                    there = each.probabilities[row, 1]
                    what = f"{name!r} does not belong?" if each.given[row] else f"{name!r} is missing?"
                    self.add(rows[each.rows[row]], problem, 1 - own[row], "review", f"{what} it has {there:.0%}")


def ordered(findings: list[Finding]) -> list[Finding]:
    """By problem in the order of PROBLEMS, the worst first, groups together.

    A picture that is listed for several reasons has the action `move` in all its rows if it has it in one.
    """
    moved = {x.path for x in findings if x.action == "move"}
    findings = [dataclasses.replace(x, action="move") if x.path in moved else x for x in findings]
    worst: dict[int, float] = {}
    for x in findings:
        worst[x.group] = max(worst.get(x.group, 0), x.score)
    place = {problem: i for i, problem in enumerate(PROBLEMS)}
    return sorted(findings, key=lambda x: (place[x.problem], -(worst[x.group] if x.group else x.score), x.group))
