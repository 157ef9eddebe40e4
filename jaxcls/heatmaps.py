"""Heat maps without JAX: class activation maps of a last map, and maps laid over their pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

CAM = "CAM"  # what such maps are called
FRAMES, COLUMNS = 8, 4  # of a clip that are shown at most, and side by side
STRENGTH = 0.65  # of the colour over a picture where the map is 1
# RGB from 0 to 1: violet, red, orange, pale yellow. Lightness rises all the way, so it reads in grey and for the
# colour-blind.
RAMP = np.array([[40, 11, 84], [137, 34, 106], [212, 72, 66], [251, 155, 6], [252, 255, 164]], np.float32)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow has it


def cam(
    maps: Float[np.ndarray, "n c rows columns"],
    kernel: Float[np.ndarray, "c classes"],
    classes: Int[np.ndarray, " n"],
    size: tuple[int, int],
) -> Float[np.ndarray, "n h w"]:
    """Class activation maps (Zhou et al. 2016, arXiv 1512.04150, equation 2), for nets whose logits are a linear layer
    of the last map's mean. What speaks against the class is left out, and each map is divided by its maximum.

    There Grad-CAM weighs channels by kernel / (rows * columns), so its maps (models.explain.heatmaps) are these.

    Args:
      maps: the last feature maps.
      kernel: of the linear layer.
      classes: whose scores are explained.
      size: (height, width) of the pictures; maps are enlarged bilinearly.

    Returns:
      float32 in 0..1; all 0 where no place speaks for the class.
    """
    from PIL import Image

    coarse = np.maximum(np.einsum("nchw,cn->nhw", maps, kernel[:, classes], dtype=np.float32), 0)
    top = coarse.max(axis=(1, 2), keepdims=True)
    coarse = coarse / np.where(top > 0, top, 1)
    large = [np.asarray(Image.fromarray(one).resize(size[::-1], Image.Resampling.BILINEAR)) for one in coarse]
    return np.clip(np.stack(large), 0, 1) if large else np.zeros((0, *size), np.float32)


def seen(picture: np.ndarray) -> np.ndarray:
    """What is shown of a picture with any number of channels, as uint8 [h, w, 3]: the first three, or the first as grey
    where there are fewer."""
    return picture[..., :3] if picture.shape[-1] >= 3 else np.repeat(picture[..., :1], 3, axis=-1)


def sheet(frames: np.ndarray) -> np.ndarray:
    """What is shown of a clip [t, h, w, ...]: up to eight frames, evenly from first to last, in rows of four from left
    to right, as one array [H, W, ...]. Between frames is a line, white in pictures and 0 in maps."""
    rows = np.rint(np.linspace(0, len(frames) - 1, min(FRAMES, len(frames)))).astype(int)
    blank = 255 if frames.dtype == np.uint8 else 0
    room = [(0, 0)] * (frames.ndim - 3)
    shown = [np.pad(frames[row], [(0, 1), (0, 1), *room], constant_values=blank) for row in rows]
    shown += [np.full_like(shown[0], blank)] * (-len(shown) % min(COLUMNS, len(shown)))
    lines = [np.concatenate(shown[i : i + COLUMNS], axis=1) for i in range(0, len(shown), COLUMNS)]
    return np.concatenate(lines)[:-1, :-1]


def overlay(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A heat map laid over its picture: uint8 [h, w, 3] from uint8 [h, w, c] (`seen`) and float [h, w] in 0..1.

    Under the map the picture is grey, so that its colours are not taken for the map's; where the map is 1 it is covered
    to 65 %, where it is 0 not at all.
    """
    heat, picture = np.asarray(heat, np.float32), seen(picture)
    place = heat * (len(RAMP) - 1)
    below = np.minimum(place.astype(int), len(RAMP) - 2)
    part = (place - below)[..., None]
    colour = RAMP[below] * (1 - part) + RAMP[below + 1] * part
    cover = STRENGTH * np.sqrt(heat)[..., None]  # the root: half of the way up is seen, too
    grey = np.asarray(picture, np.float32) @ LUMA
    return np.rint(grey[..., None] * (1 - cover) + colour * cover).astype(np.uint8)
