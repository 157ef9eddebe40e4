"""What can be checked in seconds before anything is compiled, so that a mistake never costs minutes."""

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxcls import logs, pytree, sharding
from jaxcls.checkpoints import view
from jaxcls.data import checks, few, groups, metadata, overview
from jaxcls.data.base import Leaf
from jaxcls.data.packed import PackedSource
from jaxcls.data.stored_splits import BANK
from jaxcls.errors import Problems, UserError
from jaxcls.models.pretrained import Report
from jaxcls.state import TrainState
from jaxcls.tasks.base import FEATURES
from jaxcls.training import extending, resampling, same_run
from jaxcls.training.data import Data
from jaxcls.training.memory import room, size
from jaxcls.types import Note, PathLike

Progress = Callable[[int, int], None]
THOROUGH = 10  # seconds of `jaxcls check` for each split

if TYPE_CHECKING:
    from jaxcls.training.run import Run


def check(run: "Run", workdir: PathLike, note: Note, *, seconds: float = 1.0, progress: Progress | None = None) -> None:
    """Checks workdir, data, model and disk of a built run. Writes nothing.

    Args:
      run: from `build.build`.
      workdir: folder of the run, which need not exist.
      note: where lines about what was found go.
      seconds: for decoding the pictures of a split; where all take longer, only their headers and ends are looked at.
        From 10 on all of a packed file is compared with its hashes (data/packed.py); else three parts of it were.
      progress: called as progress(done, total) while pictures are looked at.

    Raises:
      UserError: with a line for each thing that cannot work.
    """
    problems = Problems()
    with problems.noted():
        same_run.check(run.stored, workdir)
        extending.check(run, workdir, note)
    with problems.noted():
        logs.check_writers(run.training.log_to)
    with problems.noted():
        check_labelled(run)
    with problems.noted():
        check_data(run.data, note, seconds=seconds, progress=progress)
    with problems.noted():
        same_run.check_pictures(run.data, workdir, note)
    problems.refuse()
    teacher = run.training.teacher
    about = [] if teacher is None else teacher.check(workdir)
    shapes = check_model(run)
    if run.training.precise_bn and "batch_stats" not in shapes.model_state:
        raise UserError(f"config.precise_bn has no effect: {run.model.name} has no BatchNorm; remove it.")
    sharding.check(shapes.params, run.parallel.rules, run.parallel.shape)
    about = [check_memory(run, shapes), *about]
    report = check_weights(run, workdir)
    check_disk(shapes.replace(extra=_saved(shapes.extra, run.task.transient)), run.training.keep, workdir)
    about = [*few.lines(run.data.sources["train"]), *resampling.lines(run.data, workdir), *about]
    for line in [*describe(run, shapes), *about_data(run.data), *([] if report is None else [str(report)]), *about]:
        note(line)
    if run.answer.problem:
        note(f"prediction and export will not be possible: {run.answer.problem}")
    if not run.selects:
        split = "validation" in run.data.sources
        why = "the task has no figure to choose by" if split else "there is no validation split"
        note(f"{why}: no best checkpoint is chosen, the last state is the result")


def about_data(data: Data) -> list[str]:
    """Lines about the pictures: counts of classes, sizes, what was left out (`data.overview`)."""
    shape = None if data.evaluation.picture else data.leaves("train", training=True)["image"].shape
    found = data.members.found if data.members else data.sources
    span = getattr(getattr(data.augmentation and data.augmentation.host, "frames", None), "span", 0)
    lines = overview.lines(found, min(shape[-3:-1]) if shape else None, span)
    lines += [*(data.tree.lines() if data.tree else []), *data.notes]
    if data.evaluation.window and data.evaluation.picture:
        lines.append(
            f"note: config.data.window is for files: the pictures of {data.name} lie in memory and stay as they are; "
            "files that are predicted get it"
        )
    if data.group_by:
        split = BANK if BANK in found else "train"
        with contextlib.suppress(UserError):  # splits that came with the set need not have groups
            number = groups.of_ids(metadata.ids(found[split]), data.group_by, metadata.root(found[split]))
            if len(np.unique(number)) == len(number):
                lines.append(
                    f"note: config.data.group_by={data.group_by!r} makes each picture of {split} a group of its own, "
                    "which is probably not what was meant: pictures that belong together need the same name"
                )
    return lines


