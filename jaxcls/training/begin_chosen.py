"""A run with a recipe that is chosen for its data."""

import math
from collections.abc import Sequence
from pathlib import Path

import jax

from jaxcls import parallel
from jaxcls.training import chosen, folding, lock
from jaxcls.types import Figures


def run(
    settings: Sequence[tuple[str, str]],
    workdir: str | Path,
    *,
    folds: int = 0,
    allow_changed: bool = False,
    deadline: float = math.inf,
) -> dict[str, Figures]:
    """Chooses a recipe (training.chosen), says what and why, and trains with it; config.py in the workdir has it.

    Args:
      settings: (key, text) pairs as of `config_file.override`, `data.name` among them.
      workdir: a folder without a run.
      folds: how many runs of as many folds; 0: one run (`folding.started`).
      allow_changed, deadline: as of `loop.run`, which also says what is returned and raised.
    """
    parallel.agree(lambda: lock.refuse(workdir))
    writes = jax.process_index() == 0
    found = chosen.chosen(settings)
    with chosen.kept(found, workdir, writes=writes) as path:
        if writes:
            print("\n".join([*found.lines(), f"kept as {path}, to be edited and given as --config"]), flush=True)
        return folding.started(found.config, workdir, folds, allow_changed=allow_changed, deadline=deadline)
