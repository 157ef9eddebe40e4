"""Figures that follow from the confusion alone: how often each class was called each class."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

Table = Int[np.ndarray, "*batch classes answers"]  # answers: the classes, or the classes and "no class"


def count(predicted: Int[np.ndarray, " n"], label: Int[np.ndarray, " n"], classes: int) -> Table:
    """How often each true class (row) was predicted as each class (column), or as none, the last column."""
    width = classes + 1
    cells = np.asarray(label, np.int64) * width + np.asarray(predicted) % width  # -1 becomes the last column
    return np.bincount(cells, minlength=classes * width).reshape(classes, width)


def agreement(table: Table) -> dict[str, float | None]:
    """Cohen's kappa and Matthews' correlation of a confusion; None where undefined."""
    return {name: None if np.isnan(value) else float(value) for name, value in _agreement(np.asarray(table)).items()}


def rates(table: Table) -> dict[str, Int[np.ndarray, "*batch classes"] | Float[np.ndarray, "*batch classes"]]:
    """support, predicted (int) and precision, recall, f1 (NaN where undefined) of each class."""
    table = np.asarray(table)
    hits, support = np.diagonal(table, axis1=-2, axis2=-1).astype(np.float64), table.sum(axis=-1)
    predicted = table.sum(axis=-2)[..., : support.shape[-1]]
    with np.errstate(invalid="ignore"):
        precision, recall, f1 = hits / predicted, hits / support, 2 * hits / (support + predicted)
    return {"support": support, "predicted": predicted, "precision": precision, "recall": recall, "f1": f1}


def means_over_classes(table: Table) -> dict[str, Any]:
    """balanced_accuracy, macro and weighted of one confusion; see `figures.figures`."""
    of_class = rates(table)
    support, there = of_class["support"], of_class["support"] > 0
    weights = {"macro": there / there.sum(), "weighted": support / support.sum()}
    out = {
        kind: {name: float(np.nan_to_num(of_class[name]) @ weight) for name in ("precision", "recall", "f1")}
        for kind, weight in weights.items()
    }
    return {"balanced_accuracy": out["macro"]["recall"], **out}


def bootstrap(table: Table, draws: int = 1000, seed: int = 0) -> dict[str, list[float] | None]:
    """95 % percentile bootstrap intervals (Efron 1979) of the figures that follow from one confusion.

    Pictures are drawn anew within each true class, whose number stays: no class is lost in a redraw. Where a class has
    all of a few pictures right its share can't vary, and the interval is too narrow; Wilson's of its recall is not.

    Returns:
      dict of balanced_accuracy, macro_f1, kappa, mcc: [low, high], or None where a redraw left one undefined.
    """
    table, rng = np.asarray(table), np.random.default_rng(seed)
    support = table.sum(axis=1)
    rows = [rng.multinomial(n, row / max(n, 1), size=draws) for row, n in zip(table, support, strict=True)]
    redrawn, there = np.stack(rows, axis=1), support > 0
    of_class = rates(redrawn)
    values = {
        "balanced_accuracy": of_class["recall"][:, there].mean(axis=1),
        "macro_f1": of_class["f1"][:, there].mean(axis=1),
        **_agreement(redrawn),
    }
    return {
        name: None if np.isnan(column).any() else np.quantile(column, [0.025, 0.975]).tolist()
        for name, column in values.items()
    }


def _agreement(table):
    """kappa and mcc of confusions [..., classes, classes or one more], NaN where undefined."""
    table = table.astype(np.float64)
    support, predicted = table.sum(axis=-1), table.sum(axis=-2)
    n, hits = support.sum(axis=-1), np.trace(table, axis1=-2, axis2=-1)
    chance = (support * predicted[..., : support.shape[-1]]).sum(axis=-1)
    spread = (n * n - (predicted**2).sum(axis=-1)) * (n * n - (support**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = np.where(n * n > chance, (hits * n - chance) / (n * n - chance), np.nan)
        return {"kappa": kappa, "mcc": np.where(spread > 0, (hits * n - chance) / np.sqrt(spread), np.nan)}
