"""From a config to the objects of a run, in parts: data, model, training. Nobody else reads a training config's keys.

    config -> Reader -> data -> model -> training -> Run

Whoever needs a part alone builds that part (`data.read`, `model.read`); a whole run refuses keys that nobody read.
"""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import optax
from jaxtyping import Float

from jaxcls.augment.base import Operation
from jaxcls.data import balance
from jaxcls.data.base import Source, multilabel
from jaxcls.data.sampling import Sampler
from jaxcls.defaults import default_config
from jaxcls.errors import Problems, UserError
from jaxcls.hyperparameters import Section, number
from jaxcls.optim import schedules, transfer
from jaxcls.parallel import Parallel
from jaxcls.settings.reader import Reader, resolve
from jaxcls.tasks import teacher as teachers
from jaxcls.tasks.base import SIGMOID, SOFTMAX, Task
from jaxcls.tasks.consistency import Consistency
from jaxcls.tasks.distill import Distill
from jaxcls.tasks.frozen import Frozen
from jaxcls.tasks.multilabel import MultiLabel
from jaxcls.tasks.noise_scale import NoiseScale
from jaxcls.tasks.supervised import Supervised
from jaxcls.tasks.tta import Tta
from jaxcls.tasks.wrappers import Ema, Gathered, Transformed
from jaxcls.training import (
    architecture,
    captioned,
    clips,
    feeds,
    few,
    from_weights,
    lengths,
    recipe,
    sparsity,
    two_views,
)
from jaxcls.training import data as data_part
from jaxcls.training import model as model_part
from jaxcls.training.data import Data
from jaxcls.training.model import Model
from jaxcls.training.run import Run
from jaxcls.training.training import Training
from jaxcls.training.transforms import NORMALIZE
from jaxcls.types import Figures, PathLike

INITIAL_LOSS_SCALE = 2.0**16  # of float16; as PyTorch's GradScaler


class Seams(NamedTuple):
    """What a caller of `build` puts in place of what the config would make; None for the config's.

    Attributes:
      task: (Data, Model) -> the innermost task, which is wrapped as the config's own would be. `model.axis_name` is the
        axis of its collectives.
      optimiser: learning rate as a function of the step -> optax chain.
      control: `Training.control`.
      fits: a batch of more pictures than there are becomes one of all of them, for a run that need not train.
      views: of each training picture, each drawn wholly anew, for a task that compares them (`batch["views"]`).
    """

    task: Callable[[Data, Model], Task] | None = None
    optimiser: Callable[[schedules.Schedule], optax.GradientTransformation] | None = None
    control: Callable[[dict[str, Any], Figures], dict[str, float]] | None = None
    views: int = 0
    fits: bool = False


def build(
    config: Mapping[str, Any], *, workdir: PathLike | None = None, allow_changed: bool = False, **seams: Any
) -> Run:
    """All objects of a run from a config. Takes seconds: data is opened, nothing is compiled.

    Args:
      config: a config (defaults.py).
      workdir, allow_changed: where the run has stored its splits, and whether they may change (`data.read`).
      **seams: fields of `Seams`, for training that no config describes.

    Raises:
      UserError: for anything in the config that cannot work.
    """
    reader, problems, own = Reader(from_weights.resolved(config, workdir)), Problems(), Seams(**seams)
    with problems.noted():
        parallel = Parallel.of(reader.parallel)
    with problems.noted():
        views = own.views or (data_part.views_of(reader) if own.task is None else 0)
        data = data_part.read(reader, views=views, workdir=workdir, allow_changed=allow_changed)
    problems.refuse()
    if own.fits and "train" in data.sources:
        reader.config.batch_size = min(reader.batch_size, len(data.sources["train"]))
    with problems.noted():
        few.check(reader, parallel.shares)
    with problems.noted():
        architecture.check(reader)
    with problems.noted():
        model = model_part.read(reader, data, parallel, workdir)
    with problems.noted():
        chosen = choices(
            reader, data, parallel, labelled=own.task is None and not (reader.ssl.method or reader.words.method)
        )
    problems.refuse()
    learning = training(reader, data, model, parallel, chosen, own)
    reader.refuse_unread()
    stored = json.loads(json.dumps(reader.config.to_dict()))
    return Run(data=data, model=model, training=learning, parallel=parallel, stored=stored)


