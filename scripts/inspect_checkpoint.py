"""Shows what a checkpoint holds, compares two, and verifies files, on any machine and without the model's code.

    python scripts/inspect_checkpoint.py runs/cifar10                   # steps, tensors, config, metrics, classes
    python scripts/inspect_checkpoint.py runs/cifar10 --step 500 --stats --filter '^params/.*kernel$'
    python scripts/inspect_checkpoint.py runs/cifar10 --step 500 --diff 1000          # two steps of one run
    python scripts/inspect_checkpoint.py runs/cifar10 --diff runs/other               # the newest steps of two runs
    python scripts/inspect_checkpoint.py runs/cifar10 --verify

Arrays are read for --stats and --diff only. Exit status: 0; 1 where --diff finds a tensor that differs (a config or
metric that differs does not count) or --verify a damaged file; 2 where something is missing or cannot be read.
"""

import argparse
import json
import math
import os
import re
import sys
from pathlib import Path
from typing import Any

from jaxcls.checkpoints import view
from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError
from jaxcls.pytree import nearest

SHOWN_CLASSES = 10


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    return show(args)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="workdir of a run, or the folder of one step")
    parser.add_argument("--step", type=int, help="the step to look at; default: the newest finished one")
    parser.add_argument("--stats", action="store_true", help="mean, std, min, max, norm and non-finite count by tensor")
    parser.add_argument("--diff", metavar="OTHER", help="compare with a step of the same workdir, or with another path")
    parser.add_argument("--tree", action="store_true", help="tensors as a tree, with the sums of every branch")
    parser.add_argument("--config", action="store_true", help="the config alone, as JSON")
    parser.add_argument("--verify", action="store_true", help="check the SHA-256 of every file, and nothing else")
    parser.add_argument("--filter", default="", metavar="REGEX", help="only tensors with names where this is found")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    try:
        re.compile(args.filter)
    except re.error as error:
        parser.error(f"--filter: {error}")
    return args


def show(args: argparse.Namespace) -> int:
    step_dir = view.find_step(args.path, args.step)
    report: dict[str, Any] = {"path": str(step_dir), "finished": view.manifest_path(step_dir).is_file()}
    status, text = 0, ""
    if args.config:
        report["config"] = view.read_meta(step_dir).get("config", {})
        text = json.dumps(report["config"], indent=2)
    elif args.verify:
        report["problems"] = view.verify(step_dir)
        status, text = (
            bool(report["problems"]),
            "\n".join(report["problems"] or [f"{step_dir}: every file is as written"]),
        )
    elif args.diff is not None:
        other = find_other(args, step_dir)
        report |= {"other": str(other)} | compare(step_dir, other, args.filter)
        status, text = int(not report["identical"]), diff_text(report)
    else:
        report |= describe(args, step_dir)
        text = report_text(report, args.tree)
    print(json.dumps(strict(report), indent=2, allow_nan=False) if args.json else text)
    return int(status)


def find_other(args: argparse.Namespace, step_dir: Path) -> Path:
    """The step that --diff means: a number is a step of the same workdir unless a folder has that name."""
    if args.diff.isdigit() and not Path(args.diff).is_dir():
        return view.find_step(step_dir.parent.parent, int(args.diff))
    return view.find_step(args.diff)


def describe(args: argparse.Namespace, step_dir: Path) -> dict[str, Any]:
    """The steps of the workdir, and the tensors and metadata of one."""
    tensors = matching(view.read_tensors(step_dir), args.filter)
    arrays = view.read_arrays(step_dir, tensors) if args.stats else {}
    rows = {
        name: {"shape": list(t.shape), "dtype": str(t.dtype), "count": t.count, "bytes": t.nbytes}
        | (view.statistics(arrays.pop(name)) if args.stats else {})
        for name, t in tensors.items()
    }
    steps = view.list_steps(step_dir.parent.parent) if step_dir.parent.name == "checkpoints" else []
    return {
        "steps": [
            {"step": s.number, "state": "good" if s.finished else "unfinished", "best": s.best, "metrics": s.metrics}
            for s in steps
        ],
        "tensors": rows,
        "groups": groups(rows),
        "meta": view.read_meta(step_dir),
    }


def matching(tensors: dict[str, view.Tensor], pattern: str) -> dict[str, view.Tensor]:
    """The tensors whose names match, parameters and model state first.

    Raises:
      UserError: if none does.
    """
    order = ("params", "model_state")
    rank = {name: order.index(group) if (group := name.split("/")[0]) in order else len(order) for name in tensors}
    found = {name: tensors[name] for name in sorted(tensors, key=rank.get) if re.search(pattern, name)}
    if tensors and not found:
        near = ", ".join(nearest(pattern, tensors))
        raise UserError(f"--filter {pattern!r} matches no tensor; the nearest are {near}")
    return found


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


