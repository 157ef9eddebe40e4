"""Training curves of a run: loss, its task's first figure, learning rate over the epochs, from its `metrics.jsonl`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxcls.checkpoints import view
from jaxcls.criteria import CLASSIFICATION, Figure
from jaxcls.errors import UserError
from jaxcls.logs.records import read_metrics
from jaxcls.report.markup import capital, in_words
from jaxcls.types import PathLike

if TYPE_CHECKING:
    from matplotlib import figure as mpl

# Okabe and Ito (2008): colours that the colour-blind tell apart. Markers and dashes repeat the difference in grey.
STYLES: dict[str, dict[str, Any]] = {
    "train": {"color": "#0072B2"},
    "validation": {"color": "#D55E00", "marker": "o"},
    "test": {"color": "#009E73", "marker": "s", "linestyle": "--"},
}
OTHER: dict[str, Any] = {"color": "#CC79A7", "marker": "^", "linestyle": ":"}
SMOOTH_FROM = 40  # points: a shorter training curve is drawn as it is


class Panel(NamedTuple):
    """What one plot shows: the first of `keys` that was recorded, times `factor`, labelled with its unit."""

    title: str
    label: str
    keys: tuple[str, ...]
    factor: float = 1.0
    noisy: bool = True  # smoothed, with the raw curve behind
    limits: tuple[float, float] = (-np.inf, np.inf)  # values beyond are impossible


LOSS = Panel("Loss", "loss", ("loss",))
RATE = Panel("Learning rate", "learning rate", ("learning_rate", "lr"), noisy=False)
OLDER = {"accuracy": ("top1",)}  # figure -> what older files call it


def panels(figures: Sequence[Figure]) -> tuple[Panel, ...]:
    """Loss, the first of a task's figures where it is another, learning rate."""
    return (LOSS, *(_panel(figure) for figure in figures[:1] if figure.name not in LOSS.keys), RATE)


def _panel(figure: Figure) -> Panel:
    words, keys = in_words(figure.name), (figure.name, *OLDER.get(figure.name, ()))
    if figure.share:
        return Panel(capital(words), f"{words} (%)", keys, factor=100.0, limits=(0.0, 100.0))
    return Panel(capital(words), words, keys)


def write_curves(workdir: PathLike, figures: Sequence[Figure] | None = None) -> list[Path]:
    """Draws `curves.png` and `curves.svg` into the workdir and returns their paths.

    One panel each for loss, the task's first figure and learning rate, as far as they were recorded; one curve a split,
    its last value in the legend. A long training curve is smoothed over a fiftieth of its points, with the raw one
    behind it. Non-finite values leave gaps.

    Args:
      workdir: of the run.
      figures: of its task, the first one first; None for those that its newest checkpoint names.

    Raises:
      UserError: if the workdir has no `metrics.jsonl` with a value to draw, or cannot be written.
    """
    figures = _choosing(workdir) if figures is None else figures
    figure = draw_curves(read_metrics(workdir), title=Path(workdir).resolve().name, figures=figures)
    if figure is None:
        raise UserError(f"{Path(workdir) / 'metrics.jsonl'} holds no curve to draw; train for some steps first")
    paths = [Path(workdir) / f"curves.{kind}" for kind in ("png", "svg")]
    try:
        for path in paths:
            figure.savefig(path, dpi=150)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return paths


def _choosing(workdir):
    """The figures that may choose a checkpoint, by the newest one; those of classification where there is none."""
    try:
        return view.read_meta(view.find_step(workdir)).figures
    except UserError:
        return CLASSIFICATION


def draw_curves(
    lines: Sequence[Mapping[str, Any]], title: str = "", figures: Sequence[Figure] = CLASSIFICATION
) -> "mpl.Figure | None":
    """The matplotlib figure for the lines of a `metrics.jsonl`, or None where they hold nothing to draw.

    Made without pyplot: no global state, and no display is needed.
    """
    lines = of_one_loss(lines)
    curves = [(panel, series) for panel in panels(figures) if (series := find_series(lines, panel.keys))]
    if not curves:
        return None
    from matplotlib import figure as mpl

    figure = mpl.Figure(figsize=(4.8 * len(curves), 3.9), layout="constrained")
    figure.suptitle(title, fontweight="bold")
    for axes, (panel, series) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        _draw_panel(axes, panel, series)
        axes.set_xlabel(_x_label(lines))
    return figure