def choices(reader: Any, data: Data, parallel: Parallel, *, labelled: bool) -> dict[str, Any]:
    """What can be said of a run's training without its model: fields of `Training`, "sizes" and "class_weight".

    `labelled`: whether the task is the config's own, which learns labels.

    Raises:
      UserError: with a line for each thing that cannot work.
    """
    problems, train, _ = Problems(), data.sources["train"], reader.auto_batch  # which fitting.built has followed
    chosen: dict[str, Any] = {"batch_size": reader.batch_size, "accumulate": reader.accumulate}
    chosen |= {"precise_bn": reader.precise_bn, "keep": reader.checkpoint.keep, "log_to": tuple(reader.log_to)}
    chosen["loss_scale"] = INITIAL_LOSS_SCALE if reader.precision == "float16" else None
    with problems.noted():
        chosen["sampler"] = rows = sampler(reader, train)
        chosen |= durations(reader, len(rows), parallel)
        planned = lengths.planned(reader, chosen["total_steps"])
        chosen["sizes"] = recipe.resize_schedule(reader, planned, chosen["steps_per_epoch"])
    with problems.noted():
        chosen["class_weight"] = balance.of_source(reader.loss.class_weight, train) if labelled else None
    with problems.noted():
        recipe.check_followed(reader, data.sources)
    problems.refuse()
    return chosen


def sampler(reader: Any, source: Source) -> Sampler:
    """Which rows of the training split make up an epoch. Raises UserError."""
    section = reader.data
    if reader.few.method:
        return few.sampler(reader, source)
    if tuple(reader.nas.stages):
        return architecture.sampler(reader, source)
    return Sampler(source.labels, section.sampling, repeats=section.repeats, batch_size=reader.batch_size)


def training(reader: Any, data: Data, model: Model, parallel: Parallel, chosen: dict[str, Any], own: Seams) -> Training:
    """The Training of a config; `chosen` is of `choices`.

    Raises:
      UserError: for what cannot work.
    """
    chosen = dict(chosen)
    sizes, class_weight = chosen.pop("sizes"), chosen.pop("class_weight")
    total, per_epoch = lengths.planned(reader, chosen["total_steps"]), chosen["steps_per_epoch"]
    parts = lambda: model.parts  # noqa: E731  takes seconds, and most runs have no use for them
    when = recipe.timing(reader, total, per_epoch, parts)
    if own.optimiser:
        rate, _ = recipe.schedule(reader, total, per_epoch)
        tx = own.optimiser(rate)
    else:
        rate, tx = recipe.optimiser(reader, total, per_epoch, model.layers, parts, when)
    teacher = None
    if own.task:
        inner = own.task(data, model)
    elif reader.ssl.method:
        inner = two_views.task(reader, model, data, total)
    elif reader.words.method:
        inner = captioned.task(reader, model)
    elif reader.few.method:
        plain = supervised(reader, model)
        assert isinstance(plain, Supervised)  # else `few.check` has refused it
        inner = few.task(reader, plain, model, data, parallel.shares)
    elif tuple(reader.nas.stages):
        plain = supervised(reader, model, class_weight)
        assert isinstance(plain, Supervised)  # else `architecture.check` has refused it
        inner = architecture.task(reader, plain, model.axis_name, total)
    else:
        teacher = read_teacher(reader, data, model, parallel)
        sets = multilabel(data.sources["train"])
        inner = supervised(reader, model, class_weight, teacher, sets=sets)
        if reader.noise_every:
            inner = NoiseScale(inner, reader.noise_every)
    assert data.augmentation is not None
    sparse = sparsity.wrapper(reader, model, total, per_epoch, when)
    around = functools.partial(wrapped, reader, inner, data, when=when, sparse=sparse, gather=parallel.gathered)
    of_side = lambda side: around(data.augmentation.device(side))  # noqa: E731
    phases = [(step, of_side(side)) for step, side in sizes]
    if sizes and sizes[0][0]:
        phases.insert(0, (0, of_side(None)))
    final = phases[-1][1] if phases else of_side(None)
    return Training(
        task=final,
        tx=tx,
        learning_rate=rate,
        phases=tuple(phases),
        best=recipe.best(reader, final.criteria, data.sources),
        control=own.control or recipe.control(reader, final),
        teacher=teacher,
        **chosen,
    )


def untaught(config: Mapping[str, Any], run: Run) -> Task:
    """The task of a run's config without its teacher, for whoever has no use for one; the run's own without any."""
    if run.training.teacher is None:
        return run.task
    bare = resolve(config)
    bare.distill = default_config().distill
    reader = Reader(bare)
    chosen = choices(reader, run.data, run.parallel, labelled=True)
    return training(reader, run.data, run.model, run.parallel, chosen, Seams()).task


def read_teacher(reader: Any, data: Data, model: Model, parallel: Parallel) -> teachers.Teacher | None:
    """The teacher that the config names; None where it names none. Raises UserError."""
    student = teachers.Student(
        model=model.module,
        classes=data.classes,
        sources=data.sources,
        preprocessing=data.evaluation,
        picture=lambda: data.picture,
        precision=model.precision,
        output=SIGMOID if multilabel(data.sources["train"]) else SOFTMAX,
        predict=feeds.predictor(data, parallel),
    )
    return teachers.read(reader, NORMALIZE, student)


