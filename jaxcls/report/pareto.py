"""The exported files of a smaller net beside those of the nets that it was made of: accuracy over CPU time."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxcls import files
from jaxcls.report import exports, pruned
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import (
    Markup,
    Section,
    figure,
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

TITLE = "Smaller nets compared"


class Variant(NamedTuple):
    """An exported file that was checked and timed.

    Attributes:
      run: the name of its run.
      file, precision: as export.json has them.
      size: bytes; None where that isn't known.
      milliseconds, of_16: CPU time of a call with one picture, and with 16 (None where that isn't known).
      accuracy, interval: on the pictures of the check.
      about: what only such files share that can be compared: the machine, and the pictures of the check.
      machine: in words.
    """

    run: str
    file: str
    precision: str
    size: int | None
    milliseconds: float
    of_16: float | None
    accuracy: float
    interval: tuple[float, float]
    about: tuple[Any, ...]
    machine: str

    @property
    def point(self) -> exports.Point:
        """Its place in the plot."""
        return exports.Point(self.file, self.milliseconds, self.accuracy, self.interval)


def smaller(evidence: Evidence) -> Section | None:
    """The section; None unless two runs at least have a file that can be compared."""
    names = _names(family(evidence.workdir, evidence.config))
    variants, left = [], Counter[str]()
    for folder, name in names.items():
        for one in read(folder, name):
            if isinstance(one, str):
                left[one] += 1
            else:
                variants.append(one)
    own = [variant for variant in variants if variant.run == names[evidence.workdir]]
    if not own:
        return None
    alike: list[Variant] = []
    others: list[Variant] = []
    for variant in variants:
        (alike if _comparable(variant, own[-1]) else others).append(variant)
    if len({variant.run for variant in alike}) < 2:
        return None
    left.update(f"{x.run}: measured {_apart(x, own[-1])}" for x in others)
    return section("smaller", TITLE, *_body(alike, left))


def family(workdir: Path, config: Mapping[str, Any]) -> list[Path]:
    """The run and those that it came from by pruning and training for INT8, as far as their folders are there.

    What was pruned says so in prune.json, or, where a training config did it, in `config.model.kept`; a run that was
    trained for INT8 has `config.model.quantize`. Both say what they began with in `config.model.pretrained`.
    """
    found: list[Path] = []
    seen: set[str] = set()
    place: Path | None = workdir
    while place is not None and (real := os.path.realpath(place)) not in seen:
        seen.add(real)
        found.append(place)
        record = files.read_json(place / pruned.FILE)
        source = record.get("of") if isinstance(record, dict) else None
        model = config.get("model") if isinstance(config, Mapping) else None
        if not source and isinstance(model, Mapping) and (model.get("quantize") or model.get("kept")):
            source = model.get("pretrained")
        place = _folder(source, place) if isinstance(source, str) and source else None
        config = (files.read_json(place / "config.json") or {}) if place else {}
    return found


def _folder(source: str, beside: Path) -> Path | None:
    """The workdir that a run was made of: a name that is not absolute was meant from where the command ran, which is
    here or some folder above the run."""
    for base in (Path(), *Path(os.path.abspath(beside)).parents):
        place = base / source
        for folder in (place, place.parent.parent if place.parent.name == "checkpoints" else place):
            if os.path.isfile(folder / "config.json"):  # False for what can be no path, too
                return folder
    return None


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """What runs are called: the last part of the folder, and that above where two have the same."""
    paths = [Path(os.path.realpath(folder)) for folder in folders]
    count = Counter(path.name for path in paths)
    short = [path.name if count[path.name] == 1 else f"{path.parent.name}/{path.name}" for path in paths]
    return dict(zip(folders, map(label, short), strict=True))


def read(folder: Path, run: str) -> Iterator[Variant | str]:
    """The files of a run, and of each that can't be compared a line that says why."""
    entries = files.read_json(folder / exports.FILE)
    if entries is None and os.path.exists(folder / exports.FILE):
        yield f"{run}: {exports.FILE} is damaged"
    fingerprint = _fingerprint(folder)
    for entry in entries if isinstance(entries, list) else ():
        yield _variant(entry, run, fingerprint)


def _fingerprint(folder):
    """Of the validation pictures, by which files are checked where a run has them."""
    rows = files.read_json(folder / "eval" / "validation-rows.json")
    return rows.get("fingerprint") if isinstance(rows, dict) else None


def _variant(entry, run, fingerprint):
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        return f"{run}: an entry that this version does not know"
    file, check, machine = label(entry["file"]), entry.get("check"), entry.get("machine")
    if entry.get("status") != "ok":
        return f"{run}: {file}, which was {'set aside' if entry.get('status') == 'rejected' else 'not judged'}"
    known = exports.share(check.get("file")) if isinstance(check, dict) else None
    times = [exports.milliseconds(entry.get("latency"), size, "cpu_p50") for size in ("1", "16")]
    if known is None or not times[0] or times[0] <= 0 or not isinstance(machine, dict):
        return f"{run}: {file}, without accuracy or time"
    about = (
        tuple(str(machine.get(key)) for key in ("cpu", "cores", "system")),
        (str(check.get("on")), str(check.get("pictures"))),
        fingerprint if isinstance(fingerprint, str) else None,
    )
    size = entry["bytes"] if isinstance(entry.get("bytes"), int) else None
    precision = label(str(entry.get("precision", "")))
    return Variant(run, file, precision, size, times[0], times[1], *known, about, exports.machine(machine))


def _comparable(one: Variant, other: Variant) -> bool:
    return not _apart(one, other)


def _apart(one: Variant, other: Variant) -> str:
    """In what two can't be compared; "" where they can. A fingerprint that one lacks says nothing."""
    if one.about[0] != other.about[0]:
        return f"on another machine ({', '.join(one.about[0][:2])} cores)"
    marks = {variant.about[2] for variant in (one, other)} - {None}
    return f"on other pictures ({one.about[1][0]})" if one.about[1] != other.about[1] or len(marks) > 1 else ""


def _body(alike: Sequence[Variant], left: Mapping[str, int]) -> Iterator[Markup]:
    """What stands in the section."""
    yield paragraph(
        "The exported files of this run beside those of the runs that it was made of, on the same pictures and the "
        "same machine. Time is CPU time of all threads for one picture, the median of calls; "
        "files of different runs were timed at different hours, so only clear differences mean something."
    )
    front = exports.pareto([variant.point for variant in alike])
    yield tag("div", _plot(alike, front), class_="plots")
    best = {(point.milliseconds, point.accuracy) for point in front}
    head = ("Run", "File", "Precision", "MB", "Accuracy", "95\N{NO-BREAK SPACE}% interval", "1 picture, ms",
            "16 pictures, ms", "Not beaten")  # fmt: skip
    rows = [
        (
            variant.run,
            variant.file,
            variant.precision,
            "–" if variant.size is None else number(variant.size / 1e6, 2),
            percent(variant.accuracy),
            " to ".join(map(percent, variant.interval)),
            number(variant.milliseconds, 2),
            number(variant.of_16, 2),
            "yes" if (variant.milliseconds, variant.accuracy) in best else "",
        )
        for variant in alike
    ]
    yield table(head, rows, words=(0, 1, 2, 8))
    said = dict.fromkeys(variant.machine for variant in alike)
    yield paragraph(f"Checked on {alike[-1].about[1][0]}. Times of {'; and of '.join(said)}.", class_="dim")
    if left:
        yield paragraph("Left out, since they can't be compared:", class_="dim")
        lines = (f"{line} ({count:,} files)" if count > 1 else line for line, count in left.items())
        yield unordered(lines, class_="dim")


def _plot(alike: Sequence[Variant], front: Sequence[exports.Point]) -> Markup:
    """Accuracy over the logarithm of CPU time: a colour for each run, the precision beside each point."""
    times, ends = [v.milliseconds for v in alike], [end for v in alike for end in v.interval]
    room = 0.06 * (max(ends) - min(ends)) or 0.01
    ranges = (min(times) / 1.25, max(times) * 1.4), (max(0.0, min(ends) - room), min(1.0, max(ends)) + room)
    plot = Plot("Accuracy and CPU time", "CPU milliseconds for one picture", "accuracy", *ranges, percent="y", log=True)
    if len(front) > 1:
        places = [p.milliseconds for p in front], [p.accuracy for p in front]
        plot.line(*places, "not beaten in both", reference=True)
    files_of = Counter((variant.run, variant.precision) for variant in alike)
    for style, run in enumerate(dict.fromkeys(variant.run for variant in alike)):
        group = [variant for variant in alike if variant.run == run]
        plot.dots([v.milliseconds for v in group], [v.accuracy for v in group], run, style)
        for variant in group:
            plot.span(variant.milliseconds, *variant.interval, style=style)
            alone = files_of[run, variant.precision] == 1
            plot.note(variant.milliseconds, variant.accuracy, variant.precision if alone else label(variant.file, 24))
            shown = f"{percent(variant.accuracy)}, {number(variant.milliseconds, 2)} milliseconds"
            plot.say(f"{run}, {variant.precision}: {shown}.")
    joined = (
        "the dotted line joins what none beats in both"
        if len(front) > 1
        else "one is as good as all others in both, or better"
    )
    return figure(plot.render(), f"Further left is faster, further up more accurate; {joined}.")
