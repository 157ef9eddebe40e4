"""Heat maps of predictions, as files; without JAX."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxcls.errors import UserError
from jaxcls.heatmaps import overlay
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
        """Writes `<place>-<picture>-<class>.png` for each answer and adds its path to it, as `heatmap`.

        Args:
          images: prepared pictures.
          answers: of `Predictor.answers`.
          names: paths of the pictures.
          places: their numbers, from 1.
        """
        good = [i for i, answer in enumerate(answers) if "error" not in answer]
        if not good:
            return
        pictures, maps = self.predictor.heatmaps(images[good], [answers[i]["class"] for i in good])
        for i, picture, heat in zip(good, pictures, maps, strict=True):
            stem = os.path.splitext(os.path.basename(names[i]))[0]
            parts = [re.sub(r"[^\w.-]+", "_", text)[:60] for text in (stem, answers[i]["class"])]
            path = self.folder / f"{places[i]:06d}-{parts[0]}-{parts[1]}.png"
            try:
                with self.interruption.held_off():
                    beside(picture, heat).save(path)
            except OSError as error:
                raise UserError(f"--heatmaps {path} can't be written: {error.strerror or error}") from error
            answers[i]["heatmap"] = str(path)


def beside(picture: np.ndarray, heat: np.ndarray) -> Image.Image:
    """A Pillow image: the picture, and at its right the picture with the map over it; small ones are enlarged."""
    times = max(1, -(-SIDE // max(heat.shape)))
    large = picture.repeat(times, axis=0).repeat(times, axis=1)
    size = large.shape[1::-1]
    heat = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR)).clip(0, 1)
    return Image.fromarray(
        np.concatenate([np.broadcast_to(large, (*large.shape[:2], 3)), overlay(large, heat)], axis=1)
    )
