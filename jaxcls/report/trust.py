"""Whether stated probabilities can be believed, and what is won by not answering where they are low."""

import numpy as np

from jaxcls.measure import calibration, curves, decision, doubt, figures
from jaxcls.report.answered import deciding
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Section, join, number, paragraph, percent, section, table, tag
from jaxcls.report.ranking import answers
from jaxcls.report.svg import Plot

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.5)
BINS = 10
LEAST = 5  # pictures in a bin for a point to be shown


def trust(evidence: Evidence) -> Section:
    """Reliability before and after temperature scaling."""
    before = curves.reliability(evidence.probability, evidence.label, BINS)
    changed = evidence.calibrated if evidence.temperature != 1 else None
    after = None if changed is None else curves.reliability(changed, evidence.label, BINS)
    plots = tag("div", _reliability(before, after), _histogram(evidence, before), class_="plots")
    return section(
        "probabilities", "Probabilities", paragraph(_about(evidence)), plots, _table(evidence), _doubts(evidence)
    )


def _about(evidence):
    text = (
        "Of the pictures for which the model states 80 %, 80 % should be right: points on the dotted line. Below it "
        "the model is too sure of itself, above it too cautious. The bars are 95 % intervals; of fewer than "
        f"{LEAST} pictures no point is shown."
    )
    if evidence.temperature is None:
        return f"{text} There are no validation predictions of this step to calibrate on."
    count = (evidence.decision or {}).get("count") or (
        0 if evidence.validation is None else len(evidence.validation.label)
    )
    if evidence.temperature == 1:
        return (
            f"{text} They are left as they are: the {count:,} pictures of the validation split do not show that "
            "dividing the logits by a temperature would make them better."
        )
    on = "validation split"
    if evidence.split == "validation":
        on += ", which are these very pictures, so that “calibrated” is optimistic"
    return (
        f"{text} Dividing the logits by the temperature {evidence.temperature:.3g} calibrates them; it was fitted on "
        f"{count:,} pictures of the {on}. It changes no class's rank, only what is stated."
    )


def _reliability(before, after):
    plot = Plot("Stated and observed", "stated probability", "share that is right", (0, 1), (0, 1), percent="xy")
    plot.diagonal()
    for curve, name, style in ((before, "as the model states it", 1), (after, "calibrated", 0)):
        if curve is not None:
            many = curve["count"] >= LEAST
            plot.line(curve["confidence"][many], curve["accuracy"][many], name, style, dots=True)
            for x, (low, high) in zip(curve["confidence"][many], curve["interval"][many], strict=True):
                plot.span(x, low, high, style)
    plot.say(f"Calibration error {percent(before['error'])} as the model states it.")
    return tag("figure", plot.render())


def _histogram(evidence, before):
    share = before["count"] / max(1, before["count"].sum())
    top = max(0.05, float(share.max(initial=0)) * 1.08)
    labels = ("How sure it is", "stated probability of its answer", "share of pictures")
    plot = Plot(*labels, (0, 1), (0, min(1, top)), percent="xy")
    for low, high, part, count in zip(before["low"], before["high"], share, before["count"], strict=True):
        plot.bar(low, high, part, f"{percent(low, 0)} to {percent(high, 0)}: {count:,} pictures")
    sure = evidence.confidence[np.isfinite(evidence.confidence)]
    if len(sure):
        plot.say(f"Half of the answers are given with {percent(float(np.median(sure)))} or more.")
    return tag("figure", plot.render())


def _table(evidence):
    columns = [("As stated", evidence.probability, 1.0)]
    if evidence.calibrated is not None and evidence.temperature != 1:
        columns.append(("Calibrated", evidence.calibrated, evidence.temperature))
    rows = [
        ("Calibration error", *(percent(_error(p, evidence.label, False), 2) for _, p, _ in columns)),
        ("Calibration error, adaptive", *(percent(_error(p, evidence.label, True), 2) for _, p, _ in columns)),
        (
            "Negative log-likelihood",
            *(number(calibration.nll(evidence.logits, evidence.label, t), 4) for *_, t in columns),
        ),
        ("Brier score", *(number(figures.brier(p, evidence.label), 4) for _, p, _ in columns)),
    ]
    return table(("", *(name for name, *_ in columns)), rows)


def _error(probability, label, adaptive):
    return curves.reliability(probability, label, adaptive=adaptive)["error"]


