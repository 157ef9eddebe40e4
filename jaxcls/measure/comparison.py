"""The comparison of runs as one dict that JSON takes: tests, what changed, a plain sentence for each."""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcls.errors import UserError
from jaxcls.measure import compare, confusion, figures
from jaxcls.measure.multilabel import comparison as of_sets
from jaxcls.measure.runs import Run, changes, same_rows
from jaxcls.types import Figures


def report(runs: Sequence[Run]) -> dict[str, Any]:
    """Compares runs with the first one, and settings with the first over their seeds.

    Runs whose configs differ in nothing but the seed are of one setting. A run of another setting is compared with the
    first setting's run of the same seed, if there is one that looked at the same pictures, else with any that did.

    Returns:
      dict of split, labels ("one", or "sets": then runs and pairs are as measure.multilabel.comparison has them, and
      what follows is of the mAP in place of the accuracy), runs (name, folder, setting, seed, step, count, not_finite,
      correct, accuracy, interval, loss, balanced_accuracy, parameters, pictures_per_second, device), changes (key ->
      values), pairs (a, b, only_a, only_b, difference, interval, p, p_holm, verdict), settings (name, runs, mean, sd),
      over_seeds (a, b, setting, difference, interval, p, p_holm, degrees, verdict), notes and verdict, one sentence for
      each comparison.

    Raises:
      UserError: where no run looked at the same pictures as any of the first setting, and seeds can't tell either.
    """
    kind = _kind(runs)
    settings = _settings(runs)
    pairs, notes = _pairs(settings, kind)
    over_seeds = _over_seeds(settings, kind)
    if not pairs and not over_seeds:
        raise UserError(_why_not(settings, runs))
    _correct(pairs, kind.test, kind.alike)
    _correct(over_seeds, "Welch over seeds", kind.alike)
    table = [_row(run, i, kind) for i, group in enumerate(settings) for run in group]
    if len({row["device"] for row in table}) > 1:
        notes.append("The runs were made on different devices: their speeds can't be compared.")
    if runs[0].split == "validation":
        notes.append(
            f"The split is validation: it chose the checkpoints, so all of these {kind.figures} are optimistic."
        )
    notes += kind.notes(runs)
    notes += [
        f"Of {row['name']}, {row['not_finite']:,} of {row['count']:,} rows of logits are not finite: they count as "
        "wrong, and its loss is infinite."
        for row in table
        if row["not_finite"]
    ]
    if any(not same_rows(group[0], run) for group in settings for run in group):
        notes.append("The seed drew the split as well: what varies over seeds is training and pictures together.")
    out = {
        "split": runs[0].split,
        "labels": kind.labels,
        "runs": table,
        "changes": changes([run for group in settings for run in group]),
        "pairs": pairs,
        "settings": [_spread(group, kind) for group in settings],
        "over_seeds": over_seeds,
        "notes": notes,
    }
    setting, settled = {row["name"]: row["setting"] for row in table}, {entry["setting"] for entry in over_seeds}
    decisive = [*over_seeds, *(pair for pair in pairs if setting[pair["b"]] not in settled)]
    return {**out, "verdict": [entry["verdict"] for entry in decisive]}


class Kind(NamedTuple):
    """What is compared: figures of a run, its first one (`value`), the tests of a pair, and what they are called."""

    labels: str
    figures: str
    test: str
    alike: str
    value: Callable[[Run], float]
    row: Callable[[Run], Figures]
    pair: Callable[[Run, Run], Figures]
    notes: Callable[[Sequence[Run]], list[str]]


def _kind(runs):
    """That of runs whose labels are all of one kind. Raises UserError for others."""
    several = {run.predictions.sets for run in runs}
    if len(several) > 1:
        sets, one = (next(run for run in runs if run.predictions.sets == kind) for kind in (True, False))
        raise UserError(f"the labels of {sets.folder} are sets, and {one.folder} has one a picture: compare runs alike")
    if several == {False}:
        return Kind("one", "accuracies", "McNemar", "accurate", _accuracy, _figures, _tests, lambda runs: [])
    return Kind(
        "sets", "figures", "mAP, paired bootstrap", "good", of_sets.value, of_sets.row, of_sets.pair, of_sets.notes
    )


def _accuracy(run):
    return float(run.right.mean())


