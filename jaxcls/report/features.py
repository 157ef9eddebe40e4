"""What features are like: how training went by its own figures, nearest neighbours, a projection.

For runs whose records have one of `TELLING`, whatever their task is called, and whether there are labels or not.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxcls.errors import UserError
from jaxcls.report.curves import SMOOTH_FROM, find_series, smooth
from jaxcls.report.evidence import Evidence
from jaxcls.report.gallery import image
from jaxcls.report.markup import Markup, Section, label, number, paragraph, percent, section, tag
from jaxcls.report.projection import Projection, nearest, principal, unit
from jaxcls.report.svg import Plot

if TYPE_CHECKING:
    from jaxcls.report.pictures import Pictures

TELLING = ("spread", "knn")  # figures that only features have
MOST = 2000  # pictures whose features are computed
QUERIES, NEIGHBOURS = 8, 5
COLOURED = 10  # classes that a projection tells apart, the most frequent ones
SIDE = 96  # pixels of a shown picture at most


class Panel(NamedTuple):
    """A plot: its title, the label of its values ("share": in percent), its curves; `floor`: its axis begins there."""

    title: str
    label: str
    curves: tuple["Curve", ...]
    floor: float | None = None


class Curve(NamedTuple):
    """A record of a split, and what a legend calls it; `reference`: what others are compared with."""

    key: str
    split: str
    name: str
    reference: bool = False


PLOTS = (
    Panel("Similarity of two views", "cosine", (
        Curve("positives", "train", "of one picture"), Curve("negatives", "train", "of different ones"))),
    Panel("Spread of projections", "spread", (Curve("spread", "train", "1 even, 0 one point: now"),), floor=0.0),
    Panel("Loss", "loss", (
        Curve("loss", "train", "training"), Curve("chance", "train", "guessing", reference=True))),
    Panel("What the features are good for", "share", (
        Curve("knn", "validation", "neighbours' vote"), Curve("accuracy", "validation", "linear probe"),
        Curve("found", "train", "nearest view is the other one")), floor=0.0),
    Panel("Terms of the loss", "value", (
        Curve("invariance", "train", "invariance"), Curve("variance", "train", "variance"),
        Curve("covariance", "train", "covariance"))),
)  # fmt: skip


def recorded(evidence: Evidence) -> bool:
    """Whether the run has figures that only features have."""
    return any(name in line for line in evidence.lines for name in TELLING)


def cautions(evidence: Evidence) -> Iterator[str]:
    """What a reader of the figures of such a run has to know, a sentence each."""
    method = evidence.config.get("ssl", {}).get("method")
    if not method:
        return
    if method == "supcon":
        yield "The encoder learnt by supcon, from two views of each picture and its label; no classifier was trained."
    else:
        yield f"The encoder learnt without labels ({method}), from two views of each picture."
    if not evidence.measured:
        yield "How good its features are, labelled pictures tell: “jaxcls probe”, config.monitor.data while it learns."
    if evidence.with_logits:
        yield (
            "The accuracy is that of a linear classifier on its features that learnt beside it (online probe): not of "
            "a net that was fine-tuned, nor of a probe that was trained to its end (“jaxcls probe”)."
        )
    if any("knn" in line for line in evidence.lines):
        preset = evidence.config.get("monitor", {}).get("knn")
        yield (
            f"“k-NN” is the vote of the nearest training pictures with config.monitor.knn = “{preset}”; figures of "
            "other numbers of neighbours and temperatures don't compare."
        )


def features(evidence: Evidence, pictures: "Pictures | None" = None, why_not: str = "") -> Section | None:
    """The section; None for a run without such figures.

    Args:
      evidence: what is read.
      pictures: for neighbours and projection; None leaves them out.
      why_not: the reason for that.
    """
    if not recorded(evidence):
        return None
    plots = [plot for panel in PLOTS if (plot := _plot(evidence.lines, panel))]
    about = paragraph(
        "A falling loss is no proof. Views of one picture should become more alike than views of different ones, "
        "projections should stay spread, the loss below that of guessing, and neighbours and probe should get better "
        "over the whole run."
    )
    return section("features", "What the features are like", about, tag("div", *plots, class_="plots"),
                   *_seen(evidence, pictures, why_not))  # fmt: skip


def _plot(lines, panel):
    """A plot of those of its curves that were recorded; "" where none was but what they are compared with."""
    drawn = []
    for curve in panel.curves:
        points = find_series(lines, (curve.key,)).get(curve.split)
        if points is not None:
            y = points[:, 1]
            drawn.append((curve, points[:, 0], smooth(y, len(y) // 50) if len(y) >= SMOOTH_FROM else y))
    if all(curve.reference for curve, *_ in drawn):
        return ""
    share = panel.label == "share"
    x_label = "epoch" if any("epoch" in line for line in lines) else "step"
    last = max(float(x[-1]) for _, x, _ in drawn)
    ranges = (0, last), _range(panel, np.concatenate([y[np.isfinite(y)] for *_, y in drawn]))
    plot = Plot(panel.title, x_label, panel.label, *ranges, percent="y" if share else "")
    for i, (curve, x, y) in enumerate(drawn):
        end = y[np.isfinite(y)][-1]
        name = f"{curve.name} {100 * end:.1f} %" if share else f"{curve.name} {end:.3g}"
        few = len(y) < SMOOTH_FROM and (curve.split != "train" or len(y) == 1)
        plot.line(x, y, name, i, dots=few and not curve.reference, reference=curve.reference)
        plot.say(f"{curve.name} ends at {end:.3g}.")
    return tag("figure", plot.render())


def _range(panel, values):
    """The values with some room."""
    low, high = float(values.min()), float(values.max())
    low = low if panel.floor is None else min(low, panel.floor)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low - (room if panel.floor is None else 0.0), high + room


def _seen(evidence, pictures, why_not):
    """Neighbours and projection, or the reason why there are none."""
    if pictures is not None:
        splits = (evidence.split,) if evidence.measured else ("test", "validation", "train")
        split = next((name for name in splits if name in pictures.sources), "")
        try:
            if split:
                return _of_pictures(pictures, split)
            why_not = "these are other pictures than the run's own"
        except UserError as error:
            why_not = str(error)
        except (RuntimeError, MemoryError) as error:  # a device whose memory does not suffice
            why_not = " ".join(str(error).split())[:200]
    more = f": {why_not}" if why_not else ""
    return [paragraph(f"Neighbours and a projection of the features are not shown{more}.", class_="dim")]


def _of_pictures(pictures, split):
    """Neighbours and projection of pictures of a split, spread evenly over it."""
    source = pictures.sources[split]
    wanted = np.unique(np.linspace(0, len(source) - 1, min(len(source), MOST)).round().astype(int))
    rows, found = pictures.features(split, wanted)
    finite = np.isfinite(found).all(axis=1)
    rows, found = rows[finite], found[finite]
    if len(rows) < 3:
        return [paragraph("The features are not finite, so there is nothing more to show.")]
    labels, names = np.asarray(source.labels)[rows], tuple(label(name, 24) for name in source.classes)
    if not names:
        labels = np.full(len(rows), -1)
    return [
        *_neighbours(pictures, split, rows, found, labels, names),
        *_projection(split, len(source), found, labels, names),
    ]


def queries(labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " queries"]:
    """The rows whose neighbours are shown: the first of each of the first classes, else rows spread evenly."""
    _, first = np.unique(np.where(labels < 0, -1, labels), return_index=True)
    chosen = first[labels[first] >= 0][:QUERIES]
    if len(chosen) < QUERIES:
        spread = np.linspace(0, len(labels) - 1, min(QUERIES, len(labels))).round().astype(int)
        chosen = np.concatenate([chosen, spread[~np.isin(spread, chosen)]])[:QUERIES]
    return chosen


def _neighbours(pictures, split, rows, found, labels, names):
    """Pictures with their nearest ones."""
    near, cosine = nearest(found, NEIGHBOURS)
    text = (
        f"Each row begins with a picture; beside it are the {near.shape[1]} among {len(rows):,} {split} pictures whose "
        "features are most like its own, with their cosines. Ask what they have in common: the object, or only colour, "
        "ground and place."
    )
    known = (labels >= 0)[:, None] & (labels[near] >= 0)
    if known.any():
        same = float((labels[near] == labels[:, None])[known].mean())
        text += f" Of all such neighbours {percent(same)} are of the same class (✓), by chance it would be "
        text += f"{percent(by_chance(labels))}."
    chosen = queries(labels)
    shown = np.concatenate([chosen[:, None], near[chosen]], axis=1)
    images = pictures.shown(split, rows[shown.ravel()])
    cards = []
    for place, (i, look) in enumerate(zip(shown.ravel(), images, strict=True)):
        at, column = divmod(place, shown.shape[1])
        cards.append(_card(look, i, chosen[at], cosine[chosen[at], column - 1] if column else None, labels, names))
    grid = tag("ul", *cards, class_="neighbours", style=f"--columns: {shown.shape[1]}")
    return [tag("h3", "Nearest neighbours"), paragraph(text), grid]


def _card(look, row, query, cosine, labels, names) -> Markup:
    """A picture with its class, and how like its query it is; None: it is the query."""
    name = names[labels[row]] if labels[row] >= 0 else ""
    same = labels[row] == labels[query]
    mark = "" if cosine is None or not name or labels[query] < 0 else "✓ " if same else "✗ "
    words = [tag("b", f"{mark}{name}") if name else "", " " if name else "", number(cosine, 2) if cosine is not None
             else tag("span", "query")]  # fmt: skip
    alt = f"{'Query' if cosine is None else 'Neighbour'}{f', {name}' if name else ''}"
    kind = "query" if cosine is None else None
    return tag("li", image(look, alt, side=SIDE), tag("div", *words), class_=kind)


def by_chance(labels: Int[np.ndarray, " n"]) -> float:
    """The share of pairs of labelled pictures that are of one class."""
    counts = np.bincount(labels[labels >= 0]).astype(float)
    n = counts.sum()
    return float((counts * (counts - 1)).sum() / max(n * (n - 1), 1))


def _projection(split, count, found, labels, names):
    """The plot of the first two principal axes."""
    flat = principal(unit(found))
    whole = f"all {len(found):,}" if len(found) == count else f"{len(found):,} of {count:,}"
    text = (
        f"The features of {whole} {split} pictures, each divided by its length, on the two axes in which they vary "
        f"most (PCA): {percent(float(flat.shares.sum()))} of their variance. What lies apart here is apart; what lies "
        "together may be apart on other axes."
    )
    return [tag("h3", "Projection"), paragraph(text), tag("div", _cloud(flat, labels, names), class_="plots")]


def _cloud(flat: Projection, labels, names) -> Markup:
    across, up = (f"axis {i + 1}: {percent(float(share))} of the variance" for i, share in enumerate(flat.shares))
    low, high = flat.points.min(axis=0), flat.points.max(axis=0)
    room = 0.04 * (high - low) + 1e-6
    x_range, y_range = ((float(a), float(b)) for a, b in zip(low - room, high + room, strict=True))
    plot = Plot("Pictures by their features", across, up, x_range, y_range, height=400)
    support = np.bincount(labels[labels >= 0], minlength=len(names))
    coloured = np.argsort(-support, kind="stable")[:COLOURED]
    coloured = np.sort(coloured[support[coloured] > 0])
    rest = ~np.isin(labels, coloured)
    if rest.any():
        plot.cloud(
            flat.points[rest, 0],
            flat.points[rest, 1],
            "the others" if len(coloured) else "",
            None if len(coloured) else 0,
        )
    for style, i in enumerate(coloured):
        own = flat.points[labels == i]
        plot.cloud(own[:, 0], own[:, 1], names[i], style)
    return tag("figure", plot.render(), class_="cloud")