def compare(a: Path, b: Path, pattern: str) -> dict[str, Any]:
    """Tensors in one only, of other shapes or types, and apart; configs and metrics that differ."""
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
    configs = [view.flatten_config(meta.get("config") or {}) for meta in metas]
    metrics = [meta.get("metrics") or {} for meta in metas]
    return {
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


def report_text(report: dict[str, Any], tree: bool) -> str:
    meta = report["meta"]
    finished = "" if report["finished"] else " (no manifest: unfinished, or copied without its workdir)"
    parts = []
    if report["steps"]:
        rows = [[s["step"], s["state"] + (", best" if s["best"] else ""), brief(s["metrics"])] for s in report["steps"]]
        parts.append("Steps\n" + table(["step", "state", "metrics"], rows, "rll"))
    parts.append(f"{report['path']}{finished}")
    parts.append("Tensors\n" + (tree_text(report["tensors"]) if tree else tensor_text(report["tensors"])))
    rows = [[name, g["tensors"], f"{g['count']:,}", size(g["bytes"])] for name, g in report["groups"].items()]
    parts.append("Totals\n" + table(["group", "tensors", "count", "size"], rows, "lrrr"))
    if classes := meta.get("classes"):
        more = f", ... ({len(classes)} in all)" if len(classes) > SHOWN_CLASSES else ""
        parts.append("Classes\n  " + ", ".join(map(str, classes[:SHOWN_CLASSES])) + more)
    for title, value in meta.items():
        if title != "classes" and value not in ({}, None):
            flat = view.flatten_config(value) if isinstance(value, dict) else {"": value}
            rows = [[key, json.dumps(item)] for key, item in flat.items()]
            body = table([], rows, "ll") if isinstance(value, dict) else f"  {json.dumps(value)}"
            parts.append(f"{title.replace('_', ' ').capitalize()}\n{body}")
    return "\n\n".join(parts)


def tensor_text(tensors: dict[str, dict]) -> str:
    extra = [key for key in next(iter(tensors.values()), {}) if key not in ("shape", "dtype", "count", "bytes")]
    rows = [
        [name, shape(t["shape"]), t["dtype"], f"{t['count']:,}", size(t["bytes"]), *(number(t[key]) for key in extra)]
        for name, t in tensors.items()
    ]
    return table(["name", "shape", "dtype", "count", "size", *extra], rows, "lllrr" + "r" * len(extra))


def tree_text(tensors: dict[str, dict]) -> str:
    sums: dict[str, list[int]] = {}
    for name, t in tensors.items():
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            entry = sums.setdefault("/".join(parts[:depth]), [0, 0])
            entry[0] += t["count"]
            entry[1] += t["bytes"]
    rows = []
    for name, (count, nbytes) in sums.items():
        leaf = f"{shape(tensors[name]['shape'])} {tensors[name]['dtype']}" if name in tensors else ""
        rows.append(["  " * name.count("/") + name.split("/")[-1], leaf, f"{count:,}", size(nbytes)])
    return table(["name", "tensor", "count", "size"], rows, "llrr")


def diff_text(report: dict[str, Any]) -> str:
    parts = [f"first   {report['path']}\nsecond  {report['other']}"]
    for title, key in (("Only in the first", "only_first"), ("Only in the second", "only_second")):
        if report[key]:
            parts.append(f"{title}\n" + "\n".join(f"  {name}" for name in report[key]))
    rows = [[name, shape(a), shape(b)] for name, (a, b) in report["shapes"].items()]
    rows += [[name, a, b] for name, (a, b) in report["dtypes"].items()]
    if rows:
        parts.append("Other shapes and types\n" + table(["name", "first", "second"], rows, "lll"))
    rows = [[name, number(v["max_abs"]), number(v["relative_l2"])] for name, v in report["values"].items()]
    if rows:
        parts.append("Values\n" + table(["name", "max |a-b|", "|a-b|/|a|"], rows, "lrr"))
    parts.append(f"{report['compared'] - len(rows)} of {report['compared']} tensors compared are equal")
    for title, key in (("Config", "config"), ("Metrics", "metrics")):
        if report[key]:
            rows = [[name, json.dumps(a), json.dumps(b)] for name, (a, b) in report[key].items()]
            parts.append(f"{title}\n" + table(["", "first", "second"], rows, "lll"))
    return "\n\n".join(parts)


def table(header: list[str], rows: list[list], align: str) -> str:
    """Plain aligned columns: they can be searched and piped."""
    cells = [[str(cell) for cell in row] for row in ([header] if header else []) + rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(align))] if cells else []
    pad = {"l": str.ljust, "r": str.rjust}
    lines = ["  " + "  ".join(pad[a](c, w) for a, c, w in zip(align, row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def shape(dims: list[int]) -> str:
    return "x".join(map(str, dims)) or "scalar"


def size(nbytes: int) -> str:
    value, units = float(nbytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def brief(metrics: dict[str, Any]) -> str:
    return "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in metrics.items())


def strict(value: Any) -> Any:
    """Non-finite numbers as the strings "nan", "inf" and "-inf": strict JSON has none."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [strict(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = "cpu"  # a look at a checkpoint must not take the memory of a GPU that is training
    # After a failed read TensorStore's own threads report that their loop is gone; the error was told in one line.
    sys.unraisablehook = lambda _: None
    sys.exit(main())
