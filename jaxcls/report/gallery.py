"""The pictures that tell most: the worst mistakes, and those the model was least sure of."""

import base64
import io

import numpy as np

from jaxcls.errors import UserError
from jaxcls.models import explain
from jaxcls.report.evidence import Evidence
from jaxcls.report.markup import join, paragraph, percent, section, tag

WORST, UNSURE = 12, 8
SIDE = 256  # pixels of a shown picture at most
PIXELS = 64  # sides up to which a picture is shown with its pixels
WIDER = 160  # a small picture's heat map is laid over an enlargement of this side


def choose(found: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """(the surest mistakes, the least sure of the other rows), as numbers of evaluated rows.

    Mistakes: by the probability of the answer, falling. A row without finite logits is the worst there is. Unsure:
    by the probability of the answer, rising.
    """
    wrong = found.predicted != found.label
    sure = np.nan_to_num(found.confidence, nan=np.inf)
    order = np.argsort(-sure, kind="stable")
    worst = order[wrong[order]][:WORST]
    rest = np.setdiff1d(np.arange(len(sure)), worst)
    return worst, rest[np.argsort(sure[rest], kind="stable")][:UNSURE]


def gallery(found: Evidence, pictures=None, why_not: str = ""):
    """The section; None without an evaluation.

    Args:
      found: the evidence.
      pictures: pictures.Pictures, or None where the data can't be opened: then the rows are listed by name.
      why_not: the reason for that.
    """
    if not found.measured:
        return None
    worst, unsure = choose(found)
    rows = np.r_[worst, unsure]
    looks, why_not = _looks(found, pictures, rows, why_not)
    about = [paragraph(_about(found, pictures if any(looks) else None, looks, why_not))]
    for title, chosen, shown in (
        ("Worst mistakes", worst, looks[: len(worst)]), ("Least sure", unsure, looks[len(worst) :]),
    ):  # fmt: skip
        if len(chosen):
            cards = (tag("li", _card(found, i, look)) for i, look in zip(chosen, shown, strict=True))
            about.append(join([tag("h3", title), tag("ul", *cards, class_="cards")]))
    return section("pictures", "Pictures", *about)


def _looks(found, pictures, rows, why_not):
    """(a Look or None for each row, why there are none)."""
    nothing = [None] * len(rows)
    if pictures is None:
        return nothing, why_not
    if not pictures.fits(found.split, found.label, found.index):
        return nothing, "the data is not that of the evaluation any more"
    try:
        return pictures.look(found.split, found.index[rows], np.maximum(found.predicted[rows], 0)), ""
    except UserError as error:
        return nothing, str(error)
    except (RuntimeError, MemoryError) as error:  # a device whose memory does not suffice for a backward pass
        return nothing, " ".join(str(error).split())[:200]


def _about(found, pictures, looks, why_not):
    mistakes = int((found.predicted != found.label).sum())
    text = "There were no mistakes."
    if mistakes:
        named = "1 picture was" if mistakes == 1 else f"{mistakes:,} pictures were"
        text = (
            f"{named} named wrongly. A confident mistake may be a wrong label: look at the picture before blaming the "
            "model."
        )
    if pictures is None:
        return f"{text} The pictures themselves are not shown{f': {why_not}' if why_not else ''}."
    text += " They are shown as the model saw them, after resizing and cropping."
    if any(look and look.heat is not None for look in looks):
        text += (
            f" Beside each is its heat map ({pictures.method}): the brighter, the more the place spoke for the answer. "
            "One beside the object means that the model may have learnt something else than you want."
        )
    return text


def _card(found, i, look):
    truth, answer = int(found.label[i]), int(found.predicted[i])
    probability = found.probability[i]
    right = truth == answer
    said = f"“{found.name(answer)}” ({percent(None if answer < 0 else float(probability[answer]))})"
    lines = [tag("b", f"{'✓' if right else '✗'} {said}")]
    if not right:
        lines.append(tag("div", f"is “{found.name(truth)}” ({percent(float(probability[truth]))})"))
    elif len(probability) > 1:
        second = int(np.argsort(-probability, kind="stable")[1])
        lines.append(tag("div", f"next: “{found.name(second)}” ({percent(float(probability[second]))})"))
    lines.append(tag("div", found.identifier(i), class_="dim"))
    views = ""
    if look is not None:
        alt = f"Picture of {found.name(truth)}, answered {found.name(answer)}"
        views = [image(look.picture, alt)]
        if look.heat is not None:
            views.append(image(laid_over(look), f"Where the model looked: {alt}", smooth=True))
        views = tag("div", *views, class_="views")
    return join([views, *lines])


def laid_over(look) -> np.ndarray:
    """The heat map over its picture, uint8 [h, w, 3]; small pictures are enlarged, so that the map keeps its places."""
    from PIL import Image

    picture, heat = look.picture, look.heat
    picture = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    height, width = picture.shape[:2]
    if max(height, width) <= PIXELS:
        factor = -(-WIDER // max(height, width))
        picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
        size = (width * factor, height * factor)
        heat = np.asarray(Image.fromarray(np.asarray(heat, np.float32)).resize(size, Image.Resampling.BILINEAR))
    return explain.overlay(picture, np.clip(heat, 0, 1))


def image(picture, alt, *, smooth=False):
    """An `img` with its data in it: PNG for small ones, whose pixels stay pixels, JPEG for others."""
    from PIL import Image

    made = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    made.thumbnail((SIDE, SIDE))
    small = max(made.size) <= PIXELS
    file = io.BytesIO()
    made.save(file, **({"format": "PNG", "optimize": True} if small else {"format": "JPEG", "quality": 82}))
    kind = "png" if small else "jpeg"
    encoded = base64.b64encode(file.getvalue()).decode()
    return tag(
        "img", src=f"data:image/{kind};base64,{encoded}", alt=alt, width=made.width, height=made.height,
        class_="small" if small and not smooth else None,
    )  # fmt: skip
