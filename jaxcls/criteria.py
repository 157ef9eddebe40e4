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
