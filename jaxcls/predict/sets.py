"""Answers where a picture may have several labels, or none: each class is judged by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.measure import decision as decisions
from jaxcls.measure.multilabel import answers

if TYPE_CHECKING:
    from jaxtyping import Float


def rows(
    probability: Float[np.ndarray, "n classes"],
    decision: decisions.Decision | None,
    classes: Sequence[str],
    top: int,
    beside: Mapping[str, Sequence[Any]],
    not_finite: str,
) -> list[dict[str, Any]]:
    """What to say about each picture: a list of dicts that JSON takes.

    `labels`: the classes at or above their thresholds, the most probable first, [] for none; `probabilities`: theirs.
    `top`: the most probable classes, each with its probability and its threshold. Where a probability is not finite
    there is only `error`.

    Args:
      probability: calibrated, each class by itself.
      decision: of measure.multilabel, or None.
      classes: names.
      top: how many classes are listed; 0 for all.
      beside: more columns, with an entry a picture.
      not_finite: the error.
    """
    named, limit = answers.chosen(probability, decision), answers.thresholds(decision, len(classes))
    order = np.argsort(-probability, axis=1, kind="stable")
    found: list[dict[str, Any]] = []
    for at, (p, inside, ranks) in enumerate(zip(probability, named, order, strict=True)):
        if not np.isfinite(p).all():
            found.append({"error": not_finite})
            continue
        labels, listed = [i for i in ranks if inside[i]], ranks[: top or len(classes)]
        best = [{"class": classes[i], "probability": float(p[i]), "threshold": float(limit[i])} for i in listed]
        row = {"labels": [classes[i] for i in labels], "probabilities": [float(p[i]) for i in labels], "top": best}
        found.append({**row, **{name: column[at] for name, column in beside.items()}})
    return found


def calibrates(decision: decisions.Decision) -> bool:
    """Whether its probabilities are others than those that the model states."""
    return any(value != 1 for value in decision["scale"]) or any(value != 0 for value in decision["bias"])
