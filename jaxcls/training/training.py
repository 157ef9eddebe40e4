"""How a run learns, as one record; `build.training` makes it of a config."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import optax

from jaxcls.criteria import Figure
from jaxcls.data.sampling import Sampler
from jaxcls.optim.schedules import Schedule
from jaxcls.tasks.base import Task
from jaxcls.tasks.teacher import Teacher
from jaxcls.types import Figures


@dataclasses.dataclass(frozen=True)
class Training:
    """How a run learns. Durations are in steps.

    Attributes:
      task: the Task with all its wrappers, as it evaluates and ends.
      tx: the optax chain.
      learning_rate: step -> rate, for the log.
      batch_size: of all devices together; `accumulate`: micro-batches of it.
      sampler: which training rows make up an epoch.
      steps_per_epoch, total_steps, eval_every, checkpoint_every, log_every: ints.
      best: what of validation ranks states; None where nothing does.
      phases: (first step, task) pairs where the task of training changes on the way, in order from step 0; the last
        one is `task`. () where it does not.
      control: (memory dict, figures of the validation split) -> controls; called after each evaluation. `memory` is
        saved with the checkpoints. None: the controls stay as they are.
      controls: their initial values.
      loss_scale: initial loss scale, or None.
      teacher: tasks.teacher.Teacher, or None without one.
      precise_bn: batches of which BatchNorm's statistics are taken before an evaluation; 0: none.
      keep: how many of the newest checkpoints are kept.
      log_to: further writers of records (logs.records).
    """

    task: Task
    tx: optax.GradientTransformation
    learning_rate: Schedule
    batch_size: int
    accumulate: int
    sampler: Sampler
    steps_per_epoch: int
    total_steps: int
    eval_every: int
    checkpoint_every: int
    log_every: int
    best: Figure | None
    phases: tuple[tuple[int, Task], ...] = ()
    control: Callable[[dict[str, Any], Figures], dict[str, float]] | None = None
    controls: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"lr_scale": 1.0})
    loss_scale: float | None = None
    teacher: Teacher | None = None
    precise_bn: int = 0
    keep: int = 2
    log_to: tuple[str, ...] = ()
