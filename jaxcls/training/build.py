"""From a config to the objects of a run. The only reader of config keys."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxcls import augment, models
from jaxcls.augment.base import Context
from jaxcls.data import balance, metadata, packing, sources
from jaxcls.data.base import Source
from jaxcls.data.sampling import Sampler
from jaxcls.errors import Problems, UserError
from jaxcls.optim import schedules
from jaxcls.parallel import Parallel
from jaxcls.settings.reader import Reader, choose, resolve
from jaxcls.tasks import teacher as teachers
from jaxcls.tasks.base import Task
from jaxcls.tasks.consistency import Consistency
from jaxcls.tasks.distill import Distill
from jaxcls.tasks.frozen import Frozen
from jaxcls.tasks.supervised import Supervised
from jaxcls.tasks.tta import Tta
from jaxcls.tasks.wrappers import Ema, Transformed
from jaxcls.training import recipe
from jaxcls.training.run import Run, say

# Mean and standard deviation of the training pictures, on the scale of [0, 1].
NORMALIZE = {
    "unit": ((0.0,), (1.0,)),
    "symmetric": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
}
PRECISIONS = ("float32", "bfloat16", "float16")
INITIAL_LOSS_SCALE = 2.0**16  # of float16; as PyTorch's GradScaler


def build(config: Mapping[str, Any]) -> Run:
    """All objects of a run from a config. Takes seconds: data is opened, nothing is compiled.

    Raises:
      UserError: for anything in the config that cannot work.
    """
    reader, problems = Reader(resolve(config)), Problems()
    with problems.noted():
        parallel = Parallel(reader.parallel.mode, reader.parallel.devices)
    with problems.noted():
        splits = open_sources(reader)
    with problems.noted():
        normalize = build_normalize(reader)
    problems.refuse()
    train = splits["train"]
    with problems.noted():
        model = build_model(reader, len(train.classes), parallel)
    with problems.noted():
        transforms = build_transforms(reader, train, normalize)
    with problems.noted():
        sampler = build_sampler(reader, train)
        steps_per_epoch, durations = build_durations(reader, len(sampler), parallel)
        sizes = recipe.resize_schedule(reader, durations["total_steps"], steps_per_epoch)
    with problems.noted():
        class_weight = build_class_weight(reader, train)
    with problems.noted():
        teacher = teachers.read(reader, NORMALIZE)
    with problems.noted():
        control = recipe.control(reader, splits)
    with problems.noted():
        recipe.check_best(reader, splits)
    problems.refuse()
    run = Run(
        config=reader.config,
        sources=splits,
        parallel=parallel,
        model=model,
        normalize=normalize,
        transforms=transforms,
        sampler=sampler,
        steps_per_epoch=steps_per_epoch,
        total_steps=durations["total_steps"],
        eval_every=durations["eval_every"],
        checkpoint_every=durations["checkpoint_every"],
        log_every=durations["log_every"],
        loss_scale=INITIAL_LOSS_SCALE if reader.precision == "float16" else None,
        teacher=teacher,
        control=control,
    )
    _add_tasks(run, reader, class_weight, sizes)
    check_whitening(reader, model, train)
    # These are read later.
    reader.data.workers, reader.data.device_memory, reader.eval.batch_size, reader.checkpoint.keep  # noqa: B018
    reader.model.pretrained, reader.precise_bn  # noqa: B018
    reader.refuse_unread()
    return run


def _add_tasks(run, reader, class_weight, sizes):
    """Gives a run its optimiser, its task and, where the size of its pictures changes, the tasks of its phases."""
    parts = lambda: run.parts  # noqa: E731  takes seconds, and most runs have no use for them
    when = recipe.timing(reader, run.total_steps, run.steps_per_epoch, parts)
    run.learning_rate, run.tx = recipe.optimiser(reader, run.total_steps, run.steps_per_epoch, run.layers, parts, when)

    def task_for(transforms):
        distill = run.teacher and run.teacher.distill(run.normalize)
        task = build_task(reader, run.model, transforms, class_weight, distill)
        return Frozen(task, when) if when.frozen or when.unfreeze_at else task

    run.task = task_for(run.transforms)
    if sizes:
        source = run.sources["train"]
        phases = [(step, task_for(build_transforms(reader, source, run.normalize, side))) for step, side in sizes]
        run.phases = (*([(0, run.task)] if sizes[0][0] else []), *phases)
        run.task = run.phases[-1][1]
    if run.teacher:
        run.teacher.run = run


def open_sources(config: Any) -> dict[str, Source]:
    """split -> Source of the config's data."""
    data = config.data
    splits = sources.load(
        data.name,
        data_dir=data.dir or None,
        validation=data.validation or None,
        split_ratios=data.split_ratios,
        seed=config.seed,
        channels=data.channels or None,
        group_by=data.group_by,
    )
    metadata.check(data.metadata, splits)
    if data.imbalance > 1 and "train" in splits:
        splits["train"] = balance.long_tailed(splits["train"], data.imbalance, config.seed)
    if data.pack:
        folder, channels = data.pack_dir or packing.default_folder(), data.channels or 3
        shrink = augment.smaller(data.pack, channels=channels)
        splits = packing.pack_all(splits, folder, shrink, data.pack, channels=channels, note=say)
    return splits


def build_model(config: Any, num_classes: int, parallel: Parallel) -> Any:
    """The Linen module."""
    if config.precision not in PRECISIONS:
        raise UserError(f"config.precision is {config.precision!r}; it can be {', '.join(PRECISIONS)}.")
    sync = config.parallel.sync_batchnorm and parallel.axis_name
    return models.create(
        config.model.name,
        num_classes=num_classes,
        neck=config.model.neck,
        dtype=config.precision,
        axis_name=sync or None,
        **config.model.fields.to_dict(),
    )


