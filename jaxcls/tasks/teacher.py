"""The teacher of a run (`config.distill`): opened when first needed, checked before anything compiles, put into the
state when the run starts. build.py hands its section of the config to `read`."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from jaxcls import files, metrics, models, parallel, pytree, set_metrics
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.data.base import Source, subset
from jaxcls.errors import UserError
from jaxcls.hyperparameters import Section
from jaxcls.state import TrainState
from jaxcls.tasks import networks, teacher_files
from jaxcls.tasks.base import SIGMOID, Task
from jaxcls.tasks.distill import Distill, Normalization, hint_channels, renormalize
from jaxcls.tasks.networks import Network
from jaxcls.tasks.supervised import Supervised
from jaxcls.types import Batch, PathLike, PyTree

MODES = ("soft", "hard")
SAMPLE = 2048  # training pictures on which a teacher is measured where there is no validation split
CACHE = "teacher_logits.npz"  # in the workdir


@dataclasses.dataclass(frozen=True)
class Student:
    """What a teacher has to know of the run that it teaches in.

    Attributes:
      model: the Linen module.
      classes: their names.
      sources: split -> Source.
      preprocessing: of evaluation; `picture`: () -> (height, width, channels) that it gives the model.
      precision: of the computation.
      output: what its answers mean (tasks.base).
      predict: (source, task, what the task takes for a state) -> predictions of all pictures, host arrays.
    """

    model: Any
    classes: Sequence[str]
    sources: Mapping[str, Source]
    preprocessing: Preprocessing
    picture: Callable[[], tuple[int, ...]]
    precision: str
    output: str
    predict: Callable[[Source, Task, PyTree], dict[str, Any]]


def read(config: Any, normalizations: Mapping[str, Normalization], student: Student) -> "Teacher | None":
    """The Teacher of a config; None where it names none.

    Args:
      config: a Reader.
      normalizations: name -> (mean, std).
      student: what it is to teach.

    Raises:
      UserError: for settings that cannot go together. Files are not looked at yet.
    """
    section = config.distill
    name = section.teacher
    if not name:
        return None
    if section.mode not in MODES:
        raise UserError(f"config.distill.mode is {section.mode!r}; it can be {' or '.join(map(repr, MODES))}.")
    loss, numbers = {"mode": section.mode, "cache": section.cache}, Section(section, "distill")
    if section.mode == "soft":
        loss |= {"alpha": numbers.alpha, "temperature": numbers.temperature}
    if section.hints:
        loss |= {"hints": [_pair(text) for text in section.hints], "hint_weight": numbers.hint_weight}
        if section.cache:
            raise UserError("config.distill.hints need the teacher itself; set config.distill.cache=False.")
    random = _random(config)
    if not section.model:
        if name == "init":
            raise UserError("config.distill.teacher='init' is an untrained net; name it in config.distill.model.")
        return Teacher(loss, functools.partial(_of_run, name, student), student, folder=Path(name), random=random)
    normalize = section.normalize
    if normalize and normalize not in normalizations:
        raise UserError(f"config.distill.normalize is {normalize!r}; it can be {', '.join(normalizations)}.")
    fields = dict(_field(text) for text in section.fields)
    known = section.model, fields, student, normalizations.get(normalize)
    if name == "init":
        return Teacher(
            loss, functools.partial(_of_file, teacher_files.from_seed, config.seed, *known), student, random=random
        )
    return Teacher(loss, functools.partial(_of_file, teacher_files.from_file, name, *known), student, random=random)


def _of_run(path, student):
    what = f"config.distill.teacher={path}"
    if Path(path).is_file():
        raise UserError(f"{what} is a file of weights: name its model in config.distill.model.")
    network = networks.from_run(path, dtype=student.precision, what=what)
    networks.refuse_columns(network, "a teacher gets")
    networks.check_classes(what, network.classes, [str(name) for name in student.classes])
    return network


def _of_file(read, source, model, fields, student, normalize):
    pictures = student.preprocessing
    if normalize:
        pictures = dataclasses.replace(pictures, mean=tuple(normalize[0]), std=tuple(normalize[1]))
    network = read(source, model, fields, student.classes, student.picture(), pictures, student.precision)
    return dataclasses.replace(network, output=student.output)  # a file of weights does not say


def _pair(text):
    ours, _, theirs = text.partition("=")
    return ours.strip(), theirs.strip() or ours.strip()


def _field(text):
    try:
        return models.parse_field(text)
    except UserError:
        raise UserError(f"config.distill.fields takes name=value, as in 'stem=cifar', not {text!r}.") from None


def _random(config):
    """Whether training pictures are transformed otherwise than evaluation pictures."""
    return tuple(config.data.augment) != tuple(config.data.eval_transform)


class Teacher:
    """The teacher of a run: a network that is opened when it is first needed, and what the run does because of it.

    Args:
      loss: keyword arguments of Distill.
      make: () -> Network; raises UserError where it can't be had or does not fit.
      student: what it is to teach.
      folder: of the teacher's run, or None where it is none.
      random: whether the pictures of training differ from those that a cache is computed of.
    """

    def __init__(
        self,
        loss: dict[str, Any],
        make: Callable[[], Network],
        student: Student,
        *,
        folder: Path | None = None,
        random: bool = False,
    ):
        self.settings, self.make, self.student, self.folder, self.random = loss, make, student, folder, random

    def distill(self) -> Callable[[Supervised], Distill]:
        """A function that puts the teacher's part into the loss of a task of the student."""
        normalize = self.student.preprocessing.mean, self.student.preprocessing.std
        return functools.partial(Distill, teacher=lambda: self.network, normalize=normalize, **self.settings)

    @functools.cached_property
    def network(self) -> Network:
        """The teacher's, one view a picture. Raises UserError where it can't be had or does not fit."""
        return dataclasses.replace(self.make(), views=())

    @property
    def cache(self) -> bool:
        """Whether the teacher's logits are computed once."""
        return self.settings["cache"]

    def shapes(self) -> dict[str, PyTree]:
        """What `complete` puts into the state, as shapes."""
        if self.cache:
            shape = (len(self.student.sources["train"]), len(self.student.classes))
            return {"teacher": {"logits": jax.ShapeDtypeStruct(shape, np.float32)}}
        return {"teacher": jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self.network.variables)}

    def check(self, workdir: PathLike) -> list[str]:
        """Opens the teacher; returns lines about it.

        Raises:
          UserError: where it is missing, unfinished or damaged, or does not fit the run.
        """
        network, picture = self.network, self.student.picture()
        networks.check_pictures(network, picture, "logits", len(self.student.classes))
        if network.output != self.student.output:
            raise UserError(
                f"config.distill.teacher: {network.title} answers with {network.output}, but what is learned is "
                f"{self.student.output} (one class a picture, or sets of them); choose a teacher of the same kind."
            )
        if self.folder is not None:
            place, own = self.folder.resolve(), Path(workdir).resolve()
            if place == own or own / "checkpoints" in (place, *place.parents):
                raise UserError("config.distill.teacher is the --workdir of this run itself; choose another.")
        hint_channels(self.student.model, network.model, self.settings.get("hints", ()), picture)
        lines = [f"teacher {network.title}: {pytree.count(network.variables['params']):,} parameters"]
        if self.cache and self.random:
            lines.append(
                "the teacher's logits are computed once, of pictures without augmentation, while the student's are "
                "augmented (config.distill.cache)"
            )
        return lines

    def complete(self, state: TrainState, memory: dict[str, Any], workdir: PathLike, log: Any) -> TrainState:
        """The state with the teacher in `extra`; at the start of a run the teacher is measured first.

        Args:
          state: a TrainState of host arrays.
          memory: the loop's memory, in which the teacher is noted, so that a run never goes on with another one.
          workdir: of the run; takes the cache.
          log: a Logger.

        Raises:
          UserError: where the run began with another teacher.
        """
        source = dict(self.network.source)
        if memory.setdefault("teacher", source) != source:
            raise UserError(
                f"{workdir} was begun with another teacher than {self.network.title}; put that one back, name the "
                "folder of its step in config.distill.teacher, or choose another --workdir."
            )
        if int(state.step) == 0:
            self._measure(log)
        held = {"logits": self._logits(Path(workdir), log)} if self.cache else self.network.variables
        return state.replace(extra={**state.extra, "teacher": held})

    def _measure(self, log):
        """Notes how good the teacher is, on validation pictures or, where there are none, on some of training."""
        split, source = "validation", self.student.sources.get("validation")
        if source is None:
            split, source = "training", self.student.sources["train"]
            rows = np.unique(np.linspace(0, len(source) - 1, min(SAMPLE, len(source))).astype(int))
            source = subset(source, rows)
        with log.waiting("measuring the teacher"):
            outputs = self._predict(source)
        if self.student.output == SIGMOID:
            log.note(f"the teacher: {set_metrics.describe(set_metrics.of_sets(outputs['logits'], outputs['label']))}")
            return
        figures = metrics.of_logits(outputs["logits"], outputs["label"])
        say = log.warn if figures["accuracy"] < 1.5 / len(self.student.classes) else log.note
        say(f"the teacher's accuracy: {figures['accuracy']:.2%} of {figures['count']:,} {split} pictures")

    def _predict(self, source):
        """Predictions of the teacher for the pictures of a source, transformed as for evaluation."""
        return self.student.predict(source, _Alone(self.network, self.student.preprocessing), self.network.variables)

    def _logits(self, workdir, log):
        """float32 [pictures of the training split, classes]: from the workdir if they are of this teacher and set."""
        train = self.student.sources["train"]
        key = "\n".join([*map(str, self.network.source.values()), train.fingerprint])
        path = workdir / CACHE
        stored = files.read_arrays(path, key)
        if parallel.agree(lambda: int(stored is not None)):
            return stored["logits"]
        with log.waiting("computing the teacher's logits"):
            found = self._predict(train)
            logits = np.zeros((len(train), found["logits"].shape[1]), np.float32)
            logits[found["index"]] = found["logits"]  # skipped pictures have none, and are never drawn
        if jax.process_index() == 0:
            files.write_arrays(path, key, logits=logits)
        return logits


class _Alone(Task):
    """Predicts with the network alone, of pictures as the student gets them; for a state there are its variables."""

    def __init__(self, network: Network, pictures: Preprocessing):
        self.network, self.pictures = network, pictures

    def predict(self, state: PyTree, batch: Batch) -> dict[str, Array]:
        """`{"logits"}` of the network."""
        image, ours = self.pictures.device(batch["image"]), (self.pictures.mean, self.pictures.std)
        return {"logits": self.network.answer(state, renormalize(image, ours, self.network.normalize))}
