"""What is served: a run or an ONNX file, opened, with a version that changes with its answers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.errors import UserError, listed, of_picture
from jaxcls.files import expanded
from jaxcls.measure import doubt
from jaxcls.measure.multilabel import answers
from jaxcls.predict.base import BasePredictor
from jaxcls.runtime import metadata
from jaxcls.types import PathLike

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from jaxcls.runtime.foreign import Given

NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}"
PROVIDERS = {"": "CPUExecutionProvider", "cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
TRIES = 3  # of opening what changes meanwhile
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
      device: as it was opened for.
      foreign: what was told of a file that jaxcls did not write; None for nothing.
    """

    name: str
    version: str
    path: str
    backend: str
    predictor: BasePredictor
    stamp: Stamp
    device: str = ""
    foreign: Given | None = None

    @property
    def is_foreign(self) -> bool:
        """Whether it is a file that jaxcls did not write."""
        return self.backend == ONNX and metadata.MARK not in self.predictor.session.metadata  # type: ignore[attr-defined]

    def prepare(self, image: bytes | UInt8[np.ndarray, "h w c"], name: str = "") -> UInt8[np.ndarray, "H W C"]:
        """A picture as the model takes it; from any thread. Raises UserError for a broken one, called `name`."""
        try:
            return self.predictor.prepare(image, name)
        except Exception as error:
            raise of_picture(error, name) from error

    def answer(self, images: UInt8[np.ndarray, "n H W C"], top: int = 5) -> list[dict[str, Any]]:
        """Rows as `jaxcls predict` writes them; from any thread. Raises UserError without the path of the server."""
        try:
            return self.predictor(images, top)
        except UserError as error:
            raise UserError(str(error).replace(self.path, self.name)) from error

    @property
    def step(self) -> int | None:
        """Of the checkpoint; None where it isn't known."""
        return self.predictor.step if self.predictor.step >= 0 else None

    @property
    def sets(self) -> bool:
        """Whether an answer is a set of labels."""
        return self.predictor.output == "sigmoid"

    @property
    def explains(self) -> str | None:
        """The kind of heat maps ("Grad-CAM", "attention rollout", "CAM"), or None."""
        return self.predictor.explains

    @property
    def unexplained(self) -> str:
        """A line that says why there are no heat maps."""
        return f"{self.name} has no heat maps: {self.predictor.unexplained}"

    def heatmap(self, image: UInt8[np.ndarray, "H W C"], name: str | None = None) -> UInt8[np.ndarray, "h w 3"]:
        """A prepared picture, as the model sees it, under the heat map of a class; of a run slow, and compiled once.

        Small pictures are enlarged, as `jaxcls predict --heatmaps` does it.

        Args:
          image: prepared.
          name: of the class; None for the one with the highest logit.

        Raises:
          UserError: where the model has none, or no such class.
        """
        if self.explains is None:
            raise UserError(self.unexplained)
        if name is not None and name not in self.predictor.classes:
            raise UserError(f"{self.name} has no class {name!r}")
        from jaxcls.predict.heatmaps import beside

        pictures, maps = self.predictor.heatmaps(image[None], None if name is None else [name])
        both = np.asarray(beside(pictures[0], maps[0]))
        return both[:, both.shape[1] // 2 :]

    def describe(self) -> dict[str, Any]:
        """What the model is, as JSON, without a path of the server.

        name, version, step (None where unknown), model, backend, averaged, precision ("" where it isn't known), output
        (what an answer means: "softmax", one label a picture; "sigmoid", several labels a picture, or none), classes,
        thresholds (of each class, from which on "sigmoid" names it; None of "softmax"), picture (height, width,
        channels as the model takes them), data (the name of what it was trained on), calibrated, decides (whether
        thresholds or costs are stored), beside (names that answers have besides class, probability and top), heatmaps
        (their kind or None), notes.
        """
        asked = self.predictor
        data = asked.data.rstrip("/").rpartition("/")[2]
        notes = [note.replace(self.path, self.name) for note in asked.notes]
        return {
            "name": self.name,
            "version": self.version,
            "step": self.step,
            "model": asked.name,
            "backend": self.backend,
            "averaged": asked.averaged,
            "precision": getattr(asked, "precision", ""),
            "output": asked.output,
            "classes": list(asked.classes),
            "thresholds": answers.thresholds(asked.decision, len(asked.classes)).tolist() if self.sets else None,
            "picture": list(asked.picture),
            "data": data,
            "calibrated": asked.decision is not None,
            "decides": asked.decides,
            "beside": doubt.names(asked.decision),
            "heatmaps": self.explains,
            "notes": [note.replace(asked.data, data) for note in notes] if data else notes,
        }


def named(argument: str) -> tuple[str, str]:
    """(name, path) of an argument of `jaxcls serve`: "NAME=PATH", or a path that is named by its last part.

    A folder of one step is named by its run. Of a path's own name, characters that names can't have become "-".

    Raises:
      UserError: for a name that is not one of letters, digits, ".", "_" and "-".
    """
    name, sign, path = argument.partition("=")
    if sign and "/" not in name and not os.path.lexists(argument):
        if not re.fullmatch(NAME, name) or not path:
            raise UserError(f"{argument}: NAME=PATH wants a name of letters, digits, '.', '_' and '-', and a path")
        return name, expanded(path)
    path = expanded(argument)
    parts = os.path.abspath(path).split(os.sep)
    last = parts[-3] if len(parts) > 3 and parts[-2] == "checkpoints" else parts[-1]
    if is_file(path):
        last = last[: -len(".onnx")]
    name = re.sub(r"[^A-Za-z0-9._-]", "-", last)[:100]
    if not re.fullmatch(NAME, name):
        raise UserError(f"{argument} gives no name to serve it by; write NAME={argument}")
    return name, path


def is_file(path: str) -> bool:
    """Whether a path is meant for ONNX Runtime, by its name; a folder of such a name may be a workdir."""
    return path.lower().endswith(".onnx") and not os.path.isdir(path)


def open_model(
    path: PathLike, name: str = "", device: str = "", threads: int | None = None, foreign: Given | None = None
) -> Served:
    """Opens a run's best checkpoint (the newest where none is best), the folder of one step, or MODEL.onnx.

    Args:
      path: of the run or the file.
      name: by which it is served; "" for the last part of the path.
      device: "" for what JAX finds, or the CPU for files; "cpu", "cuda", "tpu".
      threads: that compute one answer of a file (runtime.session.open).
      foreign: what is told of a file that jaxcls did not write; of other ones it is not looked at.

    Raises:
      UserError: where there is no such thing, it is damaged, it changes all the time, or its answer is features and no
        classes.
    """
    path = os.fspath(path)
    name = name or named(path)[0]
    for _ in range(TRIES):
        before = stamp(path)
        if is_file(path):
            predictor, digest = _file(path, device, threads, foreign)
        else:
            predictor, digest = _run(path, device)
        if stamp(path) == before:  # so the digest is of what was read
            break
    else:
        raise UserError(f"{path} changed while it was read; try again when it is complete")
    if predictor.output == "features" or getattr(predictor, "holds", "") == "features":
        raise UserError(f"{path}: its answer is features and no classes, which can't be served")
    version = f"{predictor.step}-{digest[:8]}" if predictor.step >= 0 else digest[:8]
    backend = ONNX if is_file(path) else JAX
    return Served(name, version, path, backend, predictor, before, device, foreign)


def stamp(path: PathLike) -> Stamp:
    """What tells that there is something newer than what was opened: of a run its best checkpoint and calibration.

    Cheap: files are looked at, not read (but for the metadata of steps). Raises UserError where nothing is there.
    """
    if is_file(path := os.fspath(path)):
        return (_entry(path),)
    from jaxcls.checkpoints import folds, view
    from jaxcls.measure import decision, outliers

    if parts := folds.finished(path):
        return (*(entry for part in parts for entry in stamp(part)), _entry(os.fspath(decision.path(path, folds.STEP))))
    folder = view.best_step(path)
    beside = [view.manifest_path(folder)]
    if folder.parent.name == "checkpoints" and folder.name.isdigit():
        workdir, step = folder.parents[1], int(folder.name)
        beside += [decision.path(workdir, step), outliers.path(workdir, step)]
    return tuple(_entry(os.fspath(file)) for file in beside)


def _entry(path):
    try:
        found = os.stat(path)
    except OSError:
        return (path, 0, 0, 0)
    return (path, found.st_ino, found.st_size, found.st_mtime_ns)


def _file(path, device, threads, foreign):
    """(predictor, SHA-256) of an ONNX file, and of what was told of it."""
    from jaxcls.runtime import session
    from jaxcls.runtime.predictor import FilePredictor

    if device not in PROVIDERS:
        raise UserError(f"--device={device}: ONNX files are served on {' or '.join(filter(None, PROVIDERS))}")
    opened = session.open(path, threads=threads, providers=(PROVIDERS[device],))
    told = foreign if foreign and metadata.MARK not in opened.metadata else None
    predictor = FilePredictor(opened, told)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    if told:
        digest.update(repr((told, predictor.classes)).encode())
    return predictor, digest.hexdigest()


def _run(path, device):
    """(predictor, SHA-256 of the checkpoint's manifest and its decision) of a run."""
    import jax

    if device:
        jax.config.update("jax_platforms", device)
    try:
        jax.devices()
    except Exception as error:  # RuntimeError, AssertionError: by what of a plugin is missing
        raise UserError(f"--device={device}: JAX finds no such device here; leave it out (jaxcls doctor)") from error
    from jaxcls.predict import folds

    predictor = folds.load(path)
    if predictor.columns:
        taken = listed([repr(column.name) for column in predictor.columns])
        raise UserError(f"{path} takes the column(s) {taken} beside each picture, and a request has pictures alone.")
    decided = json.dumps(predictor.decision, sort_keys=True)  # it names the SHA-256 of the features it measures to
    text = f"{predictor.network.source['sha256']} {decided}"
    return predictor, hashlib.sha256(text.encode()).hexdigest()
