"""What a search has come to, as `search.json` has it: from its study and from what the trials' folders hold.

The study says which trials there are, what was drawn and how they ended (`study.records`: one that was stopped and went
on later is one); the records of a run (metrics.jsonl) say what it reached, and when, so that no epoch counts twice.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcls import files
from jaxcls.criteria import Figure
from jaxcls.errors import UserError
from jaxcls.logs.records import read_metrics
from jaxcls.metrics import wilson_interval
from jaxcls.report import search as page
from jaxcls.tune.command import command
from jaxcls.tune.importance import importance
from jaxcls.tune.repeated import repeats
from jaxcls.types import PathLike

if TYPE_CHECKING:
    from jaxcls.tune.study import Plan, Record

VERSION = 1
Trial = dict[str, Any]


def write(
    search: PathLike,
    records: Iterable["Record"],
    plan: "Plan",
    *,
    name: str,
    objectives: Sequence[Figure],
    state: str,
    budget: Mapping[str, float],
) -> dict[str, Any]:
    """Writes search.json, .html, .md and .csv into a search's folder; returns what the first one has.

    Args:
      search: its folder: trial N lies in trial-N, seed S of its repetition in repeat-N/seed-S.
      records: its trials (`study.records`). Of their attributes `why`, `seconds` (of all attempts) and `lost` are read.
      plan: what it is.
      name: of the config, as it is given to `jaxcls train --config`.
      objectives: the plan's; the first one ranks the trials.
      state: running, stopped or done.
      budget: {"epochs": ..} or {"trials": ..}.

    Raises:
      UserError: where they can't be written.
    """
    record = collect(search, records, plan, name=name, objectives=objectives, state=state, budget=budget)
    files.write_json(Path(search) / "search.json", record)
    page.write(record, search)
    return record


def collect(
    search: PathLike,
    records: Iterable["Record"],
    plan: "Plan",
    *,
    name: str,
    objectives: Sequence[Figure],
    state: str,
    budget: Mapping[str, float],
) -> dict[str, Any]:
    """What search.json has; the arguments are those of `write`."""
    rows, moments = [], []
    for one in records:
        row, when = _trial(one, Path(search), objectives)
        rows.append(row)
        moments += when
    best, valued = ranking(rows, objectives[0]), [row for row in rows if row["values"]]
    influence = importance([row["params"] for row in valued], [row["values"][0] for row in valued])
    setting = next((row["params"] for row in rows if row["number"] in best[:1]), None)
    return {
        "version": VERSION,
        "name": name,
        "config": plan.config,
        "objectives": [figure._asdict() for figure in objectives],
        "space": [_dimension(dimension) for dimension in plan.space.dimensions],
        "rate_per_batch": plan.space.rate_per_batch,
        "sampler": plan.sampler,
        "pruner": plan.pruner,
        "seed": plan.seed,
        "state": state,
        "budget": {**budget, "spent_epochs": sum(row["epochs"] for row in rows)},
        "trials": rows,
        "best": best,
        "command": "" if setting is None else command(name, plan.config, plan.space, setting),
        "front": front(rows, objectives) if len(objectives) > 1 else [],
        "importance": {key: share for key, (share, _) in influence.items()},
        "noise": {key: noise for key, (_, noise) in influence.items()},
        "progress": progress(moments, objectives[0]),
        "repeats": repeats(Path(search), objectives[0]),
    }


def _trial(one, search, objectives):
    """(a trial as search.json has it, (time, epochs since the one before, value, number) of its evaluations)."""
    name, run = objectives[0].name, search / f"trial-{one.number}"
    lines, damage = _lines(run)
    seen = [line for line in lines if line.get("split") == "validation" and math.isfinite(line.get(name, math.nan))]
    failed = one.state == "failed"
    top = None if failed else _best(seen, objectives[0])  # what came before a failure is no result
    row = {
        "number": one.number,
        "state": "lost" if failed and one.attrs.get("lost") else one.state,
        "params": dict(one.params),
        "values": _values(top, one.values, objectives),
        "interval": _interval(top, objectives[0]),
        "history": [[line["step"], line.get("epoch"), line[name]] for line in seen],
        "epochs": max((line.get("epoch", 0.0) for line in lines), default=0.0),
        "seconds": float(one.attrs.get("seconds") or 0.0),
        "why": str(one.attrs.get("why") or damage),
        "folder": run.name,
    }
    before, moments = 0.0, []
    for line in seen:
        value = math.nan if failed else line[name]
        moments.append((line.get("time", 0.0), line.get("epoch", before) - before, value, one.number))
        before = line.get("epoch", before)
    return row, moments


def _lines(run):
    """(what a run has recorded, by step; what is wrong with that): a damaged file is no reason to lose the page."""
    try:
        return sorted(read_metrics(run), key=lambda line: line["step"]), ""
    except UserError as error:
        return [], str(error)


def _best(lines, objective):
    """The line of the best evaluation, the earliest of equal ones; None of none."""
    sign = 1 if objective.best == "max" else -1
    return max(lines, key=lambda line: sign * line[objective.name], default=None)


def _values(top, told, objectives):
    """A value for each objective: the run's own best for the first, what the study was told for the others."""
    if top is None:
        return None
    return [top[objectives[0].name], *(told[i] if i < len(told) else None for i in range(1, len(objectives)))]


