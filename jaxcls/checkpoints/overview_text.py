"""Checkpoints for people: plain aligned columns, which can be searched and piped."""

import json
import math
from typing import Any

from jaxcls.checkpoints import view
from jaxcls.text import NAME, printable

SHOWN_CLASSES = 10


def describe(report: dict[str, Any], *, tree: bool = False) -> str:
    """The text of `overview.describe`; with `tree`, tensors as a tree with the sums of every branch."""
    meta = report["meta"]
    finished = "" if report["finished"] else " (no manifest: unfinished, or copied without its workdir)"
    parts = []
    if report["steps"]:
        rows = [
            [s["step"], s["state"] + (", best" if s["best"] else ""), _brief(s["metrics"])] for s in report["steps"]
        ]
        parts.append("Steps\n" + _table(["step", "state", "metrics"], rows, "rll"))
    parts.append(f"{printable(report['path'])}{finished}")
    parts.append("Tensors\n" + (_tree(report["tensors"]) if tree else _tensors(report["tensors"])))
    rows = [[name, g["tensors"], f"{g['count']:,}", _size(g["bytes"])] for name, g in report["groups"].items()]
    parts.append("Totals\n" + _table(["group", "tensors", "count", "size"], rows, "lrrr"))
    if classes := meta.get("classes"):
        more = f", ... ({len(classes)} in all)" if len(classes) > SHOWN_CLASSES else ""
        parts.append("Classes\n  " + ", ".join(printable(name, NAME) for name in classes[:SHOWN_CLASSES]) + more)
    for title, value in meta.items():
        if title == "answer":  # where each of hundreds of variables lies is for programs (--json)
            value = {key: part for key, part in value.items() if key not in ("names", "raw")}
        if title != "classes" and value not in ({}, None, []):
            flat = view.flatten_config(value) if isinstance(value, dict) else {"": value}
            rows = [[key, json.dumps(item)] for key, item in flat.items()]
            body = _table([], rows, "ll") if isinstance(value, dict) else f"  {json.dumps(value)}"
            parts.append(f"{title.replace('_', ' ').capitalize()}\n{body}")
    return "\n\n".join(parts)


def _tensors(tensors: dict[str, dict]) -> str:
    extra = [key for key in next(iter(tensors.values()), {}) if key not in ("shape", "dtype", "count", "bytes")]
    rows = [
        [
            name,
            _shape(t["shape"]),
            t["dtype"],
            f"{t['count']:,}",
            _size(t["bytes"]),
            *(_number(t[key]) for key in extra),
        ]
        for name, t in tensors.items()
    ]
    return _table(["name", "shape", "dtype", "count", "size", *extra], rows, "lllrr" + "r" * len(extra))


def _tree(tensors: dict[str, dict]) -> str:
    sums: dict[str, list[int]] = {}
    for name, t in tensors.items():
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            entry = sums.setdefault("/".join(parts[:depth]), [0, 0])
            entry[0] += t["count"]
            entry[1] += t["bytes"]
    rows = []
    for name, (count, nbytes) in sums.items():
        leaf = f"{_shape(tensors[name]['shape'])} {tensors[name]['dtype']}" if name in tensors else ""
        rows.append(["  " * name.count("/") + name.split("/")[-1], leaf, f"{count:,}", _size(nbytes)])
    return _table(["name", "tensor", "count", "size"], rows, "llrr")


def compare(report: dict[str, Any]) -> str:
    """The text of `overview.compare`."""
    parts = [f"first   {printable(report['path'])}\nsecond  {printable(report['other'])}"]
    for title, key in (("Only in the first", "only_first"), ("Only in the second", "only_second")):
        if report[key]:
            parts.append(f"{title}\n" + "\n".join(f"  {printable(name)}" for name in report[key]))
    rows = [[name, _shape(a), _shape(b)] for name, (a, b) in report["shapes"].items()]
    rows += [[name, a, b] for name, (a, b) in report["dtypes"].items()]
    if rows:
        parts.append("Other shapes and types\n" + _table(["name", "first", "second"], rows, "lll"))
    rows = [[name, _number(v["max_abs"]), _number(v["relative_l2"])] for name, v in report["values"].items()]
    if rows:
        parts.append("Values\n" + _table(["name", "max |a-b|", "|a-b|/|a|"], rows, "lrr"))
    parts.append(f"{report['compared'] - len(rows)} of {report['compared']} tensors compared are equal")
    for title, key in (("Config", "config"), ("Metrics", "metrics")):
        if report[key]:
            rows = [[name, json.dumps(a), json.dumps(b)] for name, (a, b) in report[key].items()]
            parts.append(f"{title}\n" + _table(["", "first", "second"], rows, "lll"))
    return "\n\n".join(parts)


def verify(report: dict[str, Any]) -> str:
    """The text of `overview.verify`: a line for each step that is well, each problem and what was skipped."""
    if "steps" not in report:
        return "\n".join(map(printable, report["problems"] or [f"{report['path']}: every file is as written"]))
    lines = []
    for row in report["steps"]:
        what = [name for name in ("newest", "best") if row[name]]
        name = f"step {row['step']}{' (' + ', '.join(what) + ')' if what else ''}"
        lines += [f"{name}: {problem}" for problem in row["problems"] or ["every file is as written"]]
    return "\n".join(map(printable, [*lines, *report["skipped"]]))


def _table(header: list[str], rows: list[list], align: str) -> str:
    """Plain aligned columns: they can be searched and piped."""
    cells = [[printable(cell) for cell in row] for row in ([header] if header else []) + rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(align))] if cells else []
    pad = {"l": str.ljust, "r": str.rjust}
    lines = ["  " + "  ".join(pad[a](c, w) for a, c, w in zip(align, row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def _shape(dims: list[int]) -> str:
    return "x".join(map(str, dims)) or "scalar"


def _size(nbytes: int) -> str:
    value, units = float(nbytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _brief(metrics: dict[str, Any]) -> str:
    return "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in metrics.items())


def strict(value: Any) -> Any:
    """Non-finite numbers as the strings "nan", "inf" and "-inf": strict JSON has none."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [strict(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
