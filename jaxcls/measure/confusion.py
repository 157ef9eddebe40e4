"""Figures that follow from the confusion alone: how often each class was called each class.

Only cells that are not empty are kept: of 21,841 classes a full table takes 3.8 GB, while there are no more such cells
than pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

CELLS = ("true", "predicted", "number")
Rates: TypeAlias = 'dict[str, Int[np.ndarray, "*batch classes"] | Float[np.ndarray, "*batch classes"]]'


class Confusion(NamedTuple):
    """The cells that are not empty, by rising true class, then by rising answer; -1 is the answer of no class."""

    classes: int
    true: Int[np.ndarray, " cells"]
    predicted: Int[np.ndarray, " cells"]
    number: Int[np.ndarray, " cells"]

    def dense(self) -> Int[np.ndarray, "classes answers"]:
        """The full table, the answers being the classes and, last, no class; for few classes."""
        table = np.zeros((self.classes, self.classes + 1), np.int64)
        table[self.true, self.predicted] = self.number  # -1 is the last column
        return table

    def to_json(self) -> dict[str, list[int]]:
        """true, predicted (-1: no class) and number of every cell that is not empty."""
        return {name: getattr(self, name).tolist() for name in CELLS}


def from_json(cells: dict[str, list[int]], classes: int) -> Confusion:
    """What `to_json` made."""
    return Confusion(classes, *(np.asarray(cells[name], np.int64) for name in CELLS))


def count(predicted: Int[np.ndarray, " n"], label: Int[np.ndarray, " n"], classes: int) -> Confusion:
    """How often each true class was predicted as each class, or as none (-1).

    Raises:
      ValueError: for labels or answers that are no class.
    """
    predicted, label = np.asarray(predicted, np.int64), np.asarray(label, np.int64)
    for what, values, least in (("labels", label, 0), ("answers", predicted, -1)):
        if values.size and (values.min() < least or values.max() >= classes):
            raise ValueError(f"{what} from {values.min()} to {values.max()} for {classes} classes")
    width = classes + 1
    cells, counts = np.unique(label * width + predicted + 1, return_counts=True)
    return Confusion(classes, cells // width, cells % width - 1, counts)


def agreement(table: Confusion) -> dict[str, float | None]:
    """Cohen's kappa and Matthews' correlation of a confusion; None where undefined."""
    values = _agreement(*_margins(table))
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


def rates(table: Confusion) -> Rates:
    """support, predicted, hits (int) and precision, recall, f1 (NaN where undefined) of each class."""
    return _rates(*_margins(table))


def means_over_classes(table: Confusion) -> dict[str, Any]:
    """balanced_accuracy, macro and weighted of one confusion; see `figures.figures`."""
    of_class = rates(table)
    support, there = of_class["support"], of_class["support"] > 0
    weights = {"macro": there / there.sum(), "weighted": support / support.sum()}
    out = {
        kind: {name: float(np.nan_to_num(of_class[name]) @ weight) for name in ("precision", "recall", "f1")}
        for kind, weight in weights.items()
    }
    return {"balanced_accuracy": out["macro"]["recall"], **out}


def bootstrap(table: Confusion, draws: int = 1000, seed: int = 0) -> dict[str, list[float] | None]:
    """95 % percentile bootstrap intervals (Efron 1979) of the figures that follow from one confusion.

    Pictures are drawn anew within each true class, whose number stays: no class is lost in a redraw. Where a class has
    all of a few pictures right its share can't vary, and the interval is too narrow; Wilson's of its recall is not.
    It needs the full table `draws` times, so it is for few classes.

    Returns:
      dict of balanced_accuracy, macro_f1, kappa, mcc: [low, high], or None where a redraw left one undefined.
    """
    full, rng = table.dense(), np.random.default_rng(seed)
    support = full.sum(axis=1)
    rows = [rng.multinomial(n, row / max(n, 1), size=draws) for row, n in zip(full, support, strict=True)]
    redrawn, there = np.stack(rows, axis=1), support > 0
    margins = np.diagonal(redrawn, axis1=-2, axis2=-1), redrawn.sum(axis=-1), redrawn.sum(axis=-2)
    of_class = _rates(*margins)
    values = {
        "balanced_accuracy": of_class["recall"][:, there].mean(axis=1),
        "macro_f1": of_class["f1"][:, there].mean(axis=1),
        **_agreement(*margins),
    }
    return {
        name: None if np.isnan(column).any() else np.quantile(column, [0.025, 0.975]).tolist()
        for name, column in values.items()
    }


def _margins(table):
    """(hits, support, predicted) of the classes; `predicted` ends with the answers of no class."""
    hits, support = (np.zeros(table.classes, np.int64) for _ in range(2))
    right = table.true == table.predicted
    hits[table.true[right]] = table.number[right]
    np.add.at(support, table.true, table.number)
    predicted = np.zeros(table.classes + 1, np.int64)
    np.add.at(predicted, table.predicted, table.number)
    return hits, support, predicted


def _rates(hits, support, predicted):
    predicted, exact = predicted[..., : support.shape[-1]], hits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        precision, recall, f1 = exact / predicted, exact / support, 2 * exact / (support + predicted)
    out = {"support": support, "predicted": predicted, "hits": hits}
    return {**out, "precision": precision, "recall": recall, "f1": f1}


def _agreement(hits, support, predicted):
    """kappa and mcc of margins [..., classes], NaN where undefined."""
    hits, support, predicted = (x.astype(np.float64) for x in (hits.sum(axis=-1), support, predicted))
    n = support.sum(axis=-1)
    chance = (support * predicted[..., : support.shape[-1]]).sum(axis=-1)
    spread = (n * n - (predicted**2).sum(axis=-1)) * (n * n - (support**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = np.where(n * n > chance, (hits * n - chance) / (n * n - chance), np.nan)
        return {"kappa": kappa, "mcc": np.where(spread > 0, (hits * n - chance) / np.sqrt(spread), np.nan)}
