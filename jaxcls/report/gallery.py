"""The pictures that tell most: the worst mistakes, and those the model was least sure of."""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxcls import heatmaps
from jaxcls.errors import UserError
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import Markup, Section, join, label, paragraph, percent, section, tag

if TYPE_CHECKING:
    from jaxcls.report.pictures import Look, Pictures

WORST, UNSURE = 12, 8
SIDE = 256  # pixels of a shown picture at most
PIXELS = 64  # sides up to which a picture is shown with its pixels
WIDER = 160  # a small picture's heat map is laid over an enlargement of this side


def choose(evidence: Evidence) -> tuple[Int[np.ndarray, " worst"], Int[np.ndarray, " unsure"]]:
    """(the surest mistakes, the least sure of the other rows), as numbers of evaluated rows.

    Mistakes: by the probability of the answer, falling. A row without finite logits is the worst there is. Unsure:
    by the probability of the answer, rising.
    """
    wrong = evidence.predicted != evidence.label
    sure = np.nan_to_num(evidence.confidence, nan=np.inf)
    order = np.argsort(-sure, kind="stable")
    worst = order[wrong[order]][:WORST]
    rest = np.setdiff1d(np.arange(len(sure)), worst)
    return worst, rest[np.argsort(sure[rest], kind="stable")][:UNSURE]


def gallery(evidence: Evidence, pictures: "Pictures | None" = None, why_not: str = "") -> Section:
    """The section.

    Args:
      evidence: what is read.
      pictures: None where the data can't be opened: then the rows are listed by name.
      why_not: the reason for that.
    """
    worst, unsure = choose(evidence)
    rows = np.r_[worst, unsure]
    seen, why_not = looks(evidence, pictures, rows, np.maximum(evidence.predicted[rows], 0), why_not)
    about = [paragraph(_about(evidence, pictures if any(seen) else None, seen, why_not))]
    parts = (("Worst mistakes", worst, seen[: len(worst)]), ("Least sure", unsure, seen[len(worst) :]))
    for title, chosen, looks_of in parts:
        if len(chosen):
            cards = (tag("li", _card(evidence, i, look)) for i, look in zip(chosen, looks_of, strict=True))
            about.append(join([tag("h3", title), tag("ul", *cards, class_="cards")]))
    return section("pictures", "Pictures", *about)


def looks(
    evidence: Evidence,
    pictures: "Pictures | None",
    rows: Int[np.ndarray, " n"],
    classes: Int[np.ndarray, " n"],
    why_not: str,
) -> "tuple[list[Look | None], str]":
    """(a Look or None for each of these evaluated rows, of what spoke for these classes; why there are none)."""
    nothing: list[Look | None] = [None] * len(rows)
    if pictures is None:
        return nothing, why_not
    if not pictures.fits(evidence.split, evidence.label, evidence.index):
        return nothing, "the data is not that of the evaluation any more"
    try:
        return list(pictures.look(evidence.split, evidence.index[rows], classes)), ""
    except UserError as error:
        return nothing, str(error)
    except (RuntimeError, MemoryError) as error:  # a device whose memory does not suffice for a backward pass
        return nothing, " ".join(str(error).split())[:200]


def _about(evidence, pictures, looks, why_not):
    mistakes = int((evidence.predicted != evidence.label).sum())
    text = "There were no mistakes."
    if mistakes:
        named = "1 picture was" if mistakes == 1 else f"{mistakes:,} pictures were"
        text = (
            f"{named} named wrongly{_not_finite(evidence)}. A confident mistake may be a wrong label: look at the "
            "picture before blaming the model."
        )
    if pictures is None:
        return f"{text} The pictures themselves are not shown{f': {why_not}' if why_not else ''}."
    text += " They are shown as the model saw them, after resizing and cropping."
    if any(look and look.graph is not None for look in looks):
        text += " Beside each is the graph that the model looked at in its place."
    if any(look and look.heat is not None for look in looks):
        text += (
            f" Beside each is its heat map ({pictures.method}): the brighter, the more the place spoke for the answer. "
            "One beside the object means that the model may have learnt something else than you want."
        )
    return text


def _not_finite(evidence):
    """How many of the mistakes are no answers at all."""
    rows = int((evidence.predicted < 0).sum())
    return f", {rows:,} of them because their logits are not finite" if rows else ""


def _card(evidence, i, look):
    truth, answer = int(evidence.label[i]), int(evidence.predicted[i])
    probability = evidence.probability[i]
    right = truth == answer
    stated = percent(None if answer < 0 else float(probability[answer]))
    lines = [tag("b", f"{'✓' if right else '✗'} “{evidence.name(answer)}” ({stated})")]
    if not right:
        lines.append(tag("div", f"is “{evidence.name(truth)}” ({percent(float(probability[truth]))})"))
    elif len(probability) > 1:
        second = int(np.argsort(-probability, kind="stable")[1])
        lines.append(tag("div", f"next: “{evidence.name(second)}” ({percent(float(probability[second]))})"))
    lines.append(tag("div", label(evidence.identifier(i), 120), class_="dim"))
    alt = f"Picture of {evidence.name(truth)}, answered {evidence.name(answer)}"
    return card(look, lines, alt, f"Where the model looked: {alt}")


def card(look: "Look | None", lines: Sequence[Markup], alt: str, heat: str) -> Markup:
    """A picture and its heat map, where there are any, and lines below; `alt` and `heat` say what the two show."""
    if look is None:
        return join(lines)
    views = [image(look.picture, alt)]
    if look.heat is not None:
        views.append(image(laid_over(look.picture, look.heat), heat, smooth=True))
    if look.graph is not None:
        views.append(image(look.graph, f"{alt}, with its graph", smooth=True))
    more = [tag("div", look.why_not, class_="dim")] if look.why_not else []
    return join([tag("div", *views, class_="views"), *lines, *more])


def laid_over(picture: UInt8[np.ndarray, "h w c"], heat: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "H W 3"]:
    """The heat map over its picture; small pictures are enlarged, so that the map keeps its places."""
    from PIL import Image

    picture = heatmaps.seen(picture)
    height, width = picture.shape[:2]
    if max(height, width) <= PIXELS:
        factor = -(-WIDER // max(height, width))
        picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
        size = (width * factor, height * factor)
        heat = np.asarray(Image.fromarray(np.asarray(heat, np.float32)).resize(size, Image.Resampling.BILINEAR))
    return heatmaps.overlay(picture, np.clip(heat, 0, 1))


def image(picture: UInt8[np.ndarray, "h w c"], alt: str, *, smooth: bool = False, side: int = SIDE) -> Markup:
    """An `img` with its data in it, of `side` pixels at most: PNG for small ones, whose pixels stay pixels, JPEG for
    others."""
    from PIL import Image

    thumbnail = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else heatmaps.seen(picture))
    thumbnail.thumbnail((side, side))
    small = max(thumbnail.size) <= PIXELS
    file = io.BytesIO()
    if small:
        thumbnail.save(file, "PNG", optimize=True)
    else:
        thumbnail.save(file, "JPEG", quality=82)
    source = f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(file.getvalue()).decode()}"
    class_ = "small" if small and not smooth else None
    return tag("img", src=source, alt=alt, width=thumbnail.width, height=thumbnail.height, class_=class_)