def describe(run: "Run", shapes: TrainState) -> list[str]:
    """Lines about the data and the model of a run, whose state has these shapes."""
    data, training = run.data, run.training
    sizes = ", ".join(f"{split} {len(source):,}" for split, source in _judged(data).items())
    classes = f"{len(data.classes)} classes" if data.classes else "no labels"
    return [
        f"data {data.names}: {classes}; {sizes} pictures",
        f"model {run.model.name}: {pytree.count(shapes.params):,} parameters; "
        f"{training.total_steps:,} steps of {training.batch_size} pictures, {training.steps_per_epoch:,} an epoch, "
        f"on {run.parallel.size} x {run.parallel.devices[0].device_kind} ({run.parallel.mode})",
    ]


def check_labelled(run: "Run") -> None:
    """The task learns without labels where the pictures have none. Raises UserError."""
    if not run.data.classes and run.task.output != FEATURES:
        raise UserError(
            f"the pictures of {run.data.name} have no labels to learn; set config.ssl.method (simclr ...), or put "
            "those of each class into a folder and use folder/PATH; of a table name the column: label=COLUMN."
        )


def check_data(data: Data, note: Note, *, seconds: float, progress: Progress | None = None) -> None:
    """Labels and pictures of all splits can be used; arguments as of `check`. Raises UserError."""
    problems, checked, found = Problems(), set(), _judged(data)
    with problems.noted():
        checks.labels(found)
    for split, source in found.items():
        base = getattr(source, "source", source)  # of a Subset
        with problems.noted():
            if not isinstance(base, PackedSource):
                how = {"seconds": seconds, "progress": progress, **_decoding(data)}
                name = data.name if split == "train" else data.watched or data.name
                checks.pictures(source, f"{split} of {name}", note, skip=data.skipped is not None, **how)
            elif seconds >= THOROUGH and base not in checked:
                checked.add(base)
                base.check()
    problems.refuse()


def _decoding(data):
    """How the pictures of files are decoded."""
    return {"channels": data.evaluation.channels, "window": data.evaluation.window}


def _judged(data):
    """The splits, with the bank where that is of another set."""
    return {**data.sources, BANK: data.bank} if data.watched and data.bank is not None else data.sources


def check_model(run: "Run") -> TrainState:
    """Traces the model on the shapes of training and evaluation; nothing is computed. Returns the state's shapes.

    Raises:
      UserError: if the pictures, as the transforms leave them, do not fit the model or the normalisation.
    """
    mean, shape = run.data.evaluation.mean, run.data.leaves("train", training=True)["image"].shape
    channels = shape[-1] if shape else 0
    if len(mean) not in (1, channels):
        raise UserError(
            f"config.data.normalize={run.stored['data']['normalize']} (or mean, std) has {len(mean)} channels, but "
            f"the pictures have {channels}; use 'unit' or 'symmetric', or set config.data.channels."
        )
    with _fits(run, "eval_transform"):
        state = run.state_shapes
    predict = lambda params, state, batch, rng: run.task.predict(state, batch)  # noqa: E731
    others = {repr(run.data.leaves(split)): split for split in run.data.sources if split != "train"}  # alike, but once
    calls: list[tuple[str, str, Callable]] = [("eval_transform", split, predict) for split in others.values()]
    tasks = [("resize_schedule", task) for _, task in run.training.phases] or [("augment", run.task)]
    calls += [(key, "train", task.loss) for key, task in tasks]
    axis = run.parallel.axis_name
    for key, split, call in calls:
        with _fits(run, key):
            if axis:
                call = jax.vmap(call, (None, None, 0, None), axis_name=axis)
            leaves, rows = run.data.leaves(split, training=split == "train"), max(2, run.task.multiple)
            batch = batch_shapes(leaves, rows, devices=1 if axis else None)
            jax.eval_shape(call, state.params, state, batch, jax.ShapeDtypeStruct((2,), np.uint32))
    return state


