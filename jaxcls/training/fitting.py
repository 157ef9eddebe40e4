"""The batch that fits the memory: `config.batch_size=auto`, which is config.auto_batch with the recipe's own batch.

The rates of a recipe are for its batch, so that stays: where a step needs more memory than there is, it is cut into as
few micro-batches as it takes (config.accumulate). Only where the rate goes with the batch (config.schedule.per_batch)
the batch is doubled while it fits, up to `GROWTH` times, as long as an epoch has `STEPS` of them. What a step needs is
what XLA says of the compiled program (`memory_analysis`), not what was tried. What was found is stored in the config,
so a run that goes on has the same batches.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jaxcls import files, parallel
from jaxcls.errors import UserError
from jaxcls.models.timing import peak_bytes
from jaxcls.parallel import STATE
from jaxcls.settings.reader import resolve
from jaxcls.training import build, predictions, preflight
from jaxcls.training.memory import STEP, OutOfMemory, room, size
from jaxcls.training.run import Run
from jaxcls.training.step import make_train_step
from jaxcls.types import Note, PathLike

SAFE = 0.9  # of what is free: pieces that lie scattered, and what else asks for memory
GROWTH = 8  # the rule of the rate (Goyal et al. 2017) held there for 32 times; this is more careful
STEPS = 4  # of an epoch, at least
AHEAD = 3  # batches on their way to the devices beside that of the step


class Cut(NamedTuple):
    """A batch of all devices together, and the micro-batches that it is cut into."""

    batch: int
    accumulate: int = 1

    @property
    def together(self) -> int:
        """Pictures of all devices that pass the net at once."""
        return self.batch // self.accumulate


def cuts(batch: int, devices: int, pictures: int, *, scales: bool) -> list[Cut]:
    """What a batch may become, most pictures at once first.

    Args:
      batch: of the recipe. One that so many devices can't share is made a little smaller.
      pictures: of training.
      scales: whether the rate goes with the batch.
    """
    unit = devices * (2 if devices > 1 else 1)  # pairs stay together
    batch = max(unit, batch // unit * unit)
    factors: list[int] = []
    factor = 2
    while scales and factor <= GROWTH and batch * factor * STEPS <= pictures:
        factors.insert(0, factor)
        factor *= 2
    parts = [k for k in range(2, batch // devices + 1) if batch % (devices * k * 2) == 0]
    return [*(Cut(batch * factor) for factor in factors), Cut(batch), *(Cut(batch, k) for k in parts)]


def largest(options: Sequence[Cut], limit: float, need: Callable[[Cut], int]) -> tuple[Cut | None, dict[Cut, int]]:
    """(the first that needs no more than the limit, None where none does; bytes of those that were measured).

    A measurement is a compilation, so after two of them the rest are guessed by a straight line, and the first that is
    guessed to fit is measured next.

    Args:
      options: of `cuts`.
      limit: bytes of a device.
      need: Cut -> bytes of a device.
    """
    known: dict[Cut, int] = {}
    left = list(options)
    while left:
        cut = next((x for x in left if _guess(x, known) <= limit), left[-1])
        known[cut] = need(cut)
        if known[cut] <= limit:
            return cut, known
        left = [x for x in left if x.together < cut.together]
    return None, known


def _guess(cut, known):
    """Bytes by the straight line through the two measurements with the fewest pictures; of one, in proportion."""
    if not known:
        return 0
    (small, low), *more = sorted(((x.together, bytes_) for x, bytes_ in known.items()))
    if not more:
        return low * cut.together / small
    large, high = more[0]
    return low - (high - low) / (large - small) * (small - cut.together)


def built(config: Mapping[str, Any], workdir: PathLike, *, allow_changed: bool = False, note: Note = print) -> Run:
    """`build.build` of a config, with the batch that fits where config.auto_batch asks for it and no run has begun.

    Raises:
      UserError: for anything that cannot work; where not even the smallest share fits.
    """
    full = resolve(config)
    make = functools.partial(build.build, workdir=workdir, allow_changed=allow_changed)
    if not full.auto_batch or _stored(workdir) is not None:
        return make(full)
    wanted = full.batch_size
    first = cuts(wanted, full.parallel.devices or jax.device_count(), 0, scales=False)[0]
    run = make(_with(full, first))
    cut = _chosen(run, wanted, scales=bool(full.schedule.per_batch), note=note)
    return run if cut == first else make(_with(full, cut))


def taken(config: Mapping[str, Any], workdir: PathLike) -> Mapping[str, Any]:
    """The config with the batch that the run in a workdir has found, where config.auto_batch asks for one."""
    if not resolve(config).auto_batch or (stored := _stored(workdir)) is None:
        return config
    full = resolve(config)
    found = Cut(stored["batch_size"], stored["accumulate"])
    per_batch = full.schedule.per_batch
    possible = [full.batch_size * 2**k for k in range(GROWTH.bit_length())] if per_batch else [full.batch_size]
    near = abs(full.batch_size - found.batch) < 2 * max(1, full.parallel.devices or jax.device_count())
    if near or found.batch in possible:
        full = _with(full, found)
        full.eval.batch_size = stored["eval"]["batch_size"]
    return full


def halved(error: OutOfMemory, workdir: PathLike, note: Note = print) -> None:
    """Cuts the steps of the run in a workdir into twice the micro-batches, since memory did not suffice, or evaluates
    half the pictures at once; it then goes on from its newest checkpoint.

    Raises:
      OutOfMemory: `error`, where that can't be, or config.auto_batch does not ask for it.
    """
    stored = _stored(workdir)
    if stored is None or jax.process_count() > 1:
        raise error
    now, devices = Cut(stored["batch_size"], stored["accumulate"]), stored["parallel"]["devices"] or jax.device_count()
    if error.doing == STEP:
        finer = [x for x in cuts(now.batch, devices, 0, scales=False) if x.accumulate >= 2 * now.accumulate]
        if not finer or finer[0].batch != now.batch:
            raise error
        stored["accumulate"], stored["eval"]["batch_size"] = finer[0].accumulate, finer[0].together
        what = f"{now.batch} pictures a step in {finer[0].accumulate} micro-batches of {finer[0].together}"
    else:
        rows = stored["eval"]["batch_size"] or now.batch
        if rows % (2 * devices):
            raise error
        stored["eval"]["batch_size"] = rows // 2
        what = f"{rows // 2} pictures at once in evaluations"
    files.write_json(Path(workdir) / "config.json", stored, predictions.INTACT)
    note(f"note: {error}")
    note(f"config.auto_batch: going on from the newest checkpoint with {what}")


def _stored(workdir) -> dict[str, Any] | None:
    """The config of a run with config.auto_batch in a workdir; None without one."""
    stored = files.read_json(Path(workdir) / "config.json")
    return stored if isinstance(stored, dict) and stored.get("auto_batch") else None


def _with(full: ConfigDict, cut: Cut) -> ConfigDict:
    """A copy of a resolved config with another batch."""
    made = resolve(full)
    made.batch_size, made.accumulate = cut
    if cut.accumulate > 1 and not made.eval.batch_size:
        made.eval.batch_size = cut.together
    return made


def _chosen(run, wanted, *, scales, note):
    """The Cut of a run; it is told. Raises UserError where none fits."""
    writes, devices = (
        jax.process_index() == 0,
        [x for x in run.parallel.devices if x.process_index == jax.process_index()],
    )
    say = note if writes else lambda _: None
    options = cuts(run.training.batch_size, run.parallel.shares, len(run.training.sampler), scales=scales)
    free = room(devices)
    if free is None:
        say(
            f"config.auto_batch: {devices[0].device_kind} does not say how much memory it has; the batch stays {wanted}"
        )
        return next(x for x in options if x.batch == run.training.batch_size)
    say("config.auto_batch: looking at the memory that a training step needs ...")
    found, known = largest(options, SAFE * free, lambda cut: needs(run, cut))
    place = parallel.agree(lambda: None if found is None else options.index(found))
    if place is None:
        raise UserError(_too_much(options[-1], known, free))
    for line in _told(options[place], known, free, wanted):
        say(line)
    return options[place]


def needs(run: Run, cut: Cut) -> int:
    """Bytes of a device that a training step of a run needs, with the pictures that lie there; compiles the step."""
    data, over = run.data, run.parallel
    leaves = data.leaves("train", training=True)
    kept = sum(x.nbytes for s in data.sources.values() if data.in_memory(s) for x in s.arrays.values())
    split = over.mode == "pmap"
    rows = cut.batch // over.size if split else cut.batch
    batch = preflight.batch_shapes(leaves, rows, devices=over.size if split else None)
    share = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(batch)) // over.shares
    highest = 0
    for task in [task for _, task in run.training.phases] or [run.task]:
        options = {"axis_name": over.axis_name, "platform": over.platform}
        step = make_train_step(task, run.training.tx, accumulate=cut.accumulate, **options)
        compiled: Any = over.compile(step, (STATE, 0), out_axes=(STATE, None), donate=(0,))
        highest = max(highest, peak_bytes(compiled.lower(run.state_shapes, batch).compile()) or 0)
    return highest + kept + AHEAD * share


def _told(cut, known, free, wanted):
    """Lines about what was chosen."""
    parts = ""
    if cut.accumulate > 1:
        parts = (
            f" in {cut.accumulate} micro-batches of {cut.together} (config.accumulate={cut.accumulate}; BatchNorm sees "
            f"{cut.together} at a time)"
        )
    need = f"{size(known[cut])} of a device, {size(free)} free" if cut in known else f"{size(free)} free"
    yield f"config.auto_batch: {cut.batch} pictures a step{parts}: {need}"
    if cut.batch > wanted:
        yield f"config.auto_batch: the recipe has {wanted}; the rate goes with the batch (config.schedule.per_batch)"
    elif cut.batch < wanted:
        yield f"config.auto_batch: the recipe has {wanted}, which the devices can't share; its rate stays"


def _too_much(smallest, known, free):
    need = size(known.get(smallest, min(known.values())))
    return (
        f"config.auto_batch: even with {smallest.together} pictures at once a training step needs {need} of a device, "
        f"and {size(free)} are free; make the pictures smaller (config.data.augment), set config.precision=bfloat16 or "
        "config.model.fields.remat=True where the model has it, or take a smaller net."
    )
