"""A file's sets of labels against those of the network that it was made of."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxcls import set_metrics
from jaxcls.measure import compare
from jaxcls.measure.multilabel import answers, comparison, redraw
from jaxcls.tasks import base
from jaxcls.tasks.networks import Network

TEST = "mAP, paired bootstrap"


def limits(network: Network, output: str = "logits") -> Float[np.ndarray, " classes"] | None:
    """The answers from which on each class is named, in the units of a file's output ("logits" or "probabilities"),
    float64; None where answers are no sets."""
    if network.output != base.SIGMOID:
        return None
    limit = answers.thresholds(network.calibration, len(network.classes))
    if output == "probabilities":
        return limit
    with np.errstate(divide="ignore"):
        logit = np.log(limit) - np.log1p(-limit)
    if network.calibration:
        logit = (logit - np.asarray(network.calibration["bias"])) / np.asarray(network.calibration["scale"])
    return logit


def compared(
    run: Float[np.ndarray, "n classes"],
    file: Float[np.ndarray, "n classes"],
    limit: Float[np.ndarray, " classes"],
    rounding: float,
    labels: UInt8[np.ndarray, "n classes"] | None = None,
) -> dict[str, Any]:
    """How the sets of a file differ from those of the run, on the same pictures.

    Args:
      run, file: logits or probabilities.
      limit: of each class (`limits`).
      rounding: by so much an answer of the run may lie beside its limit, and count for either side.
      labels: of the pictures.

    Returns:
      dict of agreement (share of pictures with the same set), labels (share of all pairs of picture and class that are
      named alike), changed (pictures with another set by more than rounding); with labels, some of them there, run and
      file (mAP, interval of 95 %), drop (mAP of the run less that of the file), drop_interval and p (paired bootstrap
      over pictures; None where that would take too long). All are fractions of 1.
    """
    ours, theirs = run >= limit, file >= limit
    apart = ours != theirs
    found: dict[str, Any] = {
        "agreement": float((~apart).all(axis=1).mean()),
        "labels": float((~apart).mean()),
        "changed": int((apart & ~(np.abs(run - limit) <= rounding)).any(axis=1).sum()),
    }
    if labels is not None and labels.any():
        found |= _precision(run, file, ours, theirs, labels)
    return found


def _precision(run, file, ours, theirs, labels):
    out: dict[str, Any] = {}
    for name, scores in (("run", run), ("file", file)):
        figures = set_metrics.of_sets(scores, labels)
        out[name] = {"mAP": figures["mAP"], "interval": list(set_metrics.interval(figures) or (0.0, 1.0))}
    out |= {"drop": out["run"]["mAP"] - out["file"]["mAP"], "drop_interval": None, "p": None}
    truth = labels.astype(bool)
    sides = [redraw.Answers(_ranked(run), ours, truth), redraw.Answers(_ranked(file), theirs, truth)]
    if count := redraw.draws(*labels.shape):
        a, b = (found["mAP"] for found in redraw.redrawn(sides, count))
        drops = (a - b)[np.isfinite(a - b)]
        out["drop_interval"] = redraw.interval(drops, out["drop"], least=-1.0)
        drops = redraw.reflected(drops, out["drop"])
        out["p"] = comparison.chance(drops)
    return out


def _ranked(scores):
    """Rows that are no numbers come last."""
    return np.where(np.isfinite(scores).all(axis=1, keepdims=True), scores, -math.inf)


def sentence(found: dict[str, Any], name: str) -> str:
    """One plain sentence on the drop that `compared` found."""
    if found["p"] is not None:
        return compare.verdict(found["p"], -found["drop"], "the run", name, TEST)
    way = "below" if found["drop"] >= 0 else "above"
    return f"{name} is {100 * abs(found['drop']):.2f} points of mAP {way} the run."
