"""What a run produced, as one record (`Network`): read from a checkpoint here, made of a live run in training/run.py.

Whoever wants answers takes it: prediction, teachers, probes, reports, robustness. Nobody else rebuilds a model or looks
for its variables in a checkpoint.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from jaxcls import pytree
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.checkpoints import view
from jaxcls.checkpoints.meta import Answer, Meta
from jaxcls.errors import UserError, listed
from jaxcls.measure import decision, outliers
from jaxcls.quantize import build as rebuilt
from jaxcls.tasks import base, tta
from jaxcls.types import Batch, PathLike, PyTree

Normalization = tuple[Sequence[float], Sequence[float]]  # (mean, std)


@dataclasses.dataclass(frozen=True)
class Network:
    """A model with its weights, and all that is needed to have and to understand its answers.

    Attributes:
      title: a few words for people: which model, from where.
      name: of the model.
      model: the Linen module; `variables`: its collections, host arrays.
      classes: their names, in the order of the logits.
      preprocessing: of pictures.
      output: what an answer means: "softmax" or "sigmoid" (of logits), or "features".
      views, mean: test-time augmentation (tasks.tta).
      calibration: what calibration/<step>.json says (measure.decision), or None.
      bank: the training features that it measures distances to (measure.outliers), or None.
      averaged: whether the weights are averages.
      step: of the checkpoint; -1 where there is none. `data`: the name of what it was trained on.
      source: what its outputs depend on, as JSON: names and a SHA-256.
    """

    title: str
    name: str
    model: Any
    variables: PyTree
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    output: str = base.SOFTMAX
    views: tuple[str, ...] = ()
    mean: str = "logits"
    calibration: decision.Decision | None = None
    bank: outliers.Bank | None = None
    averaged: bool = False
    step: int = -1
    data: str = ""
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def normalize(self) -> Normalization:
        """(mean, std) of its pictures."""
        return self.preprocessing.mean, self.preprocessing.std

    @property
    def picture(self) -> tuple[int, ...]:
        """(height, width, channels) of a picture as the model sees it; of a clip (frames, ...)."""
        raw = jax.ShapeDtypeStruct((1, *self.preprocessing.prepare(self.preprocessing.blank()).shape), np.uint8)
        return jax.eval_shape(lambda x: self.preprocessing.one_clip(self.preprocessing.device(x)), raw).shape[1:]

    @property
    def key(self) -> str:
        """What predictions call its answer: "logits" or "features"."""
        return base.ANSWERS[self.output]

    def answer(self, variables: PyTree, image: Array, batch: Batch | None = None) -> Array:
        """The answer to normalised pictures [n, h, w, c], over all views: float32 [n, d]. For tracing.

        `batch`: theirs, for a model that takes more of it than the pictures. Raises UserError where it is missing.
        """
        more = base.beside(self.model, batch or {})
        ask = lambda view: base.answer(self.model, self.output, variables, view, more)  # noqa: E731
        return tta.averaged(ask, image, self.views, self.mean, self.output)[self.key]

    def features(self, variables: PyTree, image: Array, batch: Batch | None = None) -> Array:
        """What the last layer sees of normalised pictures (of several clips of a video, of the first): float32 [n, d].
        For tracing. `batch` as of `answer`."""
        more, image = base.beside(self.model, batch or {}), self.preprocessing.one_clip(image)
        return base.answer(self.model, base.FEATURES, variables, image, more)["features"]

    def function(self) -> Callable[[Array], Array]:
        """uint8 pictures [n, h, w, c], as `preprocessing.prepare` makes them -> the answer, float32 [n, d].

        Pure, the weights within: for tracing, export and `jax.jit`.
        """
        return lambda images: self.answer(self.variables, self.preprocessing.device(images))


def from_run(
    path: PathLike, step: int | None = None, *, raw: bool = False, dtype: str | None = None, what: str = ""
) -> Network:
    """The network of a run's workdir (its best checkpoint, the newest where none is best), or of one step's folder.

    Args:
      path: the folder.
      step: of a workdir, another than that.
      raw: the weights themselves, where there is an average of them.
      dtype: of the computation; None for the run's.
      what: how messages call the run; "" for the folder.

    Raises:
      UserError: where there is no good checkpoint, or its model is none that can be built here.
    """
    try:
        folder = view.best_step(path) if step is None else view.find_step(path, step)
        if problems := view.verify(folder):
            raise UserError(f"{folder} is damaged ({problems[0]}); choose another step")
        meta = view.read_meta(folder)
    except UserError as error:
        if not what:  # the message names the folder
            raise
        raise UserError(f"{what}: {error}") from error
    try:
        answer = meta.answer or _answer_of_version_1(meta)
        model = _model(answer, dtype or answer.precision)
        preprocessing = Preprocessing.from_json(answer.preprocessing)
    except UserError as error:
        raise UserError(f"{what or folder}: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{what or folder} does not say what model it is of ({error}); choose another step") from error
    variables, averaged = view.read_variables(folder, raw=raw)
    calibration, bank = _calibration(folder, meta.classes)
    if meta.answer is None:
        _check_version_1(f"{what or path}: {folder}", model, variables, preprocessing)
    return Network(
        title=f"{meta.model} from step {folder.name} of {folder.parents[1]}",
        name=meta.model,
        model=model,
        variables=variables,
        classes=meta.classes,
        preprocessing=preprocessing,
        output=answer.output,
        views=answer.views,
        mean=answer.mean,
        calibration=calibration,
        bank=bank,
        averaged=averaged,
        step=int(folder.name) if folder.name.isdigit() else meta.step,
        data=meta.data.get("name", ""),
        source={"model": meta.model, "sha256": hashlib.sha256(view.manifest_path(folder).read_bytes()).hexdigest()},
    )


def _model(answer, dtype):
    """The Linen module of an Answer. Raises UserError where there is none."""
    if answer.model is None:
        raise UserError(f"its model can't be built again: {answer.problem}")
    return rebuilt.create(answer.model, dtype=dtype)


def _answer_of_version_1(meta: Meta) -> Answer:
    """The Answer of a checkpoint that does not hold one, from its config. Raises UserError, KeyError or TypeError."""
    from ml_collections import ConfigDict

    from jaxcls.settings.reader import resolve

    config = resolve(ConfigDict(meta.config, convert_dict=True))
    if "picture" not in meta.data:
        raise UserError("it was written before jaxcls noted what the pictures are like; train again.")
    picture = meta.data["picture"]
    preprocessing = Preprocessing(
        transforms=tuple(config.data.eval_transform),
        mean=tuple(meta.normalize["mean"]),
        std=tuple(meta.normalize["std"]),
        channels=config.data.channels or 3,
        picture=tuple(picture) if picture else None,
        pack=config.data.pack,
    )
    spec = {"name": config.model.name, "num_classes": len(meta.classes), "neck": config.model.neck}
    return Answer(
        names={},
        raw={},
        model={**spec, "fields": config.model.fields.to_dict()},
        precision=config.precision,
        output=base.SOFTMAX,
        views=tuple(config.eval.tta),
        mean=config.eval.tta_mean,
        preprocessing=preprocessing.to_json(),
    )


def _check_version_1(what, model, variables, preprocessing):
    """Raises UserError where the arrays that prefixes of names chose are not those of the model."""
    raw = jax.ShapeDtypeStruct((2, *preprocessing.prepare(preprocessing.blank()).shape), np.uint8)
    image = jax.eval_shape(preprocessing.device, raw)
    wanted = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), image)
    shapes = [{name: tuple(x.shape) for name, x in pytree.flatten_names(tree).items()} for tree in (variables, wanted)]
    if apart := sorted(shapes[0].items() ^ shapes[1].items()):
        raise UserError(
            f"{what} does not say which of its arrays answer, and {apart[0][0]} of them fits no "
            f"{type(model).__name__}: it is of a task of another kind; train again"
        )


def _calibration(folder, classes):
    """What is stored about calibration and thresholds for a step, and the features of its distances; or None."""
    if folder.parent.name != "checkpoints" or not folder.name.isdigit():
        return None, None
    workdir, step = folder.parents[1], int(folder.name)
    stored = decision.read(workdir, step)
    if stored and [str(name) for name in stored["classes"]] != list(classes):
        path = decision.path(workdir, step)
        raise UserError(f"{path} is of other classes; make it anew with `jaxcls calibrate {workdir} --apply`")
    return stored, outliers.read(workdir, step, stored)


def batch_of(beside: Sequence[Any]) -> dict[str, Any]:
    """What `Network.answer` takes for a batch, of the numbers of columns beside pictures; of () one without any."""
    return {"columns": beside[0]} if beside else {}


def refuse_columns(network: Network, what: str) -> None:
    """Raises UserError for a network that takes columns beside the pictures; `what` has pictures alone."""
    if inputs := getattr(network.model, "inputs", ()):
        taken = getattr(network.model, "beside", listed(map(repr, inputs)))
        raise UserError(
            f"{network.title} takes {taken} beside each picture, and {what} pictures alone; `jaxcls eval RUN --data` "
            "takes sets that have it."
        )


def check_classes(what: str, theirs: Sequence[str], ours: Sequence[str]) -> None:
    """A teacher's class names are a student's. Raises UserError where they are not; `what` is the teacher."""
    if len(theirs) != len(ours):
        raise UserError(f"{what} knows {len(theirs):,} classes, the student {len(ours):,}; they must be the same.")
    if list(theirs) != list(ours) and sorted(theirs) == sorted(ours):
        raise UserError(f"{what} has the student's classes in another order; train it on the same set.")


def check_pictures(network: Network, picture: tuple[int, ...], key: str, size: int = 0) -> None:
    """The network takes normalised pictures of this shape, and gives `key` ("logits", "features"), `size` of them.

    Raises:
      UserError: where that is not so.
    """
    image = jax.ShapeDtypeStruct((2, *picture), np.float32)
    if key == "logits" and network.key != key:
        raise UserError(f"{network.title} answers with {network.key}, not with {key}; choose another.")
    ask = network.features if key == "features" else dataclasses.replace(network, views=()).answer
    columns = getattr(network.model, "columns", ())
    beside = [jax.ShapeDtypeStruct((2, sum(column.width for column in columns)), np.float32)] if columns else []
    try:
        answer = jax.eval_shape(ask, network.variables, image, batch_of(beside))
    except KeyError as error:
        raise UserError(f"{network.title} has no {error} among the features that it gives, so no {key}.") from error
    except Exception as error:  # models raise whatever they like for shapes that do not fit
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{network.title} does not take pictures of {picture}: {reason}") from error
    if size and answer.shape[-1] != size:
        raise UserError(f"{network.title} gives {answer.shape[-1]} {key} for {size} classes.")
