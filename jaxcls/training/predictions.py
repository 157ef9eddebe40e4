"""What an evaluation leaves in `eval/` of the workdir: the predictions of a split, and what its rows are called."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jaxcls import files
from jaxcls.data.base import Source
from jaxcls.predict import written
from jaxcls.types import Figures, PathLike

INTACT = f"{files.REMEDY}. Checkpoints are intact, and the same command goes on from the newest"


def save(
    workdir: PathLike, split: str, step: int | str, predictions: Mapping[str, Any], figures: Figures | None = None
) -> Path:
    """As `predict.written.save`, by one of several processes."""
    if jax.process_index() == 0:
        written.save(workdir, split, step, predictions, figures, INTACT)
    return Path(workdir) / "eval" / f"{split}-{step}.npz"


def save_rows(workdir: PathLike, name: str, source: Source, table: str = "", group_by: str = "") -> Path:
    """As `predict.written.save_rows`, by one of several processes."""
    if jax.process_index() == 0:
        written.save_rows(workdir, name, source, table, group_by, INTACT)
    return Path(workdir) / "eval" / f"{name}-rows.json"
