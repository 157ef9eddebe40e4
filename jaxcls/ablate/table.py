"""What a ladder has shown: every rung's accuracy over the seeds, what it adds, and whether that is more than noise."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.ablate import ladder
from jaxcls.ablate.ladder import Rung
from jaxcls.errors import UserError
from jaxcls.files import read_json, replacing
from jaxcls.text import cell
from jaxcls.types import PathLike

RULE = (
    "The 95 % interval is Student's t on the differences to the rung compared with, paired by seed (n - 1 degrees of "
    "freedom). A step is more than noise if its interval lies above 0, worse if below, else noise; with one seed there "
    "is no verdict. The interval is about other seeds with the same pictures, not about other pictures; of twenty "
    "steps that do nothing, one is expected to be called more than noise, or worse."
)
COLUMNS = (
    *("rung", "change", "accuracy %", "sd", "seeds", "difference", "95 % interval", "verdict"),
    *("seconds", "CPU seconds", "pictures", "multiply-adds"),
)
COSTS = ("seconds", "cpu_seconds", "pictures", "multiply_adds")


def paired(new: Mapping[int, float], old: Mapping[int, float]) -> tuple[float | None, tuple[float, float] | None]:
    """The mean difference of two rungs, seed by seed, and its 95 % interval by Student's t.

    Args:
      new, old: seed -> accuracy. Seeds that only one of them has are left out.

    Returns:
      (mean difference, (low, high)); None in place of the interval for a single common seed, (None, None) for none.
    """
    differences = np.array([new[seed] - old[seed] for seed in sorted(new.keys() & old.keys())])
    n = len(differences)
    if n == 0:
        return None, None
    mean = float(differences.mean())
    if n == 1:
        return mean, None
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.975) * differences.std(ddof=1) / math.sqrt(n))
    return mean, (mean - half, mean + half)


def verdict(interval: tuple[float, float] | None) -> str:
    """ "more than noise", "noise" or "worse" by the rule; "" without an interval."""
    if interval is None:
        return ""
    return "more than noise" if interval[0] > 0 else "worse" if interval[1] < 0 else "noise"


def collect(rungs: Sequence[Rung], workdir: PathLike, seeds: int) -> dict[str, Any]:
    """The report on the runs there are in a ladder's folder, as JSON; fractions of 1 where the tables have percent."""
    rows: dict[str, dict[str, Any]] = {}
    for rung in rungs:
        runs = [_run(rung, seed, workdir) for seed in range(seeds)]
        accuracy = {run["seed"]: run["accuracy"] for run in runs if run["state"] == "finished"}
        values = list(accuracy.values())
        row: dict[str, Any] = {
            "name": rung.name,
            "against": rung.against,
            "changes": {key: list(pair) for key, pair in ladder.changes(rung, rungs).items()},
            "mean": float(np.mean(values)) if values else None,
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "difference": None,
            "interval": None,
            "verdict": "",
            "runs": runs,
        }
        for key in COSTS:
            known = [run[key] for run in runs if run["state"] == "finished" and run.get(key) is not None]
            row[key] = float(np.mean(known)) if known else None
        if rung.against is not None:
            base = {run["seed"]: run["accuracy"] for run in rows[rung.against]["runs"] if run["state"] == "finished"}
            row["difference"], row["interval"] = paired(accuracy, base)
            row["verdict"] = verdict(row["interval"])
        if any(run["state"] == "failed" for run in runs) and not values:
            row["verdict"] = "failed"
        rows[rung.name] = row
    splits = sorted({run["split"] for row in rows.values() for run in row["runs"] if "split" in run})
    return {"seeds": seeds, "splits": splits, "rule": RULE, "rungs": list(rows.values())}