def _figures(run):
    logits, label, _ = run.predictions
    overall = figures.overall(logits, label)
    table = confusion.count(figures.predict(logits), label, logits.shape[1])
    kept = {key: overall[key] for key in ("count", "not_finite", "correct", "accuracy", "interval", "loss")}
    return {**kept, "balanced_accuracy": confusion.means_over_classes(table)["balanced_accuracy"]}


def _tests(a, b):
    return {**compare.bootstrap_difference(a.right, b.right), **compare.mcnemar(a.right, b.right)}


def _settings(runs):
    """Runs grouped by setting, in the order in which the settings were named."""
    groups = {}
    for run in runs:
        groups.setdefault(run.setting, []).append(run)
    return list(groups.values())


def _pairs(settings, kind):
    """Paired comparisons, and notes on runs that have no partner."""
    first, *others = settings
    left = [(run, first) for group in others for run in group]
    if not others:  # seeds of one setting: how far apart runs are that differ in nothing
        left = [(run, first[:1]) for run in first[1:]]
    pairs, notes = [], []
    for run, candidates in left:
        partners = sorted((c for c in candidates if same_rows(c, run)), key=lambda c: c.seed != run.seed)
        if not partners:
            others = " and ".join(c.name for c in candidates)
            notes.append(f"{run.name} predicted other pictures than {others}: no paired test of it.")
            continue
        pairs.append({"a": partners[0].name, "b": run.name, **kind.pair(partners[0], run)})
    return pairs, notes


def _over_seeds(settings, kind):
    """Welch's test of every setting with the first, where both have two runs or more."""
    out = []
    for i, group in enumerate(settings[1:], start=1):
        accuracies = [[kind.value(run) for run in runs] for runs in (settings[0], group)]
        alike = all(_same_task(settings[0][0], run) for run in group)
        if alike and (test := compare.welch(*accuracies)):
            out.append({"a": setting_name(settings[0]), "b": setting_name(group), "setting": i, **test})
    return out


def _correct(entries, test, alike):
    """Adds Holm's p and the sentence to each."""
    for entry, p in zip(entries, compare.holm([entry["p"] for entry in entries]), strict=True):
        entry["p_holm"] = p
        entry["verdict"] = compare.verdict(p, entry["difference"], entry["a"], entry["b"], test, alike)


def _row(run, setting, kind):
    versions = run.meta.versions
    return {
        "name": run.name,
        "folder": str(run.folder),
        "setting": setting,
        "seed": run.seed,
        "step": run.step,
        **kind.row(run),
        "parameters": run.meta.parameters or None,
        "pictures_per_second": run.pictures_per_second,
        "device": f"{versions['device']}, {versions.get('cores')} cores" if "device" in versions else None,
    }


def _spread(group, kind):
    values = [kind.value(run) for run in group]
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    names = [run.name for run in group]
    return {"name": setting_name(group), "runs": names, "mean": float(np.mean(values)), "sd": sd}


def setting_name(group: Sequence[Run]) -> str:
    """What runs of one setting are called together: what their names have in common, or the first one's."""
    if len(group) == 1:
        return group[0].name
    shared = os.path.commonprefix([run.name for run in group])
    return f"{re.sub(r'[-_/. ]*(seed)?[-_/.= ]*$', '', shared) or group[0].name} ({len(group)} seeds)"


def _same_task(a, b):
    same_data = a.config.get("data.name") == b.config.get("data.name")
    return same_data and a.predictions.logits.shape == b.predictions.logits.shape


def _why_not(settings, runs):
    """Says why nothing can be compared."""
    first = settings[0][0]
    run = next(r for r in runs if r is not first)
    what = f"{first.folder} and {run.folder} were not evaluated on the same pictures of {first.split}"
    counts = [len(entry.predictions.label) for entry in (first, run)]
    if counts[0] != counts[1]:
        return f"{what}: {counts[0]} and {counts[1]} rows; compare runs of the same data"
    classes = [entry.meta.classes for entry in (first, run)]
    if all(classes) and classes[0] != classes[1]:
        return f"{what}: their classes have different names or another order; compare runs of the same data"
    if first.seed != run.seed:
        return (
            f"{what}: their seeds, {first.seed} and {run.seed}, draw different splits; compare runs of the same seed, "
            "or two settings with at least two seeds each"
        )
    if first.ids is None or run.ids is None:
        return f"{what}, as far as can be told; evaluate both again with `jaxcls eval`, which records what the rows are"
    return f"{what}: rows or labels differ; compare runs of the same data"
