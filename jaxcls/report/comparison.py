"""The files of a comparison of runs: text, figures, curves over each other."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcls.criteria import CLASSIFICATION, SETS
from jaxcls.errors import UserError
from jaxcls.measure import comparison_text
from jaxcls.measure.runs import Run
from jaxcls.report import curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008), as in report/curves.py; dashes repeat the difference in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
DASHES = ("-", "--", ":", "-.")


def write(folder: Path, report: dict[str, Any], opened: Sequence[Run]) -> list[Path]:
    """Writes comparison.md and .json, and .png and .svg where there is something to draw; returns their paths.

    Args:
      folder: made where it is missing.
      report: `measure.comparison.report` of the runs.
      opened: the runs.

    Raises:
      UserError: where it can't be written.
    """
    files = {"comparison.md": comparison_text.markdown(report), "comparison.json": json.dumps(report, indent=1) + "\n"}
    figure = draw(opened, report)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / name for name in files]
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        if figure is not None:
            paths += [folder / f"comparison.{kind}" for kind in ("png", "svg")]
            for path in paths[2:]:
                figure.savefig(path, dpi=150)
    except OSError as error:
        raise UserError(f"--out: {folder} can't be written: {error.strerror or error}") from error
    return paths


def draw(opened: Sequence[Run], report: dict[str, Any]) -> "Figure | None":
    """The runs' curves over each other, or None where they recorded none: training thin, validation thick.

    Every setting has a colour of its own; every run, where all are of one setting.
    """
    shown = curves.panels(SETS if opened[0].predictions.sets else CLASSIFICATION)  # they are compared by their logits
    series_of = {panel: [curves.find_series(run.lines, panel.keys) for run in opened] for panel in shown}
    panels = [(panel, series) for panel, series in series_of.items() if any(series)]
    if not panels:
        return None
    from matplotlib.figure import Figure

    settings = {row["folder"]: row["setting"] for row in report["runs"]}
    several = len(report["settings"]) > 1
    kinds = [settings[str(run.folder)] if several else i for i, run in enumerate(opened)]
    labels = [entry["name"] for entry in report["settings"]] if several else [run.name for run in opened]
    figure = Figure(figsize=(4.8 * len(panels), 4.2 + 0.06 * len(labels)), layout="constrained")
    for axes, (panel, series) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for kind, splits in zip(kinds, series, strict=True):
            _draw_run(axes, panel, splits, kind)
        axes.set_title(panel.title)
        axes.set_ylabel(panel.label)
        axes.set_xlabel("epoch")
        axes.grid(True, color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    handles = [axes.plot([], [], label=label, **_style(i))[0] for i, label in enumerate(labels)]
    title = "thin: training, thick: validation"
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize="small", title=title)
    return figure


def _draw_run(axes, panel, series, kind):
    for split in series.keys() & {"train", "validation"}:
        x, y = series[split][:, 0], series[split][:, 1] * panel.factor
        if len(y) >= curves.SMOOTH_FROM and panel.noisy:
            y = curves.smooth(y, len(y) // 50)
        width = 2.0 if split == "validation" or not panel.noisy else 0.9
        axes.plot(x, y, linewidth=width, marker="o" if len(y) == 1 else None, **_style(kind))


def _style(kind):
    return {"color": COLOURS[kind % len(COLOURS)], "linestyle": DASHES[kind % len(DASHES)]}
