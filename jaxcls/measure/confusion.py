"""Figures that follow from the confusion alone: how often each class was called each class."""

import numpy as np


def count(predicted, label, classes: int) -> np.ndarray:
    """Counts, int [classes, classes + 1]: rows are true classes, columns predicted ones; the last is "no class"."""
    width = classes + 1
    cells = np.asarray(label, np.int64) * width + np.asarray(predicted) % width  # -1 becomes the last column
    return np.bincount(cells, minlength=classes * width).reshape(classes, width)


def agreement(table) -> dict:
    """Cohen's kappa and Matthews' correlation of a confusion [classes, classes or one more]; None where undefined."""
    return {name: None if np.isnan(value) else float(value) for name, value in _agreement(np.asarray(table)).items()}


def rates(table) -> dict[str, np.ndarray]:
    """support, predicted (int) and precision, recall, f1 (NaN where undefined) of each class, [..., classes] each, of
    confusions [..., classes, classes or one more]."""
    table = np.asarray(table)
    hits, support = np.diagonal(table, axis1=-2, axis2=-1).astype(np.float64), table.sum(axis=-1)
    predicted = table.sum(axis=-2)[..., : support.shape[-1]]
    with np.errstate(invalid="ignore"):
        return {
            "support": support, "predicted": predicted, "precision": hits / predicted, "recall": hits / support,
            "f1": 2 * hits / (support + predicted),
        }  # fmt: skip


def means_over_classes(table) -> dict:
    """balanced_accuracy, macro and weighted of a confusion; see `figures.figures`."""
    found = rates(table)
    there = found["support"] > 0
    weights = {"macro": there / there.sum(), "weighted": found["support"] / found["support"].sum()}
    out = {
        kind: {name: float(np.nan_to_num(found[name]) @ weight) for name in ("precision", "recall", "f1")}
        for kind, weight in weights.items()
    }
    return {"balanced_accuracy": out["macro"]["recall"], **out}


def bootstrap(table, draws: int = 1000, seed: int = 0) -> dict:
    """95 % percentile bootstrap intervals (Efron 1979) of the figures that follow from a confusion.

    Pictures are drawn anew within each true class, whose number stays: no class is lost in a redraw. Where a class has
    all of a few pictures right its share can't vary, and the interval is too narrow; Wilson's of its recall is not.

    Returns:
      dict of balanced_accuracy, macro_f1, kappa, mcc: [low, high], or None where a redraw left one undefined.
    """
    table, rng = np.asarray(table), np.random.default_rng(seed)
    support = table.sum(axis=1)
    rows = [rng.multinomial(n, row / max(n, 1), size=draws) for row, n in zip(table, support, strict=True)]
    redrawn, there = np.stack(rows, axis=1), support > 0
    found = rates(redrawn)
    values = {
        "balanced_accuracy": found["recall"][:, there].mean(axis=1),
        "macro_f1": found["f1"][:, there].mean(axis=1),
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
