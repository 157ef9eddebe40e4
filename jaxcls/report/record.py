"""How the run went and what it takes to repeat it: curves, speed and size, config, environment, data."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.checkpoints.view import flatten_config
from jaxcls.defaults import default_config
from jaxcls.report.curves import PANELS, SMOOTH_FROM, find_series, smooth
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import facts, folded, join, paragraph, section, table, tag
from jaxcls.report.svg import Plot

STYLE = {"train": 0, "validation": 1, "test": 2}


def training(found: Evidence):
    """Loss, accuracy and learning rate over the run; None where nothing was recorded."""
    plots = [made for panel in PANELS if (made := _plot(found.lines, panel))]
    if not plots:
        return None
    about = (
        "Loss and accuracy of training are means over the pictures as augmented, while the weights moved; those of "
        "other splits are of one state, without augmentation, so the two need not meet."
    )
    return section("training", "Training", paragraph(about), tag("div", *plots, class_="plots"))


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
        plot.line(points[:, 0], y, f"{split} {100 * end:.1f} %" if share else f"{split} {end:.3g}", style,
                  dots=len(y) < SMOOTH_FROM and (split != "train" or len(y) == 1))  # fmt: skip
        plot.say(f"{split} ends at {end:.3g}.")
    return tag("figure", plot.render())


def _smoothed(points, panel, split):
    y = points[:, 1]
    return smooth(y, len(y) // 50) if len(y) >= SMOOTH_FROM and panel.noisy and split == "train" else y


def speed(found: Evidence, costs: dict[str, Any] | None = None):
    """Speed and size."""
    rows: list[tuple[str, str]] = []
    parameters = found.meta.get("parameters")
    if parameters:
        rows.append(("Parameters", f"{parameters:,}"))
    if costs:
        height, width, channels = costs["picture"]
        rows.append(("Picture", f"{height} × {width}, {'grey' if channels == 1 else 'colour'}"))
        rows.append(("Multiply-adds a picture", _scaled(costs["multiply_adds"])))
        rows.append(("Size of the weights", f"{costs['parameter_bytes'] / 2**20:,.1f} MiB"))
    lines = [line for line in found.lines if line.get("split", "train") == "train"]
    for name, split in (("Training", "train"), ("Evaluation", "validation")):
        rates = [line.get("pictures_per_second") for line in found.lines if line.get("split", "train") == split]
        if rates := [rate for rate in rates if rate]:
            rows.append(
                (f"{name} speed", f"{np.median(rates):,.0f} pictures a second, with reading (median of the log)")
            )
    if lines:
        rows.append(("Steps", f"{lines[-1]['step']:,}" + _epochs(lines[-1])))
    if len(found.lines) > 1 and all("time" in line for line in found.lines):
        took = found.lines[-1]["time"] - found.lines[0]["time"]
        rows.append(("From the first to the last record", _duration(took)))
    versions = found.meta.get("versions", {})
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


def config(found: Evidence):
    """What was set, and all there is to set."""
    now, default = (flatten_config(json.loads(json.dumps(x))) for x in (found.config, default_config().to_dict()))
    if not now:
        return None
    changed = [(key, _value(value), _value(default.get(key, "–")))
               for key, value in now.items() if default.get(key, "–") != value]  # fmt: skip
    every = table(("Key", "Value"), [(tag("code", key), _value(value)) for key, value in now.items()], words=(0, 1))
    rows = [(tag("code", key), value, usual) for key, value, usual in changed]
    about = "What differs from the defaults:" if rows else "Everything is as by default."
    shown = table(("Key", "Value", "Default"), rows, words=(0, 1, 2)) if rows else ""
    return section("config", "Config", paragraph(about), shown, folded(f"All {len(now)} keys", every))


def _value(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def environment(found: Evidence):
    """Versions, data and files."""
    data = found.meta.get("data", {})
    rows = [("Data", data.get("name")), ("Fingerprint of the training pictures", data.get("fingerprint")),
            (f"Fingerprint of the {found.split} pictures", (found.rows or {}).get("fingerprint")),
            ("Started from weights", found.meta.get("pretrained"))]  # fmt: skip
    versions = found.meta.get("versions", {})
    packages = ", ".join(f"{name} {value}" for name, value in versions.items()
                         if name not in ("platform", "device", "cores"))  # fmt: skip
    rows += [("Versions", packages), *_files(found)]
    shown = facts((name, value) for name, value in rows if value)
    return section("environment", "Data, environment, files", shown)


def _files(found) -> Iterator[tuple[str, Any]]:
    """Where things lie, and how to come to the same figures again."""
    yield "Folder of the run", tag("code", str(found.workdir))
    names = [f"checkpoints/{found.step}", f"eval/{found.split}-{found.step}.npz", "results.json", "metrics.jsonl"]
    there = [name for name in names if (Path(found.workdir) / name).exists()]
    if there:
        yield "In it", join([tag("code", name) for name in there], ", ")
    step = "" if found.step is None else f" --step={found.step}"
    command = f"python -m jaxcls.main --mode=eval --workdir={found.workdir}{step}"
    yield "To evaluate again", tag("code", command)
