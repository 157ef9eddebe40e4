"""The figure of a ladder: accuracy of every rung, with its spread over seeds."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008), as in report/curves.py; the shape repeats what the colour says.
STYLES: dict[str, dict[str, Any]] = {
    "more than noise": {"color": "#009E73", "marker": "^"},
    "noise": {"color": "#0072B2", "marker": "o"},
    "worse": {"color": "#D55E00", "marker": "v"},
    "": {"color": "#333333", "marker": "D"},
}
OTHER = "no verdict"


def draw(report: dict[str, Any], title: str = "") -> "Figure":
    """The matplotlib figure of a report (`table.collect`): a line for each rung, the first on top.

    The marker is the mean over seeds, the bar one standard deviation to each side, small dots are single runs. Colour
    and shape of the marker tell the verdict on the step. Made without pyplot: no display is needed.
    """
    from matplotlib.figure import Figure

    rows = report["rungs"]
    figure = Figure(figsize=(7.5, 1.6 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    named = set()  # verdicts that the legend has
    for i, row in enumerate(rows):
        values = [100 * run["accuracy"] for run in row["runs"] if run["state"] == "finished"]
        axes.plot(values, [i] * len(values), ".", color="0.3", markersize=4, zorder=3)
        if not values:
            axes.annotate(row["verdict"] or "not run yet", (0.02, i), xycoords=("axes fraction", "data"), va="center")
            continue
        style = STYLES.get(row["verdict"], STYLES[""])
        label = row["verdict"] or OTHER
        label_once = None if label in named else label
        look = {"capsize": 4, "markersize": 8, "linewidth": 1.6, "zorder": 2, **style}
        axes.errorbar(100 * row["mean"], i, xerr=100 * (row["sd"] or 0), label=label_once, **look)
        named.add(label)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"accuracy on {' and '.join(report['splits'])} (%), mean and one standard deviation over seeds")
    axes.set_title(title, fontweight="bold")
    axes.grid(True, axis="x", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure
