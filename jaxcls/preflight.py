"""What can be checked in seconds before anything is compiled, so that a mistake never costs minutes."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import jax
import numpy as np

from jaxcls import checkpoint_view, pytree
from jaxcls.data import decode
from jaxcls.errors import UserError

# What may differ between the runs that share a workdir: it has no influence on the result.
FREE = ("parallel.", "checkpoint.", "data.dir", "data.workers", "data.device_memory", "eval.batch_size", "log_every")
SHOWN = 5  # unreadable pictures named in a message


def check(run, workdir, note):
    """Checks data, workdir, model and disk of a built run. Writes nothing.

    Args:
      run: from `build.build`.
      workdir: folder of the run, which need not exist.
      note: where lines about what was found go.

    Raises:
      UserError: for the first thing that cannot work.
    """
    check_workdir(run.config, workdir)
    check_labels(run.sources)
    check_pictures(run.sources)
    shapes = run.state_shapes()
    check_disk(shapes, run.config, workdir)
    sizes = ", ".join(f"{split} {len(source):,}" for split, source in run.sources.items())
    note(f"data {run.config.data.name}: {len(run.classes)} classes; {sizes} pictures")
    note(
        f"model {run.config.model.name}: {pytree.count(shapes.params):,} parameters; "
        f"{run.total_steps:,} steps of {run.config.batch_size} pictures, {run.steps_per_epoch:,} an epoch, "
        f"on {run.parallel.size} x {run.parallel.devices[0].device_kind} ({run.parallel.mode})"
    )
    if not run.selects:
        note("there is no validation split: no best checkpoint is chosen, the last state is the result")


def check_workdir(config, workdir):
    """The workdir can be written, and holds no run of another config."""
    path = Path(workdir)
    parent = next(p for p in [path, *path.absolute().parents] if p.exists())
    if not parent.is_dir():
        raise UserError(f"--workdir={workdir}: {parent} is a file; choose another.")
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise UserError(f"--workdir={workdir} can't be written: {parent}: {error.strerror}; choose another.") from error
    there = path / "config.json"
    if there.is_file():
        try:
            old = checkpoint_view.flatten_config(json.loads(there.read_text()))
        except (OSError, ValueError) as error:
            raise UserError(f"{there} can't be read ({error}); choose another --workdir.") from error
        new = checkpoint_view.flatten_config(to_json(config))
        changed = [
            f"{key} is {old.get(key)!r} there and {new.get(key)!r} now"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key) and not key.startswith(FREE)
        ]
        if changed:
            raise UserError(f"--workdir={workdir} holds a run of another config: {'; '.join(changed)}. Choose another --workdir.")


def check_labels(sources):
    """Labels are class numbers, and every class has training examples."""
    for split, source in sources.items():
        labels, n = np.asarray(source.labels), len(source.classes)
        if len(source) == 0:
            raise UserError(f"the {split} split is empty.")
        if labels.min() < 0 or labels.max() >= n:
            bad = labels[(labels < 0) | (labels >= n)][0]
            raise UserError(f"the {split} split has the label {bad}, but there are {n} classes (0 to {n - 1}).")
    source = sources["train"]
    counts = np.bincount(source.labels, minlength=len(source.classes))
    empty = [str(source.classes[i]) for i in np.flatnonzero(counts == 0)]
    if empty:
        raise UserError(f"no training examples of {', '.join(empty[:SHOWN])}; add pictures, or remove the class.")


def check_pictures(sources):
    """The headers of all pictures of a folder can be read."""
    for split, source in sources.items():
        if hasattr(source, "images"):
            continue
        problems = decode.check(source)
        if problems:
            shown = "; ".join(f"{name}: {problem}" for name, problem in problems[:SHOWN])
            more = f" (and {len(problems) - SHOWN} more)" if len(problems) > SHOWN else ""
            raise UserError(f"{len(problems)} unreadable pictures in {split}: {shown}{more}; mend them or move them away.")


def check_disk(shapes, config, workdir):
    """There is room for the checkpoints."""
    path = next(p for p in [Path(workdir), *Path(workdir).absolute().parents] if p.exists())
    need = pytree.nbytes(shapes) * (config.checkpoint.keep + 2)  # the newest, the best, and one being written
    free = shutil.disk_usage(path).free
    if need > free:
        raise UserError(
            f"the checkpoints of this run need {need / 2**30:.1f} GiB, but {path} has {free / 2**30:.1f} GiB free; "
            "free some space, choose another --workdir or lower config.checkpoint.keep."
        )


def to_json(config):
    """A ConfigDict as JSON-able dicts and lists."""
    return json.loads(json.dumps(config.to_dict()))


def versions():
    """Versions of what a result depends on."""
    from importlib.metadata import version

    names = ("jaxcls", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow")
    found = {name: version(name) for name in names}
    return {**found, "platform": jax.devices()[0].platform, "device": jax.devices()[0].device_kind, "cores": os.cpu_count()}


def parameters(run):
    """The number of trained parameters."""
    return pytree.count(run.state_shapes().params)
