"""Whether the stated probability of each class can be believed, before and after calibration."""

import numpy as np

from jaxcls.measure.multilabel import answers, calibration
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Section, folded, number, paragraph, percent, section, table, tag
from jaxcls.report.svg import Plot

BINS = 10
LEAST = 20  # answers in a bin for a point to be shown
SHOWN = 30  # classes up to which all are shown, else those that are furthest off
HOW = {calibration.OWN: "its own", calibration.SHARED: "shared", calibration.NONE: "as stated"}


def trust(evidence: Evidence) -> Section | None:
    """The section; None where no answer is a number."""
    good = np.isfinite(evidence.logits.max(axis=1))
    if not good.any():
        return None
    label = evidence.label[good]
    sides = [("as the model states it", answers.probabilities(evidence.logits[good], None), 1)]
    if evidence.decision and set(evidence.decision["how"]) != {calibration.NONE}:
        sides.append(("calibrated", answers.probabilities(evidence.logits[good], evidence.decision), 0))
    plots = tag("div", _reliability(sides, label), _histogram(sides, label), class_="plots")
    return section("probabilities", "Probabilities", paragraph(_about(evidence)), plots, _table(evidence, sides, label))


def _about(evidence):
    text = (
        "Where the model states 80 % for a class, it should be there in 80 % of cases: points on the dotted line, here "
        "of all classes and pictures together. Below it the model is too sure of a class, above it too cautious. The "
        f"bars are 95 % intervals; of fewer than {LEAST} answers no point is shown."
    )
    decided = evidence.decision
    if not decided:
        return (
            f"{text} No calibration is stored for this step: “jaxcls calibrate {evidence.workdir} --apply” makes one."
        )
    how, on = decided["how"], "validation split"
    if evidence.split == "validation":
        on += ", which are these very pictures, so that “calibrated” is optimistic"
    text += f" The calibration was fitted on {decided['count']:,} pictures of the {on}:"
    text += f" {how.count(calibration.OWN):,} of {len(how):,} classes by a scale and a bias of their own logits"
    if shared := how.count(calibration.SHARED):
        text += (
            f", {shared:,} by one temperature, {decided['shared']['temperature']:.3g}, since fewer than "
            f"{calibration.FEW} pictures have the class (or have it not)"
        )
    if left := how.count(calibration.NONE):
        text += f"; {left:,} {'is' if left == 1 else 'are'} left as stated, since nothing else is shown to be better"
    return f"{text}. It changes no order of pictures within a class, only what is stated."


def _reliability(sides, label):
    plot = Plot("Stated and observed", "stated probability", "share that is there", (0, 1), (0, 1), percent="xy")
    plot.diagonal()
    for name, probability, style in sides:
        curve = calibration.reliability(probability.ravel(), label.ravel() > 0, BINS)
        many = curve.size >= LEAST
        plot.line(curve.stated[many], curve.observed[many], name, style, dots=True)
        for x, (low, high) in zip(curve.stated[many], curve.interval[many], strict=True):
            plot.span(x, low, high, style)
        plot.say(f"Over all answers {percent(curve.error)} off {name}.")
    return tag("figure", plot.render())


def _histogram(sides, label):
    """How high the probabilities of classes are that are there (of those that are not most are near 0)."""
    _, probability, _ = sides[-1]
    mine = probability[label > 0]
    edges = np.linspace(0, 1, BINS + 1)
    share = np.histogram(mine, edges)[0] / max(1, len(mine))
    top = max(0.05, float(share.max(initial=0)) * 1.08)
    title = ("How sure it is of what is there", "stated probability of a right class", "share of right classes")
    plot = Plot(*title, (0, 1), (0, min(1, top)), percent="xy")
    for low, high, part in zip(edges[:-1], edges[1:], share, strict=True):
        plot.bar(low, high, part, f"{percent(low, 0)} to {percent(high, 0)}: {percent(float(part))}")
    if len(mine):
        plot.say(f"Half of the right classes have {percent(float(np.median(mine)))} or more.")
    return tag("figure", plot.render())


def _table(evidence, sides, label):
    errors = [calibration.errors(probability, label) for _, probability, _ in sides]
    losses = [[calibration.nll(p[:, c], label[:, c]) for c in range(label.shape[1])] for _, p, _ in sides]
    decided = evidence.decision
    rows = []
    for c, name in enumerate(evidence.shown):
        made = (HOW[decided["how"][c]], number(decided["scale"][c]), number(decided["bias"][c], 2)) if decided else ()
        figures = (
            [percent(float(p[:, c].mean())) for _, p, _ in sides],
            [percent(float(e[c]), 2) for e in errors],
            [number(x[c], 4) for x in losses],
        )
        rows.append((name, percent(float(label[:, c].mean())), *map(" → ".join, figures), *made))
    head = ["Class", "Share there", "Mean probability", "Calibration error", "NLL"]
    head += ["Calibration", "Scale", "Bias"] if decided else []
    words = (0, 5)
    if len(rows) <= SHOWN:
        return folded("By class", table(head, rows, words=words))
    worst = np.argsort(-np.nan_to_num(errors[-1]), kind="stable")[:SHOWN]
    return folded(f"The {SHOWN} classes that are furthest off", table(head, [rows[c] for c in worst], words=words))
