"""What turns logits into sets of labels: a scale, a bias and a threshold of each class. Stored with the checkpoint.

`calibration/<step>.json` in the workdir, strict JSON:

    {"step": 500, "split": "validation", "output": "sigmoid", "count": 400, "classes": ["crack", "dent"],
     "scale": [1.2, 0.8], "bias": [-0.4, 0.0], "how": ["own", "shared"], "shared": {"temperature": 1.25, "classes": 1},
     "nll": {"before": 0.21, "after": 0.19}, "ece": {"before": 0.06, "after": 0.02}, "fingerprint": "<SHA-256>",
     "thresholds": [{"class": "crack", "index": 0, "kind": "recall", "wanted": 0.99, "threshold": 0.034},
                    {"class": "dent", "index": 1, "kind": "f1", "wanted": null, "threshold": 0.41}],
     "costs": null, "outliers": null}

The calibrated probability of class j is sigmoid(scale_j * logit_j + bias_j) and the class is named where that is at
least its threshold (`answers`). `how` says where scale and bias come from (`calibration.Calibration`). "kind" is "f1",
"recall", "precision" or "half", which is 0.5; an entry may have a "note" on why it is. "outliers" is as
`measure.decision` has it, with the joint energy (`outliers.energy_of_sets`). Other readers know the file by its
"output", and by the temperature that it lacks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.measure import decision as decisions
from jaxcls.measure import outliers, stored
from jaxcls.measure.multilabel import answers, calibration, thresholds
from jaxcls.measure.multilabel.sound import OUTPUT
from jaxcls.types import PathLike

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

Decision = dict[str, Any]
PARTS = 5  # of validation: each is measured with what the others chose


def fit(
    logits: Float[np.ndarray, "n classes"],
    label: UInt8[np.ndarray, "n classes"],
    classes: Sequence[str],
    *,
    f1: bool = False,
    wanted: Sequence[thresholds.Wish] = (),
    accepted: float | None = None,
    strict: bool = True,
) -> Decision:
    """Fits the calibration of each class, and chooses its threshold.

    Args:
      logits, label: of validation; classes: names.
      f1, wanted, strict: which thresholds, as of `thresholds.choose`.
      accepted: share of pictures that are no outliers by their energy; None for no such limit.

    Returns:
      The decision, without "step", "split" and "fingerprint".

    Raises:
      UserError: for a wish that can't be had, or a share that is none.
    """
    label = np.asarray(label)
    classes = [str(name) for name in classes]
    found = calibration.fit(logits, label)
    decided: Decision = {
        "output": OUTPUT,
        "count": len(label),
        "classes": classes,
        "scale": found.scale.tolist(),
        "bias": found.bias.tolist(),
        "how": found.how,
        "shared": {"temperature": found.temperature, "classes": found.how.count(calibration.SHARED)},
        "thresholds": [],
        "costs": None,
        "outliers": None,
    }
    before, after = answers.probabilities(logits, None), answers.probabilities(logits, decided)
    for name, measure in (("nll", calibration.nll), ("ece", _error)):
        decided[name] = {"before": _finite(measure(before, label)), "after": _finite(measure(after, label))}
    decided["thresholds"] = thresholds.choose(after, label, classes, f1=f1, wanted=wanted, strict=strict)
    if accepted is not None:
        limit = outliers.limit(outliers.energy_of_sets(logits), accepted)
        decided["outliers"] = {"accepted": accepted, "energy": {"threshold": limit}}
    return decided


def cross_fitted(
    logits: Float[np.ndarray, "n classes"],
    label: UInt8[np.ndarray, "n classes"],
    classes: Sequence[str],
    *,
    f1: bool = False,
    wanted: Sequence[thresholds.Wish] = (),
    seed: int = 0,
) -> tuple[Float[np.ndarray, "n classes"], Bool[np.ndarray, "n classes"]]:
    """(probabilities, classes named) of each picture by a decision that it had no part in: one of the other ones of
    PARTS parts, drawn by the seed. A part in which a wish can't be had keeps 0.5 for that class."""
    n = len(label)
    probability, chosen = answers.probabilities(logits, None), np.zeros(logits.shape, bool)
    part = np.random.default_rng(seed).permutation(n) % PARTS
    for number in range(PARTS):
        mine = part == number
        if mine.any():
            made = None if mine.all() else fit(logits[~mine], label[~mine], classes, f1=f1, wanted=wanted, strict=False)
            probability[mine] = answers.probabilities(logits[mine], made)
            chosen[mine] = answers.chosen(probability[mine], made)
    return probability, chosen


def fit_run(workdir: PathLike, step: int) -> Decision | None:
    """Fits the calibration alone on the stored validation logits of a step, and saves it; thresholds are 0.5.

    A calibration of the very same logits that is there already stays, with its thresholds.

    Returns:
      The decision; None where there are no validation logits of the step.

    Raises:
      UserError: if a file is damaged or cannot be written.
    """
    if not stored.logits_path(workdir, decisions.SPLIT, step).is_file():
        return None
    predictions = stored.read_answers(workdir, decisions.SPLIT, step)
    mark = stored.fingerprint(predictions)
    earlier = decisions.read(workdir, step)
    if earlier and earlier.get("fingerprint") == mark:
        return earlier
    classes = stored.read_classes(workdir, step, predictions.logits.shape[1])
    decided = fit(predictions.logits, predictions.label, classes)
    return decisions.save(workdir, step, {**decided, "fingerprint": mark})


def _error(probability, label):
    """Mean calibration error of the classes that have positives."""
    found = calibration.errors(probability, label)[label.sum(axis=0) > 0]
    found = found[~np.isnan(found)]
    return float(found.mean()) if len(found) else math.nan


def _finite(value):
    """As JSON has it: None where it is not finite."""
    return value if math.isfinite(value) else None
