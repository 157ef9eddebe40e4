"""A report of robustness for people: rows of texts, Markdown, a picture."""

from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls import files
from jaxcls.corrupt import GROUPS
from jaxcls.types import Figures, PathLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTES = (
    "Accuracy in percent. CE is the corruption error: the error by that of the baseline, both summed over the "
    "strengths, in percent; mCE is the mean of it. The corruptions are those of Hendrycks and Dietterich (2019) in "
    "jaxcls's own version, with drawn frost: compare runs with each other rather than with published figures."
)


def rows(report: Figures) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of texts: accuracy in percent at each strength and in the mean, and the CE where there is one."""
    strengths = list(next(iter(report["errors"].values())))
    ratios = report.get("baseline", {}).get("ce")
    header = ["corruption", *strengths, "mean", *(["CE"] if ratios else [])]
    body = []
    for name in names(report):
        cells = [report["errors"][name][s] for s in strengths] + [report["mean_errors"][name]]
        more = [percent(ratios[name])] if ratios else []
        body.append([name.replace("_", " "), *(percent(1 - error) for error in cells), *more])
    return header, body


def names(report: Figures) -> list[str]:
    """The corruptions that were measured, in the order of the paper."""
    return [name for group in GROUPS.values() for name in group if name in report["errors"]]


def summary(report: Figures) -> list[str]:
    """Lines of text: what all corruptions together come to."""
    lines = [
        f"accuracy {percent(report['accuracy'])} % without a corruption, {percent(1 - report['mean_error'])} % in the "
        f"mean with one ({report['count']:,} pictures of {report['split']}, step {report['step']})",
        f"mean corruption error, unnormalised: {percent(report['mean_error'])} %",
    ]
    if baseline := report.get("baseline"):
        lines.append(f"mCE against {baseline['name']}: {percent(baseline['mce'])} %")
        if "relative_mce" in baseline:
            lines.append(f"relative mCE against {baseline['name']}: {percent(baseline['relative_mce'])} %")
    return lines


def percent(share: float | None) -> str:
    """A share in percent; "-" where it is not defined."""
    return "-" if share is None else f"{100 * share:.1f}"


def write(report: Figures, workdir: PathLike) -> list[Path]:
    """Writes `robustness.md` and `robustness.png` into the workdir; returns their paths.

    Raises:
      UserError: where they can't be written.
    """
    page, picture = (Path(workdir) / f"robustness.{kind}" for kind in ("md", "png"))
    title = Path(workdir).resolve().name
    with files.replacing(page) as temporary:
        temporary.write_text(markdown(report, title))
    with files.replacing(picture) as temporary:
        draw(report, title).savefig(temporary, dpi=150, format="png")
    return [page, picture]


def markdown(report: Figures, title: str) -> str:
    """The report as a page of Markdown."""
    header, body = rows(report)
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *body]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"# Robustness of {title}\n\n" + "\n".join(f"- {x}" for x in summary(report)) + f"\n\n{table}\n\n{NOTES}\n"


def draw(report: Figures, title: str = "") -> "Figure":
    """The matplotlib figure of a report: accuracy at each strength as numbers on shades, dark for low.

    Made without pyplot: no display is needed.
    """
    import numpy as np
    from matplotlib.figure import Figure

    shown = names(report)
    strengths = list(report["errors"][shown[0]])
    accuracy = 100 * (1 - np.array([[report["errors"][name][s] for s in strengths] for name in shown]))
    figure = Figure(figsize=(2.6 + 0.75 * len(strengths), 1.3 + 0.34 * len(shown)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(accuracy, cmap="cividis", vmin=0, vmax=100, aspect="auto")  # even for the colour-blind
    for (i, j), value in np.ndenumerate(accuracy):
        axes.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=9, color="white" if value < 60 else "black")
    axes.set_xticks(range(len(strengths)), strengths)
    axes.set_yticks(range(len(shown)), [name.replace("_", " ") for name in shown])
    axes.set_xlabel("strength")
    axes.set_title(f"{title}: accuracy (%), {percent(report['accuracy'])} without", fontsize=10)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, fraction=0.05)
    return figure
