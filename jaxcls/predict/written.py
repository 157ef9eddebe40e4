"""What an evaluation leaves in `eval/` of a folder: the predictions of a split, and what its rows are called.

Without JAX; training.predictions calls it in one of several processes.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.data import groups, metadata
from jaxcls.data.base import Source
from jaxcls.errors import UserError
from jaxcls.types import Figures, PathLike


def save(
    workdir: PathLike,
    split: str,
    step: int | str,
    predictions: Mapping[str, Any],
    figures: Figures | None = None,
    remedy: str = files.REMEDY,
) -> Path:
    """Writes `eval/<split>-<step>.npz` (logits or features, label, index), of which every figure can be computed again,
    and beside it the task's figures as JSON, in which a figure that is no finite number is null.

    `step` may bear the suffix of another test-time augmentation than the run's own (tta.suffix). `remedy` ends the
    message of what can't be written.
    """
    path = Path(workdir) / "eval" / f"{split}-{step}.npz"
    with files.replacing(path, remedy) as temporary, open(temporary, "wb") as file:
        np.savez(file, **predictions)  # a few megabytes at a time, from a file as from memory
    if figures is not None:
        files.write_json(path.with_suffix(".json"), {"split": split, "step": step, **figures}, remedy)
    return path


def save_rows(
    workdir: PathLike, name: str, source: Source, table: str = "", group_by: str = "", remedy: str = files.REMEDY
) -> Path:
    """Writes `eval/<name>-rows.json`: what the rows of a split, or of other data, are called, and what else is known.

    {"id": [str], "columns": {name: [value]}, "fingerprint": that of the source}; see `data.metadata`. With
    config.data.group_by, or groups of the source's own, a column "group" says which pictures belong together, and
    "grouped" is true. A file that was made of the same data
    stays as it is, unless the config names a table.

    Args:
      workdir: of the run.
      name: of the split or the evaluation.
      source: its pictures.
      table, group_by: config.data.metadata and config.data.group_by.
      remedy: as of `save`.
    """
    path = Path(workdir) / "eval" / f"{name}-rows.json"
    if table or group_by or _fingerprint(path) != source.fingerprint:
        names, columns = metadata.rows(source)
        columns |= metadata.table(names, table, metadata.root(source))
        grouped = None
        with contextlib.suppress(UserError):  # a split that came with the set need not have groups
            grouped = groups.names_of(source, group_by)
        columns |= {metadata.GROUP: grouped} if grouped is not None else {}
        with files.replacing(path, remedy) as temporary:
            content: dict[str, Any] = {"id": names, "columns": columns, "fingerprint": source.fingerprint}
            content |= {"grouped": True} if grouped is not None else {}
            temporary.write_text(json.dumps(content, default=str) + "\n")
    return path


def _fingerprint(path):
    return (files.read_json(path) or {}).get("fingerprint")
