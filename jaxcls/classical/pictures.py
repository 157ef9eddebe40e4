"""Pictures of any source, brought to one size; and raw pixels as features, the floor for all others."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from jaxcls.errors import UserError


def read(source: Any, rows: Iterable[int], *, size: int | None, channels: int) -> Iterator[np.ndarray]:
    """Yields uint8 [height, width, channels] for rows of a source, decoded one at a time.

    Resizing stretches: the whole picture is seen, at the cost of its aspect ratio. It is Pillow's antialiased bilinear.

    Args:
      source: as from `data.sources.load`.
      rows: of it.
      size: height and width; None leaves pictures as they are, for sources of one size.
      channels: 1 (ITU-R 601 luma) or 3.

    Raises:
      UserError: a picture that cannot be read, by its name.
    """
    from PIL import Image

    from jaxcls.data import decode

    for row in rows:
        item = source[row]
        image = item["image"]
        if not isinstance(image, np.ndarray):
            image = decode.decode(image, channels=channels, scale_for=size, name=item["id"])
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image[..., :3])
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
