"""A threshold for each class on its calibrated probability: the best F1, at least a recall, at least a precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.errors import UserError, did_you_mean
from jaxcls.measure import curves, decision
from jaxcls.measure.multilabel.answers import HALF

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

ALL = "all"  # in the place of a class: every class that no other wish is for
KINDS = ("recall", "precision")
Wish = tuple[str, str, float]  # (kind, class, value)


def choose(
    probability: Float[np.ndarray, "n classes"],
    label: UInt8[np.ndarray, "n classes"],
    classes: Sequence[str],
    *,
    f1: bool = False,
    wanted: Sequence[Wish] = (),
    strict: bool = True,
) -> list[dict[str, Any]]:
    """A threshold for each class.

    Args:
      probability: calibrated, of validation.
      label: of the same pictures.
      classes: names.
      f1: whether a class that no wish names gets the threshold with the best F1; else it keeps 0.5.
      wanted: (kind, class, value); of the class ALL for every class that no other wish names. A class of that very name
        is meant itself.
      strict: whether a wish that names its class and can't be had is an error; else the class keeps 0.5.

    Returns:
      One dict a class: class, index, kind ("recall", "precision", "f1", "half"), wanted (None without a value),
      threshold, and note where the class keeps 0.5 though something else was wanted.

    Raises:
      UserError: for a class that is not there, two wishes for one, or (strict) one that has no picture or whose value
        is not reached, with the best that is.
    """
    wishes, general = _by_class(wanted, classes)
    truth = np.asarray(label) > 0
    entries = []
    for index, name in enumerate(classes):
        kind, value = wishes.get(index, general or (("f1", None) if f1 else ("half", None)))
        found: dict[str, Any] = {"class": name, "index": index, "kind": kind, "wanted": value, "threshold": HALF}
        try:
            found["threshold"] = _one(probability[:, index], truth[:, index], kind, value, name)
        except UserError as error:
            if strict and index in wishes:
                raise
            found |= {"kind": "half", "wanted": None, "note": str(error)}
        entries.append(found)
    return entries


def _one(scores, positive, kind, value, name):
    if kind == "half":
        return HALF
    if not positive.any():
        raise UserError(
            f"no picture of {decision.SPLIT} is of class {name!r}: there is nothing to choose a threshold by"
        )
    return best_f1(scores, positive) if kind == "f1" else decision.choose(scores, positive, kind, value, name)


def best_f1(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float:
    """The threshold with the highest F1, of equals the highest threshold; midway to the next lower score.

    Args:
      scores: probabilities; NaN is never called positive.
      positive: what is, at least one.
    """
    scores = np.nan_to_num(np.asarray(scores, np.float64), nan=-1.0)
    curve = curves.precision_recall(scores, positive)
    valid = curve["threshold"] >= 0
    recall, precision, attained = curve["recall"][valid], curve["precision"][valid], curve["threshold"][valid]
    if len(attained) == 0:
        return HALF
    with np.errstate(invalid="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
    at = int(np.argmax(f1))
    following = attained[at + 1] if at + 1 < len(attained) else 0.0
    return float((attained[at] + following) / 2)


def _by_class(wanted, classes):
    """({class: (kind, value)}, that of all others or None)."""
    found, general = {}, None
    for kind, name, value in wanted:
        if name == ALL and ALL not in classes:
            if general:
                raise UserError(f"--{kind} {ALL}=.. and another threshold for {ALL} classes: give one")
            general = (kind, value)
            continue
        if name not in classes:
            there = f"{', '.join(classes[:20])}{' ...' if len(classes) > 20 else ''}"
            raise UserError(f"there is no class {name!r}{did_you_mean(name, classes) or '; there are: ' + there}")
        index = list(classes).index(name)
        if index in found:
            raise UserError(f"class {name!r} has two thresholds: give one")
        found[index] = (kind, value)
    return found, general
