"""The beginning of the report where labels are sets: a verdict in words, cautions, the figures, what was measured."""

import functools
from collections.abc import Iterator

import numpy as np

from jaxcls.checkpoints.view import flatten_config
from jaxcls.measure import figures as one_label
from jaxcls.metrics import wilson_interval
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import (
    Markup,
    Section,
    capital,
    folded,
    in_words,
    join,
    number,
    paragraph,
    percent,
    section,
    table,
    tag,
    unordered,
)
from jaxcls.report.overview import FEW, FEW_OF_CLASS, MARGIN, how_chosen, names, of_task, warnings
from jaxcls.types import Figures

NUMBER = 0.25  # by which share more or fewer classes are named than are right, before that is worth a warning

# Key, name, explanation; in the order of the table.
FIGURES = (
    ("mAP", "Mean average precision", "area under precision over recall; mean over classes (macro)"),
    ("mAP_micro", "Average precision, micro", "the same of all pairs of a picture and a class together"),
    ("auc", "Area under ROC", "chance that a picture with a class ranks above one without; mean over classes"),
    ("macro.precision", "Precision, macro", "mean over classes of: of those named so, the share that is"),
    ("macro.recall", "Recall, macro", "mean over classes of: of those that are, the share named so"),
    ("macro.f1", "F1, macro", "mean over classes of the harmonic mean of precision and recall"),
    ("micro.precision", "Precision, micro", "of all classes that are named, the share that is right"),
    ("micro.recall", "Recall, micro", "of all classes that are right, the share that is named"),
    ("micro.f1", "F1, micro", "the harmonic mean of these two; frequent classes count more"),
    ("exact", "All right", "share of pictures whose classes are named without a mistake"),
    ("hamming", "Hamming loss", "share of all pairs of a picture and a class that are answered wrongly: 0 best"),
    ("labels", "Labels a picture", "mean number of classes that are right"),
    ("named", "Named a picture", "mean number of classes that are named"),
    ("loss", "Negative log-likelihood", "in nats, mean over pictures and classes; punishes confident mistakes"),
    ("brier", "Brier score", "squared error of the probabilities, mean over pictures and classes: 0 best, 1 worst"),
    ("ece", "Calibration error (ECE)", "mean distance of stated probability and observed share; mean over classes"),
)
NO_SHARES = ("mAP", "mAP_micro", "auc", "labels", "named", "loss", "brier")
SAME = {"macro.f1": "f1", "micro.f1": "f1_micro"}  # what the intervals call them
OF_RANKS = ("mAP", "auc")  # no calibration of a class and no threshold changes them


def overview(evidence: Evidence) -> Markup:
    """Verdict, tiles and cautions, of what `jaxcls predict` answers."""
    f = evidence.figures_of_sets
    warned = warnings(list(cautions(evidence, f)))
    return join([paragraph(verdict(evidence, f), class_="verdict"), tiles(evidence, f), warned])


def verdict(evidence: Evidence, f: Figures) -> str:
    """How good the model is, in words that need no training; `f`: `evidence.figures_of_sets`."""
    unseen = " that played no part in training" if evidence.split == "test" else ""
    on = f"{f['count']:,} {evidence.split} pictures{unseen}"
    if f["mAP"] is None:
        return f"None of the {on} has a label, so how well it finds classes can't be told."
    sentences = [
        f"On {on} its mean average precision is {percent(f['mAP'])}{_expected(f['interval'])}; ranking by chance would "
        f"give {percent(chance(f))}."
    ]
    named, right = f["micro"]["precision"], f["micro"]["recall"]
    sentences.append(
        f"It names {number(f['named'], 2)} classes a picture, where {number(f['labels'], 2)} are right: of the classes "
        f"that it names {percent(named)} are right, and of the right ones it names {percent(right)}"
        f"{'' if not chosen_thresholds(evidence) else ', by the stored thresholds'}."
    )
    low, high = wilson_interval(round(f["exact"] * f["count"]), f["count"])
    sentences.append(
        f"All classes are right in {percent(f['exact'])} of pictures ({percent(low)} to {percent(high)}); naming none "
        f"would be right in {percent(float((evidence.label.sum(axis=1) == 0).mean()))}."
    )
    weak = weakest(f)
    if weak and len(f["per_class"]) > 1:
        within = weak["average_precision_interval"]
        ends = f", interval {percent(within[0])} to {percent(within[1])}" if within else ""
        sentences.append(
            f"Weakest class: “{weak['name']}”, average precision {percent(weak['average_precision'])} "
            f"({weak['support']:,} pictures{ends})."
        )
    return " ".join(sentences)


