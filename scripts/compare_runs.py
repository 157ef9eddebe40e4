"""Puts runs side by side: which is better, whether that is more than noise, and what they did differently.

    python scripts/compare_runs.py runs/a runs/b                    # prints; others are compared with the first
    python scripts/compare_runs.py runs/a runs/b runs/c --out runs/comparison
    python scripts/compare_runs.py runs/ladder/*/seed-* --split validation

It reads what the runs have stored (eval/, metrics.jsonl, config.json) and needs neither the pictures nor the models.
The runs must have been evaluated on the same pictures. Runs that differ in nothing but the seed are of one setting, and
settings are compared over their seeds as well. docs/measuring.md explains the tests. --out writes comparison.md, .json,
.png and .svg.
Exit status: 0; 2 where runs can't be compared.
"""

import argparse
import json
import sys
from pathlib import Path

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError
from jaxcls.measure import comparison, comparison_text, runs
from jaxcls.report import curves

# Okabe and Ito (2008), as in report/curves.py; dashes repeat the difference in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
DASHES = ("-", "--", ":", "-.")


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    opened = runs.load(args.runs, args.split)
    report = comparison.report(opened)
    print(comparison_text.markdown(report), end="")
    if args.out:
        print(f"\nwritten: {', '.join(map(str, write(args.out, report, opened)))}")
    return 0


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="workdirs; the first is the one to beat")
    parser.add_argument("--split", choices=runs.SPLITS, default="", help="default: test where all have it")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the comparison there")
    return parser.parse_args(argv)


def write(folder, report, opened):
    """Writes the files of a comparison; returns their paths, the figure's only where there is something to draw."""
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


def draw(opened, report):
    """The runs' curves over each other, or None where they recorded none: training thin, validation thick.

    Every setting has a colour of its own; every run, where all are of one setting.
    """
    panels = [
        (panel, series) for panel in curves.PANELS
        if any(series := [curves.find_series(run.lines, panel.keys) for run in opened])
    ]  # fmt: skip
    if not panels:
        return None
    from matplotlib.figure import Figure

    settings = {row["folder"]: row["setting"] for row in report["runs"]}
    several = len(report["settings"]) > 1
    kinds = [settings[str(run.folder)] if several else i for i, run in enumerate(opened)]
    labels = [entry["name"] for entry in report["settings"]] if several else [run.name for run in opened]
    figure = Figure(figsize=(4.8 * len(panels), 4.2 + 0.06 * len(labels)), layout="constrained")
    for axes, (panel, series) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for kind, found in zip(kinds, series, strict=True):
            _draw_run(axes, panel, found, kind)
        axes.set_title(panel.title)
        axes.set_ylabel(panel.label)
        axes.set_xlabel("epoch")
        axes.grid(True, color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    handles = [axes.plot([], [], label=label, **_style(i))[0] for i, label in enumerate(labels)]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize="small",
                  title="thin: training, thick: validation")  # fmt: skip
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


if __name__ == "__main__":
    sys.exit(main())
