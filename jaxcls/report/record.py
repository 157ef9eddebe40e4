"""How the run went and what it takes to repeat it: curves, speed and size, config, environment, data."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.checkpoints.view import flatten_config
from jaxcls.defaults import RENAMED, current_value, default_config
from jaxcls.logs.display import rate as shown_rate
from jaxcls.models.state_dict import abbreviated
from jaxcls.report.curves import RATE, SMOOTH_FROM, find_series, of_one_loss, panels, smooth
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Markup, Section, capital, facts, folded, join, paragraph, section, table, tag
from jaxcls.report.svg import Plot

STYLE = {"train": 0, "validation": 1, "test": 2}


def training(evidence: Evidence) -> Section | None:
    """Loss, the task's first figure and learning rate over the run; None where nothing was recorded."""
    shown, lines = panels(evidence.choosing), of_one_loss(evidence.lines)
    plots = [plot for panel in shown if (plot := _plot(lines, panel))]
    if not plots:
        return None
    recorded = [p for p in shown if p is not RATE and "train" in find_series(evidence.lines, p.keys)]
    means = [panel.label.removesuffix(" (%)") for panel in recorded]
    are = "are means" if len(means) > 1 else "is a mean"
    about = (
        f"{capital(' and '.join(means))} of training {are} over the pictures as augmented, while the weights moved; "
        "those of other splits are of one state, without augmentation, so the two need not meet."
    )
    return section("training", "Training", paragraph(about) if means else "", tag("div", *plots, class_="plots"))


def _plot(lines, panel):
    series = {
        split: np.column_stack([points[:, 0], np.where(np.isfinite(points[:, 1]), points[:, 1], np.nan)])
        for split, points in find_series(lines, panel.keys).items()
    }
    if not series:
        return ""
    smoothed = {split: _smoothed(points, panel, split) for split, points in series.items()}
    shown = np.concatenate([y[np.isfinite(y)] for y in smoothed.values()])
    low, high = float(shown.min()), float(shown.max())
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    share = panel.factor == 100
    y_range = (max(low - room, 0.0 if share else -np.inf), min(high + room, 1.0 if share else np.inf))
    last = max(float(points[-1, 0]) for points in series.values())
    epochs = any("epoch" in line for line in lines)
    name = panel.label.removesuffix(" (%)")
    plot = Plot(panel.title, "epoch" if epochs else "step", name, (0, last), y_range, percent="y" if share else "")
    for split, points in series.items():
        style, y = STYLE.get(split, 3), smoothed[split]
        if len(points) >= SMOOTH_FROM and panel.noisy and split == "train":
            plot.line(points[:, 0], points[:, 1], style=style, faint=True)
        end = y[np.isfinite(y)][-1]
        name = f"{split} {100 * end:.1f} %" if share else f"{split} {end:.3g}"
        plot.line(points[:, 0], y, name, style, dots=len(y) < SMOOTH_FROM and (split != "train" or len(y) == 1))
        plot.say(f"{split} ends at {end:.3g}.")
    return tag("figure", plot.render())


