"""Whether stated probabilities can be believed, and what is won by not answering where they are low."""

import numpy as np

from jaxcls.measure import calibration, curves
from jaxcls.measure.figures import brier
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Section, join, number, paragraph, percent, section, table, tag
from jaxcls.report.svg import Plot

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.5)
BINS = 10
LEAST = 5  # pictures in a bin for a point to be shown


def trust(evidence: Evidence) -> Section:
    """Reliability before and after temperature scaling."""
    before = curves.reliability(evidence.probability, evidence.label, BINS)
    after = None if evidence.calibrated is None else curves.reliability(evidence.calibrated, evidence.label, BINS)
    plots = tag("div", _reliability(before, after), _histogram(evidence, before), class_="plots")
    return section("probabilities", "Probabilities", paragraph(_about(evidence)), plots, _table(evidence))


def _about(evidence):
    text = (
        "Of the pictures for which the model states 80 %, 80 % should be right: points on the dotted line. Below it "
        "the model is too sure of itself, above it too cautious. The bars are 95 % intervals; of fewer than "
        f"{LEAST} pictures no point is shown."
    )
    if evidence.temperature is None:
        return f"{text} There are no validation predictions of this step to calibrate on."
    on = "validation split"
    if evidence.split == "validation":
        on += ", which are these very pictures, so that “calibrated” is optimistic"
    return (
        f"{text} Dividing the logits by the temperature {evidence.temperature:.3g} calibrates them; it was fitted on "
        f"the {on}. It changes no answer, only what is stated about it."
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
    if evidence.calibrated is not None:
        columns.append(("Calibrated", evidence.calibrated, evidence.temperature))
    rows = [
        ("Calibration error", *(percent(_error(p, evidence.label, False), 2) for _, p, _ in columns)),
        ("Calibration error, adaptive", *(percent(_error(p, evidence.label, True), 2) for _, p, _ in columns)),
        (
            "Negative log-likelihood",
            *(number(calibration.nll(evidence.logits, evidence.label, t), 4) for *_, t in columns),
        ),
        ("Brier score", *(number(brier(p, evidence.label), 4) for _, p, _ in columns)),
    ]
    return table(("", *(name for name, *_ in columns)), rows)


def _error(probability, label, adaptive):
    return curves.reliability(probability, label, adaptive=adaptive)["error"]


def selective(evidence: Evidence) -> Section | None:
    """Accuracy on the pictures it is surest of; None where no answer is a number."""
    probability = evidence.probability if evidence.calibrated is None else evidence.calibrated
    curve = curves.selective(probability, evidence.label)
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


def _at(curve, share):
    """(coverage, accuracy, least probability) of the largest part that is no larger than a share; None where none."""
    place = int(np.searchsorted(curve["coverage"], share + 1e-9, "right")) - 1
    if place < 0 or curve["coverage"][place] < share / 2:
        return None
    return tuple(float(curve[name][place]) for name in ("coverage", "accuracy", "threshold"))