@contextlib.contextmanager
def _fits(run, key):
    """Whatever tracing raises, as a UserError that names the transforms and the model."""
    what = f"config.data.{key} {tuple(run.stored['data'][key])} and model {run.model.name}"
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
    except Exception as error:  # models raise whatever they like for shapes that do not fit
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{what} don't fit: {type(error).__name__}: {reason} (JAXCLS_TRACEBACK=1 shows where)."
        ) from error


def check_memory(run: "Run", shapes: TrainState) -> str:
    """The line about what a device holds for the whole of a run, whose state has these shapes: its part of the state,
    and of the gradients while a step lasts. (What the net keeps for the backward pass comes on top; config.auto_batch
    measures it.)

    Raises:
      UserError: where a device with memory of its own has not so much.
    """
    over, params = run.parallel, {"params": shapes.params}
    state, gradients, whole = over.bytes_per_device(shapes), over.bytes_per_device(params), pytree.nbytes(shapes)
    of = f" of {size(whole)}" if over.rules else ""
    line = f"memory of a device: {size(state)}{of} of state, {size(gradients)} of gradients"
    free = room(over.local) if over.platform != "cpu" else None
    if free is not None and state + gradients > free:
        cut = "config.parallel.shard=fsdp" if not over.rules and over.size > 1 else "more devices, a smaller net"
        raise UserError(f"{line}, but {size(free)} are free there; use {cut}, or an optimiser that keeps less.")
    return line


def check_weights(run: "Run", workdir: PathLike) -> Report | None:
    """The file of config.model.pretrained has what the model needs. Returns the report on it; None where none is used:
    no file is named, or the run goes on from a checkpoint.

    Raises:
      UserError: if the file is missing or damaged, or does not fit.
    """
    if (Path(workdir) / "checkpoints").is_dir() and any(s.finished for s in view.list_steps(workdir)):
        return None
    return run.pretrained[1]


def check_disk(shapes: TrainState, keep: int, workdir: PathLike) -> None:
    """There is room for the checkpoints, of which the newest `keep` stay.

    Raises:
      UserError: if there is not.
    """
    path = same_run.existing(Path(workdir))
    need = pytree.nbytes(shapes) * (keep + 2)  # the newest, the best, and one being written
    free = shutil.disk_usage(path).free
    if need > free:
        raise UserError(
            f"the checkpoints of this run need {_gib(need)}, but {path} has {_gib(free)} free; "
            "free some space, choose another --workdir or lower config.checkpoint.keep."
        )


def _saved(extra, transient):
    """The entries of `extra` that go into checkpoints."""
    return {key: value for key, value in extra.items() if key not in transient}


def _gib(n):
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.1f} MiB"


def batch_shapes(leaves: Mapping[str, Leaf], rows: int, devices: int | None) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch of so many examples, as shapes; with a leading axis of devices where there is one."""
    lead = (rows,) if devices is None else (devices, rows)
    shapes = {name: jax.ShapeDtypeStruct((*lead, *(leaf.shape or ())), leaf.dtype) for name, leaf in leaves.items()}
    numbers = dict.fromkeys(("index", "epoch", "draw"), jax.ShapeDtypeStruct(lead, np.int32))
    return {**shapes, **numbers, "mask": jax.ShapeDtypeStruct(lead, np.float32)}


def versions(device: Any) -> dict[str, Any]:
    """Versions of what a result depends on, and the device that it was computed on."""
    return {**_packages(), "platform": device.platform, "device": device.device_kind, "cores": os.cpu_count()}


@functools.cache
def _packages():
    from importlib.metadata import version

    names = ("jaxcls", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow")
    return {name: version(name) for name in names}


def parameters(run: "Run") -> int:
    """The number of trained parameters."""
    return pytree.count(run.state_shapes.params)
