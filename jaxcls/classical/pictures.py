"""Pictures of any source, brought to one size; and raw pixels as features, the floor for all others."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from jaxcls.data.windows import Window
from jaxcls.errors import UserError


def read(
    source: Any, rows: Iterable[int], *, size: int | None, channels: int, window: Window = ()
) -> Iterator[np.ndarray]:
    """Yields uint8 [height, width, channels] for rows of a source, decoded one at a time.

    Resizing stretches: the whole picture is seen, at the cost of its aspect ratio. It is Pillow's antialiased bilinear.

    Args:
      source: as from `data.sources.load`.
      rows: of it.
      size: height and width; None leaves pictures as they are, for sources of one size.
      channels: 1 (ITU-R 601 luma) or 3.
      window: as in `data.decode.decode`.

    Raises:
      UserError: a picture that cannot be read, by its name; other channels.
    """
    from PIL import Image

    from jaxcls.data import decode

    if channels not in (1, 3):
        raise UserError(f"hand-made features are of grey and colour pictures, not of {channels} channels")
    for row in rows:
        item = source[row]
        image = item["image"]
        if not isinstance(image, np.ndarray):
            image = decode.decode(image, channels=channels, window=window, scale_for=size, name=item["id"])
        if image.shape[2] not in (1, 3):
            raise UserError(
                f"{item['id']}: hand-made features are of grey and colour, not of {image.shape[2]} channels"
            )
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        picture = picture.convert("L" if channels == 1 else "RGB")
        if size is not None and picture.size != (size, size):
            picture = picture.resize((size, size), Image.Resampling.BILINEAR)
        yield np.asarray(picture).reshape(picture.height, picture.width, channels)


def side(source: Any, size: int, *, default: int, least: int = 1) -> int | None:
    """The side to which pictures of a source are brought; None where they stay as they are.

    Args:
      source: as from `data.sources.load`.
      size: what was asked for; 0 for the default.
      default: for sources whose pictures have sizes of their own.
      least: pictures of one size are enlarged to this side where they are smaller.
    """
    if size:
        return size
    if not hasattr(source, "images"):
        return default
    return least if min(source.images.shape[1:3]) < least else None


def pixels(image: np.ndarray) -> np.ndarray:
    """The pixels of a picture as float32 [h * w * c] in [0, 1]."""
    return image.ravel().astype(np.float32) / 255


def missing(package: str, what: str) -> UserError:
    """The error for a package that is not installed."""
    return UserError(f"{what} features need {package}, which is not installed: pip install {package}")
