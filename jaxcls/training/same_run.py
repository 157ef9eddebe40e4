"""Whether what is asked for is the run that a workdir holds: its config, and its pictures."""

import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcls import files
from jaxcls.checkpoints import folds, view
from jaxcls.checkpoints.meta import Meta
from jaxcls.data import metadata, unreadable
from jaxcls.defaults import current_key, current_value, default_config
from jaxcls.errors import UserError
from jaxcls.training.data import Data
from jaxcls.types import Note, PathLike

# What may differ between the runs that share a workdir: it has no influence on the result.
FREE = (
    "auto_batch",
    "parallel.mode",
    "parallel.devices",
    "parallel.mesh",
    "parallel.shard",
    "checkpoint.",
    "data.dir",
    "data.tree",
    "data.bad_pictures",
    "data.workers",
    "data.pack_dir",
    "data.device_memory",
    "eval.batch_size",
    "log_every",
    "log_to",
)
MEASURED = ("data.", "monitor.data", "model.", "seed", "precision")  # what an evaluation must share with its run
PREPARED = tuple(f"data.{key}" for key in ("eval_transform", "normalize", "mean", "std")) + ("precision",)
SHOWN = 5  # keys named in a message
ALLOW = "--allow-changed-data"


def check(config: Mapping[str, Any], workdir: PathLike) -> None:
    """The workdir has a name that works and can be written, and holds no run of another config (as JSON has it).

    Raises:
      UserError: where that is not so.
    """
    view.check_name(workdir)
    try:
        parent = existing(Path(workdir))
        if not parent.is_dir():
            raise UserError(f"--workdir={workdir}: {parent} is a file; choose another.")
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise UserError(f"--workdir={workdir} can't be written: {error.strerror}; choose another.") from error
    if folds.count(workdir):
        raise UserError(f"--workdir={workdir} has folds: jaxcls train --workdir={workdir} goes on with them.")
    changed = differences(config, workdir)
    if changed and not longer(changed):
        raise UserError(
            f"--workdir={workdir} holds a run of another config: {shown(changed)}. Choose another --workdir; to start "
            f"from that run: jaxcls train --from={workdir}."
        )