def _smoothed(points, panel, split):
    y = points[:, 1]
    return smooth(y, len(y) // 50) if len(y) >= SMOOTH_FROM and panel.noisy and split == "train" else y


def speed(evidence: Evidence, costs: dict[str, Any] | None = None) -> Section | None:
    """Speed and size."""
    rows: list[tuple[str, str]] = []
    parameters = evidence.meta.parameters
    if parameters:
        rows.append(("Parameters", f"{parameters:,}"))
    if costs:
        *frames, height, width, channels = costs["picture"]
        of = f"{frames[0]} frames of " if frames else ""
        rows.append(
            ("Clip" if frames else "Picture", f"{of}{height} × {width}, {'grey' if channels == 1 else 'colour'}")
        )
        rows.append(("Multiply-adds a picture", _scaled(costs["multiply_adds"])))
        rows.append(("Size of the weights", f"{costs['parameter_bytes'] / 2**20:,.1f} MiB"))
    lines = [line for line in evidence.lines if line.get("split", "train") == "train"]
    for name, split in (("Training", "train"), ("Evaluation", "validation")):
        rates = [line.get("pictures_per_second") for line in evidence.lines if line.get("split", "train") == split]
        if rates := [rate for rate in rates if rate]:
            rows.append(
                (
                    f"{name} speed",
                    f"{shown_rate(float(np.median(rates)))} pictures a second, with reading (median of the log)",
                )
            )
    if lines:
        rows.append(("Steps", f"{lines[-1]['step']:,}" + _epochs(lines[-1])))
    if len(evidence.lines) > 1 and all("time" in line for line in evidence.lines):
        took = evidence.lines[-1]["time"] - evidence.lines[0]["time"]
        rows.append(("From the first to the last record", _duration(took)))
    versions = evidence.meta.versions
    if versions:
        device, cores = versions.get("device", "?"), versions.get("cores", "?")
        rows.append(("On", f"{device} ({versions.get('platform', '?')}), {cores} CPU cores"))
    return section("speed", "Speed and size", facts(rows)) if rows else None


def _epochs(line):
    return f" ({line['epoch']:.4g} epochs)" if line.get("epoch") else ""


def _scaled(n):
    return f"{n / 1e9:,.2f} billion" if n >= 1e9 else f"{n / 1e6:,.2f} million"


def _duration(seconds):
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s" if rest >= 60 else f"{rest} s"


def config(evidence: Evidence) -> Section | None:
    """What was set, and all there is to set."""
    now, default = (flatten_config(json.loads(json.dumps(x))) for x in (evidence.config, default_config().to_dict()))
    now = {RENAMED.get(key, key): current_value(key, value) for key, value in now.items()}
    if not now:
        return None
    every = table(("Key", "Value"), [(tag("code", key), _value(value)) for key, value in now.items()], words=(0, 1))
    pairs = ((key, value, default.get(key, "–")) for key, value in now.items())
    rows = [(tag("code", key), _value(value), _value(usual)) for key, value, usual in pairs if value != usual]
    about = "What differs from the defaults:" if rows else "Everything is as by default."
    changed = table(("Key", "Value", "Default"), rows, words=(0, 1, 2)) if rows else ""
    return section("config", "Config", paragraph(about), changed, folded(f"All {len(now)} keys", every))


def _value(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def environment(evidence: Evidence) -> Section:
    """Versions, data, files, and the weights that the run began with."""
    data, versions = evidence.meta.data, evidence.meta.versions
    machine = ("platform", "device", "cores")
    packages = ", ".join(f"{name} {value}" for name, value in versions.items() if name not in machine)
    rows = [
        ("Data", data.get("name")),
        ("Fingerprint of the training pictures", data.get("fingerprint")),
        (f"Fingerprint of the {evidence.split} pictures", (evidence.rows or {}).get("fingerprint")),
        ("Versions", packages),
        *_files(evidence),
    ]
    known = facts((name, value) for name, value in rows if value)
    return section("environment", "Data, environment, files", known, _weights(evidence))


def _weights(evidence) -> Markup:
    """Which published weights the run began with, what became of their tensors, and what they rest on."""
    source = evidence.meta.pretrained
    if not source:
        return Markup("")
    source = source if isinstance(source, dict) else {"file": source}
    told = files.read_json(Path(evidence.workdir) / "pretrained.json")
    told = told if isinstance(told, dict) and told.get("sha256") == source.get("sha256") else {}
    rows: list[tuple[str, Any]] = [
        ("File", tag("code", source.get("file"))),
        ("SHA-256", tag("code", source.get("sha256", "–"))),
    ]
    if loaded := told.get("loaded"):
        rows.append(("Tensors loaded", f"{len(loaded):,} of {len(loaded) + len(told.get('kept', ())):,}"))
    if names := told.get("names"):
        rows.append(("Names of its tensors", names))
    for title, key in (("As initialised", "kept"), ("Left out of the file", "skipped")):
        group = told.get(key) or {}
        for reason in dict.fromkeys(group.values()):
            rows.append((title, f"{abbreviated(name for name in group if group[name] == reason)} ({reason})"))
    if changed := told.get("resized"):
        rows.append(("Resized", abbreviated(changed)))
    rows += [("Note", note) for note in told.get("notes", ())]
    basis = [
        (row["what"], row["value"], row["by"] or "assumed, for nothing says it", tag("code", row["setting"]))
        for row in told.get("basis", ())
    ]
    rests = table(("What they rest on", "Here", "Said by", "Setting"), basis, words=(0, 1, 2, 3)) if basis else ""
    return join([tag("h3", "Started from weights"), facts(rows), rests])


def _files(evidence) -> Iterator[tuple[str, Any]]:
    """Where things lie, and how to come to the same figures again."""
    yield "Folder of the run", tag("code", str(evidence.workdir))
    names = [
        f"checkpoints/{evidence.step}",
        f"eval/{evidence.split}-{evidence.step}.npz",
        *([] if evidence.with_logits else [f"eval/{evidence.split}-{evidence.step}.json"]),
        "results.json",
        "metrics.jsonl",
    ]
    there = [name for name in names if (Path(evidence.workdir) / name).exists()]
    if there:
        yield "In it", join([tag("code", name) for name in there], ", ")
    step = "" if evidence.step is None else f" --step {evidence.step}"
    command = f"jaxcls eval {evidence.workdir}{step}"
    yield "To evaluate again", tag("code", command)
