"""Exact evaluation of a live state or of a checkpoint: every example once, with its predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcls import files, parallel
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.errors import UserError
from jaxcls.state import TrainState
from jaxcls.tasks import tta
from jaxcls.training import build, predictions
from jaxcls.training.run import Run
from jaxcls.types import Figures, Note, PathLike


class Measure:
    """Measures states of a run on one split: `measure(state)` -> (figures of the task, predictions as host arrays).

    What it compiles it keeps, for the next state.
    """

    def __init__(self, run: Run, split: str):
        self.task = run.task
        self.feed, self.others = run.eval_feed(split), {name: run.eval_feed(name) for name in run.task.needs}

    def __call__(self, state: TrainState) -> tuple[Figures, dict[str, np.ndarray]]:
        """See the class."""
        outputs = self.feed(state)
        return self.task.figures(outputs, {name: feed(state) for name, feed in self.others.items()}), outputs


def run(
    config: Mapping[str, Any], workdir: PathLike, *, step: int | None = None, note: Note = print
) -> dict[str, Figures]:
    """`jaxcls eval`: evaluates a checkpoint on all splits but train, prints and stores the figures, writes the report.

    With another config.eval.tta than the run's own the predictions get a name of their own, and the report stays.

    Args:
      config: the run's config.
      workdir: folder of the run.
      step: the checkpoint; None for the best one if there is a best, else the newest.
      note: where lines go.

    Returns:
      dict split -> figures.

    Raises:
      UserError: where there is no good checkpoint, or no split to evaluate on.
    """
    run = build.build(config)
    if run.data.result_split is None:
        raise UserError("there is neither a test nor a validation split to evaluate on.")
    state, number = restored(run, workdir, step, note)
    results: dict[str, Figures] = {}
    variant = _variant(workdir, run.task)
    for split in ("validation", "test"):
        if split in run.data.sources:
            results[split], outputs = Measure(run, split)(state)
            path = predictions.save(workdir, split, f"{number}{variant}", outputs, results[split])
            predictions.save_rows(workdir, split, run.data)
            first = "".join(f"{figure.name.replace('_', ' ')} " for figure in run.task.criteria[:1])
            what = "logits" if "logits" in outputs else "predictions"
            note(f"step {number}, {split}: {first}{run.task.describe(results[split])}; {what} in {path}")
    if jax.process_index() == 0 and not variant:
        from jaxcls.report import of_run

        warn = lambda text: note(f"warning: {text}")  # noqa: E731
        page = of_run.write(run.data, run.network(state), workdir, number, warn=warn)
        if page:
            note(f"report: {page}")
    return results


def restored(run: Run, workdir: PathLike, step: int | None, note: Note) -> tuple[TrainState, int]:
    """(replicated state, its step) of a run's checkpoint: of the step, or, for None, the best or the newest.

    Raises:
      UserError: where there is no good checkpoint.
    """
    checkpoints = Checkpoints(workdir, transient=run.task.transient, read_only=True)
    step = parallel.agree(checkpoints.best) if step is None else step
    checkpoint = checkpoints.restore(run.init_state(), note, step=step)
    if checkpoint is None:
        raise UserError(f"{workdir} holds no finished checkpoint; train first (jaxcls train).")
    state, _ = checkpoint
    return run.parallel.replicate(state), int(state.step)


def _variant(workdir, task):
    """The suffix for another test-time augmentation than the run's; "" where the run has stored no config."""
    own = (files.read_json(Path(workdir) / "config.json") or {}).get("eval")
    if own is None:
        return ""
    return tta.suffix(task.views, own.get("tta", ()), task.mean, own.get("tta_mean", "logits"))