def differences(config: Mapping[str, Any], workdir: PathLike) -> dict[str, tuple[Any, Any]]:
    """key -> (value of the run in the workdir, value now), of keys that have an influence; {} where it holds none.

    Raises:
      UserError: where its config can't be read.
    """
    there = Path(workdir) / "config.json"
    if not there.is_file():
        return {}
    try:
        stored = view.flatten_config(json.loads(files.read_bytes(there)))
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{there} can't be read ({error}); choose another --workdir.") from error
    new = view.flatten_config(config)
    # A key that is younger than the run had its default then, though there was no name for it.
    default = view.flatten_config(to_json(default_config()))
    old = {key: default[key] for key in new.keys() & default.keys()}
    old |= {current_key(key): current_value(key, value) for key, value in stored.items()}
    return {
        key: (old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(FREE)
    }


def longer(changed: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether all that differs is that a run goes on beyond its end (`training.extending`)."""
    before, now = (list(value or ()) for value in changed.get("extended", ((), ())))
    return changed.keys() == {"duration", "extended"} and now[:-1] == before and len(now) > len(before)


def shown(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """`differences` for people."""
    texts = [f"config.{key} is {old!r} there and {new!r} now" for key, (old, new) in changed.items()]
    more = f" (and {len(texts) - SHOWN} more)" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more


def check_pictures(data: Data, workdir: PathLike, note: Note) -> None:
    """The pictures are those that the run began with, or may differ. New ones that are left alone are told.

    Raises:
      UserError: for pictures that are gone or changed, unless that is allowed.
    """
    change = data.members.change() if data.members else None
    if data.members is None or change is None or not str(change):
        return
    if data.skipped is not None:  # those that went bad on the way are skipped as if they had been from the start on
        found, how = data.members.found, data.evaluation
        bad = {split: _unreadable(found[split], ids, how) for split, ids in change.altered.items() if ids}
        altered = {split: tuple(x for x in ids if x not in bad.get(split, ())) for split, ids in change.altered.items()}
        change = dataclasses.replace(change, altered=altered)
        if not str(change):
            return
    if data.members.allowed:
        note(f"the pictures of {data.names} have changed, which is allowed: {change}")
    elif change.differs:
        raise UserError(
            f"the pictures of {data.names} are not those that the run in {workdir} began with: {change}. Put them "
            f"back, or go on with what is there now: {ALLOW}."
        )
    else:
        note(f"{change.others()} of {data.names} are in no split of this run; {ALLOW} deals them in")


def _unreadable(source, ids, how):
    """Those of some pictures of a source that can't be read, as `Preprocessing` says how."""
    wanted = set(ids)
    rows = [row for row, name in enumerate(metadata.ids(source)) if name in wanted]
    found = unreadable.check(source, rows, full=True, channels=how.channels, window=how.window)
    return {name for name, _ in found.problems}


def check_evaluation(config: Mapping[str, Any], workdir: PathLike, *, named: bool) -> None:
    """What is evaluated, and on which pictures, is as the run has it. Raises UserError where it is not.

    Under a name of its own an evaluation may prepare the pictures in another way, or compute in another precision.
    """
    changed = {key: values for key, values in differences(config, workdir).items() if measured(key)}
    if not named and changed and all(key in PREPARED for key in changed):
        raise UserError(
            f"the run in {workdir} prepares pictures in another way: {shown(changed)}. Give this evaluation a name of "
            "its own, --name=NAME: it then stands beside the run's."
        )
    if others := {key: values for key, values in changed.items() if key not in PREPARED}:
        raise UserError(
            f"an evaluation is of the run's own model and splits, but {shown(others)}. Leave that out; to score the "
            "run on other pictures use --data."
        )


def measured(key: str) -> bool:
    """Whether a key must be as in training; a set of another name holds the run's pictures, or is refused for that."""
    return key.startswith(MEASURED) and key != "data.name"


def check_evaluated(data: Data, splits: Sequence[str], workdir: PathLike, allow: bool, note: Note) -> bool:
    """Whether pictures of these splits are gone or changed, which must be allowed. New pictures are told.

    Raises:
      UserError: where it is not.
    """
    change = data.members.change(splits) if data.members else None
    if change is None:
        return False
    if change.new:
        note(f"{change.others()} of {data.names} are in no split of this run and are not evaluated")
    if not change.differs:
        return False
    if not allow:
        raise UserError(
            f"the pictures of {data.names} are not those that the run in {workdir} held out: {change.of_splits()}. Put "
            f"them back; or score what is left, beside the run's own figures: {ALLOW}."
        )
    note(f"only what is left of the run's splits is evaluated: {change.of_splits()}")
    return True


def check_opened(data: Data, workdir: PathLike, step: int | None, splits: Sequence[str]) -> None:
    """Pictures that are opened for a run's checkpoint are those of its splits.

    Args:
      data: as it is opened now.
      workdir: of the run.
      step: the checkpoint; None for the best one, else the newest.
      splits: which are looked at.

    Raises:
      UserError: where pictures of them are gone or changed.
    """
    change = data.members.change(splits) if data.members else None
    if change is not None and change.differs:
        raise UserError(f"the pictures of {data.names} are not those of the run: {change.of_splits()}")
    if data.members is not None and data.members.knows_train:
        return
    folder = view.best_step(workdir) if step is None else view.find_step(workdir, step)
    check_fingerprint(data, view.read_meta(folder), workdir)


def check_fingerprint(data: Data, meta: Meta, what: PathLike) -> None:
    """The training pictures are those of a checkpoint's, judged by their fingerprint where no splits are stored.

    Raises:
      UserError: where they are not; `what` is the checkpoint's name.
    """
    if data.members is not None and data.members.knows_train:
        return  # told by name and content before
    if meta.data.get("fingerprint") != data.sources["train"].fingerprint:
        raise UserError(
            f"the training pictures of {data.name} have changed since {what} was written; choose another --workdir, or "
            "put them back."
        )


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(p for p in [path, *path.absolute().parents] if p.exists())


def to_json(config: ConfigDict) -> dict[str, Any]:
    """A ConfigDict as JSON-able dicts and lists."""
    return json.loads(json.dumps(config.to_dict()))
