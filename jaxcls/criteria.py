"""Figures by which states of a run can be ranked. Loads nothing."""

from typing import NamedTuple


class Figure(NamedTuple):
    """A figure by which states can be ranked.

    Attributes:
      name: what figures, records and files call it.
      best: "max" or "min".
      share: whether it is a share of 1, shown in percent.
    """

    name: str
    best: str = "max"
    share: bool = False


# Of a task that tells classes apart, the first one first (metrics.of_logits).
CLASSIFICATION = (Figure("accuracy", share=True), Figure("balanced_accuracy", share=True), Figure("loss", best="min"))
# Of sets of labels (set_metrics.of_sets).
SETS = (
    Figure("mAP", share=True),
    Figure("mAP_micro", share=True),
    Figure("f1", share=True),
    Figure("f1_micro", share=True),
    Figure("exact", share=True),
    Figure("hamming", best="min", share=True),
    Figure("loss", best="min"),
)
