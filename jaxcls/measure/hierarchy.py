"""Figures by a tree of classes: accuracy by level, and how bad mistakes are.

At a level of the tree the answer is the node whose classes have the largest summed probability: of all ways to name a
node it is right most often, where the probabilities are what they claim, so they should be calibrated. The node above
the answered class stands beside it (`of_answer`); it is what comes of answers that are given as classes.

How bad a mistake is, is the height of the lowest common ancestor of answer and truth (Bertinetto et al. 2020, Making
better mistakes); in a tree whose classes all lie at one depth this is half the edges between them. Its mean over the
mistakes alone falls, too, where mild mistakes are added, so `cost`, the mean over all pictures, stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.data import tree_file
from jaxcls.data.class_tree import ClassTree
from jaxcls.errors import UserError
from jaxcls.measure.softmax import Probabilities, Softmax
from jaxcls.metrics import chunks, wilson_interval
from jaxcls.types import Figures, PathLike

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

MOST = 5000  # classes of a matrix of costs; it has their square, in a file of text
TOP = 5
ACROSS = 15  # kinds of mistakes that are told


def of_run(workdir: PathLike, classes: Sequence[str]) -> ClassTree | None:
    """The tree that a run has stored over its classes; None without one. Raises UserError where it can't be used."""
    return tree_file.of_workdir(workdir, classes)


def figures(
    probability: Softmax, label: Int[np.ndarray, " n"], tree: ClassTree, answer: Int[np.ndarray, " n"] | None = None
) -> Figures:
    """Every figure of a split by a tree.

    Args:
      probability: calibrated, where a temperature is known.
      label: true classes.
      tree: over the classes.
      answer: the answered classes, -1 for none; None for the most probable ones.

    Returns:
      dict that JSON takes. levels: a dict a level, from the root down: level, groups, accuracy and interval (Wilson, 95
      %) by summed probabilities, and of_answer, of_answer_interval. Of rows with an answer: mistakes (their number),
      severity and edges (means over mistakes), cost (mean severity over all), each with its interval (bootstrap), top5
      (mean severity of the first five classes; fewer where there are no more), same_parent, the share of mistakes
      within one parent, with its interval. What is undefined is None. across: the ACROSS kinds of mistakes that add
      most to `cost`: true, answer, number, meeting (name of the common ancestor), severity.
    """
    label = np.asarray(label)
    answer = probability.answer if answer is None else np.asarray(answer)
    levels = of_levels(right_at(probability, label, tree), label, tree, answer)
    return {"levels": levels, **of_mistakes(label, tree, answer), "top5": top_severity(probability, label, tree)}


def of_mistakes(label: Int[np.ndarray, " n"], tree: ClassTree, answer: Int[np.ndarray, " n"]) -> Figures:
    """What `figures` tells of answers that are classes, -1 for none: mistakes, severity, edges, cost, same_parent and
    their intervals, and across."""
    good = answer >= 0
    truth, said = label[good], answer[good]
    wrong, severity = truth != said, tree.severity(truth, said)
    out: Figures = {"mistakes": int(wrong.sum())}
    for name, values in (("severity", severity), ("edges", tree.edges(truth, said))):
        out |= _with_interval(name, *mean_of_mistakes(values, wrong))
    out |= _with_interval("cost", *mean_of_mistakes(severity, np.ones(len(wrong), bool)))
    same, n = int((tree.parent[truth] == tree.parent[said])[wrong].sum()), out["mistakes"]
    out |= _with_interval("same_parent", same / n if n else None, list(wilson_interval(same, n)) if n else None)
    return {**out, "across": _across(truth[wrong], said[wrong], tree)}


def _with_interval(name, value, interval):
    return {name: value, f"{name}_interval": interval}


def of_levels(
    right: Bool[np.ndarray, "levels n"], label: Int[np.ndarray, " n"], tree: ClassTree, answer: Int[np.ndarray, " n"]
) -> list[dict[str, Any]]:
    """What `figures` tells of each level, by what is right at it (`right_at`) and by the answered classes."""
    rows = []
    for level, here in zip(tree.levels, right, strict=True):
        names, group = tree.groups(level)
        ways = {"": here, "of_answer": (answer >= 0) & (group[answer] == group[label])}
        row: dict[str, Any] = {"level": level, "groups": len(names)}
        for name, hits in ways.items():
            row[name or "accuracy"] = float(hits.mean())
            row[f"{name}_interval".strip("_")] = list(wilson_interval(int(hits.sum()), len(hits)))
        rows.append(row)
    return rows