def _expected(interval):
    if not interval:
        return ""
    low, high = map(percent, interval)
    return f"; on further pictures of the same kind expect {low} to {high} (95\N{NO-BREAK SPACE}% interval)"


def chance(f: Figures) -> float:
    """The mean average precision of a model that ranks by chance: the mean share of the classes that have positives."""
    return float(np.mean([row["support"] / f["count"] for row in f["per_class"] if row["support"]]))


def weakest(f: Figures) -> Figures | None:
    """The class with the lowest average precision (the most pictures of equals); None where no picture has a label."""
    there = [row for row in f["per_class"] if row["support"]]
    return min(there, key=lambda row: (row["average_precision"], -row["support"]), default=None)


def chosen_thresholds(evidence: Evidence) -> bool:
    """Whether a threshold other than 0.5 is stored."""
    return any(entry["kind"] != "half" for entry in (evidence.decision or {}).get("thresholds", ()))


def tiles(evidence: Evidence, f: Figures) -> Markup:
    """The figures that most ask for, large."""
    within = f["interval"]
    ends = f"95\N{NO-BREAK SPACE}% interval {percent(within[0])} to {percent(within[1])}" if within else ""
    how = "at the stored thresholds" if chosen_thresholds(evidence) else "at a probability of 0.5"
    rows = [
        ("Mean average precision", percent(f["mAP"]), ends or "mean over classes"),
        ("F1, macro", percent(f["macro"]["f1"]), f"mean over classes, {how}"),
        ("F1, micro", percent(f["micro"]["f1"]), "all answers together"),
        ("All right", percent(f["exact"]), "pictures without a mistake"),
        ("Area under ROC", number(f.get("auc")), "0.5 is guessing, 1 perfect"),
        ("Calibration error", percent(f["ece"]), "stated against observed, mean over classes"),
    ]
    rows += [(capital(in_words(name)), of_task(evidence, name), "") for name in evidence.recorded]
    boxes = (tag("div", tag("span", name), tag("b", value), tag("span", more)) for name, value, more in rows)
    return tag("div", *boxes, class_="tiles")


def cautions(evidence: Evidence, f: Figures) -> Iterator[str]:
    """What stands between the figures and a belief in them, a sentence each; `f`: `evidence.figures_of_sets`."""
    if evidence.split == "validation":
        yield "These pictures also chose the checkpoint, so the figures are optimistic; a test split would tell more."
    if f["nonfinite"]:
        yield f"For {f['nonfinite']:,} pictures the model's answer is not a number; they count as all wrong."
    if f["count"] < FEW:
        yield f"{f['count']} pictures are few: all figures here are rough."
    yield from _about_groups(evidence)
    yield from _about_classes(f)
    if f["interval"] and f["interval"][0] <= chance(f):
        yield "It is not shown to rank better than by chance."
    if f["micro"]["f1"] is not None and f["macro"]["f1"] is not None and f["micro"]["f1"] - f["macro"]["f1"] > MARGIN:
        yield (
            f"It is better on frequent classes than on rare ones: F1 is {percent(f['micro']['f1'])} over all answers, "
            f"but {percent(f['macro']['f1'])} where every class counts the same."
        )
    yield from _about_numbers(evidence, f)
    if (f["ece"] or 0) > MARGIN:
        remedy = f"“jaxcls calibrate {evidence.workdir} --apply” may mend some of that"
        mended = "that is after calibration; see Probabilities"
        yield f"Its probabilities are {percent(f['ece'])} off on average; {mended if evidence.decision else remedy}."
    training = [
        line["f1_micro"] for line in evidence.lines if line.get("split", "train") == "train" and "f1_micro" in line
    ]
    here = evidence.figures["f1_micro"]  # at 0.5, as that of training
    if training and training[-1] - here > 2 * MARGIN:
        yield (
            f"On the training pictures its F1 over all answers is {percent(training[-1])}, but {percent(here)} here: "
            "it has learnt some by heart. More pictures or stronger augmentation would help."
        )