def check_whitening(config: Any, model: Any, source: Source) -> None:
    """Raises UserError where config.model.whiten has nothing to fill, or nothing to fill it from."""
    if not config.model.whiten:
        return
    if not hasattr(model, "whitened"):
        raise UserError(f"config.model.whiten: {config.model.name} has no convolution for it; airbench94 has.")
    if config.model.pretrained:
        raise UserError("config.model.whiten and config.model.pretrained both set the first convolution; choose one.")
    if not hasattr(source, "images"):
        raise UserError("config.model.whiten needs a set that is kept in memory, such as tfds/cifar10.")


def build_normalize(config: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of the config, each a tuple."""
    mean, std = tuple(config.data.mean), tuple(config.data.std)
    if mean or std:
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise UserError("config.data.mean and config.data.std must have as many values as each other, std above 0.")
        return mean, std
    return NORMALIZE[choose("config.data.normalize", config.data.normalize, NORMALIZE)]


def build_transforms(
    config: Any, source: Any, normalize: tuple[tuple[float, ...], tuple[float, ...]], side: int | None = None
) -> dict[str, Callable[..., Any]]:
    """Host and device transforms of training and evaluation: train_host, train_device, eval_host, eval_device.

    `side`: what the short side of training pictures is brought to on the device; None leaves it.
    """
    encoded = not hasattr(source, "images")
    mean, std = normalize
    context = Context(len(source.classes), mean, std, seed=config.seed, batch_size=config.batch_size)
    transforms: dict[str, Callable[..., Any]] = {}
    for kind, key in (("train", "augment"), ("eval", "eval_transform")):
        what = f"config.data.{key}"
        host, device = augment.split_list(getattr(config.data, key), encoded=encoded, what=what)
        transforms[f"{kind}_host"] = augment.host_transform(host, channels=config.data.channels or 3, what=what)
        random = kind == "train"
        if random and side is not None:
            device = augment.shrunk(device, side)
        views = random and config.loss.consistency > 0
        transforms[f"{kind}_device"] = augment.device_transform(
            device, random=random, context=context, what=what, views=views
        )
    return transforms


def build_sampler(config: Any, source: Source) -> Sampler:
    """Which rows of the training split make up an epoch."""
    data = config.data
    return Sampler(source.labels, data.sampling, repeats=data.repeats, batch_size=config.batch_size)


def build_class_weight(config: Any, source: Source) -> Float[np.ndarray, " classes"] | None:
    """float32 [classes] by the labels of the training split, or None."""
    return balance.class_weights(config.loss.class_weight, balance.count(source))


def build_task(
    config: Any,
    model: Any,
    transforms: Mapping[str, Callable[..., Any]],
    class_weight: Float[np.ndarray, " classes"] | None = None,
    distill: Callable[[Supervised], Distill] | None = None,
) -> Task:
    """The Task with its wrappers; `distill` puts one with a teacher around the innermost."""
    aux_weight = config.loss.aux_weight if getattr(model, "aux_logits", False) else 0.0
    supervised = Supervised(
        model,
        loss=recipe.loss(config, class_weight),
        label_smoothing=config.loss.label_smoothing,
        aux_weight=aux_weight,
        class_weight=class_weight,
    )
    task: Task = supervised
    if config.loss.consistency:
        if distill:
            raise UserError("config.loss.consistency does not go with a teacher; leave out config.distill.teacher.")
        task = Consistency(supervised, config.loss.consistency)
    if distill:
        task = distill(supervised)
    if config.eval.tta:
        task = Tta(task, config.eval.tta, config.eval.tta_mean)
    evaluate = functools.partial(transforms["eval_device"], None)
    task = Transformed(task, transforms["train_device"], evaluate, seed=config.seed)
    if config.ema_decay:
        task = Ema(task, config.ema_decay)
    return task


def build_durations(config: Any, n: int, parallel: Parallel) -> tuple[int, dict[str, int]]:
    """(steps per epoch, {"total_steps", "eval_every", "checkpoint_every", "log_every"})."""
    batch, parts = config.batch_size, config.accumulate
    # Whole pairs (2i, 2i+1) in every share: then shares and micro-batches hold the same examples on any device count.
    pair = 2 if parts > 1 or (parallel.axis_name and parallel.size > 1) else 1
    unit = parallel.size * parts * pair
    if batch % unit:
        pairs = " x 2, since pairs of examples stay together" if pair == 2 else ""
        raise UserError(
            f"config.batch_size {batch} can't be divided by {unit} ({parallel.size} device(s) x {parts} "
            f"micro-batch(es){pairs}); try {max(1, round(batch / unit)) * unit}."
        )
    if config.eval.batch_size % parallel.size:
        raise UserError(f"config.eval.batch_size {config.eval.batch_size} can't be divided by {parallel.size} devices.")
    if batch > n:
        raise UserError(f"config.batch_size {batch} is more than the {n} training examples; make it smaller.")
    steps_per_epoch = n // batch
    steps = functools.partial(schedules.steps, steps_per_epoch=steps_per_epoch)
    total = steps(config.duration, what="config.duration")
    if not total:
        raise UserError("config.duration is empty: nothing would be trained; write for example '10 epochs'.")
    durations = {"total_steps": total}
    for name, value in (
        ("eval_every", config.eval.every),
        ("checkpoint_every", config.checkpoint.every),
        ("log_every", config.log_every),
    ):
        key = "config.log_every" if name == "log_every" else f"config.{name.replace('_', '.')}"
        durations[name] = steps(value, total=total, what=key) or total
    return steps_per_epoch, durations
