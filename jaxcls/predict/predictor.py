"""A trained model as a function of pictures: everything it needs is in the checkpoint, the training data is not."""

import functools
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jaxcls import augment
from jaxcls.checkpoints import view
from jaxcls.data import decode
from jaxcls.errors import UserError
from jaxcls.measure import decision as decisions
from jaxcls.models import explain
from jaxcls.parallel import Parallel
from jaxcls.settings.reader import Reader, resolve
from jaxcls.tasks.base import Task
from jaxcls.tasks.supervised import Supervised
from jaxcls.tasks.tta import Tta
from jaxcls.tasks.wrappers import Transformed
from jaxcls.training import build
from jaxcls.types import PathLike, PyTree

SIZES = (1, 8, 32)  # of batches that are compiled; what lies between is padded


class Predictor:
    """Predicts as the evaluation of the run does: the same decoding, transforms, averaged weights and views (tta).

    Make one by `Predictor.load`. `prepare` may be called from several threads.

    Attributes:
      path: folder of the step; `step`: its number.
      name: of the model; `classes`: the names of its classes.
      model: the Linen module; `variables`: its collections, on the device.
      averaged: whether the weights are averages (EMA).
      picture: (height, width, channels) of prepared pictures.
      decision: what calibration/<step>.json in the workdir says (measure.decision), or None.
      notes: lines for people about what may surprise: pictures brought to the size of a set of small ones, and whether
        probabilities are calibrated.
    """

    def __init__(
        self,
        path: Path,
        config: Reader,
        meta: Mapping[str, Any],
        variables: PyTree,
        averaged: bool,
        decision: decisions.Decision | None,
        sizes: Sequence[int] = SIZES,
    ):
        """Arguments as the attributes; `meta` is the checkpoint's JSON item."""
        self.path, self.step, self.averaged, self.decision = path, int(meta["step"]), averaged, decision
        self.name, self.classes = config.model.name, tuple(str(name) for name in meta["classes"])
        self.sizes = tuple(sorted({int(size) for size in sizes}))
        self.model = build.build_model(config, len(self.classes), Parallel(devices=1))
        self._stored = _stored_shape(meta)
        self._mean, self._std = (np.asarray(x, np.float32) for x in build.build_normalize(config))
        transforms = _transforms(config, self.classes, self._stored)
        self._host, self._pack = transforms["eval_host"], None
        if config.data.pack:
            self._pack = augment.smaller(config.data.pack, channels=config.data.channels or 3)
        self._channels = self._stored[2] if self._stored else config.data.channels or 3
        self.picture = self.prepare(np.zeros((*(self._stored or (64, 64))[:2], self._channels), np.uint8)).shape
        self.variables = jax.device_put(variables)
        evaluate = functools.partial(transforms["eval_device"], None)
        task: Task = Supervised(self.model)
        if config.eval.tta:
            task = Tta(task, config.eval.tta, config.eval.tta_mean)
        task = Transformed(task, None, evaluate, seed=0)
        self._predict = jax.jit(lambda variables, images: task.predict(_state(variables), {"image": images})["logits"])
        self._normalised = jax.jit(lambda images: evaluate({"image": images})["image"])
        self.notes = list(self._remarks(config.data.name))

    @classmethod
    def load(cls, path: PathLike, step: int | None = None, sizes: Sequence[int] = SIZES) -> Self:
        """The predictor of a run.

        Args:
          path: its workdir, or the folder of one step.
          step: of a workdir; None for the best one where validation chose one, else the newest.
          sizes: of batches that are compiled, each when it is first needed; the largest one is worked on at a time.

        Raises:
          UserError: where there is no good checkpoint, or it is of no model that this version of jaxcls can build.
        """
        folder = view.best_step(path) if step is None else view.find_step(path, step)
        if problems := view.verify(folder):
            raise UserError(f"{folder} is damaged ({problems[0]}); choose another step")
        meta = view.read_meta(folder)
        try:
            config = _config(meta["config"])
            decision = _decision(folder, meta["classes"])
            variables, averaged = view.read_variables(folder)
            return cls(folder, config, meta, variables, averaged, decision, sizes)
        except UserError as error:
            raise UserError(f"{folder}: {error}") from error
        except (KeyError, TypeError) as error:
            raise UserError(f"{folder} does not say what model it is of ({error}); choose another step") from error

    def prepare(self, image: bytes | UInt8[np.ndarray, "h w c"], name: str = "") -> UInt8[np.ndarray, "H W C"]:
        """A picture as it goes to the device, of shape `picture`.

        Args:
          image: pixels, or the bytes of a file (what `data.decode` reads).
          name: what messages call it.

        Raises:
          UserError: for what is no picture, or a damaged one.
        """
        if self._stored is None:
            if self._pack is not None:
                image = self._pack(image, name, None)
            return self._host(image, name, None)
        if isinstance(image, bytes):
            image = decode.decode(image, channels=self._channels, name=name)
        return _squeezed(image, self._stored[:2])

    def logits(self, images: UInt8[np.ndarray, "n H W C"]) -> Float[np.ndarray, "n classes"]:
        """Those of prepared pictures, float32, as evaluation stores them."""
        parts = [np.zeros((0, len(self.classes)), np.float32)]
        for start in range(0, len(images), self.sizes[-1]):
            chunk = np.asarray(images[start : start + self.sizes[-1]])
            logits = self._predict(self.variables, _padded(chunk, self._size(len(chunk))))
            parts.append(np.asarray(logits)[: len(chunk)])
        return np.concatenate(parts)

    def probabilities(self, logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
        """float64, calibrated where a calibration is stored."""
        return decisions.probabilities(self.decision, logits)

    def answers(self, logits: Float[np.ndarray, "n classes"], top: int = 5) -> list[dict[str, Any]]:
        """What to say about each picture: a list of dicts that JSON takes.

        `class` and `probability` are of the answer: the most probable class, or what stored thresholds or costs decide.
        `top` is the list of the most probable classes with their probabilities, highest first. Where the model's output
        is not finite there is only `error`.
        """
        probability = self.probabilities(logits)
        chosen = decisions.decide(self.decision, probability)
        order = np.argsort(-probability, axis=1, kind="stable")[:, :top]
        rows: list[dict[str, Any]] = []
        for p, answer, best in zip(probability, chosen, order, strict=True):
            if not np.isfinite(p).all():
                rows.append({"error": "the model's answer to this picture is not finite"})
                continue
            first = [{"class": self.classes[i], "probability": float(p[i])} for i in best]
            rows.append({"class": self.classes[answer], "probability": float(p[answer]), "top": first})
        return rows

    @property
    def decides(self) -> bool:
        """Whether thresholds or costs are stored, so that the answer need not be the most probable class."""
        return bool(self.decision and (self.decision["thresholds"] or self.decision["costs"]))

    @functools.cached_property
    def explains(self) -> str | None:
        """The kind of heat maps: "Grad-CAM", "attention rollout" or None (explain.method)."""
        shape = jax.eval_shape(self._normalised, jax.ShapeDtypeStruct((1, *self.picture), np.uint8)).shape[1:]
        return explain.method(self.model, shape)

    def heatmaps(
        self, images: UInt8[np.ndarray, "n H W C"], classes: Sequence[str | int] | None = None
    ) -> tuple[UInt8[np.ndarray, "n h w C"], Float[np.ndarray, "n h w"]]:
        """(prepared pictures as the model sees them, their heat maps, float32).

        `classes`: names or numbers of the classes to explain; None for the one with the highest logit. The weights of
        one view are looked at, whatever the setting of test-time augmentation. Raises UserError as `explain.heatmaps`.
        """
        numbers = None
        if classes is not None:
            numbers = np.array([self.classes.index(c) if isinstance(c, str) else c for c in classes], np.int32)
        pictures, maps = [], []
        for start in range(0, len(images), explain.CHUNK):
            chunk = np.asarray(images[start : start + explain.CHUNK])
            n, size = len(chunk), self._size(len(chunk))
            normal = self._normalised(_padded(chunk, size))
            wanted = None if numbers is None else _padded(numbers[start : start + explain.CHUNK], size)
            maps.append(explain.heatmaps(self.model, self.variables, normal, wanted)[:n])
            levels = 255 * (np.asarray(normal)[:n] * self._std + self._mean)
            pictures.append(np.rint(levels).clip(0, 255).astype(np.uint8))
        return np.concatenate(pictures), np.concatenate(maps)

    def _size(self, n):
        """The smallest compiled size that has room for n pictures."""
        return next((size for size in self.sizes if size >= n), n)

    def _remarks(self, data):
        if self._stored:
            h, w, c = self._stored
            colour = "grey" if c == 1 else "colour"
            yield f"trained on {data}: pictures are squeezed to {w}x{h} pixels ({colour}) and should look like its own"
        if self.decision is None:
            yield "probabilities are not calibrated; `jaxcls calibrate` does that, and chooses thresholds"


def _config(stored):
    """A checkpoint's config as a Reader. The training list is set aside: what it needs (OpenCV) may be missing here."""
    from ml_collections import ConfigDict

    config = resolve(ConfigDict(stored, convert_dict=True))
    with config.unlocked():
        config.data.augment, config.loss.consistency = config.data.eval_transform, 0.0
    return Reader(config)


def _transforms(config, classes, stored):
    """build.build_transforms for pictures of files, or of a set in memory."""
    source = types.SimpleNamespace(classes=classes)
    if stored:
        source.images = None
    return build.build_transforms(config, source, build.build_normalize(config))


def _stored_shape(meta):
    """(height, width, channels) of the pictures of a set kept in memory; None where pictures were read from files."""
    if "picture" not in meta["data"]:
        raise UserError("it was written before jaxcls noted what the pictures are like; train again.")
    return tuple(meta["data"]["picture"]) if meta["data"]["picture"] else None


def _decision(folder, classes):
    """What is stored about calibration and thresholds for a step, or None."""
    if folder.parent.name != "checkpoints" or not folder.name.isdigit():
        return None
    workdir, step = folder.parents[1], int(folder.name)
    decision = decisions.read(workdir, step)
    if decision and [str(name) for name in decision["classes"]] != [str(name) for name in classes]:
        path = decisions.path(workdir, step)
        raise UserError(f"{path} is of other classes; make it anew with `jaxcls calibrate {workdir}`")
    return decision


def _squeezed(image, size):
    """The picture at exactly (height, width), through Pillow's antialiased bilinear filter; as it is where it fits."""
    if image.shape[:2] == tuple(size):
        return image
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR)).reshape(*size, image.shape[2])


def _padded(rows, size):
    return rows if len(rows) == size else np.pad(rows, [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1))


def _state(variables):
    """What a task's `predict` looks at of a TrainState."""
    rest = {name: value for name, value in variables.items() if name != "params"}
    return types.SimpleNamespace(params=variables["params"], model_state=rest)
