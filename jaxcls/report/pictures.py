"""The pictures of a run as its model saw them, with heat maps of what it looked at."""

from typing import NamedTuple

import jax
import numpy as np

from jaxcls.models import explain, summary


class Look(NamedTuple):
    """One picture, uint8 [h, w, 1 or 3], and its heat map, float [h, w] in 0..1, or None."""

    picture: np.ndarray
    heat: np.ndarray | None


class Pictures:
    """Pictures and costs of a run whose data and model can be opened.

    Args:
      job: a run.Run (`build.build` makes it): its sources, transforms, model and normalisation are used.
      variables: the model's collections as host arrays, those that gave the answers; so one process of many can
        explain them alone.
    """

    def __init__(self, job, variables):
        self.job, self.variables = job, variables
        self.method = explain.method(job.model, job.picture)

    def fits(self, split, labels, index) -> bool:
        """Whether a split still has the rows with these labels, so that a stored prediction is of this picture."""
        source = self.job.sources.get(split)
        if source is None or len(source) <= int(np.max(index)):
            return False
        return bool(np.array_equal(np.asarray(source.labels)[index], labels))

    def look(self, split, rows, classes) -> list[Look]:
        """Pictures of some rows, with what spoke for the given classes, int [n].

        Raises:
          UserError: where a picture can't be read.
        """
        source, host = self.job.sources[split], self.job.transforms["eval_host"]
        raw = []
        for row in rows:
            item = source[int(row)]
            raw.append(host(item["image"], item["id"], None))
        images = self._seen(np.stack(raw))
        shown = self._shown(images)
        if self.method is None:
            return [Look(picture, None) for picture in shown]
        heat = explain.heatmaps(self.job.model, self.variables, images, np.asarray(classes, np.int32))
        return [Look(*pair) for pair in zip(shown, np.asarray(heat), strict=True)]

    def costs(self) -> dict:
        """Multiply-adds of a picture, the parameters' bytes and the picture's shape (models.summary)."""
        counted = summary.summarize(self.job.model, self.job.picture)
        return {
            "picture": tuple(self.job.picture),
            "parameters": counted.total.parameters,
            "multiply_adds": counted.total.macs,
            "parameter_bytes": counted.parameter_bytes,
        }

    def _seen(self, raw):
        """Pictures as they reach the device, uint8 [n, h, w, c], as the model gets them: float32, normalised."""
        transform = self.job.transforms["eval_device"]
        batch = {"image": raw, "label": np.zeros(len(raw), np.int32)}
        return np.asarray(jax.jit(lambda batch: transform(None, batch)["image"])(batch), np.float32)

    def _shown(self, images):
        mean, std = (np.asarray(x, np.float32) for x in self.job.normalize)
        return np.rint(np.clip(images * std + mean, 0, 1) * 255).astype(np.uint8)
