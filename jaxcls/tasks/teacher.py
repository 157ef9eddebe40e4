"""The teacher of a run (`config.distill`): opened when first needed, checked before anything compiles, put into the
state when the run starts. build.py hands its section of the config to `read`."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from jaxcls import files, metrics, models, parallel, pytree
from jaxcls.data import sources
from jaxcls.errors import UserError
from jaxcls.state import TrainState
from jaxcls.tasks import networks
from jaxcls.tasks.base import Task
from jaxcls.tasks.distill import Distill, Normalization, hint_channels, renormalize
from jaxcls.tasks.networks import Network
from jaxcls.tasks.supervised import Supervised
from jaxcls.tasks.wrappers import Transformed
from jaxcls.types import Batch, PathLike, PyTree

MODES = ("soft", "hard")
SAMPLE = 2048  # training pictures on which a teacher is measured where there is no validation split
CACHE = "teacher_logits.npz"  # in the workdir


def read(config: Any, normalizations: Mapping[str, Normalization]) -> "Teacher | None":
    """The Teacher of a config; None where it names none.

    Args:
      config: a Reader.
      normalizations: name -> (mean, std).

    Raises:
      UserError: for settings that cannot go together. Files are not looked at yet.
    """
    section = config.distill
    name = section.teacher
    if not name:
        return None
    if section.mode not in MODES:
        raise UserError(f"config.distill.mode is {section.mode!r}; it can be {' or '.join(map(repr, MODES))}.")
    loss = {"mode": section.mode, "cache": section.cache}
    if section.mode == "soft":
        loss |= {"alpha": section.alpha, "temperature": section.temperature}
    if section.hints:
        loss |= {"hints": [_pair(text) for text in section.hints], "hint_weight": section.hint_weight}
        if section.cache:
            raise UserError("config.distill.hints need the teacher itself; set config.distill.cache=False.")
    if not section.model:
        if name == "init":
            raise UserError("config.distill.teacher='init' is an untrained net; name it in config.distill.model.")
        return Teacher(loss, functools.partial(networks.from_run, name), random=_random(config))
    normalize = section.normalize
    if normalize and normalize not in normalizations:
        raise UserError(f"config.distill.normalize is {normalize!r}; it can be {', '.join(normalizations)}.")
    fields = dict(_field(text) for text in section.fields)
    if name == "init":
        make = functools.partial(networks.from_seed, config.seed, section.model, fields)
    else:
        make = functools.partial(networks.from_file, name, section.model, fields)
    return Teacher(loss, make, normalize=normalizations.get(normalize), of_run=False, random=_random(config))


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
      make: opens the network: `networks.from_run` with its first argument, or one of the others with three.
      of_run: which of these it is.
      normalize: (mean, std) of the teacher's pictures, where they are not the student's.
      random: whether the pictures of training differ from those that a cache is computed of.

    Attributes:
      run: the student's training.run.Run; `build.build` sets it.
    """

    def __init__(
        self,
        loss: dict[str, Any],
        make: Callable[..., Network],
        *,
        of_run: bool = True,
        normalize: Normalization | None = None,
        random: bool = False,
    ):
        self.settings, self.make, self.of_run, self.normalize, self.random = loss, make, of_run, normalize, random
        self.run: Any = None

    def distill(self, normalize: Normalization) -> Callable[[Supervised], Distill]:
        """A function that puts the teacher's part into the loss of a task, whose pictures have this (mean, std)."""
        return functools.partial(Distill, teacher=lambda: self.network, normalize=normalize, **self.settings)

    @functools.cached_property
    def network(self) -> Network:
        """The teacher's. Raises UserError where it can't be had or does not fit."""
        names, dtype = self.run.classes, self.run.config.precision
        if self.of_run:
            return self.make(names, dtype)
        return self.make(names, self.run.picture, self.normalize, dtype)

    @property
    def cache(self) -> bool:
        """Whether the teacher's logits are computed once."""
        return self.settings["cache"]

    def shapes(self) -> dict[str, PyTree]:
        """What `complete` puts into the state, as shapes."""
        if self.cache:
            shape = (len(self.run.sources["train"]), len(self.run.classes))
            return {"teacher": {"logits": jax.ShapeDtypeStruct(shape, np.float32)}}
        return {"teacher": jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self.network.variables)}

    def check(self, workdir: PathLike) -> list[str]:
        """Opens the teacher; returns lines about it.

        Raises:
          UserError: where it is missing, unfinished or damaged, or does not fit the run.
        """
        network = self.network
        networks.check_pictures(network, self.run.picture, len(self.run.classes))
        if self.of_run:
            place, own = Path(self.run.config.distill.teacher).resolve(), Path(workdir).resolve()
            if place == own or own / "checkpoints" in (place, *place.parents):
                raise UserError("config.distill.teacher is the --workdir of this run itself; choose another.")
        hint_channels(self.run.model, network.model, self.settings.get("hints", ()), self.run.picture)
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
        source = self.network.source
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
        """Notes the teacher's accuracy, on validation pictures or, where there are none, on some of training."""
        run, split = self.run, "validation"
        if not run.selects:
            split, source = "train", run.sources["train"]
            rows = np.unique(np.linspace(0, len(source) - 1, min(SAMPLE, len(source))).astype(int))
            run = dataclasses.replace(run, sources={"train": sources.subset(source, rows)}, teacher=None)
        with log.waiting("measuring the teacher"):
            outputs = self._predict(run, split)
        figures = metrics.of_logits(outputs["logits"], outputs["label"])
        say = log.warn if figures["accuracy"] < 1.5 / len(run.classes) else log.note
        kind = "validation" if split == "validation" else "training"
        say(f"the teacher's accuracy: {figures['accuracy']:.2%} of {figures['count']:,} {kind} pictures")

    def _predict(self, run, split):
        """Predictions of the teacher for a split, transformed as for evaluation."""
        evaluate = functools.partial(run.transforms["eval_device"], None)
        task = Transformed(_Alone(self.network, run.normalize), None, evaluate, seed=run.config.seed)
        return run.eval_feed(split, task)(run.parallel.replicate(self.network.variables))

    def _logits(self, workdir, log):
        """float32 [pictures of the training split, classes]: from the workdir if they are of this teacher and set."""
        key = "\n".join([*map(str, self.network.source.values()), self.run.sources["train"].fingerprint])
        path = workdir / CACHE
        stored = files.read_arrays(path, key)
        if parallel.agree(lambda: int(stored is not None)):
            return stored["logits"]
        with log.waiting("computing the teacher's logits"):
            logits = self._predict(self.run, "train")["logits"]
        if jax.process_index() == 0:
            files.write_arrays(path, key, logits=logits)
        return logits


class _Alone(Task):
    """Predicts with the network alone; in place of a state there are its variables."""

    def __init__(self, network: Network, normalize: Normalization):
        self.network, self.normalize = network, normalize

    def predict(self, state: PyTree, batch: Batch) -> dict[str, Array]:
        """`{"logits"}` of the network."""
        image = renormalize(batch["image"], self.normalize, self.network.normalize)
        return {"logits": self.network.model.apply(state, image, train=False)[0]}
