"""Superpixels of a picture as a graph: segments are nodes, edges lead between those that are near or touch.

Segments: SLIC (Achanta et al. 2012, "SLIC Superpixels Compared to State-of-the-art Superpixel Methods") as scikit-image
has it. Graphs of them for classification: Monti et al. 2017 (arXiv 1611.08402), section 5.1, and Dwivedi et al. 2020
(arXiv 2003.00982), appendix: edges from the 8 nearest by exp(-(d/sigma)^2), of which ours look at the distance of the
centres alone, and keep that there is an edge, not its weight.
"""

from typing import Any

import numpy as np

from jaxcls.errors import UserError

EDGES = ("nearest", "touching")
GREY, COLOUR = 0.25, 10.0  # compactness, as usual for values in [0, 1] and for Lab
NEIGHBOURS = 8


def require() -> Any:
    """scikit-image's `slic`. Raises UserError where it is not installed."""
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise UserError("superpixels need scikit-image: pip install 'jaxcls[graphs]'") from error
    return slic


def segments(image: np.ndarray, wanted: int, compactness: float = 0.0) -> np.ndarray:
    """The number of the segment of each pixel, int64 [h, w] from 0.

    Args:
      image: uint8 [h, w, c].
      wanted: segments that SLIC is asked for; it gives about so many (of MNIST 61 to 83 for 75), some more where its
        grid does not fit the picture, fewer where pixels are few.
      compactness: of SLIC: how much nearness counts beside colour; 0: GREY or COLOUR.
    """
    slic, colour = require(), image.shape[2] == 3
    how = {"compactness": compactness or (COLOUR if colour else GREY), "channel_axis": -1, "start_label": 0}
    found = slic(image.astype(np.float32) / 255, n_segments=wanted, convert2lab=colour, **how)
    return np.unique(found, return_inverse=True)[1].reshape(image.shape[:2])


def nodes(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean colour (c values in [0, 1]), centre (from above, from the left, in [0, 1]) and size of each segment.

    The size is in units of the mean one. float32 [k, c + 3].
    """
    height, width, channels = image.shape
    flat = labels.ravel()
    count = np.bincount(flat)
    rows, columns = (axis.ravel() for axis in np.mgrid[:height, :width])
    sums: list[Any] = [np.bincount(flat, image[..., i].ravel()) / 255 for i in range(channels)]
    sums += [np.bincount(flat, (rows + 0.5) / height), np.bincount(flat, (columns + 0.5) / width)]
    means = np.stack(sums, axis=1) / count[:, None]
    return np.concatenate([means, (count * len(count) / flat.size)[:, None]], axis=1).astype(np.float32)


def edges(labels: np.ndarray, positions: np.ndarray, how: str, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Edges as (from, to), uint16 [e, 2], sorted by where they lead to.

    Args:
      labels: of `segments`.
      positions: centres [k, 2], from above and from the left in shares of the sides.
      how: "nearest": into each segment from its `neighbours` nearest; "touching": between segments that share a side
        of a pixel.
    """
    if how == "touching":
        pairs = [np.stack([a.ravel(), b.ravel()], axis=1) for a, b in _beside(labels)]
        both = np.concatenate([*pairs, *(pair[:, ::-1] for pair in pairs)])
        both = np.unique(both[both[:, 0] != both[:, 1]], axis=0)
        return both[:, ::-1].astype(np.uint16)
    near = nearness(positions * np.array(labels.shape), neighbours)
    k = min(neighbours, len(near) - 1)
    chosen = np.argsort(-near, axis=1, kind="stable")[:, :k]  # equal ones: the first
    return np.stack([chosen.ravel(), np.repeat(np.arange(len(near)), k)], axis=1).astype(np.uint16)


def nearness(points: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """exp(-(d/sigma)^2) of points [k, 2], made symmetric, 0 of a point with itself: [k, k].

    sigma of a point: the mean distance of its nearest ones, `neighbours` of them where there are.
    """
    distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    k = min(neighbours, len(points) - 1)
    sigma = np.sort(distances, axis=1)[:, 1 : k + 1].mean(1, keepdims=True) if k else np.ones((1, 1))
    near = np.exp(-((distances / (sigma + 1e-8)) ** 2))
    near = (near + near.T) / 2
    np.fill_diagonal(near, -1.0)  # no neighbour of its own
    return near


def graph(
    image: np.ndarray, wanted: int, *, how: str = "nearest", neighbours: int = NEIGHBOURS, compactness: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """(`nodes`, `edges`) of a picture uint8 [h, w, c]; arguments as theirs and those of `segments`."""
    labels = segments(image, wanted, compactness)
    found, channels = nodes(image, labels), image.shape[2]
    return found, edges(labels, found[:, channels : channels + 2], how, neighbours)


def _beside(labels):
    """Pairs of pixels side by side, and above each other."""
    return (labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])
