"""Reads what evaluations have left in a workdir: `eval/<split>-<step>.npz`, class names, the final figures."""

import hashlib
import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcls.checkpoints import view
from jaxcls.errors import UserError


class Logits(NamedTuple):
    """Predictions of one split at one step: float32 [n, classes], int [n], and int [n], the row in the source."""

    logits: np.ndarray
    label: np.ndarray
    index: np.ndarray


def logits_path(workdir, split: str, step: int) -> Path:
    """Where the logits of a split and step lie, or would."""
    return Path(workdir) / "eval" / f"{split}-{step}.npz"


def steps(workdir, split: str) -> list[int]:
    """The steps of which there are logits of a split, ascending."""
    matches = (re.fullmatch(rf"{re.escape(split)}-(\d+)\.npz", path.name) for path in Path(workdir).glob("eval/*.npz"))
    return sorted(int(match[1]) for match in matches if match)


def read_logits(workdir, split: str, step: int) -> Logits:
    """The stored predictions of a split and step.

    Raises:
      UserError: where there are none, the file is damaged, or the task predicts no logits (self-supervised ones).
    """
    path = logits_path(workdir, split, step)
    if not path.is_file():
        there = ", ".join(map(str, steps(workdir, split))) or "none"
        raise UserError(
            f"{path} does not exist (steps with logits of {split}: {there}); make it with "
            f"python -m jaxcls.main --mode=eval --workdir={workdir}"
        )
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged; delete it and evaluate again with --mode=eval") from error
    if not {"logits", "label", "index"} <= arrays.keys():
        raise UserError(f"{path} holds no logits and labels: its task predicts no classes, there is nothing to measure")
    found = Logits(arrays["logits"], arrays["label"], arrays["index"])
    n = len(found.label)
    if found.logits.ndim != 2 or len(found.logits) != n or len(found.index) != n or n == 0:
        raise UserError(f"{path} is damaged: logits {found.logits.shape} for {n} labels; evaluate again")
    return found


def fingerprint(found: Logits) -> str:
    """SHA-256 of predictions: tells whether a calibration was made of them."""
    digest = hashlib.sha256(repr(found.logits.shape).encode())
    for array in found:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def read_classes(workdir, step: int, count: int) -> list[str]:
    """Class names from the metadata of a step's checkpoint; "0", "1", .. where that is gone or has another number."""
    try:
        names = view.read_meta(view.find_step(workdir, step)).get("classes") or []
    except UserError:
        names = []
    return [str(name) for name in names] if len(names) == count else [str(i) for i in range(count)]


def final_step(workdir) -> int | None:
    """The step that the run's result is of: that of `results.json`, else the best checkpoint's, else the newest."""
    for figures in (read_json(Path(workdir) / "results.json") or {}).values():
        if isinstance(figures, dict) and "step" in figures:
            return int(figures["step"])
    try:
        return int(view.best_step(workdir).name)
    except (UserError, ValueError):
        return None


def read_json(path) -> Any:
    """A JSON file; None where there is none.

    Raises:
      UserError: if it is damaged or cannot be read.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read or is damaged; delete it or make it anew") from error
