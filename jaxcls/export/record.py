"""What exports have left: `export.json` in a run's workdir, `FILE.json` beside a bare model's file; and their table.

A list of variants, one for each file; a new export of the same file replaces its entry. An entry has

    file, path, title, step, precision, bytes, output, time
    status       "ok", "rejected" (the file was set aside), "not judged"; with `verdict`, a sentence
    quantisation of INT8: way, target, reduce_range, method, pictures, kept_in_float, ...
    check        export.check.compared, with `on`: which pictures
    latency      batch size -> wall_p50, wall_p95, cpu_p50, cpu_p95, turns (milliseconds, export.latency)
    run          the same of the run itself, in the same turns
    openvino     of INT8 where that is installed: latency, agreement
    machine      what the times are of
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcls import files
from jaxcls.types import PathLike

NAME = "export.json"
Entry = dict[str, Any]
COLUMNS = ("file", "precision", "MB", "accuracy (95 %)", "agrees", "b1 p50/p95 ms", "CPU", "b16 p50/p95 ms", "CPU")


def path(workdir: Path | None, file: Path) -> Path:
    """Where the record lies: of a run in its workdir, of a bare model beside its float32 file."""
    return workdir / NAME if workdir is not None else file.with_name(f"{file.name}.json")


def read(workdir: PathLike) -> list[Entry]:
    """The variants of a run; [] without any.

    Raises:
      UserError: where the file is damaged.
    """
    return read_file(Path(workdir) / NAME)


def read_file(place: Path) -> list[Entry]:
    """As `read`, of a record wherever it lies."""
    found = files.read_json(place, strict=True)
    return [entry for entry in found if isinstance(entry, dict) and "file" in entry] if isinstance(found, list) else []


def write(place: Path, entries: Sequence[Entry]) -> None:
    """Puts entries in, in place of those of the same files (of the same path), and drops what was set aside under
    these files' names before.

    Raises:
      UserError: where it can't be read or written.
    """
    new = {entry["path"] for entry in entries} | {entry["replaces"] for entry in entries if entry.get("replaces")}
    kept = [entry for entry in read_file(place) if entry.get("path") not in new]
    files.write_json(place, [*kept, *({k: v for k, v in e.items() if k != "replaces"} for e in entries)])


def table(entries: Sequence[Entry]) -> list[str]:
    """Lines for people: the run itself, then its files."""
    of_sets = any("mAP" in (entry.get("check", {}).get("run") or {}) for entry in entries)
    rows = [tuple(name.replace("accuracy", "mAP") for name in COLUMNS) if of_sets else COLUMNS]
    for entry in entries:
        check = entry.get("check", {})
        if len(rows) == 1:
            rows.append(("(the run, JAX)", "", "", _accuracy(check.get("run")), "", *_times(entry.get("run", {}))))
        size = f"{entry['bytes'] / 1e6:.2f}"
        agrees = f"{100 * check['agreement']:.1f} %" if "agreement" in check else "-"
        first = (entry["file"], entry["precision"], size, _accuracy(check.get("file")), agrees)
        rows.append((*first, *_times(entry.get("latency", {}))))
        if other := entry.get("openvino", {}).get("latency"):
            agrees = f"{100 * entry['openvino'].get('agreement', 0):.1f} %"
            rows.append((" in OpenVINO", "", "", "", agrees, *_times(other)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    left = (0, 1)  # columns of words
    return [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def footer(machine: Mapping[str, Any]) -> str:
    """A line on what the times are of."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"milliseconds a call on {machine['cpu']}, {machine['cores']} cores; CPU: of all threads; {versions}"


def _accuracy(found):
    if not found:
        return "-"
    low, high = found["interval"]
    return f"{100 * found.get('accuracy', found.get('mAP')):.2f} ({100 * low:.1f} to {100 * high:.1f})"


def _times(found):
    cells = []
    for size in ("1", "16"):
        one = found.get(size)
        cells += [f"{one['wall_p50']:.2f}/{one['wall_p95']:.2f}", f"{one['cpu_p50']:.2f}"] if one else ["-", "-"]
    return cells
