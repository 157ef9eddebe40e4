"""Everything a run needs that is no array (`Run`): what it feeds the compiled steps, and the state it starts with."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxcls import optim
from jaxcls import state as train_state
from jaxcls.data import pipeline, workers
from jaxcls.data.base import ArraySource, Source
from jaxcls.data.sampling import Sampler
from jaxcls.models import pretrained, stages, weight_files, whitening
from jaxcls.optim.schedules import Schedule
from jaxcls.parallel import Parallel
from jaxcls.state import TrainState
from jaxcls.tasks.base import Task
from jaxcls.tasks.distill import without_hints
from jaxcls.tasks.teacher import Teacher
from jaxcls.training import precise_bn
from jaxcls.training.feed import (
    ChangingFeed,
    EvalFeed,
    MemoryEvalFeed,
    MemoryTrainFeed,
    StreamEvalFeed,
    StreamTrainFeed,
    TrainFeed,
)
from jaxcls.training.step import make_eval_step, make_train_step
from jaxcls.types import Figures, PathLike, PyTree

WHITENED_BY = 5000  # training pictures that config.model.whiten looks at
STEPS_PER_CALL = 32  # on accelerators, for sets in device memory


@dataclasses.dataclass
class Run:
    """Everything a run needs that is no array. `build.build` makes it; tests and scripts may replace parts of it.

    Attributes:
      config: the resolved config.
      sources: split -> Source.
      parallel: the devices.
      model: the Linen module.
      task: the Task with all its wrappers.
      tx: the optax chain.
      learning_rate: step -> rate, for the log.
      steps_per_epoch, total_steps, eval_every, checkpoint_every, log_every: ints, in steps.
      normalize: (mean, std).
      sampler: which training rows make up an epoch.
      loss_scale: initial loss scale, or None.
      teacher: tasks.teacher.Teacher, or None without one.
      phases: (first step, task) pairs where the task of training changes on the way, in order from step 0; the last
        one is `task`. () where it does not.
      control: (memory dict, metrics of the validation split) -> controls; called after each evaluation. `memory` is
        saved with the checkpoints. None: the controls stay as they are.
      controls: their initial values.
    """

    config: ConfigDict
    sources: dict[str, Source]
    parallel: Parallel
    model: Any
    steps_per_epoch: int
    total_steps: int
    eval_every: int
    checkpoint_every: int
    log_every: int
    normalize: tuple[tuple[float, ...], tuple[float, ...]]
    transforms: dict[str, Callable[..., Any]]
    sampler: Sampler
    task: Task = None  # type: ignore[assignment]  # build.build sets it and the next two once the rest is there
    tx: optax.GradientTransformation = None
    learning_rate: Schedule = None  # type: ignore[assignment]
    loss_scale: float | None = None
    teacher: Teacher | None = None
    phases: tuple[tuple[int, Task], ...] = ()
    control: Callable[[dict[str, Any], Figures], dict[str, float]] | None = None
    controls: dict[str, float] = dataclasses.field(default_factory=lambda: {"lr_scale": 1.0})

    @functools.cached_property
    def classes(self) -> Sequence[str]:
        """Class names."""
        return self.sources["train"].classes

    @property
    def selects(self) -> bool:
        """Whether a validation split chooses the best checkpoint."""
        return "validation" in self.sources

    def score(self, figures: Figures) -> float | None:
        """What ranks a state by its figures on validation, higher is better; None where they do not have it.

        It is the figure of config.eval.best; a task without logits has none.
        """
        value = figures.get(self.config.eval.best)
        return -value if value is not None and self.config.eval.best == "loss" else value

    def init_state(self, weights: PyTree = None) -> TrainState:
        """The state of step 0 as host arrays, with published weights where given; made by one compiled call."""
        return jax.device_get(jax.jit(self._create)(jax.random.PRNGKey(self.config.seed), weights))

    def first_state(self) -> tuple[TrainState, pretrained.Report | None]:
        """(the state a fresh run starts with, report on the weights of config.model.pretrained; None where empty)."""
        weights, report = self.pretrained
        del self.pretrained  # they may be gigabytes, and are needed once
        if self.config.model.whiten:
            weights = {"params": {self.model.whitened: {"kernel": self._whitening()}}}
        return self.init_state(weights), report

    @functools.cached_property
    def pretrained(self) -> tuple[PyTree, Any]:
        """(weights, report) of config.model.pretrained (`models.pretrained.match`); (None, None) where it is empty.

        A run that goes on from a checkpoint never looks at it: the file may be gone.
        """
        if not self.config.model.pretrained:
            return None, None
        file, shapes = weight_files.read(self.config.model.pretrained), self.state_shapes
        return pretrained.match(self.model, {"params": without_hints(shapes.params), **shapes.model_state}, file)

    @functools.cached_property
    def state_shapes(self) -> TrainState:
        """The state of step 0 as shapes, with a teacher if there is one: nothing is computed."""
        state = jax.eval_shape(self._create, jax.ShapeDtypeStruct((2,), np.uint32))
        more = {} if self.teacher is None else self.teacher.shapes()
        return state.replace(extra={**state.extra, **more})

    def complete(self, state: TrainState, memory: dict[str, Any], workdir: PathLike, log: Any) -> TrainState:
        """A state of host arrays with what lies in no checkpoint: a teacher (Teacher.complete)."""
        return state if self.teacher is None else self.teacher.complete(state, memory, workdir, log)

    def _whitening(self):
        mean, std = self.normalize
        images = self.sources["train"].images[:WHITENED_BY].astype(np.float32) / 255
        return whitening.kernel((images - np.float32(mean)) / np.float32(std))

    def _create(self, rng, weights=None):
        zeros = np.zeros(2, np.int32)
        batch = {"image": np.zeros((2, *self.batch_shape()), np.uint8), "label": zeros, "epoch": zeros, "draw": zeros}
        return train_state.create(
            self.task, self.tx, rng, batch, controls=self.controls, loss_scale=self.loss_scale, weights=weights
        )

    def batch_shape(self) -> tuple[int, ...]:
        """(height, width, channels) of evaluation pictures as they reach the device."""
        source = next(self.sources[k] for k in ("validation", "test", "train") if k in self.sources)
        if self.in_memory(source):
            return source.images.shape[1:]
        item = source[0]
        return self.transforms["eval_host"](item["image"], item["id"], None).shape

    @functools.cached_property
    def picture(self) -> tuple[int, ...]:
        """(height, width, channels) of evaluation pictures as the model sees them."""
        zeros = jax.ShapeDtypeStruct((2,), np.int32)
        batch = {"image": jax.ShapeDtypeStruct((2, *self.batch_shape()), np.uint8), "label": zeros}
        return jax.eval_shape(functools.partial(self.transforms["eval_device"], None), batch)["image"].shape[1:]

    def layers(self) -> list[str]:
        """Names of the model's parameters in the order in which a forward pass comes to them (optim.call_order)."""
        return optim.call_order(self.model, jax.ShapeDtypeStruct((2, *self.picture), np.float32))

    @functools.cached_property
    def parts(self) -> dict[str, str]:
        """Parameter name -> the part of the model it belongs to (stages.parts)."""
        return stages.parts(self.model, jax.ShapeDtypeStruct((2, *self.picture), np.float32))

    def in_memory(self, source: Source) -> TypeGuard[ArraySource]:
        """Whether a source is kept in device memory."""
        return hasattr(source, "images") and source.images.nbytes <= self.config.data.device_memory

    def train_feed(self) -> TrainFeed:
        """The training split, feeding the compiled training step (feed.py)."""
        options = {"accumulate": self.config.accumulate, "axis_name": self.parallel.axis_name}
        starts, tasks = zip(*(self.phases or [(0, self.task)]), strict=True)
        steps = [make_train_step(task, self.tx, **options) for task in tasks]
        feed = self._train_feed(steps[0])
        if len(steps) == 1:
            return feed
        return ChangingFeed(zip(starts, [feed, *map(feed.with_step, steps[1:])], strict=True))

    def _train_feed(self, step):
        config, source = self.config, self.sources["train"]
        numbers = {"batch_size": config.batch_size, "seed": config.seed}
        if self.in_memory(source):
            length = 1 if self.parallel.devices[0].platform == "cpu" else STEPS_PER_CALL
            return MemoryTrainFeed(step, source, self.parallel, length=length, sampler=self.sampler, **numbers)
        rows = functools.partial(pipeline.train_rows, n=len(self.sampler), order=self.sampler, **numbers)
        return StreamTrainFeed(step, self._stream(source, "train_host", rows, config.batch_size), self.parallel)

    def refresher(self, feed: TrainFeed) -> Callable[[TrainState, int], TrainState] | None:
        """(state, step) -> state, for whatever is done before each evaluation and at the end; None for nothing.

        `feed` is the training feed.
        """
        batches = self.config.precise_bn
        return precise_bn.refresher(self.task, self.parallel, batches, feed) if batches else None

    def eval_feed(self, split: str, task: Task | None = None) -> EvalFeed:
        """A split, feeding the compiled evaluation step (feed.py) of the run's task or of another one."""
        source, batch_size = self.sources[split], self.eval_batch_size
        step = make_eval_step(task or self.task, axis_name=self.parallel.axis_name)
        if self.in_memory(source):
            return MemoryEvalFeed(step, source, self.parallel, batch_size=batch_size)
        rows = functools.partial(pipeline.eval_rows, n=len(source), batch_size=batch_size)
        stream = self._stream(source, "eval_host", rows, batch_size)
        return StreamEvalFeed(step, stream, self.parallel, n=len(source), batch_size=batch_size)

    @property
    def eval_batch_size(self) -> int:
        """Of all devices together."""
        return self.config.eval.batch_size or self.config.batch_size

    def _stream(self, source, transform, rows, batch_size):
        share = self.parallel.local_rows(batch_size)
        processes = self.config.data.workers
        stream = pipeline.Stream(
            source, self.transforms[transform], rows, seed=self.config.seed, share=share, workers=max(0, processes)
        )
        if processes < 0:
            batches = self.total_steps if transform == "train_host" else -(-len(source) // batch_size)
            chosen = workers.of_stream(stream, batches * batch_size // jax.process_count())
            stream.workers, stream.threads = chosen.processes, chosen.threads
            if chosen.why:
                say(chosen.why)
        return stream


def say(line: str) -> None:
    """Prints a line, if this is the main process."""
    if jax.process_index() == 0:
        print(line, flush=True)
