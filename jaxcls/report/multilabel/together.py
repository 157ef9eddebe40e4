"""Which classes stand together in a picture: as labelled, and as the model names them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxcls.report.confusion import LETTERS, RIGHT, cell, labels_of, scale
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Markup, Section, join, label, paragraph, percent, section, table, tag

DRAWN = 30  # classes at most: the most frequent ones
COUNTED = 12  # classes up to which cells hold their shares
SIDE = 500  # pixels of a matrix with its names, where its cells need no more
PAIRS = 10
LEAST = 20  # pictures with a class, below which what stands beside it says nothing


def together(evidence: Evidence) -> Section | None:
    """The section; None where there are not two classes with pictures."""
    said = evidence.said_of_sets[1]
    support = said.label.sum(axis=0)
    order = np.argsort(-support, kind="stable")[:DRAWN]
    order = np.sort(order[support[order] > 0])
    if len(order) < 2:
        return None
    names = [evidence.shown[c] for c in order]
    truth, named = beside(said.label, said.label)[order][:, order], beside(said.label, said.chosen)[order][:, order]
    some = f" The {DRAWN} most frequent classes are shown." if (support > 0).sum() > DRAWN else ""
    about = paragraph(
        "Of the pictures that have the class of a row, the share that have the class of the column, as labelled and as "
        "named; the darker, the larger. The diagonal on the right is the share that is found. A cell that is darker on "
        "the right than on the left is a class that is invented beside another; where both look alike, the model names "
        f"classes together as they stand together.{some}"
    )
    matrices = [
        tag("div", tag("h3", title), drawn(share, names, verb))
        for title, share, verb in (("As labelled", truth, "have"), ("As named", named, "are said to have"))
    ]
    return section("together", "Classes that stand together", about, tag("div", *matrices, class_="plots"),
                   _pairs(evidence, said))  # fmt: skip


def beside(label: Bool[np.ndarray, "n k"], named: Bool[np.ndarray, "n k"]) -> Float[np.ndarray, "k k"]:
    """[i, j]: of the pictures labelled i, the share with j in `named`; 0 for a class without pictures."""
    both = label.astype(np.float32).T @ named.astype(np.float32)
    return both / np.maximum(label.sum(axis=0), 1)[:, None]


def drawn(share: Float[np.ndarray, "k k"], names: Sequence[str], verb: str) -> Markup:
    """A matrix of shares with names and, where they are few, with the shares in percent."""
    n = len(names)
    labels = [label(name, LETTERS) for name in names]
    side = 14 + 7.2 * max(map(len, labels))
    size = max(13, min(40, int(SIDE - side) // n))
    painted = scale(RIGHT, share).round().astype(np.uint8)
    parts: list[Markup] = []
    for i in range(n):
        parts += labels_of(labels[i], side, side + (i + 0.5) * size, False)
        for j in range(n):
            count = round(100 * float(share[i, j]))
            title = f"{names[i]}: {percent(float(share[i, j]))} {verb} {names[j]}"
            parts += cell((side + j * size, side + i * size), size, painted[i, j], count, title, counted=n <= COUNTED)
    width, alt = f"{side + n * size + 4:.0f}", f"Shares of {n} classes beside each other."
    style = f"width:{width}px;max-width:none"
    picture = tag(
        "svg", tag("title", alt), *parts, viewBox=f"0 0 {width} {width}", role="img", aria_label=alt, style=style
    )
    return tag("div", picture, class_="scroll matrix", tabindex="0")


def pairs(
    label: Bool[np.ndarray, "n k"], named: Bool[np.ndarray, "n k"]
) -> tuple[Int[np.ndarray, "kinds 2"], Float[np.ndarray, " kinds"], Float[np.ndarray, " kinds"]]:
    """((class that is there, class beside it), share as labelled, share as named) by falling gap of what is named too
    often, of classes with at least LEAST pictures."""
    truth, seen = beside(label, label), beside(label, named)
    gap = np.where(label.sum(axis=0)[:, None] >= LEAST, seen - truth, 0.0)
    np.fill_diagonal(gap, 0.0)
    order = np.argsort(-gap, axis=None, kind="stable")[:PAIRS]
    order = order[gap.ravel()[order] > 0.01]
    at = np.stack(np.unravel_index(order, gap.shape), axis=1)
    return at, truth.ravel()[order], seen.ravel()[order]


def _pairs(evidence, said):
    at, truth, seen = pairs(said.label, said.chosen)
    if not len(at):
        return ""
    rows = [
        (evidence.shown[i], evidence.shown[j], percent(float(a)), percent(float(b)))
        for (i, j), a, b in zip(at.tolist(), truth, seen, strict=True)
    ]
    head = ("Where there is", "it names", "as labelled", "as named")
    return join([tag("h3", "Named too often beside another"), table(head, rows, words=(0, 1))])