def right_at(probability: Softmax, label: Int[np.ndarray, " n"], tree: ClassTree) -> Bool[np.ndarray, "levels n"]:
    """Whether the node of the largest summed probability is that of the true class, at each of `tree.levels`; of equal
    nodes that of the lower class answers, and no node where a row is not finite."""
    groups = [tree.groups(level) for level in tree.levels[:-1]]
    order = [np.argsort(group, kind="stable") for _, group in groups]
    starts = [
        np.searchsorted(group[sort], np.arange(len(names))) for (names, group), sort in zip(groups, order, strict=True)
    ]
    right = np.zeros((len(tree.levels), len(label)), bool)
    for rows in chunks(probability.shape):
        part = probability[rows]
        good = ~np.isnan(part).any(axis=1)
        for i, (_, group) in enumerate(groups):
            said = np.add.reduceat(part[:, order[i]], starts[i], axis=1).argmax(axis=1)
            right[i, rows] = good & (said == group[label[rows]])
    right[-1] = probability.answer == label  # of the classes themselves, as everywhere else
    return right


def mean_of_mistakes(
    values: Float[np.ndarray, " n"], wrong: Bool[np.ndarray, " n"], draws: int = 1000, seed: int = 0
) -> tuple[float | None, list[float] | None]:
    """(mean of the values where `wrong`, its 95 % percentile bootstrap interval over redraws of all pictures); None
    without mistakes. Distances take few values, so how often each is drawn is multinomial (as in `outcome`)."""
    if not wrong.any():
        return None, None
    found, counts = np.unique(values[wrong], return_counts=True)
    shares = np.array([*counts, len(wrong) - counts.sum()]) / len(wrong)
    redrawn = np.random.default_rng(seed).multinomial(len(wrong), shares, size=draws)[:, :-1]
    redrawn = redrawn[redrawn.any(axis=1)]  # a redraw without mistakes says nothing of them
    means = redrawn @ found / redrawn.sum(axis=1)
    return float(values[wrong].mean()), np.quantile(means, [0.025, 0.975]).tolist()


def top_severity(
    probability: Probabilities, label: Int[np.ndarray, " n"], tree: ClassTree, k: int = TOP
) -> float | None:
    """Mean severity of the k most probable classes of each picture, the right one among them counting 0 (Bertinetto et
    al. 2020, average hierarchical distance of top-k); None without a row that is finite."""
    k, total, count = min(k, len(tree.classes)), 0, 0
    for rows in chunks(probability.shape):
        part = probability[rows]
        good = ~np.isnan(part).any(axis=1)
        first = np.argsort(-part[good], axis=1, kind="stable")[:, :k]
        total += int(tree.severity(label[rows][good][:, None], first).sum())
        count += int(good.sum())
    return total / (count * k) if count else None


def _across(truth, said, tree):
    cells, number = np.unique(truth * len(tree.classes) + said, return_counts=True)
    truth, said = np.divmod(cells, len(tree.classes))
    meeting, severity = tree.meeting(truth, said), tree.severity(truth, said)
    worst = np.lexsort((-severity, -severity * number))[:ACROSS]
    return [
        {
            "true": tree.classes[truth[i]],
            "answer": tree.classes[said[i]],
            "number": int(number[i]),
            "meeting": tree.nodes[meeting[i]],
            "severity": int(severity[i]),
        }
        for i in worst
    ]


def costs(tree: ClassTree) -> Float[np.ndarray, "classes classes"]:
    """What each mistake costs, for a decision: its severity.

    Raises:
      UserError: for more than MOST classes.
    """
    n = len(tree.classes)
    if n > MOST:
        raise UserError(f"--costs=tree: {n:,} classes have {n * n:,} costs; a matrix is made of up to {MOST:,} classes")
    every = np.arange(n)
    return tree.severity(every[:, None], every).astype(np.float64)
