"""Small splits with every oddity of logits, and their figures counted by hand."""

import math

import numpy as np
from hypothesis import strategies as st


@st.composite
def splits(draw):
    """Logits, often tied and sometimes NaN or infinite, with labels of which some classes may be absent."""
    classes, n = draw(st.integers(2, 7)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = rng.integers(-3, 4, (n, classes)) * draw(st.sampled_from([0.5, 1.0, 30.0]))
    label = rng.choice(draw(st.lists(st.integers(0, classes - 1), min_size=1)), n)
    if draw(st.booleans()):
        logits[rng.random(logits.shape) < 0.05] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return logits.astype(np.float32), label


def names(logits):
    """Names of the classes."""
    return [f"a{i}" for i in range(logits.shape[1])]


def is_finite(row):
    """Whether a row of logits names a class: no NaN, no +inf, not -inf alone."""
    return not any(math.isnan(x) or x == math.inf for x in row) and max(row) > -math.inf


def by_hand(logits, label):
    """The figures of all rows, a row and a class at a time."""
    places, losses, scores = [], [], []
    for row, y in zip(np.asarray(logits, np.float64).tolist(), label.tolist(), strict=True):
        if not is_finite(row):
            places.append(len(row))
            losses.append(math.inf)
            scores.append(1.0)
            continue
        places.append(sorted(range(len(row)), key=lambda c: (-row[c], c)).index(y))
        p = [math.exp(x - max(row)) for x in row]
        p = [x / sum(p) for x in p]
        losses.append(max(row) - row[y] + math.log(sum(math.exp(x - max(row)) for x in row)))
        scores.append(sum((x - (c == y)) ** 2 for c, x in enumerate(p)))
    n = len(label)
    return {
        "count": n,
        "not_finite": sum(not is_finite(row) for row in logits.tolist()),
        "correct": places.count(0),
        "top5": sum(place < 5 for place in places) / n,
        "loss": sum(losses) / n,
        "brier": sum(scores) / n,
    }
