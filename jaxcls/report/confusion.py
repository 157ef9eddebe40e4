"""Which classes are taken for which: the confusion as a picture, and its most frequent entries."""

import base64
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxcls.measure.confusion import Confusion, from_json
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Markup, Section, join, label, paragraph, percent, section, table, tag

COUNTED = 25  # classes up to which the cells hold their counts
NAMED = 60  # and up to which rows and columns bear names
CELL, LARGE, LETTERS = 26, 46, 18  # width of a cell, of one of few, letters of a name
ORDERED = 1500  # classes up to which they are brought into the order of similarity
DRAWN = 2000  # and up to which there is a picture at all
PAIRS = 15
LEVELS = 32  # colours of each kind in a bitmap
SHARP = 350  # classes up to which a bitmap is enlarged without smoothing
# Blue for what is right, orange for what is wrong, from none to all of a row; light to dark, so that grey print works.
Counts = Int[np.ndarray, "classes classes"]
RIGHT = np.array([[240, 244, 248], [158, 202, 225], [66, 146, 198], [8, 69, 128]], float)
WRONG = np.array([[246, 246, 246], [253, 190, 133], [241, 130, 40], [140, 45, 4]], float)


def confusion(evidence: Evidence) -> Section:
    """The section."""
    n = len(evidence.classes)
    cells = from_json(evidence.figures["confusion"], n)
    if n > DRAWN:
        about = paragraph(
            f"A matrix of {n:,} classes could not be read, so it is not drawn (it is for up to {DRAWN:,}); "
            f"eval/{evidence.split}-{evidence.step}.json has every cell that is not empty."
        )
        return section("confusion", "What is taken for what", about, pairs(evidence, cells))
    counts = cells.dense()[:, :-1]
    order = similar(counts) if COUNTED < n <= ORDERED else np.arange(n)
    sorted_by = " Classes that are taken for each other stand together." if COUNTED < n <= ORDERED else ""
    about = paragraph(
        "Rows are the true classes, columns what the model answered. Blue cells are right, orange ones wrong; the "
        f"darker, the larger the share of the row.{sorted_by}"
    )
    names = [evidence.shown[i] for i in order]
    counts = counts[np.ix_(order, order)]
    picture = drawn(counts, names) if n <= NAMED else bitmap(counts)
    return section("confusion", "What is taken for what", about, picture, pairs(evidence, cells))


def pairs(evidence: Evidence, cells: Confusion) -> Markup:
    """The most frequent mistakes."""
    support = np.bincount(cells.true, cells.number, minlength=cells.classes)
    wrong = np.flatnonzero((cells.true != cells.predicted) & (cells.predicted >= 0))
    if not len(wrong):
        none_is = "" if len(cells.predicted) and cells.predicted.min() >= 0 else " among the rows that are finite"
        return paragraph(f"There were no mistakes{none_is}.")
    kept = wrong[np.argsort(-cells.number[wrong], kind="stable")][:PAIRS]
    rows = [
        (evidence.name(i), evidence.name(j), f"{k:,}", percent(k / support[i]))
        for i, j, k in (tuple(int(column[at]) for column in (cells.true, cells.predicted, cells.number)) for at in kept)
    ]
    head = ("True class", "Answer", "Pictures", "Of the class")
    more = ""
    if len(wrong) > PAIRS:
        more = paragraph(f"{PAIRS} of {len(wrong):,} kinds of mistakes.", class_="dim")
    return join([tag("h3", "Most frequent mistakes"), table(head, rows, words=(0, 1)), more])


def similar(counts: Counts) -> Int[np.ndarray, " classes"]:
    """An order of the classes in which those that are taken for each other are neighbours.

    Average linkage on 1 - (mean of the two shares); where that leaves a choice, the classes' own order.
    """
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    distance = 1 - (share + share.T) / 2
    np.fill_diagonal(distance, 0)
    tree = hierarchy.linkage(squareform(distance, checks=False), "average")
    return hierarchy.leaves_list(tree)


def colours(counts: Counts) -> UInt8[np.ndarray, "classes classes 3"]:
    """Each cell by its share of the row; the square root, so that single mistakes can be seen."""
    share = _shares(counts)
    diagonal = np.eye(len(counts), dtype=bool)
    return np.where(diagonal[..., None], scale(RIGHT, share), scale(WRONG, share)).round().astype(np.uint8)


