"""The pictures of a run as its model saw them, with heat maps of what it looked at."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxcls.errors import UserError
from jaxcls.heatmaps import sheet
from jaxcls.models import explain, summary
from jaxcls.report import graph_view

BATCH = 64  # pictures whose features are computed at once
FLAT = 1e-6  # a heat map whose values differ by less shows nothing


class Look(NamedTuple):
    """A picture, grey or in colour, and its heat map in 0..1, or why there is none to show. Of a clip both are sheets
    of frames (heatmaps.sheet). `graph`: the picture with the graph that the model looked at in its place."""

    picture: UInt8[np.ndarray, "h w c"]
    heat: Float[np.ndarray, "h w"] | None
    why_not: str = ""
    graph: UInt8[np.ndarray, "H W 3"] | None = None


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
        images = self._images(split, rows)
        pictures = self._seen(images)
        if self.method is None:
            graphs = self._graphs(split, rows, pictures)
            return [Look(picture, None, graph=graph) for picture, graph in zip(pictures, graphs, strict=True)]
        classes = np.asarray(classes, np.int32)
        heat = np.asarray(explain.heatmaps(self.network.model, self.network.variables, images, classes))
        why_not = self._empty(heat, images, classes)
        return [
            Look(picture, None if why else sheet(each) if each.ndim == 3 else each, why)
            for picture, each, why in zip(pictures, heat, why_not, strict=True)
        ]

    def shown(self, split: str, rows: Sequence[int]) -> list[UInt8[np.ndarray, "h w c"]]:
        """Pictures of n rows alone.

        Raises:
          UserError: where a picture can't be read.
        """
        return self._seen(self._images(split, rows))

    def features(
        self, split: str, rows: Int[np.ndarray, " n"]
    ) -> tuple[Int[np.ndarray, " kept"], Float[np.ndarray, "kept d"]]:
        """(rows, what the last layer sees of their pictures); those that can't be read are left out.

        Raises:
          UserError: where none can be read.
        """
        compute = jax.jit(lambda v, x, more: self.network.features(v, self.network.preprocessing.device(x), more))
        inputs = getattr(self.network.model, "inputs", ())
        kept: list[int] = []
        found, failed = [], None
        for start in range(0, len(rows), BATCH):
            raw, told = [], []
            for row in rows[start : start + BATCH]:
                try:
                    item = self.sources[split][int(row)]
                    raw.append(self._prepared(item))
                    told.append({name: item[name] for name in inputs})
                    kept.append(int(row))
                except UserError as error:
                    failed = error
            if raw:
                whole = [*range(len(raw)), *[0] * (BATCH - len(raw))]  # one shape to compile
                more = {name: np.stack([told[i][name] for i in whole]) for name in inputs}
                padded = np.stack([raw[i] for i in whole])
                found.append(np.asarray(compute(self.network.variables, padded, more))[: len(raw)])
        if not kept and failed is not None:
            raise failed
        return np.array(kept), np.concatenate(found)

    def _graphs(self, split, rows, pictures):
        """Those of n rows over their pictures, where the model looks at graphs whose places are known; else None."""
        if "nodes" not in getattr(self.network.model, "inputs", ()):
            return [None] * len(rows)
        items = [self.sources[split][int(row)] for row in rows]
        return [
            graph_view.drawn(picture, item) if "positions" in item and picture.size > 3 else None
            for picture, item in zip(pictures, items, strict=True)
        ]

    def _seen(self, images):
        """Normalised pictures as uint8, of clips sheets of their frames."""
        levels = self.network.preprocessing.levels(images)
        return [sheet(clip) for clip in levels] if levels.ndim == 5 else list(levels)

    def _images(self, split, rows) -> Any:
        """Normalised pictures float32 [n, h, w, c], or clips [n, t, h, w, c]."""
        raw = np.stack([self._prepared(self.sources[split][int(row)]) for row in rows])
        how = self.network.preprocessing
        return np.asarray(jax.jit(lambda x: how.one_clip(how.device(x)))(raw), np.float32)

    def _prepared(self, item):
        """What of a picture goes to the device, uint8."""
        return self.network.preprocessing.host(item["image"], item["id"], None)

    def _empty(self, heat, images, classes):
        """What is wrong with each heat map that shows nothing; "" for one that shows something."""
        heat = heat.reshape(len(heat), -1)
        good = np.isfinite(heat).all(axis=1)
        flat = good & (np.ptp(np.where(good[:, None], heat, 0), axis=1) < FLAT)
        out = ["" if fine else "No heat map: it holds values that are not finite." for fine in good]
        if self.method == explain.ROLLOUT:
            alike = "The heat map is empty: all places get the same attention."
            return [alike if empty else why for empty, why in zip(flat, out, strict=True)]
        rows = np.flatnonzero(flat)
        scores = self._scores(images[rows], classes[rows]) if len(rows) else []
        for i, (low, high) in zip(rows, scores, strict=True):
            say = "no place speaks for this answer" if high <= 0 else "all places speak alike"
            out[i] = f"The heat map is empty: {say} (scores before the ReLU: {low:.3g} to {high:.3g})."
        return out

    def _scores(self, images, classes):
        """(lowest, highest) of what Grad-CAM cuts off at 0, for each picture."""

        @jax.jit
        def scores(variables, images, classes):
            values, gradient = explain.map_and_gradient(self.network.model, variables, images, classes)
            places = tuple(range(1, values.ndim - 1))
            return (gradient.mean(axis=places, keepdims=True) * values).sum(axis=-1)

        found = np.asarray(scores(self.network.variables, images, classes))
        found = found.reshape(len(found), -1)
        return list(zip(found.min(axis=1).tolist(), found.max(axis=1).tolist(), strict=True))

    def costs(self) -> dict[str, Any]:
        """Multiply-adds of a picture, the parameters' bytes and the picture's shape (models.summary)."""
        counted = summary.summarize(self.network.model, self.picture)
        return {
            "picture": tuple(self.picture),
            "parameters": counted.total.parameters,
            "multiply_adds": counted.total.macs,
            "parameter_bytes": counted.parameter_bytes,
        }