def _about_groups(evidence) -> Iterator[str]:
    groups = evidence.groups
    said = evidence.said_of_sets[1]
    interval = None if groups is None else one_label.clustered_interval((said.chosen == said.label).all(axis=1), groups)
    if interval:
        yield (
            f"These pictures are of {len(set(groups)):,} groups (config.data.group_by), and pictures of one group are "
            f"alike. By groups, the interval of the share that is all right is {percent(interval[0])} to "
            f"{percent(interval[1])}; all other intervals here take pictures as independent and may be too narrow."
        )


def _about_classes(f) -> Iterator[str]:
    rows = f["per_class"]
    empty = [row["name"] for row in rows if not row["support"]]
    few = [row["name"] for row in rows if 0 < row["support"] < FEW_OF_CLASS]
    never = [row["name"] for row in rows if row["support"] and not row["predicted"]]
    if empty:
        them = "it" if len(empty) == 1 else "them"
        yield f"Nothing can be said about finding {names(empty)}: no picture here has {them}."
    if few and f["count"] >= FEW:
        yield f"Fewer than {FEW_OF_CLASS} pictures each of {names(few)}: what is said about them is rough."
    if never:
        yield f"The model never named {names(never)}."


def _about_numbers(evidence, f) -> Iterator[str]:
    if abs(f["named"] - f["labels"]) <= NUMBER * max(f["labels"], 0.01) or chosen_thresholds(evidence):
        return
    yield (
        f"It names {number(f['named'], 2)} classes a picture at a probability of 0.5, where {number(f['labels'], 2)} "
        f"are right; thresholds by class may suit better (“jaxcls calibrate {evidence.workdir} --f1 --apply”)."
    )


def measured(evidence: Evidence) -> Section:
    """Which pictures these are, how the checkpoint was chosen, and all figures."""
    f, by = evidence.figures_of_sets, evidence.chosen_by
    of_picture = evidence.label.sum(axis=1)
    support = np.array([row["support"] for row in f["per_class"]])
    filled = support[support > 0]
    sizes = f", of {filled.min():,} to {filled.max():,} pictures each" if len(filled) else ""
    about = [
        f"{f['count']:,} pictures of the {evidence.split} split, each counted once; {len(filled):,} of "
        f"{len(support):,} classes are there{sizes}.",
        f"A picture has {of_picture.min():,} to {of_picture.max():,} labels, {number(f['labels'], 2)} on average; "
        f"{int((of_picture == 0).sum()):,} have none.",
        how_chosen(evidence, f"{'highest' if by.best == 'max' else 'lowest'} {in_words(by.name)}" if by else ""),
    ]
    flat, plain, intervals = flatten_config(f), flatten_config(evidence.figures), f["intervals"]
    both = evidence.decision is not None
    rows = []
    for key, name, meaning in FIGURES:
        if flat.get(key) is None:
            continue
        written = functools.partial(number, digits=4) if key in NO_SHARES else functools.partial(percent, digits=2)
        within = intervals.get(SAME.get(key, key))
        ends = f"{written(within[0])} to {written(within[1])}" if within else ""
        stated = ("" if key in OF_RANKS or key == "labels" else written(plain[key]),) if both else ()
        rows.append((name, written(flat[key]), ends, *stated, meaning))
    rows += [
        (capital(in_words(name)), of_task(evidence, name, 2), "", *([""] if both else []), "of the task's own")
        for name in evidence.recorded
    ]
    head = ("Figure", "Value", "95\N{NO-BREAK SPACE}% interval", *(["As stated, at 0.5"] if both else []), "Meaning")
    figures = table(head, rows, words=(0, len(head) - 1))
    return section("measured", "What was measured", unordered(about), folded("All figures", figures))
