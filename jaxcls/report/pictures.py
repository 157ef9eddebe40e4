"""The pictures of a run as its model saw them, with heat maps of what it looked at."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxcls.models import explain, summary
from jaxcls.types import PyTree


class Look(NamedTuple):
    """A picture, grey or in colour, and its heat map in 0..1."""

    picture: UInt8[np.ndarray, "h w c"]
    heat: Float[np.ndarray, "h w"] | None


class Pictures:
    """Pictures and costs of a run whose data and model can be opened.

    Args:
      run: a training.run.Run: its sources, transforms, model and normalisation are used.
      variables: the model's collections as host arrays, those that gave the answers; so one process of many can
        explain them alone.
    """

    def __init__(self, run: Any, variables: PyTree):
        self.run, self.variables = run, variables
        self.method = explain.method(run.model, run.picture)

    def fits(self, split: str, labels: Int[np.ndarray, " n"], index: Int[np.ndarray, " n"]) -> bool:
        """Whether a split still has the rows with these labels, so that a stored prediction is of this picture."""
        source = self.run.sources.get(split)
        if source is None or len(source) <= int(np.max(index)):
            return False
        return bool(np.array_equal(np.asarray(source.labels)[index], labels))

    def look(self, split: str, rows: Sequence[int], classes: Int[np.ndarray, " n"]) -> list[Look]:
        """Pictures of n rows, with what spoke for these classes.

        Raises:
          UserError: where a picture can't be read.
        """
        source, host = self.run.sources[split], self.run.transforms["eval_host"]
        raw = []
        for row in rows:
            item = source[int(row)]
            raw.append(host(item["image"], item["id"], None))
        images = self._normalised(np.stack(raw))
        pictures = self._levels(images)
        if self.method is None:
            return [Look(picture, None) for picture in pictures]
        heat = explain.heatmaps(self.run.model, self.variables, images, np.asarray(classes, np.int32))
        return [Look(*pair) for pair in zip(pictures, np.asarray(heat), strict=True)]

    def costs(self) -> dict[str, Any]:
        """Multiply-adds of a picture, the parameters' bytes and the picture's shape (models.summary)."""
        counted = summary.summarize(self.run.model, self.run.picture)
        return {
            "picture": tuple(self.run.picture),
            "parameters": counted.total.parameters,
            "multiply_adds": counted.total.macs,
            "parameter_bytes": counted.parameter_bytes,
        }

    def _normalised(self, raw):
        """Pictures as they reach the device, uint8 [n, h, w, c], as the model gets them: float32, normalised."""
        transform = self.run.transforms["eval_device"]
        batch = {"image": raw, "label": np.zeros(len(raw), np.int32)}
        return np.asarray(jax.jit(lambda batch: transform(None, batch)["image"])(batch), np.float32)

    def _levels(self, images):
        """The uint8 pictures that these are the normalised ones of."""
        mean, std = (np.asarray(x, np.float32) for x in self.run.normalize)
        return np.rint(np.clip(images * std + mean, 0, 1) * 255).astype(np.uint8)
