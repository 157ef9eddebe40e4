"""What turns logits into an answer: a temperature, and thresholds or costs. Stored with the checkpoint.

`calibration/<step>.json` in the workdir, strict JSON:

    {"step": 500, "split": "validation", "count": 400, "classes": ["good", "crack"], "temperature": 1.31,
     "nll": {"before": 0.21, "after": 0.19}, "ece": {"before": 0.06, "after": 0.02}, "fingerprint": "<SHA-256>",
     "thresholds": [{"class": "crack", "index": 1, "kind": "recall", "wanted": 0.99, "threshold": 0.034}],
     "costs": null}

Prediction and serving read it, and so does the report. `thresholds` and `costs` exclude each other.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxcls import files
from jaxcls.errors import UserError, did_you_mean
from jaxcls.measure import calibration, curves, outcome, stored
from jaxcls.types import PathLike

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
) -> Decision:
    """Fits the temperature, and chooses a threshold for each wish.

    Args:
      logits, label: of validation; classes: names.
      wanted: (kind, class, value): "recall" or "precision" of that class against the rest, at least value in (0, 1].
      costs: what it costs to call the row's class the column's. Not together with `wanted`.

    Returns:
      The decision, without "step", "split" and "fingerprint".

    Raises:
      UserError: for a class that is not there or has no picture, a value that is not reached (with the best that is),
        or costs that do not fit.
    """
    if wanted and costs is not None:
        raise UserError("thresholds and costs both decide: give --recall and --precision, or --costs, not both")
    classes = [str(name) for name in classes]
    temperature = calibration.fit_temperature(logits, label)
    before, after = (calibration.probabilities(logits, t) for t in (1.0, temperature))
    thresholds: list[dict[str, Any]] = []
    for kind, name, value in wanted:
        index = _index(classes, name)
        if any(entry["index"] == index for entry in thresholds):
            raise UserError(f"class {name!r} has two thresholds: give one")
        threshold = choose(after[:, index], np.asarray(label) == index, kind, value, name)
        thresholds.append({"class": name, "index": index, "kind": kind, "wanted": value, "threshold": threshold})
    return {
        "count": len(label),
        "classes": classes,
        "temperature": temperature,
        "nll": {"before": _nll(before, label), "after": _nll(after, label)},
        "ece": {
            "before": curves.reliability(before, label)["error"],
            "after": curves.reliability(after, label)["error"],
        },
        "thresholds": thresholds,
        "costs": None if costs is None else check_costs(costs, classes).tolist(),
    }


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
    """Calibrated probabilities, float64; without a decision (None) the plain softmax."""
    return calibration.probabilities(logits, decision["temperature"] if decision else 1.0)


def decide(decision: Decision | None, probability: Float[np.ndarray, "n classes"]) -> Int[np.ndarray, " n"]:
    """The class to answer; -1 where a probability is NaN.

    Without costs and thresholds the most probable class (of equals the lower). With costs the one whose expected cost
    is least. With thresholds: a class with a threshold is answered where its probability is at least that, the most
    probable such class where several are; else the most probable of the classes without a threshold (of all classes,
    where each has one).
    """
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
    """Fits the temperature alone on the stored validation logits of a step, and saves it.

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
    try:
        classes, temperature = decision["classes"], decision["temperature"]
        good = isinstance(classes, list) and math.isfinite(temperature) and temperature > 0
        good &= all(0 <= t["index"] < len(classes) and t["threshold"] >= 0 for t in decision["thresholds"])
        good &= not decision["costs"] or np.asarray(decision["costs"], np.float64).shape == (len(classes),) * 2
    except (KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise UserError(f"{file} is damaged; delete it, or make it anew with `jaxcls calibrate {workdir}`")
    return decision


def check_costs(
    costs: Float[np.ndarray, "classes classes"], classes: Sequence[str]
) -> Float[np.ndarray, "classes classes"]:
    """Costs as float64. Raises UserError where the shape or a number is not possible."""
    matrix = np.asarray(costs, np.float64)
    if matrix.shape != (len(classes),) * 2:
        shape, n = " x ".join(map(str, matrix.shape)), len(classes)
        raise UserError(f"the costs are {shape} numbers; {n} classes need {n} x {n}: a row for each true class")
    if not np.isfinite(matrix).all():
        raise UserError("the costs hold something that is no finite number")
    if (matrix < np.diagonal(matrix)[:, None]).any():
        row, column = np.argwhere(matrix < np.diagonal(matrix)[:, None])[0]
        raise UserError(
            f"costs: calling {classes[row]!r} {classes[column]!r} costs less than calling it rightly; "
            "rows are true classes, columns answers"
        )
    return matrix


def _index(classes, name):
    if name not in classes:
        there = f"{', '.join(classes[:20])}{' ...' if len(classes) > 20 else ''}"
        raise UserError(f"there is no class {name!r}{did_you_mean(name, classes) or '; there are: ' + there}")
    return classes.index(name)


def _nll(probability, label):
    """Mean negative log-likelihood; None where it is not finite."""
    with np.errstate(divide="ignore"):
        value = -float(np.log(probability[np.arange(len(label)), np.asarray(label)]).mean())
    return value if math.isfinite(value) else None
