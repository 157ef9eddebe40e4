"""Runs side by side by a tree of their classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.data import tree_file
from jaxcls.data.class_tree import ClassTree
from jaxcls.measure import compare, decision, hierarchy
from jaxcls.measure.runs import Run
from jaxcls.measure.softmax import Softmax


def find(runs: Sequence[Run], file: Path | None = None) -> ClassTree | None:
    """The tree of a file, over the first run's classes; without one that of the first run that has stored a tree.

    Raises:
      UserError: for a tree that can't be used.
    """
    if file is not None:
        return tree_file.read(file, runs[0].meta.classes, "--tree")
    stored = (hierarchy.of_run(run.folder, run.meta.classes) for run in runs)
    return next((tree for tree in stored if tree is not None), None)


def report(runs: Sequence[Run], pairs: Sequence[dict[str, Any]], tree: ClassTree) -> dict[str, Any]:
    """Compares runs at each level of a tree.

    Args:
      runs: those of other classes than the tree's are left out.
      pairs: which of them are compared, by their names "a" and "b" (`comparison.report`).
      tree: over the classes.

    Returns:
      dict that JSON takes: levels (level, groups), runs (name, accuracy and intervals, an entry a level, severity, cost
      and theirs: `hierarchy.figures`), pairs (a, b, level, difference, interval, only_a, only_b, p, and p_holm, which
      counts all of them), and costs (a, b, difference, interval: of the mean severity over all pictures, a paired
      bootstrap over those that both answered).
    """
    known = {run.name: run for run in runs if run.meta.classes == tree.classes}
    table = {name: _measured(run, tree) for name, run in known.items()}
    right, severity = ({name: entry.pop(key) for name, entry in table.items()} for key in ("right", "severities"))
    levels = [{"level": level, "groups": len(tree.groups(level)[0])} for level in tree.levels]
    both = [(pair["a"], pair["b"]) for pair in pairs if pair["a"] in known and pair["b"] in known]
    tests, costs = [], []
    for a, b in both:
        for i, level in enumerate(tree.levels):
            ways = right[a][i], right[b][i]
            tests.append(
                {"a": a, "b": b, "level": level, **compare.bootstrap_difference(*ways), **compare.mcnemar(*ways)}
            )
        change = severity[b] - severity[a]
        change = change[~np.isnan(change)]
        difference, interval = hierarchy.mean_of_mistakes(change, np.ones(len(change), bool))
        costs.append({"a": a, "b": b, "difference": difference, "interval": interval})
    for entry, p in zip(tests, compare.holm([entry["p"] for entry in tests]), strict=True):
        entry["p_holm"] = p
    return {"levels": levels, "runs": list(table.values()), "pairs": tests, "costs": costs}


def _measured(run, tree):
    logits, label, _ = run.predictions
    decided = decision.read(run.folder, run.step)
    probability = Softmax(logits, decided["temperature"] if decided else 1.0)
    right, answer = hierarchy.right_at(probability, label, tree), probability.answer
    levels, mistakes = hierarchy.of_levels(right, label, tree, answer), hierarchy.of_mistakes(label, tree, answer)
    severity = np.where(answer >= 0, tree.severity(label, np.maximum(answer, 0)), np.nan)
    return {
        "name": run.name,
        "accuracy": [row["accuracy"] for row in levels],
        "intervals": [row["interval"] for row in levels],
        **{key: mistakes[key] for key in ("severity", "severity_interval", "cost", "cost_interval")},
        "right": right,
        "severities": severity,
    }
