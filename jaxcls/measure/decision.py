"""What turns logits into an answer: a temperature, and thresholds or costs. Stored with the checkpoint.

`calibration/<step>.json` in the workdir, strict JSON:

    {"step": 500, "split": "validation", "count": 400, "classes": ["good", "crack"], "temperature": 1.31,
     "nll": {"before": 0.21, "after": 0.19}, "ece": {"before": 0.06, "after": 0.02}, "fingerprint": "<SHA-256>",
     "thresholds": [{"class": "crack", "index": 1, "kind": "recall", "wanted": 0.99, "threshold": 0.034}],
     "costs": null,
     "abstention": {"risk": 0.02, "sureness": 0.95, "threshold": 0.87, "bound": 0.018, "answered": 310, "mistakes": 1,
                    "count": 400},
     "sets": {"coverage": 0.95, "threshold": 0.11, "count": 400},
     "outliers": {"accepted": 0.95, "energy": {"threshold": -3.2},
                  "distance": {"threshold": 0.71, "k": 5, "count": 5000, "validation": 400, "sha256": "<SHA-256>",
                               "test": {"count": 400, "accepted": 380}}}}

Prediction and serving read it, and so does the report. `thresholds` and `costs` exclude each other. The last three are
null where they were not asked for, and lack in files of before; `distance` may lack, and needs `<step>.npz` beside the
file (measure.outliers). With `"output": "sigmoid"` it is a decision about sets of labels, and has other keys
(measure.multilabel.decision); `read` reads both, `of_sets` tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls import files
from jaxcls.errors import UserError, did_you_mean
from jaxcls.measure import abstain, calibration, conformal, cost_file, curves, doubt, outcome, outliers, stored
from jaxcls.measure.multilabel import answers, sound
from jaxcls.measure.softmax import Softmax
from jaxcls.types import PathLike

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

KINDS = ("recall", "precision")
Decision = dict[str, Any]
SPLIT = "validation"  # what a decision is fitted on; never test, whose figures would be worth nothing afterwards


def path(workdir: PathLike, step: int) -> Path:
    """Where the decision of a step lies, or would."""
    return Path(workdir) / "calibration" / f"{step}.json"


def fit(
    logits: Float[np.ndarray, "n classes"],
    label: Int[np.ndarray, " n"],
    classes: Sequence[str],
    *,
    wanted: Sequence[tuple[str, str, float]] = (),
    costs: Float[np.ndarray, "classes classes"] | None = None,
    risk: float | None = None,
    coverage: float | None = None,
    accepted: float | None = None,
) -> Decision:
    """Fits the temperature, and chooses a threshold for each wish.

    Args:
      logits, label: of validation; classes: names.
      wanted: (kind, class, value): "recall" or "precision" of that class against the rest, at least value in (0, 1].
      costs: what it costs to call the row's class the column's. Not together with `wanted`.
      risk: share of wrong answers at most, the other pictures being left to a person (measure.abstain).
      coverage: of sets of classes (measure.conformal).
      accepted: share of pictures that are no outliers by their energy (measure.outliers).

    Returns:
      The decision, without "step", "split" and "fingerprint".

    Raises:
      UserError: for a class that is not there or has no picture, a value that is not reached (with the best that is),
        costs that do not fit, or a risk or coverage that so few pictures can't promise.
    """
    if wanted and costs is not None:
        raise UserError("thresholds and costs both decide: give --recall and --precision, or --costs, not both")
    classes = [str(name) for name in classes]
    temperature = calibration.fit_temperature(logits, label)
    before, after = (Softmax(logits, t) for t in (1.0, temperature))
    losses = [calibration.nll(logits, label, t) for t in (1.0, temperature)]
    decided: Decision = {
        "count": len(label),
        "classes": classes,
        "temperature": temperature,
        "nll": dict(zip(("before", "after"), map(_finite, losses), strict=True)),
        "ece": {
            "before": curves.reliability(before, label)["error"],
            "after": curves.reliability(after, label)["error"],
        },
        "thresholds": _thresholds(wanted, classes, after, label),
        "costs": None if costs is None else cost_file.check(costs, classes).tolist(),
        "abstention": None,
        "sets": None if coverage is None else conformal.choose(after, label, coverage),
        "outliers": None,
    }
    if risk is not None:
        answer = decide(decided, np.asarray(after))
        decided["abstention"] = abstain.choose(doubt.of_answer(after, answer), answer == np.asarray(label), risk)
    if accepted is not None:
        limit = outliers.limit(outliers.energy(logits), accepted)
        decided["outliers"] = {"accepted": accepted, "energy": {"threshold": limit}}
    return decided


def _thresholds(wanted, classes, probability, label):
    out: list[dict[str, Any]] = []
    for kind, name, value in wanted:
        index = _index(classes, name)
        if any(entry["index"] == index for entry in out):
            raise UserError(f"class {name!r} has two thresholds: give one")
        threshold = choose(probability[:, index], np.asarray(label) == index, kind, value, name)
        out.append({"class": name, "index": index, "kind": kind, "wanted": value, "threshold": threshold})
    return out


def choose(
    scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], kind: str, wanted: float, name: str = ""
) -> float:
    """The threshold that gives at least the wanted recall or precision, and as much as it can of the other.

    It lies midway between the last score that has to be called positive and the next lower one: as far as possible
    from both, so that rounding elsewhere changes no answer. Equal scores are never torn apart.

    Args:
      scores: probabilities; rows with NaN count as never called positive.
      positive: what is.
      kind: "recall": the highest threshold with that recall. "precision": of the thresholds with that precision, the
        one with the highest recall.
      wanted: in (0, 1].
      name: of the class, for messages.

    Raises:
      UserError: where there is no positive, or the value is not reached.
    """
    if not 0 < wanted <= 1:
        raise UserError(f"{kind} of {name!r}: {wanted:g} is no share in (0, 1]; give for example 0.95")
    scores, positive = np.nan_to_num(np.asarray(scores, np.float64), nan=-1.0), np.asarray(positive, bool)
    if not positive.any():
        raise UserError(f"no picture of {SPLIT} is of class {name!r}: there is nothing to choose a threshold by")
    curve = curves.precision_recall(scores, positive)
    valid = curve["threshold"] >= 0
    recall, precision = curve["recall"][valid], curve["precision"][valid]
    value = recall if kind == "recall" else precision
    reached = np.flatnonzero(value >= wanted - 1e-12)
    if len(reached) == 0:
        best = int(np.argmax(value)) if len(value) else None
        other = "" if best is None else f": at best {value[best]:.4g}, with recall {recall[best]:.4g}"
        raise UserError(f"a {kind} of {wanted:g} is not reached for {name!r} on {SPLIT}{other}; ask for less")
    # recall grows and the threshold falls along the curve; among equal recalls the first has the best precision
    at = reached[0] if kind == "recall" else reached[np.argmax(recall[reached])]
    attained = curve["threshold"][valid]
    following = attained[at + 1] if at + 1 < len(attained) else 0.0
    return float((attained[at] + following) / 2)


def probabilities(decision: Decision | None, logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
    """Calibrated probabilities, float64; without a decision (None) the plain softmax. One about sets has sigmoids."""
    if of_sets(decision):
        return answers.probabilities(logits, decision)
    return calibration.probabilities(logits, decision["temperature"] if decision else 1.0)


def decide(decision: Decision | None, probability: Float[np.ndarray, "n classes"]) -> Int[np.ndarray, " n"]:
    """The class to answer; -1 where a probability is NaN.

    Without costs and thresholds the most probable class (of equals the lower). With costs the one whose expected cost
    is least. With thresholds: a class with a threshold is answered where its probability is at least that, the most
    probable such class where several are; else the most probable of the classes without a threshold (of all classes,
    where each has one).

    Raises:
      ValueError: for a decision about sets, whose answers `measure.multilabel.answers.chosen` gives.
    """
    if of_sets(decision):
        raise ValueError("a decision about sets of labels names no one class")
    probability, decision = np.asarray(probability), decision or {}
    if decision.get("costs"):
        answer = (probability @ np.asarray(decision["costs"], np.float64)).argmin(axis=1)
    elif decision.get("thresholds"):
        limit = np.full(probability.shape[1], np.inf)
        for entry in decision["thresholds"]:
            limit[entry["index"]] = entry["threshold"]
        flagged = np.where(probability >= limit, probability, -1.0)
        others = np.where(np.isinf(limit), probability, -1.0) if np.isinf(limit).any() else probability
        answer = np.where((flagged >= 0).any(axis=1), flagged.argmax(axis=1), others.argmax(axis=1))
    else:
        answer = probability.argmax(axis=1)
    return np.where(np.isnan(probability).any(axis=1), -1, answer)


def measure(
    decision: Decision, logits: Float[np.ndarray, "n classes"], label: Int[np.ndarray, " n"]
) -> list[dict[str, Any]]:
    """What the thresholds of a decision do to a split, all of them at work together (`outcome.of_answers`)."""
    return outcome.of_answers(decision["thresholds"], decide(decision, probabilities(decision, logits)), label)


def fit_run(workdir: PathLike, step: int) -> Decision | None:
    """Fits the temperature alone on the stored validation logits of a step, and saves it (one label a picture).

    A calibration of the very same logits that is there already stays, with its thresholds.

    Returns:
      The decision; None where there are no validation logits of the step.

    Raises:
      UserError: if a file is damaged or cannot be written.
    """
    if not stored.logits_path(workdir, SPLIT, step).is_file():
        return None
    predictions = stored.read_logits(workdir, SPLIT, step)
    mark = stored.fingerprint(predictions)
    earlier = read(workdir, step)
    if earlier and earlier.get("fingerprint") == mark:
        return earlier
    classes = stored.read_classes(workdir, step, predictions.logits.shape[1])
    return save(workdir, step, {**fit(predictions.logits, predictions.label, classes), "fingerprint": mark})


def save(workdir: PathLike, step: int, decision: Decision) -> Decision:
    """Writes a decision as that of a step, atomically, and returns it with "step" and "split".

    Raises:
      UserError: if it cannot be written.
    """
    decision = {"step": int(step), "split": SPLIT, **decision}
    file = path(workdir, step)
    files.write_json(file, decision, remedy="mend that and calibrate again", allow_nan=False)
    return decision


def read(workdir: PathLike, step: int) -> Decision | None:
    """The decision of a step, or None where none was made.

    Raises:
      UserError: if the file is damaged.
    """
    file = path(workdir, step)
    decision = files.read_json(file, strict=True)
    if decision is None:
        return None
    if not is_sound(decision):
        raise UserError(f"{file} is damaged; delete it, or make it anew with `jaxcls calibrate {workdir} --apply`")
    return decision


def of_sets(decision: Decision | None) -> bool:
    """Whether a decision is about sets of labels (measure.multilabel.decision)."""
    return (decision or {}).get("output") == sound.OUTPUT


def is_sound(decision: Any) -> bool:
    """Whether what is stored can be used as a decision, of one label a picture or of sets."""
    try:
        output = decision.get("output", "softmax")
        return bool(sound.sound(decision) if output == sound.OUTPUT else output == "softmax" and _sound(decision))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return False


def _sound(decision):
    """As `is_sound`; raises half a dozen types."""
    classes, temperature = decision["classes"], decision["temperature"]
    good = isinstance(classes, list) and math.isfinite(temperature) and temperature > 0
    good &= all(0 <= t["index"] < len(classes) and t["threshold"] >= 0 for t in decision["thresholds"])
    good &= not decision["costs"] or np.asarray(decision["costs"], np.float64).shape == (len(classes),) * 2
    for key in ("abstention", "sets"):
        good &= not decision.get(key) or 0 <= decision[key]["threshold"] <= 1
    if strange := decision.get("outliers"):
        good &= math.isfinite(strange["energy"]["threshold"]) and 0 < strange["accepted"] <= 1
        if far := strange.get("distance"):
            good &= math.isfinite(far["threshold"]) and far["k"] >= 1 and isinstance(far["sha256"], str)
    return good


def _index(classes, name):
    if name not in classes:
        there = f"{', '.join(classes[:20])}{' ...' if len(classes) > 20 else ''}"
        raise UserError(f"there is no class {name!r}{did_you_mean(name, classes) or '; there are: ' + there}")
    return classes.index(name)


def _finite(value):
    """As JSON has it: None where it is not finite."""
    return value if math.isfinite(value) else None
