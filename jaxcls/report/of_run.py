"""The report of a run that is at hand: its calibration, its pictures, its page; and that of a k-fold run."""

from pathlib import Path
from typing import Any

from jaxcls.measure import decision, stored
from jaxcls.measure.multilabel import decision as set_decision
from jaxcls.report import page
from jaxcls.report.pictures import Pictures
from jaxcls.types import Note, PathLike


def write(data: Any, network: Any, workdir: PathLike, step: int | None, warn: Note) -> Path | None:
    """Calibrates a state on its validation logits and writes the report of the run; call it on the main process alone.

    Args:
      data: a training.data.Data.
      network: what gave the answers, a tasks.networks.Network.
      workdir: of the run, with the stored predictions of the step.
      step: of the state; None where the run has no split to evaluate on.
      warn: where a line goes if that fails (None is returned): an evaluation is worth something without its report.
    """
    try:
        if step is not None and network.key == "logits":
            predictions = stored.logits_path(workdir, decision.SPLIT, step)
            sets = predictions.is_file() and stored.read_answers(workdir, decision.SPLIT, step).sets
            (set_decision if sets else decision).fit_run(workdir, step)
        return page.write_report(workdir, step, pictures=Pictures(data.sources, network, data.picture), note=warn)
    except Exception as error:  # memory that does not suffice for heat maps, a full disk, a mistake of ours
        warn(f"no report was written: {' '.join(f'{type(error).__name__}: {error}'.split())[:300]}")
        return None


def write_pooled(workdir: PathLike, split: str, step: int, warn: Note) -> Path | None:
    """Writes the report of a k-fold run; None where that fails, which is told."""
    try:
        why = "they lie in the folders of the folds, and so do their reports"
        return page.write_report(workdir, step, split, why_not=why, note=warn)
    except Exception as error:  # the figures are worth something without a page
        warn(f"no report was written: {' '.join(f'{type(error).__name__}: {error}'.split())[:300]}")
        return None
