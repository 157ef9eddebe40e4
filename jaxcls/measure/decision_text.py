"""What a calibration does, in lines for people."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxcls.measure import calibration, decision, doubt, effect, outcome
from jaxcls.measure.decision import Decision
from jaxcls.measure.stored import Logits
from jaxcls.metrics import wilson_interval

Splits = Mapping[str, Logits]  # stored predictions by the name of the split; validation is there
FEW = 50  # pictures of a class, below which a warning says how little they tell


def lines(decided: Decision, splits: Splits) -> Iterator[str]:
    """Tells of all that is in a decision, on every split."""
    yield from temperature(decided, splits)
    for entry in decided["thresholds"]:
        yield from threshold(entry, decided, splits)
    if decided["costs"]:
        yield from costs(decided, splits)
    yield from doubts(decided, splits)


def temperature(decided: Decision, splits: Splits) -> Iterator[str]:
    """The temperature, and accuracy and calibration before and after on every split."""
    yield f"temperature {decided['temperature']:.4g}: {why(decided, splits[decision.SPLIT])}"
    yield ""
    heads = (f"{name} (95 % interval)" for name in ("before", "after", "difference"))
    yield f"{'':<21}" + "".join(f"{head:<30}" for head in heads).rstrip()
    for split, predictions in splits.items():
        yield from _changes(decided, split, predictions)
    own = "each part of it with a temperature fitted on the others"
    if decided["thresholds"] or decided["costs"]:
        own += ", but with the thresholds or costs that it chose; before is the most probable class"
    yield f"Calibration on {decision.SPLIT} is cross-fitted: {own}."


def why(decided: Decision, fitted: Logits) -> str:
    """Why the temperature is what it is."""
    t, n = decided["temperature"], len(fitted.label)
    finite = np.isfinite(fitted.logits).all(axis=1)
    left = "" if finite.all() else f"; {n - finite.sum():,} of {n:,} answers are not finite and left out"
    if t != 1:
        how = f"the model was too {'sure' if t > 1 else 'unsure'}"
        if any(math.isclose(t, end, rel_tol=1e-3) for end in (calibration.HOTTEST, 1 / calibration.HOTTEST)):
            how = "the end of the range: the logits say next to nothing about the classes"
        few = n < calibration.FEW and max(t, 1 / t) > calibration.NARROW * 0.999
        return how + (f", by as much as fewer than {calibration.FEW} pictures may say" if few else "") + left
    if not finite.any():
        return f"left as it is: none of the {n:,} answers is finite"
    if (fitted.logits.argmax(axis=1) == fitted.label)[finite].all():
        return f"left as it is: without a mistake there is nothing to fit it by{left}"
    return f"left as it is: {n:,} pictures do not show that another one is better{left}"


def _changes(decided, split, predictions):
    """A line a figure, of the rows that are finite."""
    good = np.isfinite(predictions.logits).all(axis=1)
    logits, label = predictions.logits[good], predictions.label[good]
    if not len(label):
        yield f"{split:<12}none of its answers is finite"
        return
    ones = np.ones(len(label))
    fitted = effect.cross_fitted(logits, label) if split == decision.SPLIT else ones * decided["temperature"]
    answer = None
    if decided["thresholds"] or decided["costs"]:
        answer = decision.decide(decided, decision.probabilities(decided, logits))
    start = split
    for change in effect.changes(effect.rows(logits, label, ones), effect.rows(logits, label, fitted, answer)):
        parts = [_with_ends(change.name, *values) for values in change[1:]]
        yield f"{start:<12}{change.name:<9}" + "".join(f"{part:<30}" for part in parts) + change.verdict
        start = ""


def _with_ends(name, value, low, high):
    if name in ("NLL", "Brier"):
        return f"{value:.4f} ({low:.4f} to {high:.4f})"
    return f"{_percent(value)} ({100 * low:.2f} to {100 * high:.2f})"


def _percent(value):
    return f"{100 * value:.2f} %"


def threshold(entry: dict[str, Any], decided: Decision, splits: Splits) -> Iterator[str]:
    """What one threshold does on every split, beside the most probable class."""
    name = entry["class"]
    yield ""
    yield (
        f"{name!r} is answered where its probability is at least {entry['threshold']:.4g}, for a {entry['kind']} of at "
        f"least {100 * entry['wanted']:g} %"
    )
    yield f"{'':<12}{'':<14}{'pictures':>9}{'found':>7}  {'recall (95 % interval)':<28}{'flagged':>8}  precision"
    for split, (logits, label, _) in splits.items():
        probability = decision.probabilities(decided, logits)
        for how, rule, start in (("threshold", decided, split), ("most probable", None, "")):
            row = outcome.of_answers([entry], decision.decide(rule, probability), label)[0]
            yield f"{start:<12}{how:<14}{_measured(row)}"
            if rule and split == decision.SPLIT:
                fitted = row
    yield from _warnings(entry, fitted)


def _measured(row):
    recall, precision = (share(row[key], row[f"{key}_interval"]) for key in ("recall", "precision"))
    return f"{row['positives']:>9,}{row['found']:>7,}  {recall:<28}{row['flagged']:>8,}  {precision}"


def share(value: float | None, interval: list[float] | tuple[float, float] | None) -> str:
    """ "95.00 % (76.4 to 99.1)"; "-" where it is undefined."""
    if value is None or interval is None:
        return "-"
    return f"{100 * value:.2f} % ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def _warnings(entry, row):
    """What must be known before a threshold is relied on."""
    low = 100 * row["recall_interval"][0]
    if row["positives"] < FEW:
        yield (
            f"Only {row['positives']} pictures of {entry['class']!r} to choose it by: on other pictures the recall may "
            f"be as low as {low:.1f} %. Collect more before you rely on it."
        )
    if row[entry["kind"]] is not None and row[entry["kind"]] < entry["wanted"] - 1e-12:
        yield (
            f"With the other thresholds at work its {entry['kind']} is below {100 * entry['wanted']:g} %: where "
            "several classes are above their thresholds, the most probable is answered."
        )


def costs(decided: Decision, splits: Splits) -> Iterator[str]:
    """The mean cost of the answers, and of the most probable class."""
    yield ""
    yield f"{'':<12}{'mean cost':>12}{'most probable':>16}"
    for split, (logits, label, _) in splits.items():
        probability = decision.probabilities(decided, logits)
        answers = decision.decide(decided, probability), decision.decide(None, probability)
        spent = [outcome.expected_cost(decided["costs"], answer, label) for answer in answers]
        yield f"{split:<12}" + "".join(f"{value:>{width}.4g}" for value, width in zip(spent, (12, 16), strict=True))


def doubts(decided: Decision, splits: Splits) -> Iterator[str]:
    """What is left to a person, sets of classes and outliers, on every split."""
    if not doubt.names(decided):
        return
    found = {}
    for split, (logits, label, _) in splits.items():
        probability = decision.probabilities(decided, logits)
        found[split] = doubt.measure(decided, logits, probability, decision.decide(decided, probability), label)
    if chosen := decided.get("abstention"):
        yield ""
        yield (
            f"answers are given from a probability of {chosen['threshold']:.4g} on: at most {100 * chosen['risk']:g} % "
            f"of them are wrong, with a sureness of {100 * chosen['sureness']:g} % (shown: {_percent(chosen['bound'])})"
        )
        for split, row in found.items():
            wrong = counted(row["wrong"], row["answered"])
            yield f"{split:<12}answered {counted(row['answered'], row['count'])}, of them wrong {wrong}"
    if chosen := decided.get("sets"):
        yield ""
        yield (
            f"sets hold the right class with a chance of at least {100 * chosen['coverage']:g} %: the most probable "
            f"class and all from a probability of {chosen['threshold']:.4g} on"
        )
        for split, row in found.items():
            within = counted(row["covered"], row["count"])
            yield f"{split:<12}right class within {within}; {row['size']:.2f} classes a set"
    if chosen := decided.get("outliers"):
        yield ""
        yield (
            f"outliers by energy are pictures above {chosen['energy']['threshold']:.4g}, which accepts "
            f"{100 * chosen['accepted']:g} % of {decision.SPLIT}"
        )
        for split, row in found.items():
            yield f"{split:<12}accepted {counted(row['accepted'], row['count'])}"
        yield from far_ones(chosen)


def far_ones(chosen: dict[str, Any]) -> Iterator[str]:
    """What is an outlier by distance; nothing where that is not measured."""
    far = chosen.get("distance")
    if not far:
        return
    nearest = "nearest" if far["k"] == 1 else f"{far['k']}-th nearest"
    yield (
        f"outliers by distance are pictures above {far['threshold']:.4g}, the distance of their features to the "
        f"{nearest} of {far['count']:,} training pictures; set by {far['validation']:,} of {decision.SPLIT}"
    )
    if "test" in far:
        yield f"{'test':<12}accepted {counted(far['test']['accepted'], far['test']['count'])}"


def counted(part: int, whole: int) -> str:
    """ "19 of 20, 95.00 % (76.4 to 99.1)"."""
    return f"{part:,} of {whole:,}" + (f", {share(part / whole, wilson_interval(part, whole))}" if whole else "")
