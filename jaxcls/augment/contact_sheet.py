"""A contact sheet: rows of pictures with lines of text under them, as a PNG file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from jaxcls import heatmaps
from jaxcls.errors import UserError

GAP, LINE, GROUP = 6, 14, 10  # pixels between pictures, of a line of text, and more between groups of pictures
SOFTWARE = "jaxcls show_augment"  # marks our own files, which may be overwritten


def check_output(path: Path) -> None:
    """Raises UserError where the file is no PNG by name, or stands there and was not written by `write`."""
    if path.suffix.lower() != ".png":
        raise UserError(f"--out={path} must end in .png.")
    if not path.parent.is_dir():
        raise UserError(f"--out={path}: there is no folder {path.parent}.")
    if path.exists():
        try:
            with Image.open(path) as picture:
                ours = picture.info.get("Software") == SOFTWARE
        except OSError:
            ours = False
        if not ours:
            raise UserError(f"{path} exists and is no contact sheet of this command; give another --out.")


def draw(
    rows: Sequence[Sequence[tuple[np.ndarray, list[str]]]], size: int, title: str, together: int = 1
) -> Image.Image:
    """Rows of (picture uint8 [h, w, c] or clip [t, h, w, c], lines of text) as one picture.

    `size` is that of the long sides in pixels. So many pictures behind the first of a row stand `together`.
    """
    cells = [[(fitted(picture, size), text) for picture, text in line] for line in rows]
    cell_width = max(picture.width for line in cells for picture, _ in line) + GAP
    heights = [max(picture.height + LINE * len(text) for picture, text in line) + GAP for line in cells]
    place = lambda i: GAP + i * cell_width + (i + together - 1) // together * (GROUP if together > 1 else 0)  # noqa: E731
    sheet = Image.new("RGB", (place(len(cells[0]) - 1) + cell_width, sum(heights) + LINE + 2 * GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    pen.text((GAP, GAP // 2), shortened(title, pen, font, sheet.width - 2 * GAP), "black", font)
    top = LINE + GAP
    for line, height in zip(cells, heights, strict=True):
        for i, (picture, text) in enumerate(line):
            left = place(i)
            sheet.paste(picture, (left, top))
            for j, words in enumerate(text):
                corner = (left, top + picture.height + LINE * j)
                pen.text(corner, shortened(words, pen, font, cell_width - GAP), "black", font)
        top += height
    return sheet


def fitted(image: np.ndarray, size: int) -> Image.Image:
    """A Pillow picture whose long side is `size`; small pictures are enlarged without smoothing. Of a clip [t, h, w, c]
    it has several frames."""
    picture = Image.fromarray(heatmaps.seen(heatmaps.sheet(image) if image.ndim == 4 else image))
    factor = size / max(picture.size)
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS)


def shortened(text: str, pen: ImageDraw.ImageDraw, font: Any, width: float) -> str:
    """The text, cut off with "…" where it is wider."""
    if pen.textlength(text, font) <= width:
        return text
    while text and pen.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"


def write(sheet: Image.Image, path: Path) -> None:
    """Writes the PNG, marked as ours. Raises UserError where that fails."""
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", SOFTWARE)
    try:
        sheet.save(path, pnginfo=mark)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror or error}.") from error
