"""Heat maps of predictions, as files; without JAX."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxcls.errors import UserError
from jaxcls.heatmaps import overlay, seen, sheet
from jaxcls.predict.base import BasePredictor
from jaxcls.predict.progress import Interruption

SIDE = 224  # pixels at least of the pictures that heat maps are laid over


class Heatmaps:
    """PNGs of pictures as the model sees them, each beside itself with its heat map over it.

    Raises:
      UserError: where the model has no heat maps, or the folder can't be written.
    """

    def __init__(self, folder: Path, predictor: BasePredictor, interruption: Interruption):
        self.folder, self.predictor, self.interruption = folder, predictor, interruption
        if predictor.explains is None:
            raise UserError(f"--heatmaps: {predictor.name} has none: {predictor.unexplained}, or leave it out.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--heatmaps {folder} can't be written: {error.strerror or error}") from error

    def draw(
        self, images: np.ndarray, answers: list[dict[str, Any]], names: Sequence[str], places: Sequence[int]
    ) -> None:
        """Writes `<place>-<picture>-<class>.png` for each answer and adds its path to it, as `heatmap`; of a set one
        for each of its labels, and `heatmap` is a list of paths.

        Args:
          images: prepared pictures.
          answers: of `Predictor.answers`.
          names: paths of the pictures.
          places: their numbers, from 1.
        """
        wanted = [(i, name) for i, answer in enumerate(answers) for name in _named(answer)]
        for answer in answers:
            if "labels" in answer:
                answer["heatmap"] = []
        for start in range(0, len(wanted), len(images)):
            self._draw(images, answers, names, places, wanted[start : start + len(images)])

    def _draw(self, images, answers, names, places, wanted):
        """Those of (place in the batch, class)."""
        rows = [i for i, _ in wanted]
        pictures, maps = self.predictor.heatmaps(images[rows], [name for _, name in wanted])
        for (i, name), picture, heat in zip(wanted, pictures, maps, strict=True):
            path = self._path(names[i], places[i], name, answers[i])
            try:
                with self.interruption.held_off():
                    beside(picture, heat).save(path)
            except OSError as error:
                raise UserError(f"--heatmaps {path} can't be written: {error.strerror or error}") from error
            if "labels" in answers[i]:
                answers[i]["heatmap"].append(str(path))
            else:
                answers[i]["heatmap"] = str(path)

    def _path(self, picture, place, name, answer):
        stem = os.path.splitext(os.path.basename(picture))[0]
        parts = [re.sub(r"[^\w.-]+", "_", text)[:60] for text in (stem, name)]
        path = self.folder / f"{place:06d}-{parts[0]}-{parts[1]}.png"
        there = answer.get("heatmap", ())
        return path.with_stem(f"{path.stem}-{len(there)}") if str(path) in there else path  # names that differ little


def _named(answer):
    """The classes of an answer."""
    if "error" in answer:
        return []
    return answer["labels"] if "labels" in answer else [answer["class"]]


def beside(picture: np.ndarray, heat: np.ndarray) -> Image.Image:
    """A Pillow image: the picture, and at its right the picture with the map over it; small ones are enlarged."""
    if heat.ndim == 3:  # of a clip
        picture, heat = sheet(picture), sheet(heat)
    times = max(1, -(-SIDE // max(heat.shape)))
    large = seen(picture).repeat(times, axis=0).repeat(times, axis=1)
    size = large.shape[1::-1]
    heat = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR)).clip(0, 1)
    return Image.fromarray(np.concatenate([large, overlay(large, heat)], axis=1))
