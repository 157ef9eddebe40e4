"""What a calibration did, in lines for people."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from jaxcls.measure import calibration, curves, decision, outcome
from jaxcls.measure.decision import Decision
from jaxcls.measure.stored import Logits

Splits = Mapping[str, Logits]  # stored predictions by the name of the split; validation is there
FEW = 50  # pictures of a class, below which a warning says how little they tell


def lines(decided: Decision, splits: Splits) -> Iterator[str]:
    """Tells of the temperature, the thresholds and the costs of a decision, on every split."""
    yield from temperature(decided, splits)
    for entry in decided["thresholds"]:
        yield from threshold(entry, decided, splits)
    if decided["thresholds"] or decided["costs"]:
        yield from answers(decided, splits)


def temperature(decided: Decision, splits: Splits) -> Iterator[str]:
    """Before and after, on every split."""
    t = decided["temperature"]
    how = "nothing to mend" if abs(t - 1) < 0.02 else "the model was too " + ("sure" if t > 1 else "unsure")
    fitted = splits[decision.SPLIT]
    if t == 1.0 and (fitted.logits.argmax(axis=1) == fitted.label).all():
        how = "left as it is: without a mistake there is nothing to fit it by"
    elif any(math.isclose(t, end, rel_tol=1e-3) for end in (calibration.HOTTEST, calibration.COLDEST)):
        how = "the end of the range: the logits say next to nothing about the classes"
    yield f"temperature {t:.4g}: {how}"
    yield ""
    yield f"{'':<12}{'NLL before':>12}{'after':>10}{'ECE before':>14}{'after':>10}"
    for split, (logits, label, _) in splits.items():
        nll = [calibration.nll(logits, label, value) for value in (1.0, t)]
        ece = [curves.reliability(calibration.probabilities(logits, value), label)["error"] for value in (1.0, t)]
        ece = [f"{100 * value:.2f} %" if value is not None else "-" for value in ece]
        yield f"{split:<12}{nll[0]:>12.4f}{nll[1]:>10.4f}{ece[0]:>14}{ece[1]:>10}"


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
    recall, precision = (_share(row[key], row[f"{key}_interval"]) for key in ("recall", "precision"))
    return f"{row['positives']:>9,}{row['found']:>7,}  {recall:<28}{row['flagged']:>8,}  {precision}"


def _share(value, interval):
    if value is None:
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


def answers(decided: Decision, splits: Splits) -> Iterator[str]:
    """Accuracy, and cost where there are any, of the answers and of the most probable class."""
    yield ""
    heads = f"{'':<12}{'accuracy':>10}{'most probable':>16}"
    yield heads + (f"{'mean cost':>12}{'most probable':>16}" if decided["costs"] else "")
    for split, (logits, label, _) in splits.items():
        probability = decision.probabilities(decided, logits)
        answers = decision.decide(decided, probability), decision.decide(None, probability)
        line = f"{split:<12}" + "".join(
            f"{100 * (answer == label).mean():>{width}.2f} %" for answer, width in zip(answers, (8, 14), strict=True)
        )
        if decided["costs"]:
            costs = [outcome.expected_cost(decided["costs"], answer, label) for answer in answers]
            line += f"{costs[0]:>12.4g}{costs[1]:>16.4g}"
        yield line
