"""A page of the pictures that `jaxcls find` found."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcls import files
from jaxcls.report.document import document
from jaxcls.report.gallery import image
from jaxcls.report.markup import join, label, paragraph, section, tag
from jaxcls.types import PathLike

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8


def write(
    path: PathLike,
    question: str,
    about: str,
    names: Sequence[str],
    cosines: Sequence[float],
    pictures: "Sequence[UInt8[np.ndarray, 'h w c']]",
) -> None:
    """Writes the page.

    Args:
      path: of the file.
      question: what was asked for.
      about: what was searched, and with what.
      names, cosines, pictures: of what was found, in order.

    Raises:
      UserError: where it can't be written.
    """
    cards = (_card(name, cosine, picture) for name, cosine, picture in zip(names, cosines, pictures, strict=True))
    said = paragraph("Nearest first; the number is the cosine between the features of the picture and of the question.")
    found = section("found", "Found", said, tag("ul", *cards, class_="cards"))
    head = join([tag("h1", question), paragraph(about)])
    with files.replacing(Path(path)) as temporary:
        temporary.write_text(document(question, head, [found], "Written by jaxcls find."), encoding="utf-8")


def _card(name, cosine, picture):
    lines = tag("div", f"{cosine:.3f}"), tag("div", label(name, 120), class_="dim")
    return tag("li", image(picture, f"Found: {name}"), *lines)
