"""Figures of label sets over redraws of the pictures: bootstrap (Efron 1979), of one model or of several at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

WORK = 10**8  # answers times redraws: about a second
LEAST, MOST = 200, 1000  # redraws
BLOCK = 2**22  # pictures times redraws at once
WHOLE = ("mAP", "f1", "f1_micro", "hamming", "exact")  # what `figures` gives of a whole split


class Answers(NamedTuple):
    """What a model says of pictures: scores by which it ranks them, the classes it names, and the truth."""

    scores: Float[np.ndarray, "n classes"]
    chosen: Bool[np.ndarray, "n classes"]
    label: Bool[np.ndarray, "n classes"]


def draws(n: int, classes: int) -> int:
    """How many redraws of n pictures are affordable; 0 where fewer than LEAST within twice the usual time."""
    count = min(MOST, WORK // max(1, n * classes))
    return count if count >= LEAST else LEAST if n * classes * LEAST <= 4 * WORK else 0


def redrawn(sides: Sequence[Answers], count: int, seed: int = 0) -> list[dict[str, Float[np.ndarray, "draws ..."]]]:
    """`figures` of each side in the same `count` redraws of the pictures."""
    n = len(sides[0].label)
    rng = np.random.default_rng(seed)
    parts: list[list[dict[str, np.ndarray]]] = [[] for _ in sides]
    ranked = [[_ranking(s, y) for s, y in zip(side.scores.T, side.label.T, strict=True)] for side in sides]
    done, size = 0, max(1, BLOCK // n)
    while done < count:
        block = min(size, count - done)
        weight = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(block)]).astype(np.float32)
        for part, side, ranking in zip(parts, sides, ranked, strict=True):
            part.append(_figures(side, ranking, weight))
        done += block
    return [{name: np.concatenate([block[name] for block in part]) for name in part[0]} for part in parts]


def figures(answers: Answers) -> dict[str, Float[np.ndarray, " ..."]]:
    """Of the pictures as they are.

    Returns:
      dict of mAP (mean over the classes that have positives), f1 (the same mean), f1_micro, hamming (share of wrong
      answers), exact (share of pictures whose classes are all right), and with an entry a class average_precision and
      class_f1, NaN for a class without positives.
    """
    ranked = [_ranking(s, y) for s, y in zip(answers.scores.T, answers.label.T, strict=True)]
    found = _figures(answers, ranked, np.ones((1, len(answers.label)), np.float32))
    return {name: value[0] for name, value in found.items()}


def _ranking(scores, positive):
    """(pictures by falling score, places of the positives among them, last place with the score of each of those)."""
    scores = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-scores, kind="stable")
    ordered = -scores[order]
    places = np.flatnonzero(positive[order])
    return order, places, np.searchsorted(ordered, ordered[places], side="right") - 1


def _figures(side, ranked, weight):
    """As `figures`, with a first axis of redraws; weight float32 [draws, n]: how often each picture is in it."""
    averages = np.stack([_average(ranking, weight) for ranking in ranked], axis=1)
    chosen, truth = side.chosen, side.label
    total = weight.sum(axis=1, dtype=np.float64)
    hits = (weight @ (chosen & truth).astype(np.float32)).astype(np.float64)
    support, called = ((weight @ x.astype(np.float32)).astype(np.float64) for x in (truth, chosen))
    wrong = (weight @ (chosen != truth).sum(axis=1).astype(np.float32)).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        class_f1 = np.where(support > 0, 2 * hits / (support + called), np.nan)
        micro = 2 * hits.sum(axis=1) / np.maximum(support.sum(axis=1) + called.sum(axis=1), 1)
    return {
        "mAP": _mean(averages),
        "f1": _mean(class_f1),
        "f1_micro": micro,
        "hamming": wrong / (total * truth.shape[1]),
        "exact": (weight @ (chosen == truth).all(axis=1).astype(np.float32)) / total,
        "average_precision": averages,
        "class_f1": class_f1,
    }


def _average(ranking, weight):
    """Average precision [draws] of one class; NaN in a redraw without positives."""
    order, places, last = ranking
    if not len(places):
        return np.full(len(weight), np.nan)
    ordered = weight[:, order]
    mine = ordered[:, places]
    above = np.cumsum(ordered, axis=1)[:, last]  # whole numbers: exact in float32 up to 2**24 pictures
    found = np.cumsum(mine, axis=1)[:, np.searchsorted(places, last, side="right") - 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(mine > 0, found / above, 0.0).astype(np.float64)
        return (mine * precision).sum(axis=1) / mine.sum(axis=1)


def _mean(values):
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    good = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(good, values, 0.0).sum(axis=-1) / good.sum(axis=-1)


def reflected(values: Float[np.ndarray, " draws"], figure: float) -> Float[np.ndarray, " draws"]:
    """Redraws as the basic bootstrap has them (Davison and Hinkley 1997, section 5.2), on the other side of the figure.

    Their percentiles alone would not do: a picture that is drawn twice stands beside itself in every ranking, so an
    average precision is larger in redraws than in the pictures themselves.
    """
    return 2 * figure - values


def interval(
    values: Float[np.ndarray, " draws"], figure: float, least: float = 0.0, most: float = 1.0
) -> list[float] | None:
    """The 95 % interval of a figure by the basic bootstrap, within what it can be; it holds the figure.

    None where a redraw left the figure undefined, or there are none.
    """
    if len(values) == 0 or np.isnan(values).any():
        return None
    low, high = np.quantile(reflected(values, figure), [0.025, 0.975])
    return [float(np.clip(end, least, most)) for end in (min(low, figure), max(high, figure))]
