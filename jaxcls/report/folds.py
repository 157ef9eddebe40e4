"""The folds of a k-fold run: a table for its report."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.checkpoints import folds
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Section, paragraph, section, table
from jaxcls.types import Figures

KEY = "folds"  # in results.json


def spread(results: list[Figures]) -> dict[str, Any]:
    """Of figures of several folds: "count", and "figures": name -> mean, sd (of n - 1) and values.

    Figures that are not numbers of every fold are left out, and the step, and counts.
    """
    whole = {name for name in results[0] if isinstance(results[0][name], int) and name != "loss"}
    names = [name for name in results[0] if name not in whole]
    columns: dict[str, list[Any]] = {name: [each.get(name) for each in results] for name in names}
    figures = {
        name: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "values": values}
        for name, values in columns.items()
        if all(isinstance(value, float) for value in values)
    }
    return {"count": len(results), "figures": figures}


def lines(told: dict[str, Any]) -> list[str]:
    """`spread` for people: a line for each figure."""
    return [f"{name:<20} {_mean(name, each)}" for name, each in told["figures"].items()]


def _mean(name, each):
    values = ", ".join(_shown(name, value) for value in each["values"])
    return f"{_shown(name, each['mean'])} ± {_shown(name, each['sd'])}  ({values})"


def _shown(name, value):
    return f"{value:.4g}" if "loss" in name else f"{value:.2%}"


def of_folds(evidence: Evidence) -> Section | None:
    """The figures of every fold, their mean and standard deviation; None for what is no k-fold run."""
    told = (files.read_json(Path(evidence.workdir) / "results.json") or {}).get(KEY)
    if not isinstance(told, dict) or not told.get("figures") or not folds.count(evidence.workdir):
        return None
    found = told["figures"]
    rows = [
        [f"fold {i + 1}", *(_shown(name, each["values"][i]) for name, each in found.items())]
        for i in range(told["count"])
    ]
    rows += [
        [title, *(_shown(name, each[key]) for name, each in found.items())]
        for title, key in (("mean", "mean"), ("standard deviation", "sd"))
    ]
    about = (
        f"The pictures were dealt into {told['count']} folds, and each was held out of one run, on the same terms. The "
        "standard deviation is that of folds, whose runs share most of their pictures: it is no standard error."
    )
    return section("folds", "Folds", paragraph(about), table(("Fold", *(n.replace("_", " ") for n in found)), rows))
