"""Classes of different size: weights for the loss, and long-tailed versions of a set for experiments."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxcls import call_strings
from jaxcls.data import pipeline
from jaxcls.data.base import Source, multilabel, subset
from jaxcls.errors import UserError

MOST = 100.0  # of a class's presence by "auto": a handful of pictures would else be all that is learned


def count(source: Source) -> np.ndarray:
    """Examples of each class, int64 [classes]. Labels that are no class are left to `checks.labels`."""
    return counted(np.asarray(source.labels), len(source.classes))


def counted(labels: np.ndarray, classes: int) -> np.ndarray:
    """How often each class is among labels [n] or in sets of them [n, classes], int64; labels that are none do not
    count."""
    if labels.ndim == 2:
        return labels.sum(axis=0, dtype=np.int64)
    return np.bincount(labels[(labels >= 0) & (labels < classes)], minlength=classes)


def of_source(rule: str, source: Source, what: str = "config.loss.class_weight") -> np.ndarray | None:
    """`class_weights` for the pictures of a source. Where labels are sets a weight is that of a class's presence, its
    absence having 1, and "auto" is pictures without it / pictures with it, from 1/100 to 100. Raises UserError."""
    counts = count(source)
    if np.ndim(source.labels) != 2 or str(rule).strip() != "auto":
        return class_weights(rule, counts, what)
    class_weights(rule, counts, what)  # refuses classes without any picture
    return np.clip((len(source) - counts) / counts, 1 / MOST, MOST).astype(np.float32)


def class_weights(
    rule: str, counts: np.ndarray | Sequence[int], what: str = "config.loss.class_weight"
) -> np.ndarray | None:
    """The weight of every class, float32 [classes], or None for "".

    Args:
      rule: "auto": n / (classes * count), so the mean over the n examples is 1; "effective" or "effective(0.999)":
        (1 - beta) / (1 - beta^count), scaled to a mean of 1 over the classes (Cui et al., Class-Balanced Loss Based on
        Effective Number of Samples, section 4); or numbers, one for each class, such as "1, 2.5, 0.5".
      counts: training examples of each class.
      what: the setting's name in messages.

    Raises:
      UserError: if it is none of these, or a class has no examples to weigh by.
    """
    text, counts = str(rule).strip(), np.asarray(counts, np.float64)
    if not text:
        return None
    try:
        numbers = np.array([float(part) for part in text.strip("()[]").rstrip(", ").split(",")])
    except ValueError:
        return _by_rule(text, counts, what)
    if len(numbers) != len(counts):
        raise UserError(f"{what} has {len(numbers)} numbers, but there are {len(counts)} classes.")
    if numbers.min() < 0 or not numbers.max() > 0 or not np.all(np.isfinite(numbers)):
        raise UserError(f"{what} is {text!r}; weights must be finite, not negative and not all 0.")
    return numbers.astype(np.float32)


def _by_rule(text: str, counts: np.ndarray, what: str) -> np.ndarray:
    like = "'auto', 'effective(0.999)' or numbers, such as '1, 2.5, 0.5'"
    name, args, kwargs = call_strings.parse(text, RULES, what=what, kind="rule", like=like)
    if not counts.all():
        raise UserError(f"{what} is {text!r}, but class {int(np.argmin(counts))} has no training examples.")
    with call_strings.fitting(name, what):
        return RULES[name](counts, *args, **kwargs).astype(np.float32)


def _auto(counts: np.ndarray) -> np.ndarray:
    return counts.sum() / (len(counts) * counts)


def _effective(counts: np.ndarray, beta: float = 0.999) -> np.ndarray:
    if isinstance(beta, (bool, str)) or not 0 <= beta < 1:
        raise ValueError(f"beta must be at least 0 and below 1, as in 'effective(0.999)', not {beta!r}")
    with np.errstate(divide="ignore"):  # beta = 0 gives 1 example each: log(0) is meant
        weights = 1 / -np.expm1(counts * np.log(beta))
    return weights / weights.mean()


RULES: dict[str, Callable[..., np.ndarray]] = {"auto": _auto, "effective": _effective}


def long_tail_counts(counts: np.ndarray | Sequence[int], ratio: float) -> np.ndarray:
    """How many examples of each class a long-tailed version of a set keeps: n * ratio^(-i / (classes - 1)).

    n is as large as the set allows: the size of a class where all have the same. Shares are rounded down, and no class
    is left empty. Source: Cui et al., Class-Balanced Loss Based on Effective Number of Samples, section 5.1.
    """
    counts = np.asarray(counts)
    profile = float(ratio) ** (-np.arange(len(counts)) / max(1, len(counts) - 1))
    largest = np.min(counts / profile)
    return np.maximum(1, np.floor(largest * profile + 1e-6)).astype(np.int64)  # 49.9999999 is meant to be 50


def long_tailed(source: Source, ratio: float, seed: int) -> Source:
    """A source with the classes of another, of which later ones have fewer and fewer examples.

    Args:
      source: any source (data.sources).
      ratio: of the largest to the smallest class; 1 leaves the source as it is.
      seed: of the choice of examples. A smaller ratio keeps all that a larger one keeps, if the first class is the
        smallest of the set.

    Raises:
      UserError: if a class has no example.
    """
    if ratio <= 1:
        return source
    if multilabel(source):
        raise UserError("config.data.imbalance is of one class a picture, but the labels are sets; leave it out.")
    counts = count(source)
    if not counts.all():
        raise UserError(f"config.data.imbalance: class {source.classes[int(np.argmin(counts))]!r} has no examples.")
    kept = []
    for label, number in enumerate(long_tail_counts(counts, ratio)):
        rows = np.flatnonzero(source.labels == label)
        kept.append(pipeline.generator(seed, label, 0, 0, 0).permutation(rows)[:number])
    return subset(source, np.sort(np.concatenate(kept)))
