"""The teacher of a run (`config.distill`): opened when first needed, checked before anything compiles, put into the
state when the run starts. build.py hands its section of the config to `read`."""

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np

from jaxcls import files, metrics, models, parallel, pytree
from jaxcls.data import sources
from jaxcls.errors import UserError
from jaxcls.tasks import teachers
from jaxcls.tasks.distill import Distill, Teaching, hint_channels
from jaxcls.tasks.wrappers import Transformed

MODES = ("soft", "hard")
SAMPLE = 2048  # training pictures on which a teacher is measured where there is no validation split
CACHE = "teacher_logits.npz"  # in the workdir


def read(config, normalizations):
    """The Distillation of a config; None where it names no teacher.

    Args:
      config: a Reader.
      normalizations: name -> (mean, std).

    Raises:
      UserError: for settings that cannot go together. Files are not looked at yet.
    """
    section = config.distill
    teacher = section.teacher
    if not teacher:
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
    name = section.model
    if not name:
        if teacher == "init":
            raise UserError("config.distill.teacher='init' is an untrained net; name it in config.distill.model.")
        return Distillation(loss, functools.partial(teachers.from_run, teacher), random=_random(config))
    normalize = section.normalize
    if normalize and normalize not in normalizations:
        raise UserError(f"config.distill.normalize is {normalize!r}; it can be {', '.join(normalizations)}.")
    make, what = (teachers.from_seed, config.seed) if teacher == "init" else (teachers.from_file, teacher)
    fields = dict(_field(text) for text in section.fields)
    opened = functools.partial(make, what, name, fields)
    return Distillation(loss, opened, normalize=normalizations.get(normalize), of_run=False, random=_random(config))


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


class Distillation:
    """What a run with a teacher does beside the task.

    Args:
      loss: keyword arguments of Distill.
      make: opens the teacher: `teachers.from_run` with its first argument, or one of the others with three.
      of_run: which of these it is.
      normalize: (mean, std) of the teacher's pictures, where they are not the student's.
      random: whether the pictures of training differ from those that a cache is computed of.
    """

    def __init__(self, loss, make, *, of_run=True, normalize=None, random=False):
        self.settings, self.make, self.of_run, self.normalize, self.random = loss, make, of_run, normalize, random
        self.run = None

    def wrapper(self, normalize):
        """A function that puts the teacher's part into the loss of a task, whose pictures have this (mean, std)."""
        return functools.partial(Distill, teacher=lambda: self.teacher, normalize=normalize, **self.settings)

    @functools.cached_property
    def teacher(self):
        """The Teacher. Raises UserError where it can't be had or does not fit."""
        run = self.run
        names, dtype = run.classes, run.config.precision
        if self.of_run:
            return self.make(names, dtype)
        return self.make(names, self.run.picture, self.normalize, dtype)

    @property
    def cache(self):
        """Whether the teacher's logits are computed once."""
        return self.settings["cache"]

    def shapes(self):
        """What `complete` puts into the state, as shapes."""
        if self.cache:
            shape = (len(self.run.sources["train"]), len(self.run.classes))
            return {"teacher": {"logits": jax.ShapeDtypeStruct(shape, np.float32)}}
        return {"teacher": jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self.teacher.variables)}

    def check(self, workdir):
        """Opens the teacher; returns lines about it.

        Raises:
          UserError: where it is missing, unfinished or damaged, or does not fit the run.
        """
        teacher = self.teacher
        teachers.check_pictures(teacher, self.run.picture, len(self.run.classes))
        if self.of_run:
            place, own = Path(self.make.args[0]).resolve(), Path(workdir).resolve()
            if place == own or own / "checkpoints" in (place, *place.parents):
                raise UserError("config.distill.teacher is the --workdir of this run itself; choose another.")
        hint_channels(self.run.model, teacher.model, self.settings.get("hints", ()), self.run.picture)
        lines = [f"teacher {teacher.title}: {pytree.count(teacher.variables['params']):,} parameters"]
        if self.cache and self.random:
            lines.append(
                "the teacher's logits are computed once, of pictures without augmentation, while the student's are "
                "augmented (config.distill.cache)"
            )
        return lines

    def complete(self, state, memory, workdir, log):
        """The state with the teacher in `extra`; at the start of a run the teacher is measured first.

        Args:
          state: a TrainState of host arrays.
          memory: the loop's memory, in which the teacher is noted, so that a run never goes on with another one.
          workdir: of the run; takes the cache.
          log: a Logger.

        Raises:
          UserError: where the run began with another teacher.
        """
        source = self.teacher.source
        if memory.setdefault("teacher", source) != source:
            raise UserError(
                f"{workdir} was begun with another teacher than {self.teacher.title}; put that one back, name the "
                "folder of its step in config.distill.teacher, or choose another --workdir."
            )
        if int(state.step) == 0:
            self._measure(log)
        held = {"logits": self._logits(Path(workdir), log)} if self.cache else self.teacher.variables
        return state.replace(extra={**state.extra, "teacher": held})

    def _measure(self, log):
        """Notes the teacher's accuracy, on validation pictures or, where there are none, on some of training."""
        run, split = self.run, "validation"
        if not run.selects:
            split, source = "train", run.sources["train"]
            rows = np.unique(np.linspace(0, len(source) - 1, min(SAMPLE, len(source))).astype(int))
            run = dataclasses.replace(run, sources={"train": sources.subset(source, rows)}, distillation=None)
        with log.waiting("measuring the teacher"):
            found = self._predict(run, split)
        figures = metrics.of_logits(found["logits"], found["label"])
        say = log.warn if figures["accuracy"] < 1.5 / len(run.classes) else log.note
        kind = "validation" if split == "validation" else "training"
        say(f"the teacher's accuracy: {figures['accuracy']:.2%} of {figures['count']:,} {kind} pictures")

    def _predict(self, run, split):
        """Predictions of the teacher for a split, transformed as for evaluation."""
        evaluate = functools.partial(run.transforms["eval_device"], None)
        task = Transformed(Teaching(self.teacher, run.normalize), None, evaluate, seed=run.config.seed)
        return run.eval_feed(split, task)(run.parallel.replicate(self.teacher.variables))

    def _logits(self, workdir, log):
        """float32 [pictures of the training split, classes]: from the workdir if they are of this teacher and set."""
        key = "\n".join([*map(str, self.teacher.source.values()), self.run.sources["train"].fingerprint])
        path = workdir / CACHE
        found = files.read_arrays(path, key)
        if parallel.agree(lambda: int(found is not None)):
            return found["logits"]
        with log.waiting("computing the teacher's logits"):
            logits = self._predict(self.run, "train")["logits"]
        if jax.process_index() == 0:
            files.write_arrays(path, key, logits=logits)
        return logits