def selective(evidence: Evidence) -> Section | None:
    """Accuracy on the pictures whose answers it is surest of; None where no answer is a number."""
    curve = _curve(evidence)
    if not len(curve["coverage"]):
        return None
    low = min(0.98, float(curve["accuracy"][curve["coverage"] > 0.02].min(initial=1)))
    labels = ("Answering only where it is sure", "pictures answered", "right among them")
    plot = Plot(*labels, (0, 1), (max(0, low - 0.05), 1), percent="xy")
    plot.line(curve["coverage"], curve["accuracy"], style=0)
    wanted = [row for share in COVERAGES if (row := _at(curve, share))]
    plot.dots([row[0] for row in wanted], [row[1] for row in wanted], style=1)
    plot.say(f"Accuracy {percent(float(curve['accuracy'][-1]))} where every picture is answered.")
    rows = [(percent(cover), percent(right), f"≥ {percent(least)}") for cover, right, least in wanted]
    head = ("Answered", "Right among them", "Stated probability")
    about = paragraph(
        "Where a person looks at the pictures that the model is least sure of, the rest should be right more often: "
        "the curve rises to the left if its probabilities are worth anything."
    )
    both = join([tag("figure", plot.render()), table(head, rows, words=())])
    return section("selective", "Leaving the rest to a person", about, tag("div", both, class_="plots"))


def _curve(evidence):
    """`curves.selective` of what is answered: the first class, or what stored thresholds or costs decide."""
    if not deciding(evidence):
        return curves.selective(
            evidence.probability if evidence.calibrated is None else evidence.calibrated, evidence.label
        )
    answer = answers(evidence)
    stated = doubt.of_answer(decision.probabilities(evidence.decision, evidence.logits), answer)
    # one column of answers' probabilities: its first class is always 0, and right where the label is 0
    return curves.selective(stated[:, None], np.where(answer == evidence.label, 0, 1))


def _doubts(evidence):
    """What is left to a person, sets of classes and outliers, on these pictures; "" where none of it is stored."""
    decided = evidence.decision
    if not doubt.names(decided):
        return ""
    probability = decision.probabilities(decided, evidence.logits)
    answer = decision.decide(decided, probability)
    found = doubt.measure(decided, evidence.logits, probability, answer, evidence.label)
    n, rows = found["count"], []
    if chosen := decided.get("abstention"):
        wanted = f"at most {percent(chosen['risk'])} of them wrong, from {percent(chosen['threshold'])} on"
        rows.append(("Answered", *_counted(found["answered"], n), wanted))
        rows.append(("Wrong among the answered", *_counted(found["wrong"], found["answered"]), ""))
    if chosen := decided.get("sets"):
        wanted = f"at least {percent(chosen['coverage'])}; {found['size']:.2f} classes a set on average"
        rows.append(("Right class within the set", *_counted(found["covered"], n), wanted))
    if chosen := decided.get("outliers"):
        wanted = f"{percent(chosen['accepted'])} of validation"
        rows.append(("No outlier, by energy", *_counted(found["accepted"], n), wanted))
        if far := (chosen.get("distance") or {}).get("test") if evidence.split == "test" else None:
            rows.append(("No outlier, by distance", *_counted(far["accepted"], far["count"]), wanted))
    about = (
        "What “jaxcls calibrate” has stored about answers in doubt, chosen on validation, on these pictures: which are "
        "left to a person, sets of classes, and which pictures are like none of training."
    )
    head = ("", "Pictures", "Share", "95\N{NO-BREAK SPACE}% interval", "Wanted")
    return join([tag("h3", "In doubt"), paragraph(about), table(head, rows, words=(0, 4))])


def _counted(part, whole):
    if not whole:
        return f"{part:,} of {whole:,}", "–", ""
    ends = (percent(end) for end in figures.wilson_interval(part, whole))
    return f"{part:,} of {whole:,}", percent(part / whole), " to ".join(ends)


def _at(curve, share):
    """(coverage, accuracy, least probability) of the largest part that is no larger than a share; None where none."""
    place = int(np.searchsorted(curve["coverage"], share + 1e-9, "right")) - 1
    if place < 0 or curve["coverage"][place] < share / 2:
        return None
    return tuple(float(curve[name][place]) for name in ("coverage", "accuracy", "threshold"))
