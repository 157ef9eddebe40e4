"""Figures of what `jaxcls predict` answers, which need not be the class with the largest logit."""

import numpy as np

from jaxcls.measure import confusion, figures
from jaxcls.report.evidence import Evidence
from jaxcls.report.ranking import answers
from jaxcls.types import Figures


def deciding(evidence: Evidence) -> str:
    """What decides about the class beside the probabilities: "thresholds", "costs", "" for nothing."""
    return next((key for key in ("thresholds", "costs") if (evidence.decision or {}).get(key)), "")


def answered(evidence: Evidence) -> Figures:
    """Figures of the classes that are answered: those of the stored thresholds or costs, else of the largest logit.

    Those that speak of probabilities and ranks stay as `evidence.figures` has them.
    """
    if not deciding(evidence):
        return evidence.figures
    answer, n = answers(evidence), len(evidence.label)
    table, nothing = (
        confusion.count(answer, evidence.label, len(evidence.classes)),
        np.full(len(evidence.classes), np.nan),
    )
    hits = int((answer == evidence.label).sum())
    rows = figures.by_row(figures.per_class(table, evidence.shown, nothing, nothing))
    right = {"correct": hits, "accuracy": hits / n, "interval": list(figures.wilson_interval(hits, n))}
    return {**evidence.figures, **right, **confusion.means_over_classes(table), "per_class": rows}