def _run(rung, seed, workdir):
    """What is known of one run: finished, failed, or missing."""
    folder = ladder.run_folder(rung, seed, workdir)
    record = read_json(folder / "ablate.json") or {}
    results = read_json(folder / "results.json")
    if results:
        split, figures = next(iter(results.items()))
        if "accuracy" not in figures:
            raise UserError(f"{folder}: a ladder compares accuracies, and this run has none (its labels are sets).")
        kept = {key: figures[key] for key in ("accuracy", "correct", "count", "loss", "step")}
        return {"seed": seed, "state": "finished", "split": split, **kept, **record}
    return {"seed": seed, "state": "failed" if record.get("failed") else "missing", **record}


def write(rungs: Sequence[Rung], workdir: PathLike, seeds: int) -> dict[str, Any]:
    """Writes ladder.md, .csv, .json and, once there is a result, .png and .svg; returns the report (`collect`).

    Raises:
      UserError: where they can't be written.
    """
    report = collect(rungs, workdir, seeds)
    texts = {"md": markdown(report), "csv": as_csv(report), "json": json.dumps(report, indent=1) + "\n"}
    folder = Path(workdir)
    try:
        for kind, content in texts.items():
            with replacing(folder / f"ladder.{kind}") as temporary:
                temporary.write_text(content)
        if any(row["mean"] is not None for row in report["rungs"]):
            from jaxcls.ablate.figure import draw

            figure = draw(report, folder.resolve().name)
            for kind in ("png", "svg"):
                figure.savefig(folder / f"ladder.{kind}", dpi=150)
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"{folder} can't be written: {why}; mend that, or choose another.") from error
    return report


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the report as text, in the order of COLUMNS."""
    finished = sum(run["state"] == "finished" for run in row["runs"])
    failed = sum(run["state"] == "failed" for run in row["runs"])
    changed = "; ".join(f"{key}={ladder.text(new)}" for key, (_, new) in row["changes"].items())
    low, high = row["interval"] or (None, None)
    return (
        row["name"],
        changed,
        _percent(row["mean"]),
        _percent(row["sd"]),
        f"{finished} of {len(row['runs'])}" + (f" ({failed} failed)" if failed else ""),
        _percent(row["difference"], "+"),
        f"{_percent(low, '+')} to {_percent(high, '+')}" if row["interval"] else "",
        row["verdict"],
        *(_number(row[key]) for key in COSTS),
    )


def markdown(report: dict[str, Any]) -> str:
    """The report as a page: the table, what failed, the rule."""
    where = " and ".join(report["splits"]) or "no split yet"
    lines = [
        f"Accuracy on {where}: mean and standard deviation over seeds; cost of one run (seconds of all its attempts), "
        "pictures it was trained on, multiply-adds of one forward pass of one picture.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)) + " |" for row in report["rungs"]]
    failures = [(row["name"], run) for row in report["rungs"] for run in row["runs"] if run["state"] == "failed"]
    if failures:
        lines += ["", "Failed:", ""]
        lines += [f"- {name}, seed {run['seed']}: {run['failed']}" for name, run in failures]
    return "\n".join([*lines, "", report["rule"], ""])


def as_csv(report: dict[str, Any]) -> str:
    """The report as CSV: a line for each rung, numbers unrounded, fractions of 1."""
    keys = ("mean", "sd", "difference", "verdict", *COSTS)
    lines = io.StringIO()
    out = csv.writer(lines, lineterminator="\n")
    out.writerow(["rung", "against", "finished", "failed", "interval_low", "interval_high", *keys])
    for row in report["rungs"]:
        states = [run["state"] for run in row["runs"]]
        ends = row["interval"] or ("", "")
        values = ["" if row[key] is None else row[key] for key in keys]
        numbers = [states.count("finished"), states.count("failed")]
        out.writerow([cell(row["name"]), cell(row["against"] or ""), *numbers, *ends, *values])
    return lines.getvalue()


def _percent(value, sign=""):
    return "" if value is None else f"{round(100 * value, 2) + 0.0:{sign}.2f}"  # no -0.00


def _number(value):
    return "" if value is None else f"{value:,.0f}"
