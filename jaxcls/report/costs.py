"""What the answers cost, where `jaxcls calibrate` has stored what each mistake costs."""

import numpy as np

from jaxcls.measure import decision, outcome
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Section, join, number, paragraph, percent, section, table, tag

PAIRS = 10


def costs(evidence: Evidence) -> Section | None:
    """The section; None where no costs are stored."""
    stored = (evidence.decision or {}).get("costs")
    if not stored:
        return None
    matrix = np.asarray(stored, np.float64)
    probability = decision.probabilities(evidence.decision, evidence.logits)
    cheapest, likeliest = decision.decide(evidence.decision, probability), decision.decide(None, probability)
    always = int(matrix[evidence.label].mean(axis=0).argmin())
    ways = (
        ("Least expected cost", cheapest),
        ("Most probable class", likeliest),
        (f"Always “{evidence.shown[always]}”", np.full(len(evidence.label), always)),
    )
    rows = [(name, *_way(matrix, answer, evidence.label)) for name, answer in ways]
    changed = int((cheapest != likeliest).sum())
    about = paragraph(
        "Mistakes of different kinds cost differently, as stored by “jaxcls calibrate”. The answer is then the class "
        "whose expected cost is least, which may be a rare but dangerous one that is not the most probable: "
        f"{changed:,} of {len(evidence.label):,} pictures get another answer so. All but the first lines and "
        "“Leaving the rest to a person” speak of the most probable class."
    )
    head = ("Answer", "Mean cost", "95\N{NO-BREAK SPACE}% interval", "Sum", "Accuracy")
    return section("costs", "What mistakes cost", about, table(head, rows), _dearest(evidence, matrix, cheapest))


def _way(matrix, answer, label):
    """Mean cost with its interval, sum, accuracy of answers; those that are no class are left out of the costs."""
    mean, interval = outcome.expected_cost(matrix, answer, label), outcome.cost_interval(matrix, answer, label)
    if mean is None:
        return "–", "", "–", percent(0.0)
    total = mean * int((answer >= 0).sum())
    return (
        number(mean, 4),
        f"{number(interval[0], 4)} to {number(interval[1], 4)}",
        f"{total:,.6g}",
        percent(float((answer == label).mean())),
    )


def _dearest(evidence, matrix, answer):
    """The kinds of mistakes that cost most together."""
    good = answer >= 0
    counts = np.zeros(matrix.shape, int)
    np.add.at(counts, (evidence.label[good], answer[good]), 1)
    spent = counts * matrix
    order = np.argsort(-spent, axis=None, kind="stable")[:PAIRS]
    rows = [
        (evidence.shown[i], evidence.shown[j], f"{counts[i, j]:,}", f"{matrix[i, j]:,.6g}", f"{spent[i, j]:,.6g}")
        for i, j in zip(*np.unravel_index(order, spent.shape), strict=True)
        if spent[i, j] > 0
    ]
    if not rows:
        return paragraph("No answer cost anything.")
    head = ("True class", "Answer", "Pictures", "Cost each", "Together")
    return join([tag("h3", "What costs most"), table(head, rows, words=(0, 1))])