def _shares(counts):
    """Square roots of the shares of rows."""
    return np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def scale(anchors: Float[np.ndarray, "anchors 3"], share: Float[np.ndarray, " ..."]) -> Float[np.ndarray, "... 3"]:
    """The colour of each share, between anchors that stand evenly from 0 to 1."""
    places = np.linspace(0, 1, len(anchors))
    return np.stack([np.interp(share, places, anchors[:, i]) for i in range(3)], axis=-1)


def drawn(counts: Counts, names: Sequence[str]) -> Markup:
    """Cells with names and, where they are few, with counts."""
    n = len(counts)
    size = min(LARGE, max(CELL, 300 // n)) if n <= COUNTED else 14
    labels = [label(name, LETTERS) for name in names]
    short = max(map(len, labels)) <= 2 and n <= COUNTED  # no name has to be turned
    side = 20 if short else 14 + 7.2 * max(map(len, labels))
    painted = colours(counts)
    parts: list[Markup] = []
    for i in range(n):
        parts += labels_of(labels[i], side, side + (i + 0.5) * size, short)
        for j in range(n):
            title = f"{names[i]} taken for {names[j]}: {counts[i, j]}"
            corner = (side + j * size, side + i * size)
            parts += cell(corner, size, painted[i, j], int(counts[i, j]), title, counted=n <= COUNTED)
    width, alt = f"{side + n * size + 4:.0f}", _alt(counts)
    picture = tag(
        "svg",
        tag("title", alt),
        *parts,
        viewBox=f"0 0 {width} {width}",
        role="img",
        aria_label=alt,
        style=f"width:{width}px;max-width:none",
    )
    return tag("div", picture, class_="scroll matrix", tabindex="0")


def labels_of(label: str, side: float, middle: float, short: bool) -> Iterator[Markup]:
    """The name of a row and of its column, turned unless it is short."""
    yield tag("text", label, x=f"{side - 6:.0f}", y=f"{middle + 4:.0f}", class_="end")
    if short:
        yield tag("text", label, x=f"{middle:.0f}", y=f"{side - 6:.0f}", class_="middle")
    else:
        turned = f"rotate(-90 {middle + 4:.0f} {side - 6:.0f})"
        yield tag("text", label, x=f"{middle + 4:.0f}", y=f"{side - 6:.0f}", transform=turned)


def cell(
    corner: tuple[float, float], size: float, colour: Any, count: int, title: str, counted: bool
) -> Iterator[Markup]:
    """A square of the matrix, and its count where it is `counted`."""
    x, y = corner
    yield tag(
        "rect",
        tag("title", title) if count else "",
        x=f"{x:.0f}",
        y=f"{y:.0f}",
        width=size,
        height=size,
        class_="cell",
        fill=f"#{colour[0]:02x}{colour[1]:02x}{colour[2]:02x}",
    )
    if count and counted:
        ink = "#fff" if colour @ (0.299, 0.587, 0.114) < 140 else "#111"
        digits = len(str(count))
        style = f"fill:{ink};font-size:{12 if digits < 4 else 40 / digits:.0f}px"
        at = {"x": f"{x + size / 2:.0f}", "y": f"{y + size / 2 + 4:.0f}"}
        yield tag("text", str(count), class_="middle", style=style, **at)


def _alt(counts):
    """What a screen reader says of the matrix."""
    n, right = len(counts), int(np.trace(counts))
    return f"Confusion of {n} classes: {right} of {int(counts.sum())} pictures on the diagonal."


def bitmap(counts: Counts) -> Markup:
    """One pixel a cell, for more classes than could be named."""
    from PIL import Image

    n = len(counts)
    level = np.rint(_shares(counts) * (LEVELS - 1)).astype(np.uint8) + LEVELS * np.eye(n, dtype=np.uint8)
    picture = Image.fromarray(level, "P")
    steps = np.linspace(0, 1, LEVELS)
    palette = np.concatenate([scale(WRONG, steps), scale(RIGHT, steps)])
    picture.putpalette(palette.round().astype(np.uint8).tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    encoded = base64.b64encode(file.getvalue()).decode()
    style = f"max-width:max(44rem,{n}px)" + (";image-rendering:auto" if n > SHARP else "")
    image = tag("img", src=f"data:image/png;base64,{encoded}", alt=_alt(counts), width=n, height=n, style=style)
    return tag("div", image, class_="matrix")
