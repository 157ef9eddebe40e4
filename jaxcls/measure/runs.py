"""Runs side by side: what each of them left in its workdir, and which of them looked at the same pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxcls import files
from jaxcls.checkpoints import view
from jaxcls.checkpoints.meta import NOTHING, Meta
from jaxcls.errors import UserError
from jaxcls.logs.records import read_metrics
from jaxcls.measure import decision, figures, stored
from jaxcls.types import PathLike

if TYPE_CHECKING:
    from jaxtyping import Bool

SPLITS = ("test", "validation")


class Run(NamedTuple):
    """A finished run: its name beside the others, its folder, its flat config, and its predictions by rising row."""

    name: str
    folder: Path
    config: dict[str, Any]
    meta: Meta  # of the checkpoint; NOTHING where it is gone
    split: str
    step: int
    predictions: stored.Logits
    ids: tuple[str, ...] | None  # of the rows, where the run recorded them
    lines: list[dict[str, Any]]  # of metrics.jsonl
    decision: dict[str, Any] | None = None  # what names the classes where labels are sets (measure.multilabel)

    @property
    def right(self) -> Bool[np.ndarray, " n"]:
        """Whether each row is predicted right, of one label each."""
        return figures.predict(self.predictions.logits) == self.predictions.label

    @property
    def seed(self) -> int | None:
        return self.config.get("seed")

    @property
    def setting(self) -> tuple:
        """The config without its seed, to be compared."""
        return tuple(sorted((key, repr(value)) for key, value in self.config.items() if key != "seed"))

    @property
    def pictures_per_second(self) -> float | None:
        """Median training speed of the logged stretches, the first left out if there are more; None if not logged."""
        lines = [line for line in self.lines if line.get("split", "train") == "train"]
        speeds = [line["pictures_per_second"] for line in lines if line.get("pictures_per_second")]
        return float(np.median(speeds[1:] or speeds)) if speeds else None


def load(folders: Sequence[PathLike], split: str = "") -> list[Run]:
    """Opens runs to be compared.

    Args:
      folders: their workdirs, two or more.
      split: whose logits; "": test where every run has them, else validation.

    Raises:
      UserError: for fewer than two folders, one given twice, one that is no run, or a run without those logits.
    """
    paths = [Path(folder) for folder in folders]
    if len(paths) < 2:
        raise UserError("give two runs or more: their workdirs")
    resolved = [path.resolve() for path in paths]
    for folder, real in zip(paths, resolved, strict=True):
        if resolved.count(real) > 1:
            raise UserError(f"{folder} is given twice")
        if not (real / "eval").is_dir():
            raise UserError(f"{folder} is no workdir of a run that was evaluated: it has no folder 'eval'")
    split = split or next((s for s in SPLITS if all(stored.steps(path, s) for path in paths)), "")
    if not split:
        stored_splits = [f"{path}: {' and '.join(_splits(path)) or 'none'}" for path in paths]
        raise UserError(
            f"the runs have no split in common whose logits are stored ({'; '.join(stored_splits)}); "
            "evaluate them on the same data with `jaxcls eval`"
        )
    return [_load(path, name, split) for path, name in zip(paths, names(resolved), strict=True)]


def names(paths: Sequence[Path]) -> list[str]:
    """Short names of folders: their paths from the last folder that all share."""
    shared = Path(os.path.commonpath(paths))
    return [(path.relative_to(shared) if path != shared else Path(path.name)).as_posix() for path in paths]


def same_rows(a: Run, b: Run) -> bool:
    """Whether two runs predicted the same pictures, as far as can be told: rows, labels, classes, and names of rows.

    Where not both recorded the names, both must be of the same data (by fingerprint, or at least by its name).
    """
    if a.predictions.logits.shape != b.predictions.logits.shape:
        return False
    classes = [run.meta.classes for run in (a, b)]
    if all(classes) and classes[0] != classes[1]:
        return False
    if not all(map(np.array_equal, a.predictions[1:], b.predictions[1:])):  # labels and rows
        return False
    if a.ids is not None and b.ids is not None:
        return a.ids == b.ids
    prints = [run.meta.data.get("fingerprint") for run in (a, b)]
    return (prints[0] is not None and prints[0] == prints[1]) or a.config.get("data.name") == b.config.get("data.name")


def changes(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Config keys (and versions) in which runs differ: key -> one value a run, None where a run does not have it."""
    flat = [run.config | {f"versions.{key}": value for key, value in run.meta.versions.items()} for run in runs]
    differing = {}
    for key in sorted(set().union(*flat)):
        values = [entry.get(key) for entry in flat]
        # a run whose checkpoints are gone has no versions, which is no difference
        known = [v for v in values if v is not None or not key.startswith("versions.")]
        if any(v != known[0] for v in known):
            differing[key] = values
    return differing


def _load(folder, name, split):
    step = _step(folder, split)
    predictions = stored.read_answers(folder, split, step)
    order = np.argsort(predictions.rows, kind="stable")
    predictions = stored.Logits(*(array[order] for array in predictions))
    try:
        meta = view.read_meta(view.find_step(folder, step))
    except UserError:
        meta = NOTHING
    config = files.read_json(folder / "config.json", strict=True) or meta.config
    if not config:
        raise UserError(f"{folder} has no config.json: it is no workdir of a run")
    ids = _ids(folder, split, predictions.rows)
    config = _with_defaults(config)
    decided = decision.read(folder, step) if predictions.sets else None
    return Run(name, folder, config, meta, split, step, predictions, ids, read_metrics(folder), decided)


def _with_defaults(config):
    """The flat config; a key younger than the run had its default in it."""
    from jaxcls.defaults import current_key, current_value, default_config

    flat = view.flatten_config(_plain(default_config().to_dict()))
    flat |= {current_key(key): current_value(key, value) for key, value in view.flatten_config(config).items()}
    return {key: value for key, value in flat.items() if value != {}}  # an empty section is none


def _plain(value):
    """As JSON has it: tuples are lists."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, tuple | list) else value


def _step(folder, split):
    """The step whose logits count: the run's result, where there are any of it; else the newest with logits."""
    there = stored.steps(folder, split)
    final = stored.final_step(folder)
    if not there:
        raise UserError(
            f"{folder} holds no logits of {split}: evaluate it with `jaxcls eval {folder}`, or compare another split"
        )
    return final if final in there else there[-1]


def _splits(folder):
    return [split for split in SPLITS if stored.steps(folder, split)]


def _ids(folder, split, rows):
    """What the rows are called; None where the run did not record it."""
    ids = (files.read_json(folder / "eval" / f"{split}-rows.json", strict=True) or {}).get("id")
    return tuple(str(ids[row]) for row in rows) if ids and rows.max() < len(ids) else None
