"""Probes with few labels: lists of the training pictures that count, stored and read again, and what several give."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.data import metadata, row_lists
from jaxcls.data.base import Source
from jaxcls.errors import UserError
from jaxcls.logs.logger import Logger
from jaxcls.types import Figures

Found = tuple[np.ndarray, np.ndarray, np.ndarray]  # features [n, d], labels [n], rows in the source [n]
Ask = Callable[[Any, Path], tuple[dict[str, Figures], list[tuple[str, str]]]]  # table, workdir -> results, summary


def lists(
    options: Any, source: Source, labels: np.ndarray, index: np.ndarray, workdir: Path, seed: int
) -> dict[str, np.ndarray | None]:
    """Name of a draw -> rows of the training source that count; None for all.

    What is drawn is stored as `labels-1%-draw0.csv` in the workdir, and read where it is there already.

    Args:
      options: `labels`, `draws` and `rows` of `probe.Options`.
      source: the training split.
      labels, index: of its examples, and the rows they are of.
      workdir: of the files.
      seed: of the draws.

    Raises:
      UserError: for a list that can't be read or names other pictures, or an amount that can't be drawn.
    """
    if options.rows:
        return {"rows": row_lists.rows(metadata.ids(source), row_lists.read(options.rows), options.rows)}
    if not options.labels:
        return {"all": None}
    wanted, ids = row_lists.amount(options.labels, int((labels >= 0).sum())), metadata.ids(source)
    text = "".join(options.labels.split())
    found: dict[str, np.ndarray | None] = {}
    for draw in range(options.draws):
        path = workdir / f"labels-{text}-draw{draw}.csv"
        if not path.exists():
            row_lists.write(path, [ids[index[i]] for i in row_lists.balanced(labels, wanted, (seed, draw))])
        found[f"draw{draw}"] = row_lists.rows(ids, row_lists.read(path), str(path))
    return found


def restricted(table: dict[str, Any], train: Found, rows: np.ndarray | None) -> dict[str, Any]:
    """A table whose training split has some rows of the source alone. Raises UserError where none has a label."""
    if rows is None:
        return table
    features, labels, index = train
    kept = np.isin(index, rows) & (labels >= 0)
    if not kept.any():
        raise UserError("--rows: none of its pictures has a label")
    return {**table, "train": (features[kept], labels[kept])}


def over_draws(
    ask: Ask, table: dict[str, Any], train: Found, found: dict[str, np.ndarray | None], workdir: Path, log: Logger
) -> tuple[dict[str, Figures], list[tuple[str, str]]]:
    """(split -> mean accuracy, its standard deviation over draws (n - 1), those of the draws; rows of a summary).

    Each draw has the files of a probe in a folder of its own below the workdir.
    """
    each: dict[str, list[float]] = {}
    for name, rows in found.items():
        own = restricted(table, train, rows)
        results, _ = ask(own, workdir / name)
        for split, figures in results.items():
            each.setdefault(split, []).append(figures["accuracy"])
            log.note(f"{name}, {len(own['train'][1]):,} labels: {split} accuracy {figures['accuracy']:.2%}")
    results, rows_of_summary = {}, []
    for split, values in each.items():
        mean, sd = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
        results[split] = {"accuracy": mean, "accuracy_sd": sd, "draws": values, "count": len(table[split][1])}
        spread = f" ± {100 * sd:.2f} (standard deviation of {len(values)} draws)" if len(values) > 1 else ""
        rows_of_summary.append((f"{split} accuracy", f"{mean:.2%}{spread}"))
    return results, rows_of_summary