def _interval(top, objective):
    """95 % of a share of pictures that was counted (Wilson 1927); None of another figure."""
    correct, count = (top or {}).get("correct"), (top or {}).get("count")
    if not count or correct is None or abs(correct / count - top[objective.name]) > 1e-6:
        return None
    return list(wilson_interval(correct, count))


def ranking(trials: Sequence[Trial], objective: Figure) -> list[int]:
    """The numbers of the complete trials, the best by the first objective first; where none is complete, of those that
    have a value. Of equal ones the earlier comes first."""
    valued = [trial for trial in trials if trial["values"]]
    group = [trial for trial in valued if trial["state"] == "complete"] or valued
    sign = -1 if objective.best == "max" else 1
    return [t["number"] for t in sorted(group, key=lambda t: (sign * t["values"][0], t["number"]))]


def front(trials: Sequence[Trial], objectives: Sequence[Figure]) -> list[int]:
    """The numbers of the complete trials that no other one beats: as good in every objective and better in one
    (Pareto). Of equal ones all are kept."""
    signs = [1 if figure.best == "max" else -1 for figure in objectives]
    points = {
        trial["number"]: [sign * value for sign, value in zip(signs, trial["values"], strict=True)]
        for trial in trials
        if trial["state"] == "complete" and trial["values"] and None not in trial["values"]
    }

    def beaten(point):
        return any(
            other != point and all(a >= b for a, b in zip(other, point, strict=True)) for other in points.values()
        )

    return [number for number, point in points.items() if not beaten(point)]


def progress(moments: Iterable[tuple[float, float, float, int]], objective: Figure) -> list[list[float]]:
    """[epochs spent by all trials, best value so far, trial] wherever there was a better one.

    Args:
      moments: (time, epochs since the trial's evaluation before, value, trial) of all evaluations; NaN counts its
        epochs alone.
      objective: of the value.
    """
    sign, spent = (1 if objective.best == "max" else -1), 0.0
    points: list[list[float]] = []
    for _, epochs, value, number in sorted(moments):
        spent += epochs
        if math.isfinite(value) and (not points or sign * value > sign * points[-1][1]):
            points.append([spent, value, number])
    return points


def _dimension(dimension):
    ends = {"choices": list(dimension.args)} if dimension.kind == "choice" else {}
    if not ends:
        ends = {"low": dimension.args[0], "high": dimension.args[1]}
    return {"key": dimension.key, "kind": dimension.kind, **ends, "text": str(dimension)}
