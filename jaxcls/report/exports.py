"""The files that were exported of the run (`jaxcls export`): what each costs and whether it still answers as well."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxcls import files
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import (
    Section,
    figure,
    join,
    label,
    number,
    paragraph,
    percent,
    section,
    table,
    tag,
    unordered,
)
from jaxcls.report.svg import Plot

FILE = "export.json"  # export.record writes it
SMALL = "1"  # the batch size of the plot


class Point(NamedTuple):
    """A variant in the plot: milliseconds at batch 1, accuracy (of sets of labels mAP) and its interval."""

    name: str
    milliseconds: float
    accuracy: float
    interval: Sequence[float]


def exports(evidence: Evidence) -> Section | None:
    """The section; None where nothing was exported."""
    found = files.read_json(evidence.workdir / FILE, strict=True)
    entries = [entry for entry in found if _sound(entry)] if isinstance(found, list) else []
    if not entries:
        return None
    about = paragraph(
        "Files of this run for other runtimes, each compared with the run on the same pictures when it was written. "
        "“Agrees” is the share of pictures that get the same class from both. Times are milliseconds a call on the "
        "machine named below, the median and the 95th percentile (p95), measured in turns."
    )
    title = _title(entries)
    head = ("File", "Step", "Precision", "MB", title, "95\N{NO-BREAK SPACE}% interval", "Agrees", "1 picture",
            "p95", "16 pictures", "p95")  # fmt: skip
    last = entries[-1]
    run = ("the run (JAX)", "", "", "", *_accuracy(last["check"].get("run")), "", *_times(last.get("run")))
    rows = [run, *(row for entry in entries for row in _rows(entry))]
    said = unordered(label(str(entry.get("verdict", "")), 300) for entry in entries)
    on = {str(entry["check"].get("on", "")) for entry in entries}
    note = tag("p", f"Compared on {'; '.join(sorted(on))}. {_machine(entries[-1])}", class_="dim")
    plot = _plot(entries, title)
    return section("exports", "Exported files", about, table(head, rows, words=(0, 2)), plot, said, note)


def _title(entries):
    """What `share` tells: where labels are sets, mAP."""
    of_sets = any("mAP" in (entry["check"].get("run") or {}) for entry in entries)
    return "mAP" if of_sets else "Accuracy"


def _sound(entry):
    """Whether it is an entry of a file that can be shown."""
    return isinstance(entry, dict) and isinstance(entry.get("file"), str) and isinstance(entry.get("check"), dict)


def _rows(entry):
    check = entry["check"]
    name = label(entry["file"])
    shown = f"{name} (set aside)" if entry.get("status") == "rejected" else name
    size = number(entry["bytes"] / 1e6, 2) if isinstance(entry.get("bytes"), int) else "–"
    first = (shown, entry.get("step", ""), entry.get("precision", ""), size)
    yield (
        *first,
        *_accuracy(check.get("file")),
        percent(_number(check.get("agreement"))),
        *_times(entry.get("latency")),
    )
    if isinstance(other := entry.get("openvino"), dict):
        agrees = percent(_number(other.get("agreement")))
        yield (f"{name} in OpenVINO", "", "", "", *_accuracy(other.get("file")), agrees, *_times(other.get("latency")))


def _accuracy(found):
    known = share(found)
    if known is None:
        return "–", ""
    low, high = known[1]
    return percent(known[0]), f"{percent(low)} to {percent(high)}"


def share(found: Any) -> tuple[float, tuple[float, float]] | None:
    """(accuracy, or of sets of labels mAP; its interval) of what a check says of the run or of a file; None where it
    doesn't say."""
    if not isinstance(found, dict) or not isinstance(ends := found.get("interval"), list) or len(ends) != 2:
        return None
    accuracy, low, high = map(_number, (found.get("accuracy", found.get("mAP")), *ends))
    return None if accuracy is None or low is None or high is None else (accuracy, (low, high))


def milliseconds(latency: Any, size: str, which: str) -> float | None:
    """Of an entry's `latency`, by batch size and "wall_p50", "cpu_p50" and so on; None where it doesn't say."""
    one = latency.get(size) if isinstance(latency, dict) else None
    return _number(one.get(which)) if isinstance(one, dict) else None


def _number(value):
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def _times(found):
    return [number(milliseconds(found, size, which), 2) for size in ("1", "16") for which in ("wall_p50", "wall_p95")]


def points(entries: Sequence[dict[str, Any]]) -> list[Point]:
    """The run, as it was timed last, and every file that has an accuracy and a time."""
    found = []
    last = entries[-1]
    for name, entry, right in [
        ("the run (JAX)", {"latency": last.get("run")}, last["check"].get("run")),
        *((label(entry["file"]), entry, entry["check"].get("file")) for entry in entries),
        *(
            (f"{label(e['file'])} in OpenVINO", e["openvino"], e["openvino"].get("file"))
            for e in entries
            if isinstance(e.get("openvino"), dict)
        ),
    ]:
        time, known = milliseconds(entry.get("latency"), SMALL, "wall_p50"), share(right)
        if known and time is not None:
            found.append(Point(name, time, *known))
    return found


def pareto(found: Sequence[Point]) -> list[Point]:
    """Those that none is both faster and more accurate than, by time."""
    front: list[Point] = []
    for point in sorted(found, key=lambda p: (p.milliseconds, -p.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def _plot(entries, title):
    """What the title says over the time of one picture; the line joins those that no other beats in both."""
    found = points(entries)
    if len(found) < 2:
        return join([])
    times, ends = [p.milliseconds for p in found], [end for p in found for end in p.interval]
    margin = 0.08 * (max(times) - min(times) or max(times))
    ranges = (max(0.0, min(times) - margin), max(times) + margin), (min(ends) - 0.002, min(1.002, max(ends) + 0.002))
    axis = title if title == "mAP" else "accuracy"
    plot = Plot(f"{title} and time", "milliseconds for one picture (median)", axis, *ranges, percent="y")
    front = pareto(found)
    if len(front) > 1:
        plot.line([p.milliseconds for p in front], [p.accuracy for p in front], style=0, faint=True)
    for i, point in enumerate(found):
        plot.dots([point.milliseconds], [point.accuracy], point.name, i)
        plot.span(point.milliseconds, *point.interval, style=i)
        plot.say(f"{point.name}: {percent(point.accuracy)}, {number(point.milliseconds, 2)} milliseconds.")
    caption = "Further left is faster, further up more accurate; the line joins what no other variant beats in both."
    return tag("div", figure(plot.render(), caption), class_="plots")


def _machine(entry):
    return f"Times of {machine(entry['machine'])}." if isinstance(entry.get("machine"), dict) else ""


def machine(found: dict[str, Any]) -> str:
    """What times are of, in words: processor, cores, versions of what ran the files."""
    versions = found.get("versions")
    told = ", ".join(f"{name} {version}" for name, version in versions.items()) if isinstance(versions, dict) else ""
    cores = found.get("cores", "?")
    about = f"{found.get('cpu', 'an unknown processor')}, {cores} core{'' if cores == 1 else 's'}"
    return f"{about}; {told}" if told else about
