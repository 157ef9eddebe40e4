"""What a checkpoint holds, and how two differ, as plain dicts; `overview_text` shows them."""

import re
from pathlib import Path
from typing import Any

from jaxcls.checkpoints import view
from jaxcls.errors import UserError
from jaxcls.pytree import nearest
from jaxcls.types import PathLike


def place(step_dir: Path) -> dict[str, Any]:
    """Where a step lies, and whether it is finished."""
    return {"path": str(step_dir), "finished": view.manifest_path(step_dir).is_file()}


def describe(step_dir: Path, pattern: str = "", *, stats: bool = False) -> dict[str, Any]:
    """What a step holds, as JSON takes it.

    Args:
      step_dir: its folder.
      pattern: a regular expression; only tensors with names where it is found.
      stats: whether to read the arrays, for `view.statistics` of each.

    Returns:
      path, finished; steps (of the workdir), tensors (name -> shape, dtype, count, bytes, statistics), groups, meta.

    Raises:
      UserError: where it can't be read, or no name matches.
    """
    tensors = matching(view.read_tensors(step_dir), pattern)
    arrays = view.read_arrays(step_dir, tensors) if stats else {}
    rows = {
        name: {"shape": list(t.shape), "dtype": str(t.dtype), "count": t.count, "bytes": t.nbytes}
        | (view.statistics(arrays.pop(name)) if stats else {})
        for name, t in tensors.items()
    }
    steps = view.list_steps(step_dir.parent.parent) if step_dir.parent.name == "checkpoints" else []
    return {
        **place(step_dir),
        "steps": [
            {"step": s.number, "state": "good" if s.finished else "unfinished", "best": s.best, "metrics": s.metrics}
            for s in steps
        ],
        "tensors": rows,
        "groups": groups(rows),
        "meta": view.read_meta(step_dir).to_json(),
    }


def verify(path: PathLike, step: int | None = None) -> dict[str, Any]:
    """Whether checkpoints are as they were written: all of a workdir, or one step.

    Args:
      path: workdir, or folder of a step.
      step: of a workdir; None for all.

    Returns:
      path, problems (lines); of one step also finished; of a workdir steps and skipped, as `view.verify_all`.

    Raises:
      UserError: where there is nothing to verify, or the one step has no readable manifest.
    """
    workdir = view.find_workdir(path) if step is None else None
    if workdir is None:
        folder = view.find_step(path, step)
        return {**place(folder), "problems": view.verify(folder)}
    report = view.verify_all(workdir)
    problems = [f"step {row['step']}: {problem}" for row in report["steps"] for problem in row["problems"]]
    return {"path": str(workdir), **report, "problems": problems}


def matching(tensors: dict[str, view.Tensor], pattern: str) -> dict[str, view.Tensor]:
    """The tensors whose names match, parameters and model state first.

    Raises:
      UserError: if none does.
    """
    order = ("params", "model_state")
    rank = {name: order.index(group) if (group := name.split("/")[0]) in order else len(order) for name in tensors}
    matches = {name: tensors[name] for name in sorted(tensors, key=rank.__getitem__) if re.search(pattern, name)}
    if tensors and not matches:
        near = ", ".join(nearest(pattern, tensors))
        raise UserError(f"--filter {pattern!r} matches no tensor; the nearest are {near}")
    return matches


def groups(rows: dict[str, dict]) -> dict[str, dict[str, int]]:
    """Group -> tensors, count, bytes: the sums by the first part of the names, and "total"."""
    sums: dict[str, dict[str, int]] = {}
    for name, row in rows.items():
        for group in (name.split("/")[0], "total"):
            entry = sums.setdefault(group, {"tensors": 0, "count": 0, "bytes": 0})
            for key, value in (("tensors", 1), ("count", row["count"]), ("bytes", row["bytes"])):
                entry[key] += value
    if "total" in sums:
        sums["total"] = sums.pop("total")
    return sums


def compare(a: Path, b: Path, pattern: str = "") -> dict[str, Any]:
    """Two steps, as JSON takes it: tensors in one only, of other shapes or types, and apart; configs and metrics.

    `identical` looks at the tensors alone. Raises UserError as `describe`.
    """
    left, right = (view.read_tensors(path) for path in (a, b))
    names = matching({**left, **right}, pattern)
    both = [name for name in names if name in left and name in right]
    reshaped = [name for name in both if left[name].shape != right[name].shape]
    comparable = sorted(set(both) - set(reshaped))
    arrays_a, arrays_b = (view.read_arrays(path, comparable) for path in (a, b))
    apart = {name: view.difference(arrays_a.pop(name), arrays_b.pop(name)) for name in comparable}
    retyped = [name for name in comparable if left[name].dtype != right[name].dtype]
    differing = sorted((n for n in apart if not apart[n].equal), key=lambda n: (-apart[n].relative_l2, n))
    only_a, only_b = (sorted(n for n in names if n not in other) for other in (right, left))
    metas = [view.read_meta(path) for path in (a, b)]
    configs = [view.flatten_config(meta.config) for meta in metas]
    metrics = [meta.metrics for meta in metas]
    return {
        **place(a),
        "other": str(b),
        "identical": not (only_a or only_b or reshaped or retyped or differing),
        "compared": len(comparable),
        "only_first": only_a,
        "only_second": only_b,
        "shapes": {name: [list(left[name].shape), list(right[name].shape)] for name in reshaped},
        "dtypes": {name: [str(left[name].dtype), str(right[name].dtype)] for name in retyped},
        "values": {n: {"max_abs": apart[n].max_abs, "relative_l2": apart[n].relative_l2} for n in differing},
        "config": {
            key: [config.get(key, "(absent)") for config in configs]
            for key in sorted(configs[0].keys() | configs[1].keys())
            if key not in configs[0] or key not in configs[1] or configs[0][key] != configs[1][key]
        },
        "metrics": {key: [m.get(key) for m in metrics] for key in sorted(metrics[0].keys() | metrics[1].keys())},
    }
