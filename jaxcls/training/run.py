"""Everything a run needs that is no array (`Run`), put together from its parts, and the state it starts with."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.serialization
import jax
import numpy as np

from jaxcls import pytree
from jaxcls import state as train_state
from jaxcls.checkpoints.meta import Answer
from jaxcls.data.base import Source
from jaxcls.errors import UserError
from jaxcls.hyperparameters import Hoisted
from jaxcls.models import pretrained, whitening
from jaxcls.parallel import Parallel, once
from jaxcls.quantize import build as rebuilt
from jaxcls.state import TrainState
from jaxcls.tasks.base import Task
from jaxcls.tasks.networks import Network
from jaxcls.training import feeds, precise_bn, pruning, run_weights
from jaxcls.training.data import Data
from jaxcls.training.feed import EvalFeed, TrainFeed
from jaxcls.training.model import Model
from jaxcls.training.training import Training
from jaxcls.types import Figures, PathLike, PyTree

WHITENED_BY = 5000  # training pictures that config.model.whiten looks at


@dataclasses.dataclass(frozen=True)
class Run:
    """A run: its parts, and what is made of several of them.

    Attributes:
      data, model, training: records.
      parallel: the devices.
      stored: the whole config as JSON has it, to be stored with the results; messages quote it, nothing else reads it.
    """

    data: Data
    model: Model
    training: Training
    parallel: Parallel
    stored: Mapping[str, Any]

    @property
    def task(self) -> Task:
        """The Task with all its wrappers."""
        return self.training.task

    @property
    def selects(self) -> bool:
        """Whether a validation split chooses the best checkpoint."""
        return "validation" in self.data.sources and self.training.best is not None

    def score(self, figures: Figures) -> float | None:
        """What ranks a state by its figures on validation, higher is better; None where they do not have it, or the
        task does not rank it."""
        best = self.training.best if self.task.ranked(figures) else None
        value = figures.get(best.name) if best else None
        return -value if value is not None and best and best.best == "min" else value

    def init_state(self, weights: PyTree = None) -> TrainState:
        """The state of step 0 on the devices, as `Parallel.place` puts it, with published weights where given; made by
        one compiled call. The host never has it, and no device has it whole where it is cut."""
        key, over = jax.random.PRNGKey(self.data.seed), self.parallel
        if not over.rules:
            return over.place(self._initial(key, weights))
        options = {"compiler_options": once(), "out_shardings": over.sharding(self._fresh_shapes)}
        made = Hoisted(functools.partial(jax.jit, **options), over.aimed(self._create), over.replicate)
        return made(np.asarray(key), over.place(weights))

    def blank_state(self) -> TrainState:
        """A state of host arrays like that of step 0, for a checkpoint to take the place of: zeros, nothing is computed
        but what no checkpoint holds (`Task.transient`)."""
        if self.task.transient:
            return self.init_state()
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), self._fresh_shapes)

    def first_state(self) -> tuple[TrainState, pretrained.Report | None]:
        """(the state a fresh run starts with, report on the weights of config.model.pretrained; None where empty)."""
        weights, report = self.pretrained
        vars(self).pop("pretrained")  # they may be gigabytes, and are needed once
        if self.model.whiten:
            weights = {"params": {self.model.module.whitened: {"kernel": self._whitening()}}}
        return self.init_state(weights), report

    @functools.cached_property
    def pretrained(self) -> tuple[PyTree, Any]:
        """(weights, report) of config.model.pretrained (`models.pretrained.match`); (None, None) where it is empty.

        A run that goes on from a checkpoint never looks at it: the file, or the other run, may be gone.
        """
        if not self.model.pretrained:
            return None, None
        file = run_weights.read(self.model.pretrained)
        shapes = self.task.answering(self.state_shapes, averaged=False)
        return pruning.match(self.task.model, shapes, file, self.model.use, self.data.picture)

    @functools.cached_property
    def state_shapes(self) -> TrainState:
        """The state of step 0 as shapes, with a teacher if there is one: nothing is computed."""
        # first, since a teacher is opened by it, and not while something is traced
        more = {} if self.training.teacher is None else self.training.teacher.shapes()
        state = self._fresh_shapes
        return state.replace(extra={**state.extra, **more})

    @functools.cached_property
    def _fresh_shapes(self):
        return self._initial.eval_shape(jax.ShapeDtypeStruct((2,), np.uint32), None)

    @functools.cached_property
    def _initial(self):
        """`_create`, compiled: traced once for its shapes and its values."""
        return Hoisted(functools.partial(jax.jit, compiler_options=once()), self._create)

    def complete(self, state: TrainState, memory: dict[str, Any], workdir: PathLike, log: Any) -> TrainState:
        """A state of host arrays with what lies in no checkpoint: a teacher (Teacher.complete)."""
        teacher = self.training.teacher
        return state if teacher is None else teacher.complete(state, memory, workdir, log)

    def _whitening(self):
        mean, std = self.data.normalize
        images = self.data.sources["train"].arrays["image"][:WHITENED_BY].astype(np.float32) / 255
        return whitening.kernel((images - np.float32(mean)) / np.float32(std))

    def _create(self, rng, weights=None):
        split = next(split for split in ("validation", "test", "train") if split in self.data.sources)
        leaves = self.data.leaves(split).items()
        batch = {name: np.zeros((2, *(leaf.shape or ())), leaf.dtype) for name, leaf in leaves}
        batch |= dict.fromkeys(("epoch", "draw"), np.zeros(2, np.int32))
        training = self.training
        return train_state.create(
            self.task,
            training.tx,
            rng,
            batch,
            controls=dict(training.controls),
            loss_scale=training.loss_scale,
            weights=weights,
        )

    def train_feed(self) -> TrainFeed:
        """The training split, feeding the compiled training step (feed.py)."""
        return feeds.train(self.data, self.training, self.parallel)

    def eval_feed(self, split: str | Source, task: Task | None = None) -> EvalFeed:
        """A split, or another source, feeding the compiled predictions of the run's task or of another one."""
        source = self.data.source(split) if isinstance(split, str) else split
        return feeds.evaluation(self.data, self.parallel, source, task or self.task)

    def refresher(self, feed: TrainFeed) -> Callable[[TrainState, int], TrainState] | None:
        """(state, step) -> state, for whatever is done before each evaluation and at the end; None for nothing.

        `feed` is the training feed.
        """
        batches = self.training.precise_bn
        return precise_bn.refresher(self.task, self.parallel, batches, feed) if batches else None

    def network(self, state: TrainState, title: str = "") -> Network:
        """What the run has produced so far: the model that answers, its weights taken to the host.

        No other process takes part, while reading a checkpoint waits for all of them; but where the state is cut over
        devices (`Parallel.rules`), every process has to ask.
        """
        task = self.task
        return Network(
            title=title or self.model.name,
            name=self.model.name,
            model=task.model,
            variables=self.parallel.host(task.answering(state)),
            classes=tuple(map(str, self.data.classes)),
            preprocessing=self.data.evaluation,
            output=task.output,
            views=task.views,
            mean=task.mean,
        )

    @functools.cached_property
    def answer(self) -> Answer:
        """How a checkpoint of this run is read (`checkpoints.meta`)."""
        task, names = self.task, self._names()
        answering, raw = (pytree.flatten_names(task.answering(names, averaged=a)) for a in (True, False))
        spec, problem = self._spec()
        return Answer(
            names=answering,
            raw=raw if raw != answering else {},
            model=spec,
            precision=self.model.precision,
            output=task.output,
            views=tuple(task.views),
            mean=task.mean,
            preprocessing=self.data.evaluation.to_json(),
            problem=problem,
        )

    def _names(self) -> TrainState:
        """A state whose every leaf is the name that a checkpoint has for it."""
        state = self.state_shapes
        stored = flax.serialization.to_state_dict(state)
        names = jax.tree.unflatten(jax.tree.structure(stored), list(pytree.flatten_names(stored)))
        return flax.serialization.from_state_dict(state, names)

    def _spec(self) -> tuple[dict[str, Any] | None, str]:
        """(what builds the task's model again, ""), or (None, why nothing does)."""
        module = self.task.model
        if why := getattr(module, "unanswerable", ""):
            return None, why
        spec = {**self.model.spec, "num_classes": getattr(module, "num_classes", 0)}
        try:
            again = rebuilt.create(spec, dtype=self.model.precision)
        except UserError as error:
            return None, str(error)
        if getattr(module, "axis_name", None) is not None:
            module = module.clone(axis_name=None)
        if type(again) is type(module) and again == module:
            return spec, ""
        return None, (
            f"its task answers with a {type(module).__name__} that config.model does not describe; what changes the "
            "function that answers has to be a registered model or a field of one (docs/design.md)"
        )
