"""What a decision says beside the class: that it is left to a person, a set of classes, that the picture is strange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.measure import abstain, conformal, outliers
from jaxcls.measure.multilabel import sound
from jaxcls.measure.softmax import Probabilities

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

Decision = dict[str, Any]


def names(decision: Decision | None) -> list[str]:
    """The names of what `columns` has, in their order; [] where nothing of it is stored."""
    decision = decision or {}
    strange = decision.get("outliers")
    found = ["abstained"] if decision.get("abstention") else []
    found += ["set"] if decision.get("sets") else []
    found += ["energy"] if strange else []
    found += ["distance"] if strange and strange.get("distance") else []
    return found + (["outlier"] if strange else [])


def columns(
    decision: Decision | None,
    logits: Float[np.ndarray, "n classes"],
    probability: Float[np.ndarray, "n classes"],
    answer: Int[np.ndarray, " n"],
    classes: Sequence[str],
    distance: Float[np.ndarray, " n"] | None = None,
) -> dict[str, list[Any]]:
    """Columns with an entry a picture, of plain values, for what is stored.

    abstained (bool): the answer is not sure enough for the stored risk. set (names, the most probable first): the
    classes that hold the right one with the stored coverage. energy, distance (float): how strange the picture is.
    outlier (bool): it is stranger than the stored share of validation pictures, by its distance where that is measured,
    else by its energy.

    Args:
      decision: of `measure.decision`, or None.
      logits: of pictures; probability, answer: what the decision makes of them.
      classes: names.
      distance: `outliers.distance` of their features, where the decision measures it.
    """
    out: dict[str, list[Any]] = {}
    decision = decision or {}
    if decision.get("abstention"):
        out["abstained"] = abstain.abstains(decision["abstention"], of_answer(probability, answer)).tolist()
    if decision.get("sets"):
        inside = conformal.members(decision["sets"], probability)
        order = np.argsort(-probability, axis=1, kind="stable")
        out["set"] = [[classes[c] for c in ranks[row[ranks]]] for row, ranks in zip(inside, order, strict=True)]
    if decision.get("outliers"):
        energy = energies(decision, logits)
        out["energy"] = energy.tolist()
        if distance is not None and decision["outliers"].get("distance"):
            out["distance"] = np.asarray(distance).tolist()
        out["outlier"] = strange(decision["outliers"], energy, distance).tolist()
    return out


def measure(
    decision: Decision,
    logits: Float[np.ndarray, "n classes"],
    probability: Float[np.ndarray, "n classes"],
    answer: Int[np.ndarray, " n"],
    label: Int[np.ndarray, " n"],
) -> dict[str, Any]:
    """What is stored comes to on a split; arguments as of `columns`.

    Returns:
      dict of count, and where they are stored: answered and wrong (numbers of pictures); covered (whose set holds the
      right class) and size (mean number of classes); accepted (no outliers by energy).
    """
    out: dict[str, Any] = {"count": len(label)}
    if chosen := decision.get("abstention"):
        given = ~abstain.abstains(chosen, of_answer(probability, answer))
        out |= {"answered": int(given.sum()), "wrong": int((answer != label)[given].sum())}
    if chosen := decision.get("sets"):
        inside = conformal.members(chosen, probability)
        out |= {"covered": int(inside[np.arange(len(label)), label].sum()), "size": float(inside.sum(axis=1).mean())}
    if chosen := decision.get("outliers"):
        out["accepted"] = int((~strange(chosen, energies(decision, logits))).sum())
    return out


def energies(decision: Decision, logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, " n"]:
    """The energies that a decision's threshold is for: joint ones where it is about sets."""
    sets = decision.get("output") == sound.OUTPUT
    return outliers.energy_of_sets(logits) if sets else outliers.energy(logits)


def strange(
    chosen: dict[str, Any], energy: Float[np.ndarray, " n"], distance: Float[np.ndarray, " n"] | None = None
) -> Bool[np.ndarray, " n"]:
    """Which pictures are outliers, by distance where that is measured, else by energy; what is NaN is one."""
    far = chosen.get("distance")
    if far and distance is not None:
        return ~(np.asarray(distance) <= far["threshold"])
    return ~(energy <= chosen["energy"]["threshold"])


def of_answer(probability: Probabilities, answer: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The probability of each answer; NaN where there is none (-1)."""
    stated = probability[np.arange(len(answer)), answer]  # of -1 that of the last class, which is NaN there
    return np.where(np.asarray(answer) < 0, np.nan, stated)