def of_one_loss(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The lines, without the loss of other splits where training has one of its own: where it learns features (its
    records have a spread), evaluation's is the cross entropy of a probe."""
    if not any("spread" in line for line in lines):
        return list(lines)
    train = "train"
    return [
        line if line.get("split", train) == train else {k: v for k, v in line.items() if k != "loss"} for line in lines
    ]


def find_series(lines: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Split -> [points, 2] of (epoch, value) in the order of steps, for the first of the keys that occurs anywhere.

    Steps stand in where no epochs were recorded. A step recorded twice counts as recorded last. Splits without any
    finite value are left out; train comes first, then validation, then test.
    """
    key = next((key for key in keys if any(key in line for line in lines)), "")
    points: dict[str, dict[int, tuple[float, float]]] = {}
    for line in lines:
        if key in line:
            step = line["step"]
            points.setdefault(line.get("split", "train"), {})[step] = (line.get("epoch", step), line[key])
    series = {split: np.array([by_step[step] for step in sorted(by_step)]) for split, by_step in points.items()}
    order = [*(split for split in STYLES if split in series), *sorted(set(series) - set(STYLES))]
    return {split: series[split] for split in order if np.isfinite(series[split][:, 1]).any()}


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """A centred running mean of float [n] over `window` values (made odd), at the ends over as many as there are.

    Values that are not finite are skipped, and are NaN in the result.
    """
    kernel = np.ones(2 * (max(1, window) // 2) + 1)
    half = len(kernel) // 2
    good = np.isfinite(values)
    total = np.convolve(np.where(good, values, 0.0), kernel)[half : half + len(values)]
    number = np.convolve(good.astype(float), kernel)[half : half + len(values)]
    return np.where(good, total / np.maximum(number, 1), np.nan)


def _draw_panel(axes, panel: Panel, series: Mapping[str, np.ndarray]) -> None:
    drawn = []
    for split, points in series.items():
        x, y = points[:, 0], np.where(np.isfinite(points[:, 1]), points[:, 1] * panel.factor, np.nan)
        style = {"linewidth": 1.8, "markersize": 4, **STYLES.get(split, OTHER)}
        if len(y) >= SMOOTH_FROM:
            style["marker"] = None
            if panel.noisy and split == "train":
                axes.plot(x, y, color=style["color"], alpha=0.25, linewidth=0.8)
                y = smooth(y, len(y) // 50)
        elif len(y) == 1:
            style.setdefault("marker", "o")
        gaps = int((~np.isfinite(points[:, 1])).sum())
        more = f", {gaps} of {len(points)} not finite" if gaps else ""
        axes.plot(x, y, label=f"{split} (last {y[np.isfinite(y)][-1]:.3g}{more})", **style)
        drawn.append(y[np.isfinite(y)])
    axes.set_ylim(*_range(np.concatenate(drawn), panel.limits))
    axes.set_xlim(left=0)
    axes.set_title(panel.title)
    axes.set_ylabel(panel.label)
    axes.grid(True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if not panel.noisy:
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    if panel.noisy or len(series) > 1:
        axes.legend(frameon=False, fontsize="small")


def _range(values: np.ndarray, limits: tuple[float, float]) -> tuple[float, float]:
    """The smooth curves with some room, so that one spike of the raw curve does not flatten everything."""
    low, high = values.min(), values.max()
    room = 0.08 * (high - low)
    if room <= 1e-9 * abs(high):  # equal but for rounding
        room = 0.1 * abs(high) or 1.0
    return max(low - room, limits[0]), min(high + room, limits[1] + 0.01 * room)


def _x_label(lines: Sequence[Mapping[str, Any]]) -> str:
    last = max(lines, key=lambda line: line["step"])
    return f"epoch of {last['step'] / last['epoch']:.0f} steps" if last.get("epoch") else "step"
