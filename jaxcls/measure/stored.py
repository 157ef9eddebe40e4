"""Reads what evaluations have left in a workdir: `eval/<split>-<step>.npz` and `.json`, class names, final figures."""

from __future__ import annotations

import contextlib
import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxcls import files
from jaxcls.checkpoints import folds, view
from jaxcls.errors import UserError
from jaxcls.types import Figures, PathLike

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

SPLITS = ("validation", "test")  # of a run; other names are those of evaluations on other pictures
# What NumPy and zipfile raise for a damaged file. MemoryError: of a header that claims more than there is.
_DAMAGED = (OSError, ValueError, EOFError, KeyError, MemoryError, NotImplementedError, OverflowError,
            zipfile.BadZipFile, zlib.error)  # fmt: skip
NEEDED = {"logits", "label", "index"}  # the arrays that every figure of a classifier can be computed from


class Logits(NamedTuple):
    """Predictions of one split at one step; `rows` are the pictures' numbers in the source.

    `label` is a class a picture, or, of pictures with several labels or none (`sets`), uint8 [n, classes] of 0 and 1.
    """

    logits: Float[np.ndarray, "n classes"]
    label: Int[np.ndarray, " n"] | UInt8[np.ndarray, "n classes"]
    rows: Int[np.ndarray, " n"]

    @property
    def sets(self) -> bool:
        """Whether labels are sets of classes."""
        return self.label.ndim == 2


def logits_path(workdir: PathLike, split: str, step: int) -> Path:
    """Where the logits of a split and step lie, or would."""
    return Path(workdir) / "eval" / f"{split}-{step}.npz"


def steps(workdir: PathLike, split: str) -> list[int]:
    """The steps of which there are predictions of a split, ascending."""
    return _steps(workdir, split, "npz")


def evaluations(workdir: PathLike, split: str) -> list[int]:
    """The steps of which there are predictions or figures of a split, ascending."""
    return _steps(workdir, split, "npz|json")


def _steps(workdir, split, kinds):
    name = re.compile(rf"{re.escape(split)}-(\d+)\.({kinds})")
    matches = (name.fullmatch(path.name) for path in Path(workdir).glob("eval/*"))
    return sorted({int(match[1]) for match in matches if match})


def has_logits(workdir: PathLike, split: str, step: int) -> bool:
    """Whether there are logits of a split and step; not of a task that predicts none (self-supervised ones).

    Only the file's table of contents is read.

    Raises:
      UserError: where the file is damaged.
    """
    path = logits_path(workdir, split, step)
    if not path.is_file():
        return False
    with _opened(path, workdir) as file:
        return NEEDED.issubset(file.files)


def read_figures(workdir: PathLike, split: str, step: int) -> Figures:
    """What was recorded of a split and step: `eval/<split>-<step>.json`, else that of `results.json`; {} without.

    Raises:
      UserError: where a file is damaged.
    """
    found = files.read_json(logits_path(workdir, split, step).with_suffix(".json"), strict=True)
    if not isinstance(found, dict):
        found = (files.read_json(Path(workdir) / "results.json", strict=True) or {}).get(split)
        found = found if isinstance(found, dict) and found.get("step") == step else {}
    return {name: value for name, value in found.items() if name not in ("split", "step")}


def read_logits(workdir: PathLike, split: str, step: int) -> Logits:
    """The stored predictions of a split and step, whose pictures have one label each.

    Raises:
      UserError: where there are none, the file is damaged, the task predicts no logits (self-supervised ones), or
        labels are sets.
    """
    found = read_answers(workdir, split, step)
    if found.sets:
        raise UserError(
            f"{logits_path(workdir, split, step)}: its labels are sets (several a picture, or none), and this is for "
            "one label a picture"
        )
    return found


def read_answers(workdir: PathLike, split: str, step: int) -> Logits:
    """The stored predictions of a split and step, with one label a picture or with sets of them (`Logits.sets`).

    Raises:
      UserError: where there are none, the file is damaged, or the task predicts no logits (self-supervised ones).
    """
    path = logits_path(workdir, split, step)
    if not path.is_file():
        there = ", ".join(map(str, steps(workdir, split))) or "none"
        raise UserError(
            f"{path} does not exist (steps with logits of {split}: {there}); make it with `jaxcls eval {workdir}`"
        )
    with _opened(path, workdir) as file:
        arrays = {name: file[name] for name in file.files}
    if not NEEDED.issubset(arrays):
        raise UserError(f"{path} holds no logits and labels: its task predicts no classes, there is nothing to measure")
    predictions = Logits(arrays["logits"], arrays["label"], arrays["index"])
    if not _fit(predictions):
        shape, n = predictions.logits.shape, len(predictions.label)
        raise UserError(f"{path} is damaged: logits {shape} for {n} labels; evaluate again")
    return predictions


def _fit(predictions):
    """Whether shapes and kinds of the arrays are those of predictions."""
    shape, label = predictions.logits.shape, predictions.label
    kinds = "".join(array.dtype.kind for array in predictions)
    if len(shape) != 2 or shape[0] == 0 or len(predictions.rows) != shape[0] or not re.fullmatch("f[iu][iu]", kinds):
        return False
    return label.shape == shape[:1] or (
        label.shape == shape and label.min(initial=0) >= 0 and label.max(initial=0) <= 1
    )


@contextlib.contextmanager
def _opened(path: Path, workdir: PathLike) -> Iterator[Any]:
    try:
        with files.open_arrays(path) as file:
            yield file
    except _DAMAGED as error:
        raise UserError(f"{path} is damaged; delete it and evaluate again with `jaxcls eval {workdir}`") from error


def fingerprint(predictions: Logits) -> str:
    """SHA-256 of predictions: tells whether a calibration was made of them."""
    digest = hashlib.sha256(repr(predictions.logits.shape).encode())
    for array in predictions:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def read_classes(workdir: PathLike, step: int, count: int) -> list[str]:
    """Class names from the metadata of a step's checkpoint, of a k-fold run from the first fold; "0", "1", .. where
    that is gone or has another number."""
    first = next(iter(folds.workdirs(workdir)), None)
    try:
        names = view.read_meta(view.best_step(first) if first else view.find_step(workdir, step)).classes
    except UserError:
        names = ()
    return list(names) if len(names) == count else [str(i) for i in range(count)]


def final_step(workdir: PathLike) -> int | None:
    """The step that the run's result is of: that of `results.json`, else the best checkpoint's, else the newest."""
    for figures in (files.read_json(Path(workdir) / "results.json", strict=True) or {}).values():
        if isinstance(figures, dict) and "step" in figures:
            return int(figures["step"])
    try:
        return int(view.best_step(workdir).name)
    except (UserError, ValueError):
        return None
