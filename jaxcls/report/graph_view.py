"""A graph drawn over the picture that it lies beside."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxcls import heatmaps

WIDE = 256  # pixels of the longer side at least
EDGE, NODE, RIM = (80, 170, 255), (255, 140, 0), (20, 20, 20)


def drawn(picture: UInt8[np.ndarray, "h w c"], item: Mapping[str, Any]) -> UInt8[np.ndarray, "H W 3"]:
    """The picture, enlarged where it is small, with the edges and nodes of its graph.

    Args:
      picture: as the model saw it. (Where evaluation cuts it, the nodes' places are those of the whole.)
      item: of a source with graphs: `positions` [n, 2], `edges` [n, n], `node_mask` [n].
    """
    from PIL import Image, ImageDraw

    shown = heatmaps.seen(picture)
    factor = max(1, -(-WIDE // max(shown.shape[:2])))
    shown = shown.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width = shown.shape[:2]
    dimmed = Image.fromarray((shown * 0.6).astype(np.uint8))
    pen, real = ImageDraw.Draw(dimmed), np.asarray(item["node_mask"]) > 0
    places = [(float(x) * width, float(y) * height) for y, x in np.asarray(item["positions"])[real]]
    linked = np.asarray(item["edges"])[real][:, real] != 0
    for i, j in np.argwhere(np.triu(linked | linked.T, 1)):
        pen.line([places[i], places[j]], fill=EDGE, width=1)
    size = max(2.0, max(height, width) / 100)
    for x, y in places:
        pen.ellipse([x - size, y - size, x + size, y + size], fill=NODE, outline=RIM)
    return np.asarray(dimmed)
