"""The beginning of the report: one plain sentence, what to be careful about, the figures, what was measured."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from jaxcls.checkpoints.view import flatten_config
from jaxcls.measure import figures, stored
from jaxcls.measure.curves import first
from jaxcls.report import features
from jaxcls.report.answered import answered, deciding
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
from jaxcls.report.ranking import answers
from jaxcls.types import Figures

FEW, FEW_OF_CLASS = 100, 10  # pictures below which a figure is called rough
MARGIN = 0.05  # differences of shares below this are not worth a warning

# Key, name, explanation; in the order of the table.
FIGURES = (
    ("accuracy", "Accuracy", "share of pictures whose first class is the right one"),
    ("top5", "Top-5 accuracy", "share whose right class is among the first five"),
    ("balanced_accuracy", "Balanced accuracy", "mean over classes of the share found; rare classes count as much"),
    ("macro.precision", "Precision, macro", "mean over classes of: of those called so, the share that is"),
    ("macro.recall", "Recall, macro", "mean over classes of: of those that are, the share called so"),
    ("macro.f1", "F1, macro", "mean over classes of the harmonic mean of precision and recall"),
    ("weighted.precision", "Precision, weighted", "the same, classes weighted by their number of pictures"),
    ("weighted.recall", "Recall, weighted", "the same; equals the accuracy"),
    ("weighted.f1", "F1, weighted", "the same"),
    ("kappa", "Cohen's kappa", "agreement beyond chance: 0 guessing, 1 perfect"),
    ("mcc", "Matthews correlation", "correlation of predicted and true classes: 0 guessing, 1 perfect"),
    ("roc_auc", "Area under ROC", "chance that a picture of a class ranks above one of another; mean over classes"),
    ("average_precision", "Average precision", "area under precision over recall; mean over classes"),
    ("loss", "Negative log-likelihood", "in nats a picture; punishes confident mistakes"),
    ("brier", "Brier score", "squared error of the probabilities, summed over classes: 0 best, 2 worst"),
    ("ece", "Calibration error (ECE)", "mean distance of stated probability and share that is right, 15 equal bins"),
    ("adaptive_ece", "Calibration error, adaptive", "the same with bins of equally many pictures"),
)
NO_SHARES = ("kappa", "mcc", "roc_auc", "average_precision", "loss", "brier")


def title(evidence: Evidence) -> str:
    """The model and the set, of a folder its last name."""
    config = evidence.config
    model, data = (config.get(key, {}).get("name") for key in ("model", "data"))
    if not (model and data):
        return evidence.workdir.resolve().name
    named = "/" not in data or data.startswith(("tfds/", "synthetic/"))  # all else is a path, perhaps with options
    return f"{model} on {data if named else data.partition('?')[0].rstrip('/').rpartition('/')[2]}"


def overview(evidence: Evidence) -> Markup:
    """Verdict, tiles and cautions, of what `jaxcls predict` answers."""
    f = answered(evidence)
    warned = warnings(cautions(evidence, f))
    return join([paragraph(verdict(evidence, f), class_="verdict"), tiles(evidence, f), warned])


def warnings(sentences: Sequence[str]) -> Markup:
    """The box of sentences; nothing where there are none."""
    box = tag("div", tag("strong", "Before you rely on it"), unordered(sentences), class_="cautions")
    return box if sentences else Markup("")


def verdict(evidence: Evidence, f: Figures) -> str:
    """How good the model is, in words that need no training; `f`: of `answered`."""
    low, high = f["interval"]
    unseen = " that played no part in training" if evidence.split == "test" else ""
    right = "all" if f["correct"] == f["count"] else f"{f['correct']:,} ({percent(f['accuracy'])})"
    sentences = [
        f"Of {f['count']:,} {evidence.split} pictures{unseen} it named {right} correctly; on further pictures of the "
        f"same kind expect {percent(low)} to {percent(high)} (95\N{NO-BREAK SPACE}% interval)."
    ]
    if decides := deciding(evidence):
        largest = evidence.figures
        sentences.append(
            f"These are the answers of the stored {decides}, which “jaxcls predict” gives; the class with the largest "
            f"logit is right in {largest['correct']:,} ({percent(largest['accuracy'])})."
        )
    common = max(f["per_class"], key=lambda row: row["support"])
    sentences.append(
        f"Always answering “{common['name']}” would be right in {percent(common['support'] / f['count'])}."
    )
    weak = weakest(f)
    if weak and weak["recall"] < f["accuracy"]:
        low, high = weak["recall_interval"]
        hits = round(weak["recall"] * weak["support"])
        sentences.append(
            f"Weakest class: “{weak['name']}”, {hits:,} of {weak['support']:,} found "
            f"({percent(weak['recall'])}, interval {percent(low)} to {percent(high)})."
        )
    return " ".join(sentences)


def weakest(f: Figures) -> Figures | None:
    """The class with the lowest recall (the most pictures of equals); None without classes that have pictures."""
    there = [row for row in f["per_class"] if row["support"]]
    return min(there, key=lambda row: (row["recall"], -row["support"]), default=None)


def tiles(evidence: Evidence, f: Figures) -> Markup:
    """The figures that most ask for, large; `f`: of `answered`."""
    low, high = f["interval"]
    decides = deciding(evidence)
    interval = f"95\N{NO-BREAK SPACE}% interval {percent(low)} to {percent(high)}"
    rows = [("Accuracy of the answers" if decides else "Accuracy", percent(f["accuracy"]), interval)]
    if decides:
        rows.append(("Accuracy, largest logit", percent(evidence.figures["accuracy"]), f"without the stored {decides}"))
    if "top5" in f:
        rows.append(("Top-5", percent(f["top5"]), "right class among the first five"))
    rows += [(capital(in_words(name)), of_task(evidence, name), "") for name in evidence.recorded]
    rows.append(("Balanced accuracy", percent(f["balanced_accuracy"]), "rare classes count as much"))
    rows.append(("F1, macro", percent(f["macro"]["f1"]), "mean over classes"))
    rows.append(("Area under ROC", number(f["roc_auc"]), "0.5 is guessing, 1 perfect"))
    rows.append(("Calibration error", percent(f["ece"]), "stated against observed"))
    boxes = (tag("div", tag("span", name), tag("b", value), tag("span", more)) for name, value, more in rows)
    return tag("div", *boxes, class_="tiles")


def cautions(evidence: Evidence, f: Figures) -> list[str]:
    """What stands between the figures and a belief in them, a sentence each; `f`: of `answered`."""
    sentences = list(features.cautions(evidence))
    if evidence.split == "validation":
        sentences.append(
            "These pictures also chose the checkpoint, so the figures are optimistic; a test split would tell more."
        )
    if f["nonfinite"]:
        sentences.append(f"For {f['nonfinite']:,} pictures the model's answer is not a number; they count as wrong.")
    if f["count"] < FEW:
        sentences.append(f"{f['count']} pictures are few: all figures here are rough.")
    sentences += _about_groups(evidence)
    common = max(row["support"] for row in f["per_class"]) / f["count"]
    if f["interval"][0] <= common:
        sentences.append("It is not shown to be better than always answering the most frequent class.")
    sentences += _about_classes(f)
    if f["accuracy"] - f["balanced_accuracy"] > MARGIN:
        sentences.append(
            f"It is better on frequent classes than on rare ones: accuracy {percent(f['accuracy'])}, but "
            f"{percent(f['balanced_accuracy'])} where every class counts the same."
        )
    sentences += _about_confidence(evidence)
    lines = (line for line in evidence.lines if line.get("split", "train") == "train")
    training = [line["accuracy"] for line in lines if "accuracy" in line]
    here = evidence.figures["accuracy"]  # of the largest logit, as that of training
    if training and training[-1] - here > 2 * MARGIN:
        sentences.append(
            f"It names {percent(training[-1])} of the training pictures correctly, but {percent(here)} here: "
            "it has learnt some by heart. More pictures or stronger augmentation would help."
        )
    return sentences


def _about_groups(evidence) -> Iterator[str]:
    groups = evidence.groups
    answer = answers(evidence) if deciding(evidence) else evidence.predicted
    interval = None if groups is None else figures.clustered_interval(answer == evidence.label, groups)
    if interval:
        yield (
            f"These pictures are of {len(set(groups)):,} groups (config.data.group_by), and pictures of one group are "
            f"alike. By groups, the interval of the accuracy is {percent(interval[0])} to {percent(interval[1])}; all "
            "other intervals here take pictures as independent and may be too narrow."
        )


def _about_classes(f) -> Iterator[str]:
    rows = f["per_class"]
    empty = [row["name"] for row in rows if not row["support"]]
    few = [row["name"] for row in rows if 0 < row["support"] < FEW_OF_CLASS]
    never = [row["name"] for row in rows if row["support"] and not row["predicted"]]
    if empty:
        yield f"Nothing can be said about {names(empty)}: no pictures of {'it' if len(empty) == 1 else 'them'} here."
    if few and f["count"] >= FEW:
        yield f"Fewer than {FEW_OF_CLASS} pictures each of {names(few)}: what is said about them is rough."
    if never:
        yield f"The model never answered {names(never)}."


def _about_confidence(evidence) -> Iterator[str]:
    f = evidence.figures
    if (f["ece"] or 0) <= MARGIN:
        return
    confidence, right = first(evidence.probability, evidence.label)
    apart = float(confidence.mean() - right.mean())
    mended = evidence.temperature not in (None, 1.0)
    remedy = "see Probabilities for what calibration makes of it" if mended else "calibrate it before using them"
    if abs(apart) > MARGIN / 2:
        yield (
            f"Its probabilities can't be taken at their word: it states {percent(float(confidence.mean()))} on average "
            f"and is right in {percent(float(right.mean()))}, so it is too {'sure' if apart > 0 else 'cautious'}; "
            f"{remedy}."
        )
    else:
        yield f"Its probabilities are {percent(f['ece'])} off on average; {remedy}."


def names(classes: Sequence[str]) -> str:
    """Names of classes in a sentence: the first five, and how many more there are."""
    shown = ", ".join(f"“{name}”" for name in classes[:5])
    return shown if len(classes) <= 5 else f"{shown} and {len(classes) - 5} more classes"


def measured(evidence: Evidence) -> Section:
    """Which pictures these are, how the checkpoint was chosen, and all figures."""
    f, by = evidence.figures, evidence.chosen_by
    support = np.array([row["support"] for row in f["per_class"]])
    filled = support[support > 0]
    sizes = f"{filled.min():,} to {filled.max():,}" if filled.min() < filled.max() else f"{filled.min():,}"
    about = [
        f"{f['count']:,} pictures of the {evidence.split} split, each counted once, in {len(filled):,} classes "
        f"({sizes} pictures a class).",
        how_chosen(evidence, f"highest {in_words(by.name)}" if by and by.best == "max" and evidence.recorded else ""),
    ]
    if len(filled) < len(support):
        about.append(f"{len(support) - len(filled):,} of {len(support):,} classes have no pictures in it.")
    flat, intervals = flatten_config(f), {"accuracy": f["interval"], **f.get("intervals", {})}
    rows = []
    for key, name, meaning in FIGURES:
        if key in flat:
            written = functools.partial(number, digits=4) if key in NO_SHARES else functools.partial(percent, digits=2)
            interval = intervals.get(key.replace(".", "_"))
            ends = f"{written(interval[0])} to {written(interval[1])}" if interval else ""
            rows.append((name, written(flat[key]), ends, meaning))
    rows += [
        (capital(in_words(name)), of_task(evidence, name, 2), "", "of the task's own, as the evaluation left it")
        for name in evidence.recorded
    ]
    if decides := deciding(evidence):
        best = answered(evidence)
        ends = " to ".join(percent(end, digits=2) for end in best["interval"])
        meaning = f"the same of the answers that the stored {decides} decide; all others are of the largest logit"
        rows.insert(0, ("Accuracy of the answers", percent(best["accuracy"], digits=2), ends, meaning))
    figures = table(("Figure", "Value", "95\N{NO-BREAK SPACE}% interval", "Meaning"), rows, words=(0, 3))
    return section("measured", "What was measured", unordered(about), folded("All figures", figures))


def of_task(evidence: Evidence, name: str, digits: int = 1) -> str:
    """A figure of the task's own that was recorded beside logits."""
    value = evidence.recorded[name]
    share = any(figure.share for figure in evidence.choosing if figure.name == name)
    return percent(value, digits) if share else number(value, 4)


def how_chosen(evidence: Evidence, figure: str = "") -> str:
    """How the checkpoint came to be the one that is reported; `figure` says by what ("highest accuracy")."""
    if evidence.step != stored.final_step(evidence.workdir):
        return f"The checkpoint is that of step {evidence.step:,}, which is not the one that the run's result is of."
    last = max((line["step"] for line in evidence.lines), default=None)
    of = f" of {last:,}" if last is not None and last >= (evidence.step or 0) else ""
    if not evidence.selected:
        return (
            f"The checkpoint is that of step {evidence.step:,}{of}, the last state: there was nothing to select it by."
        )
    if evidence.split == "validation":
        best = f"the one with the {figure}" if figure else "the best one"
        return f"The checkpoint, step {evidence.step:,}{of}, is {best} on these very pictures: optimistic."
    by = f"the {figure} on the validation split" if figure else "the validation split"
    return (
        f"The checkpoint is that of step {evidence.step:,}{of}, chosen by {by}; the {evidence.split} pictures had no "
        "part in it."
    )
