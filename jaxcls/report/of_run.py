"""The report of a run that is at hand: its calibration, its pictures, its page."""

from pathlib import Path
from typing import Any

from jaxcls.measure import decision
from jaxcls.report import page
from jaxcls.report.pictures import Pictures
from jaxcls.types import Note, PathLike, PyTree


def write(run: Any, workdir: PathLike, step: int | None, variables: PyTree, warn: Note) -> Path | None:
    """Calibrates a state on its validation logits and writes the report of the run; call it on the main process alone.

    Args:
      run: a training.run.Run: its data and model.
      workdir: of the run, with the stored logits of the step.
      step: of the state; None where the run has no split to evaluate on.
      variables: the model's collections that gave the answers (`training.evaluate.weights`).
      warn: where a line goes if that fails (None is returned): an evaluation is worth something without its report.
    """
    try:
        if step is not None:
            decision.fit_run(workdir, step)
        return page.write_report(workdir, step, pictures=Pictures(run, variables), note=warn)
    except Exception as error:  # memory that does not suffice for heat maps, a full disk, a mistake of ours
        warn(f"no report was written: {' '.join(f'{type(error).__name__}: {error}'.split())[:300]}")
        return None
