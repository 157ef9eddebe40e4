"""What a calibration of label sets does, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxcls import set_metrics
from jaxcls.measure import decision as decisions
from jaxcls.measure import decision_text, doubt
from jaxcls.measure.figures import by_row
from jaxcls.measure.multilabel import calibration, decision, figures, redraw
from jaxcls.measure.stored import Logits

Splits = Mapping[str, Logits]
FEW = decision_text.FEW  # positives, below which a warning says how little they tell
SHOWN = 30  # classes whose thresholds are shown
NAMES = (("mAP", "mAP"), ("f1", "F1, macro"), ("f1_micro", "F1, micro"), ("exact", "all right"), ("hamming", "Hamming"))
LOWER = ("hamming", "NLL", "ECE")  # better where it is lower


def lines(decided: decision.Decision, splits: Splits) -> Iterator[str]:
    """Tells of all that is in a decision, on every split."""
    yield from scales(decided, splits[decisions.SPLIT])
    yield ""
    heads = (f"{name} (95 % interval)" for name in ("before", "after", "difference"))
    yield f"{'':<23}" + "".join(f"{head:<30}" for head in heads).rstrip()
    for split, predictions in splits.items():
        yield from changes(decided, split, predictions)
    yield (
        "Before is each class at 0.5 as the model states it. F1 is a mean over classes (macro) or of all answers "
        "together (micro); “all right” is the share of pictures whose classes are exactly right."
    )
    yield (
        f"On {decisions.SPLIT} it is cross-fitted: each part of it with the calibration and thresholds that the others "
        "choose."
    )
    yield from thresholds(decided, splits)
    yield from strange(decided, splits)


def scales(decided: decision.Decision, fitted: Logits) -> Iterator[str]:
    """How many classes are calibrated, how, and why not."""
    how = decided["how"]
    own, shared = how.count(calibration.OWN), how.count(calibration.SHARED)
    yield f"calibrated by class: {own:,} of {_classes(len(how))} by a scale and a bias of its own"
    n, support = len(fitted.label), fitted.label.sum(axis=0)
    few = [c for c in range(len(how)) if min(support[c], n - support[c]) < calibration.FEW]
    if few:
        least = min(few, key=lambda c: min(support[c], n - support[c]))
        with_it = f"with one temperature, {decided['shared']['temperature']:.4g}" if shared else "left as they are"
        yield (
            f"  {_classes(len(few))} {with_it}: fewer than {calibration.FEW} pictures of {decisions.SPLIT} have the "
            f"class, or have it not, too few for two numbers (fewest: {decided['classes'][least]!r}, "
            f"{support[least]:,} of {n:,})" + ("" if shared else "; a temperature is not shown to be better")
        )
    if left := len(how) - own - len(few):
        yield f"  {_classes(left)}: left as they are, since another scale and bias are not shown to be better"


def _classes(count):
    return "1 class" if count == 1 else f"{count:,} classes"


def changes(decided: decision.Decision, split: str, predictions: Logits) -> Iterator[str]:
    """A line a figure, before and after, bootstrapped over the same redraws of the pictures."""
    logits, label, _ = predictions
    plain, before = figures.answered(logits, label)
    stated, after = figures.answered(logits, label, decided)
    if split == decisions.SPLIT:
        wanted = [(e["kind"], e["class"], e["wanted"]) for e in decided["thresholds"] if e["wanted"] is not None]
        f1 = any(entry["kind"] == "f1" for entry in decided["thresholds"])
        stated, chosen = decision.cross_fitted(logits, label, decided["classes"], f1=f1, wanted=wanted)
        good = np.isfinite(logits.max(axis=1))[:, None]
        after = after._replace(chosen=np.where(good, chosen, after.chosen))
    count = redraw.draws(*label.shape)
    redrawn = redraw.redrawn([before, after], count) if count else [{}, {}]
    found = [redraw.figures(side) for side in (before, after)]
    start = split
    for key, name in NAMES:
        again = [draws.get(key, np.empty(0)) for draws in redrawn]
        known = [_jackknife(side) for side in (before, after)] if key == "mAP" else []
        yield _line(start, name, [float(side[key]) for side in found], again, 100, lower=key in LOWER, known=known)
        start = ""
    losses = [_losses(p, label) for p in (plain, stated)]
    yield _line("", "NLL", [float(x.mean()) for x in losses], _means(losses, count), 1, lower=True)
    there = label.sum(axis=0) > 0
    apart = [calibration.errors(p, label)[there] for p in (plain, stated)]
    apart = [float(np.nanmean(x)) if np.isfinite(x).any() else float("nan") for x in apart]
    yield _line("", "ECE, mean", apart, [np.empty(0)] * 2, 100, lower=True)


def _jackknife(side):
    """The interval of the mAP that `figures` has."""
    return set_metrics.interval(set_metrics.of_sets(side.scores, side.label))


def _line(start, name, values, redrawn, factor, *, lower, known=()):
    pairs = [*zip(values, redrawn, strict=True), (values[1] - values[0], redrawn[1] - redrawn[0])]
    most = 1.0 if factor == 100 else np.inf
    ends = [
        redraw.interval(again, value, least, most) for (value, again), least in zip(pairs, (0, 0, -most), strict=True)
    ]
    ends[: len(known)] = known
    parts = [_with_ends(value, within, factor) for (value, _), within in zip(pairs, ends, strict=True)]
    within = ends[2]
    verdict = ""
    if within is not None:
        better = (values[1] > values[0]) != lower
        verdict = "noise" if within[0] <= 0 <= within[1] else "better" if better else "worse"
        verdict = "unchanged" if pairs[2][0] == within[0] == within[1] == 0 else verdict
    return f"{start:<12}{name:<11}{''.join(f'{part:<30}' for part in parts)}{verdict}".rstrip()


def _with_ends(value, interval, factor):
    digits, unit = (2, " %") if factor == 100 else (4, "")
    if not np.isfinite(value):
        return "-"
    shown = f"{factor * value:.{digits}f}{unit}"
    if interval is None:
        return shown
    return f"{shown} ({factor * interval[0]:.{digits}f} to {factor * interval[1]:.{digits}f})"


def _losses(probability, label):
    """Mean negative log-likelihood of each picture over its classes; inf where it is not finite."""
    with np.errstate(divide="ignore"):
        losses = -np.log(np.where(label > 0, probability, 1 - probability))
    return np.where(np.isnan(losses), np.inf, losses).mean(axis=1)


def _means(columns, count, seed=0):
    """Means of columns over the same redraws; empty where one is not finite."""
    table, n = np.stack(columns, axis=1), len(columns[0])
    if not count or not np.isfinite(table).all():
        return [np.empty(0)] * len(columns)
    rng = np.random.default_rng(seed)
    found = np.array([table[rng.integers(0, n, n)].mean(axis=0) for _ in range(count)])
    return list(found.T)


def thresholds(decided: decision.Decision, splits: Splits) -> Iterator[str]:
    """What the thresholds do on every split, class by class, and what is to be known of them."""
    chosen = [entry for entry in decided["thresholds"] if entry["kind"] != "half"]
    if chosen:
        yield ""
        yield (
            f"{'class':<22}{'for':<16}{'threshold':<11}{'':<12}{'pictures':>9}  {'recall (95 % interval)':<26}"
            f"{'precision (95 % interval)':<26}{'F1':>7}{'at 0.5':>8}"
        )
        rows = {split: _of_classes(*predictions[:2], decided) for split, predictions in splits.items()}
        for entry in chosen[:SHOWN]:
            yield from _of_class(entry, rows)
        if len(chosen) > SHOWN:
            yield f"... and {_classes(len(chosen) - SHOWN)} more: the stored calibration has them all"
    yield from _warnings(decided, chosen, splits[decisions.SPLIT])


def _of_classes(logits, label, decided):
    """(row of each class with the decision, F1 of each at 0.5 as stated)."""
    nothing = {"auc": np.full(label.shape[1], np.nan), "ap": np.full(label.shape[1], np.nan)}
    names = decided["classes"]
    tables = [figures.of_classes(figures.answered(logits, label, d)[1], nothing, names, {}) for d in (decided, None)]
    return by_row(tables[0]), tables[1]["f1"]


def _of_class(entry, rows):
    wish = "best F1" if entry["kind"] == "f1" else f"{entry['kind']} {100 * entry['wanted']:g} %"
    start = f"{_cut(entry['class']):<22}{wish:<16}{entry['threshold']:<11.4g}"
    for split, (table, plain) in rows.items():
        row = table[entry["index"]]
        recall, precision = (decision_text.share(row[key], row[f"{key}_interval"]) for key in ("recall", "precision"))
        f1 = (f"{100 * x:.2f}" if x is not None else "-" for x in (row["f1"], plain[entry["index"]]))
        yield f"{start}{split:<12}{row['support']:>9,}  {recall:<26}{precision:<26}{next(f1):>7}{next(f1):>8}"
        start = " " * 49


def _cut(name, letters=21):
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def _warnings(decided, chosen, fitted):
    support = fitted.label.sum(axis=0)
    if few := [entry for entry in chosen if support[entry["index"]] < FEW]:
        least = min(few, key=lambda entry: support[entry["index"]])
        yield (
            f"The thresholds of {_classes(len(few))} are chosen by fewer than {FEW} pictures that have it (fewest: "
            f"{least['class']!r}, {support[least['index']]:,}): on other pictures they may be far off."
        )
    if kept := [entry for entry in decided["thresholds"] if entry.get("note")]:
        keeps = "keeps" if len(kept) == 1 else "keep"
        yield f"{_classes(len(kept))} {keeps} the threshold 0.5: {kept[0]['note']}"


def strange(decided: dict[str, Any], splits: Splits) -> Iterator[str]:
    """Which pictures are outliers, on every split."""
    chosen = decided.get("outliers")
    if not chosen:
        return
    yield ""
    yield (
        f"outliers by energy are pictures above {chosen['energy']['threshold']:.4g}, which accepts "
        f"{100 * chosen['accepted']:g} % of {decisions.SPLIT}"
    )
    for split, (logits, label, _) in splits.items():
        accepted = int((~doubt.strange(chosen, doubt.energies(decided, logits))).sum())
        yield f"{split:<12}accepted {decision_text.counted(accepted, len(label))}"
    yield from decision_text.far_ones(chosen)
