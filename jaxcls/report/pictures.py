"""The pictures of a run as its model saw them, with heat maps of what it looked at."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxcls.models import explain, summary


class Look(NamedTuple):
    """A picture, grey or in colour, and its heat map in 0..1."""

    picture: UInt8[np.ndarray, "h w c"]
    heat: Float[np.ndarray, "h w"] | None


class Pictures:
    """Pictures and costs of a run whose data and model can be opened.

    Args:
      sources: split -> Source.
      network: what gave the answers, a tasks.networks.Network of host arrays; so one process of many can explain them
        alone.
      picture: (height, width, channels) as the model sees them.
    """

    def __init__(self, sources: Mapping[str, Any], network: Any, picture: Any):
        self.sources, self.network, self.picture = sources, network, picture
        self.method = explain.method(network.model, picture)

    def fits(self, split: str, labels: Int[np.ndarray, " n"], index: Int[np.ndarray, " n"]) -> bool:
        """Whether a split still has the rows with these labels, so that a stored prediction is of this picture."""
        source = self.sources.get(split)
        if source is None or len(source) <= int(np.max(index)):
            return False
        return bool(np.array_equal(np.asarray(source.labels)[index], labels))

    def look(self, split: str, rows: Sequence[int], classes: Int[np.ndarray, " n"]) -> list[Look]:
        """Pictures of n rows, with what spoke for these classes.

        Raises:
          UserError: where a picture can't be read.
        """
        source, host = self.sources[split], self.network.preprocessing.host
        raw = []
        for row in rows:
            item = source[int(row)]
            raw.append(host(item["image"], item["id"], None))
        images: Any = np.asarray(jax.jit(lambda x: self.network.preprocessing.device(x))(np.stack(raw)), np.float32)
        pictures = self.network.preprocessing.levels(images)
        if self.method is None:
            return [Look(picture, None) for picture in pictures]
        heat = explain.heatmaps(self.network.model, self.network.variables, images, np.asarray(classes, np.int32))
        return [Look(*pair) for pair in zip(pictures, np.asarray(heat), strict=True)]

    def costs(self) -> dict[str, Any]:
        """Multiply-adds of a picture, the parameters' bytes and the picture's shape (models.summary)."""
        counted = summary.summarize(self.network.model, self.picture)
        return {
            "picture": tuple(self.picture),
            "parameters": counted.total.parameters,
            "multiply_adds": counted.total.macs,
            "parameter_bytes": counted.parameter_bytes,
        }
