"""Histograms of oriented gradients (Dalal and Triggs, CVPR 2005), computed by scikit-image."""

import numpy as np

from jaxcls.classical.pictures import missing
from jaxcls.errors import UserError

COLOURS = ("grey", "strongest", "channels")
BLOCK = 2  # cells on the side of a block
LEAST = 32  # side below which pictures of one size are enlarged: an 8 x 8 picture has too few pixels for 8 x 8 cells
CELLS = 8  # on the short side of a picture, by default


def cell_side(shape: tuple[int, ...], cell: int = 0) -> int:
    """The side of a cell in pixels: `cell`, or if that is 0 an eighth of the picture's short side, at least 2.

    Raises:
      UserError: where a picture of this shape has no block of 2 x 2 cells.
    """
    chosen = cell or max(2, round(min(shape[:2]) / CELLS))
    if min(shape[:2]) < BLOCK * chosen:
        raise UserError(
            f"HOG: pictures of {shape[1]} x {shape[0]} pixels hold no {BLOCK} x {BLOCK} cells of {chosen} pixels; "
            "enlarge them with --size" + (" or choose a smaller --cell" if cell else "")
        )
    return chosen


def check() -> None:
    """Raises UserError where scikit-image is not installed."""
    try:
        import skimage.feature  # noqa: F401
    except ImportError as error:
        raise missing("scikit-image", "HOG") from error


def describe(image: np.ndarray, *, cell: int = 0, orientations: int = 9, colour: str = "grey") -> np.ndarray:
    """The HOG descriptor of one picture.

    As in the paper: square-rooted intensities, centred differences, unsigned orientations, blocks of 2 x 2 cells that
    overlap by half, L2 norm clipped at 0.2 and renewed. Unlike the paper's, scikit-image's cells share no votes with
    their neighbours (no interpolation in orientation or space) and blocks have no Gaussian window. Pixels beyond the
    last whole cell are not looked at.

    Args:
      image: uint8 [h, w, c].
      cell: side of a cell in pixels; 0: see `cell_side`.
      orientations: bins over 180 degrees.
      colour: of a picture in colour, `strongest` takes each pixel's channel with the largest gradient, as the paper
        does, `channels` puts the descriptors of all channels after each other. `grey` needs a picture of 1 channel.

    Returns:
      float32 [blocks high * blocks wide * 4 * orientations], times the channels for `channels`.
    """
    from skimage.feature import hog

    side = cell_side(image.shape, cell)
    kwargs = {
        "orientations": orientations,
        "pixels_per_cell": (side, side),
        "cells_per_block": (BLOCK, BLOCK),
        "block_norm": "L2-Hys",
        "transform_sqrt": True,
    }
    if colour == "strongest":
        return hog(image, channel_axis=-1, **kwargs).astype(np.float32)
    planes = [hog(image[..., channel], **kwargs) for channel in range(image.shape[2])]
    return np.concatenate(planes).astype(np.float32)
