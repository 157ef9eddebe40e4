"""What is served: a run or an ONNX file, opened, with a version that changes with its answers."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.errors import UserError
from jaxcls.files import expanded
from jaxcls.predict.base import BasePredictor

if TYPE_CHECKING:
    from jaxtyping import UInt8

ONNX, JAX = "onnxruntime", "jax"  # backends
Stamp = tuple[tuple[Any, ...], ...]  # of the files that answers depend on: (path, inode, bytes, time of change) each


@dataclasses.dataclass(frozen=True)
class Served:
    """One version of a model that is served.

    Attributes:
      name: in addresses and answers.
      version: "STEP-HASH", or "HASH" of a file that knows no step: 8 digits of SHA-256 of what answers depend on.
      path: of the run or the file. No answer may hold it.
      backend: "onnxruntime" for a file, "jax" for a run.
      predictor: gives the answers.
      stamp: of its files as they were when it was opened.
    """

    name: str
    version: str
    path: str
    backend: str
    predictor: BasePredictor
    stamp: Stamp

    def prepare(self, image: bytes | UInt8[np.ndarray, "h w c"], name: str = "") -> UInt8[np.ndarray, "H W C"]:
        """A picture as the model takes it; from any thread. Raises UserError for a broken one, called `name`."""
        return self.predictor.prepare(image, name)

    def answer(self, images: UInt8[np.ndarray, "n H W C"], top: int = 5) -> list[dict[str, Any]]:
        """Rows as `jaxcls predict` writes them; from any thread. Raises UserError without the path of the server."""
        try:
            return self.predictor(images, top)
        except UserError as error:
            raise UserError(self._without_path(str(error))) from error

    @property
    def explains(self) -> str | None:
        """The kind of heat maps ("Grad-CAM", "attention rollout"), or None."""
        return self.predictor.explains

    def heatmap(self, image: UInt8[np.ndarray, "H W C"], name: str | None = None) -> UInt8[np.ndarray, "h w 3"]:
        """A prepared picture, as the model sees it, under the heat map of a class; slow, and compiled when first used.

        `name`: of the class; None for the one with the highest logit.

        Raises:
          UserError: where the model has none, or no such class.
        """
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """What the model is, as JSON, without a path of the server: name, version, step (None where unknown), model,
        backend, averaged, precision, classes, picture (height, width, channels as the model takes them), data (the name
        of what it was trained on), calibrated, decides (whether thresholds or costs are stored), beside (names that
        answers have besides class, probability and top), heatmaps (their kind or None), notes."""
        raise NotImplementedError


def named(argument: str) -> tuple[str, str]:
    """(name, path) of an argument of `jaxcls serve`: "NAME=PATH", or a path that is named by its last part.

    Raises:
      UserError: for a name that is not one of letters, digits, ".", "_" and "-".
    """
    raise NotImplementedError


def open_model(path: str, name: str = "", device: str = "", threads: int | None = None) -> Served:
    """Opens a run's best checkpoint (the newest where none is best), the folder of one step, or MODEL.onnx.

    Args:
      path: of the run or the file.
      name: by which it is served; "" for the last part of the path.
      device: "" for what JAX finds, or the CPU for files; "cpu", "cuda", "tpu".
      threads: that compute one answer of a file (runtime.session.open).

    Raises:
      UserError: where there is no such thing, it is damaged, or its answer is features and no classes.
    """
    raise NotImplementedError


def stamp(path: str) -> Stamp:
    """What tells that there is something newer than what was opened: of a run its best checkpoint and calibration.

    Cheap: files are looked at, not read (but for the metadata of steps). Raises UserError where nothing is there.
    """
    raise NotImplementedError