def supervised(
    reader: Any,
    model: Model,
    class_weight: Float[np.ndarray, " classes"] | None = None,
    teacher: teachers.Teacher | None = None,
    *,
    sets: bool = False,
) -> Supervised | Consistency | Distill:
    """The task of a config that tells classes apart, or with `sets` says which are there, without its wrappers. Raises
    UserError."""
    aux_weight = reader.loss.aux_weight if getattr(model.module, "aux_logits", False) else 0.0
    common = {
        "loss": recipe.loss(reader, class_weight, sets=sets),
        "label_smoothing": Section(reader.loss, "loss").label_smoothing,
        "aux_weight": number(aux_weight, "loss.aux_weight"),
    }
    if sets:
        task: Supervised = MultiLabel(model.module, sum_classes=recipe.sums_classes(reader), **common)
    else:
        task = Supervised(model.module, class_weight=number(class_weight, "loss.class_weight"), **common)
    if reader.loss.consistency:
        if sets:
            raise UserError("config.loss.consistency is of one class a picture, but the labels are sets; leave it out.")
        if teacher:
            raise UserError("config.loss.consistency does not go with a teacher; leave out config.distill.teacher.")
        return Consistency(task, number(reader.loss.consistency, "loss.consistency"))
    return teacher.distill()(task) if teacher else task


def wrapped(
    reader: Any,
    task: Task,
    data: Data,
    train: Operation,
    when: transfer.Timing,
    sparse: Callable[[Task], Task],
    gather: Callable[[Any], Any] | None,
) -> Task:
    """A task with whatever the config puts around any: views, transforms of the batch, parameters that are gathered
    where they are cut, an average, zeros among the weights (`sparse`; in the average, too), frozen parts."""
    clips.check_views(data.evaluation.transforms, tuple(reader.eval.tta))
    if reader.eval.tta:
        task = Tta(task, reader.eval.tta, reader.eval.tta_mean)
    task = Transformed(task, train, data.evaluation.device, seed=data.seed)
    task = Gathered(task, gather) if gather else task
    if reader.ema_decay:
        task = Ema(task, number(reader.ema_decay, "ema_decay"))
    task = sparse(task)
    return Frozen(task, when) if when.frozen or when.unfreeze_at else task


def durations(reader: Any, n: int, parallel: Parallel) -> dict[str, int]:
    """steps_per_epoch, total_steps, eval_every, checkpoint_every and log_every, of n training examples.

    Raises:
      UserError: for a batch that can't be cut, or is too large, or a duration that is none.
    """
    batch = reader.batch_size
    check_batch(reader, n, parallel)
    steps_per_epoch = n // batch
    steps = functools.partial(schedules.steps, steps_per_epoch=steps_per_epoch)
    total = steps(reader.duration, what="config.duration")
    if not total:
        raise UserError("config.duration is empty: nothing would be trained; write for example '10 epochs'.")
    planned = lengths.planned(reader, total)
    found = {"steps_per_epoch": steps_per_epoch, "total_steps": total}
    for name, value, key in (
        ("eval_every", reader.eval.every, "config.eval.every"),
        ("checkpoint_every", reader.checkpoint.every, "config.checkpoint.every"),
        ("log_every", reader.log_every, "config.log_every"),
    ):
        found[name] = steps(value, total=planned, what=key) or total
    return found


def check_batch(reader: Any, n: int, parallel: Parallel) -> None:
    """Batches can be cut into micro-batches and shares. Raises UserError where they can't."""
    batch, parts = reader.batch_size, reader.accumulate
    # Whole pairs (2i, 2i+1) in every share: then shares and micro-batches hold the same examples on any device count.
    pair = 2 if parts > 1 or (parallel.axis_name and parallel.shares > 1) else 1
    unit = parallel.shares * parts * pair
    if batch % unit:
        pairs = " x 2, since pairs of examples stay together" if pair == 2 else ""
        raise UserError(
            f"config.batch_size {batch} can't be divided by {unit} ({parallel.shares} device(s) x {parts} "
            f"micro-batch(es){pairs}); try {max(1, round(batch / unit)) * unit}."
        )
    if reader.eval.batch_size % parallel.shares:
        raise UserError(
            f"config.eval.batch_size {reader.eval.batch_size} can't be divided by {parallel.shares} devices."
        )
    if reader.noise_every and batch // parts // (parallel.shares if parallel.axis_name else 1) % 2:
        raise UserError(
            "config.noise_every measures halves of a (micro-)batch; make config.batch_size a multiple of 2."
        )
    if batch > n:
        raise UserError(f"config.batch_size {batch} is more than the {n} training examples; make it smaller.")
