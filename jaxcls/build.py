"""From a config to the objects of a run. The only reader of config keys."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxcls import augment, distillation, models, optim, precise_bn, recipe, schedules
from jaxcls import state as train_state
from jaxcls.augment.base import Context
from jaxcls.data import balance, crew, packed, pipeline, sources
from jaxcls.data.sampling import Sampler
from jaxcls.errors import Problems, UserError
from jaxcls.feed import ChangingFeed, MemoryEvalFeed, MemoryTrainFeed, StreamEvalFeed, StreamTrainFeed
from jaxcls.models import pretrained, stages, weight_files
from jaxcls.parallel import Parallel
from jaxcls.reader import Reader, choose, resolve
from jaxcls.step import make_eval_step, make_train_step
from jaxcls.tasks.consistency import Consistency
from jaxcls.tasks.distill import without_hints
from jaxcls.tasks.frozen import Frozen
from jaxcls.tasks.supervised import Supervised
from jaxcls.tasks.wrappers import Ema, Transformed

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
STEPS_PER_CALL = 32  # on accelerators, for sets in device memory


@dataclasses.dataclass
class Run:
    """Everything a run needs that is no array. `build` makes it; tests and scripts may replace parts of it.

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
      distillation: distillation.Distillation, or None without a teacher.
      phases: (first step, task) pairs where the task of training changes on the way, in order from step 0; the last
        one is `task`. () where it does not.
      control: (memory dict, metrics of the validation split) -> controls; called after each evaluation. `memory` is
        saved with the checkpoints. None: the controls stay as they are.
      controls: their initial values.
    """

    config: Any
    sources: dict
    parallel: Parallel
    model: Any
    task: Any
    steps_per_epoch: int
    total_steps: int
    eval_every: int
    checkpoint_every: int
    log_every: int
    normalize: tuple
    transforms: dict
    sampler: Sampler
    tx: Any = None
    learning_rate: Callable | None = None
    loss_scale: float | None = None
    distillation: Any = None
    phases: tuple = ()
    control: Callable | None = None
    controls: dict = dataclasses.field(default_factory=lambda: {"lr_scale": 1.0})

    @functools.cached_property
    def classes(self):
        """Class names."""
        return self.sources["train"].classes

    @property
    def selects(self):
        """Whether a validation split chooses the best checkpoint."""
        return "validation" in self.sources

    def init_state(self, weights=None):
        """The state of step 0 as host arrays, with published weights where given; made by one compiled call."""
        return jax.device_get(jax.jit(self._create)(jax.random.PRNGKey(self.config.seed), weights))

    def first_state(self):
        """(the state a fresh run starts with, report on the weights of config.model.pretrained; None where empty)."""
        weights, report = self.pretrained
        del self.pretrained  # they may be gigabytes, and are needed once
        return self.init_state(weights), report

    @functools.cached_property
    def pretrained(self):
        """(weights, report) of config.model.pretrained (`models.pretrained.match`); (None, None) where it is empty.

        A run that goes on from a checkpoint never looks at it: the file may be gone.
        """
        if not self.config.model.pretrained:
            return None, None
        file, shapes = weight_files.read(self.config.model.pretrained), self.state_shapes
        return pretrained.match(self.model, {"params": without_hints(shapes.params), **shapes.model_state}, file)

    @functools.cached_property
    def state_shapes(self):
        """The state of step 0 as shapes, with a teacher if there is one: nothing is computed."""
        state = jax.eval_shape(self._create, jax.ShapeDtypeStruct((2,), np.uint32))
        more = {} if self.distillation is None else self.distillation.shapes()
        return state.replace(extra={**state.extra, **more})

    def complete(self, state, memory, workdir, log):
        """A state of host arrays with what lies in no checkpoint: a teacher (Distillation.complete)."""
        return state if self.distillation is None else self.distillation.complete(state, memory, workdir, log)

    def _create(self, rng, weights=None):
        zeros = np.zeros(2, np.int32)
        batch = {"image": np.zeros((2, *self.batch_shape()), np.uint8), "label": zeros, "epoch": zeros, "draw": zeros}
        return train_state.create(
            self.task, self.tx, rng, batch, controls=self.controls, loss_scale=self.loss_scale, weights=weights
        )

    def batch_shape(self):
        """(height, width, channels) of evaluation pictures as they reach the device."""
        source = next(self.sources[k] for k in ("validation", "test", "train") if k in self.sources)
        if self.in_memory(source):
            return source.images.shape[1:]
        item = source[0]
        return self.transforms["eval_host"](item["image"], item["id"], None).shape

    @functools.cached_property
    def picture(self):
        """(height, width, channels) of evaluation pictures as the model sees them."""
        zeros = jax.ShapeDtypeStruct((2,), np.int32)
        batch = {"image": jax.ShapeDtypeStruct((2, *self.batch_shape()), np.uint8), "label": zeros}
        return jax.eval_shape(functools.partial(self.transforms["eval_device"], None), batch)["image"].shape[1:]

    def layers(self):
        """Names of the model's parameters in the order in which a forward pass comes to them (optim.call_order)."""
        return optim.call_order(self.model, jax.ShapeDtypeStruct((2, *self.picture), np.float32))

    @functools.cached_property
    def parts(self):
        """Parameter name -> the part of the model it belongs to (stages.parts)."""
        return stages.parts(self.model, jax.ShapeDtypeStruct((2, *self.picture), np.float32))

    def in_memory(self, source):
        """Whether a source is kept in device memory."""
        return hasattr(source, "images") and source.images.nbytes <= self.config.data.device_memory

    def train_feed(self):
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

    def refresher(self, feed):
        """(state, step) -> state, for whatever is done before each evaluation and at the end; None for nothing.

        `feed` is the training feed.
        """
        batches = self.config.precise_bn
        return precise_bn.refresher(self.task, self.parallel, batches, feed) if batches else None

    def eval_feed(self, split, task=None):
        """A split, feeding the compiled evaluation step (feed.py) of the run's task or of another one."""
        source, batch_size = self.sources[split], self.eval_batch_size
        step = make_eval_step(task or self.task, axis_name=self.parallel.axis_name)
        if self.in_memory(source):
            return MemoryEvalFeed(step, source, self.parallel, batch_size=batch_size)
        rows = functools.partial(pipeline.eval_rows, n=len(source), batch_size=batch_size)
        stream = self._stream(source, "eval_host", rows, batch_size)
        return StreamEvalFeed(step, stream, self.parallel, n=len(source), batch_size=batch_size)

    @property
    def eval_batch_size(self):
        """Of all devices together."""
        return self.config.eval.batch_size or self.config.batch_size

    def _stream(self, source, transform, rows, batch_size):
        share = self.parallel.local_rows(batch_size)
        workers = self.config.data.workers
        stream = pipeline.Stream(
            source, self.transforms[transform], rows, seed=self.config.seed, share=share, workers=max(0, workers)
        )
        if workers < 0:
            batches = self.total_steps if transform == "train_host" else -(-len(source) // batch_size)
            chosen = crew.of_stream(stream, batches * batch_size // jax.process_count())
            stream.workers, stream.threads = chosen.workers, chosen.threads
            if chosen.why:
                say(chosen.why)
        return stream


def build(config):
    """All objects of a run from a config. Takes seconds: data is opened, nothing is compiled.

    Raises:
      UserError: for anything in the config that cannot work.
    """
    config, problems = Reader(resolve(config)), Problems()
    with problems.noted():
        parallel = Parallel(config.parallel.mode, config.parallel.devices)
    with problems.noted():
        splits = open_sources(config)
    with problems.noted():
        normalize = build_normalize(config)
    problems.refuse()
    with problems.noted():
        model = build_model(config, len(splits["train"].classes), parallel)
    with problems.noted():
        transforms = build_transforms(config, splits["train"], normalize)
    with problems.noted():
        sampler = build_sampler(config, splits["train"])
        steps_per_epoch, durations = build_durations(config, len(sampler), parallel)
        sizes = recipe.sizes(config, durations["total_steps"], steps_per_epoch)
    with problems.noted():
        class_weight = build_class_weight(config, splits["train"])
    with problems.noted():
        teaching = distillation.read(config, NORMALIZE)
    with problems.noted():
        control = recipe.control(config, splits)
    problems.refuse()
    task_of = lambda transforms: build_task(  # noqa: E731
        config, model, transforms, class_weight, teaching and teaching.wrapper(normalize)
    )
    task = task_of(transforms)
    run = Run(
        config=config.config, sources=splits, parallel=parallel, model=model, task=task,
        steps_per_epoch=steps_per_epoch, normalize=normalize, transforms=transforms,
        sampler=sampler, loss_scale=INITIAL_LOSS_SCALE if config.precision == "float16" else None, **durations,
        distillation=teaching, control=control,
    )  # fmt: skip
    parts = lambda: run.parts  # noqa: E731  takes seconds, and most runs have no use for them
    when = recipe.timing(config, run.total_steps, steps_per_epoch, parts)
    run.learning_rate, run.tx = recipe.optimiser(config, run.total_steps, steps_per_epoch, run.layers, parts, when)
    frozen = (lambda task: Frozen(task, when)) if when.still or when.starts else lambda task: task
    run.task = frozen(run.task)
    if sizes:
        sized = lambda side: frozen(task_of(build_transforms(config, splits["train"], normalize, side)))  # noqa: E731
        run.phases = build_phases(sizes, run.task, sized)
        run.task = run.phases[-1][1]
    if teaching:
        teaching.run = run
    config.data.workers, config.data.device_memory, config.eval.batch_size, config.checkpoint.keep  # noqa: B018  read later
    config.model.pretrained, config.precise_bn  # noqa: B018
    config.refuse_unread()
    return run


def open_sources(config):
    """split -> Source of the config's data."""
    data = config.data
    splits = sources.load(
        data.name, data_dir=data.dir or None, validation=data.validation or None,
        split_ratios=data.split_ratios, seed=config.seed, channels=data.channels or None,
    )  # fmt: skip
    if data.imbalance > 1 and "train" in splits:
        splits["train"] = balance.long_tailed(splits["train"], data.imbalance, config.seed)
    if data.pack:
        folder, channels = data.pack_dir or packed.default_folder(), data.channels or 3
        made = augment.smaller(data.pack, channels=channels)
        splits = packed.pack_all(splits, folder, made, data.pack, channels=channels, note=say)
    return splits


def say(line):
    """Prints a line, if this is the main process."""
    if jax.process_index() == 0:
        print(line, flush=True)


def build_model(config, num_classes, parallel):
    """The Linen module."""
    if config.precision not in PRECISIONS:
        raise UserError(f"config.precision is {config.precision!r}; it can be {', '.join(PRECISIONS)}.")
    sync = config.parallel.sync_batchnorm and parallel.axis_name
    return models.create(
        config.model.name, num_classes=num_classes, neck=config.model.neck, dtype=config.precision,
        axis_name=sync or None, **config.model.fields.to_dict(),
    )  # fmt: skip


def build_normalize(config):
    """(mean, std) of the config, each a tuple."""
    mean, std = tuple(config.data.mean), tuple(config.data.std)
    if mean or std:
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise UserError("config.data.mean and config.data.std must have as many values as each other, std above 0.")
        return mean, std
    return NORMALIZE[choose("config.data.normalize", config.data.normalize, NORMALIZE)]


def build_transforms(config, source, normalize, side=None):
    """Host and device transforms of training and evaluation: train_host, train_device, eval_host, eval_device.

    `side`: what the short side of training pictures is brought to on the device; None leaves it.
    """
    encoded = not hasattr(source, "images")
    mean, std = normalize
    context = Context(len(source.classes), mean, std, seed=config.seed, batch_size=config.batch_size)
    made = {}
    for kind, key in (("train", "augment"), ("eval", "eval_transform")):
        what = f"config.data.{key}"
        host, device = augment.split_list(getattr(config.data, key), encoded=encoded, what=what)
        made[f"{kind}_host"] = augment.host_transform(host, channels=config.data.channels or 3, what=what)
        random = kind == "train"
        if random and side is not None:
            device = augment.shrunk(device, side)
        views = random and config.loss.consistency > 0
        made[f"{kind}_device"] = augment.device_transform(
            device, random=random, context=context, what=what, views=views
        )
    return made


def build_phases(sizes, task, sized):
    """`Run.phases` of `recipe.sizes`; `task` is for pictures as they are, `sized(side)` makes that for others."""
    phases = tuple((step, sized(side)) for step, side in sizes)
    return phases if phases[0][0] == 0 else ((0, task), *phases)


def build_sampler(config, source):
    """Which rows of the training split make up an epoch."""
    data = config.data
    return Sampler(source.labels, data.sampling, repeats=data.repeats, batch_size=config.batch_size)


def build_class_weight(config, source):
    """float32 [classes] by the labels of the training split, or None."""
    return balance.class_weights(config.loss.class_weight, balance.count(source))


def build_task(config, model, transforms, class_weight=None, teach=None):
    """The Task with its wrappers; `teach` puts one with a teacher around the innermost."""
    aux_weight = config.loss.aux_weight if getattr(model, "aux_logits", False) else 0.0
    task = Supervised(
        model, loss=recipe.loss(config, class_weight), label_smoothing=config.loss.label_smoothing,
        aux_weight=aux_weight, class_weight=class_weight,
    )  # fmt: skip
    if config.loss.consistency:
        if teach:
            raise UserError("config.loss.consistency does not go with a teacher; leave out config.distill.teacher.")
        task = Consistency(task, config.loss.consistency)
    if teach:
        task = teach(task)
    evaluate = functools.partial(transforms["eval_device"], None)
    task = Transformed(task, transforms["train_device"], evaluate, seed=config.seed)
    if config.ema_decay:
        task = Ema(task, config.ema_decay)
    return task


def build_durations(config, n, parallel):
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
