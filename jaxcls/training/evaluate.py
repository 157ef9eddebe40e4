"""Exact evaluation of a live state or of a checkpoint: every example once, with its logits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcls import files, metrics, parallel
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.errors import UserError
from jaxcls.state import TrainState
from jaxcls.tasks import tta
from jaxcls.tasks.distill import without_hints
from jaxcls.training import build, predictions
from jaxcls.training.feed import EvalFeed
from jaxcls.training.run import Run
from jaxcls.types import Figures, Note, PathLike, PyTree


def evaluate(feed: EvalFeed, state: TrainState) -> tuple[Figures, dict[str, np.ndarray]]:
    """Figures of a split (metrics.of_logits) and its predictions, as (dict, dict of arrays).

    Of a task that predicts no logits (self-supervised ones) there is only the count.
    """
    outputs = feed(state)
    if "logits" not in outputs:
        return {"count": len(outputs["index"])}, outputs
    return metrics.of_logits(outputs["logits"], outputs["label"]), outputs


def weights(state: TrainState) -> PyTree:
    """The collections of the model that answers, as host arrays: averages where there are any, no additions of a task.

    No other process takes part, while reading a checkpoint waits for all of them.
    """
    chosen = state.extra.get("ema", {"params": state.params, "model_state": state.model_state})
    return jax.device_get({"params": without_hints(chosen["params"]), **chosen["model_state"]})


def describe(figures: Figures) -> str:
    """One line for people: accuracy with its 95 % Wilson interval, and the number of examples counted."""
    if "accuracy" not in figures:
        return f"not measured ({figures['count']} examples)"
    low, high = metrics.wilson_interval(figures["correct"], figures["count"])
    text = f"{figures['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}), {figures['count']} examples"
    if "top5" in figures:
        text += f", top-5 {figures['top5']:.2%}"
    return f"{text}, loss {figures['loss']:.4g}"


def final_split(run: Run) -> str | None:
    """The split that the result is reported on: test, else validation, else None."""
    return next((split for split in ("test", "validation") if split in run.sources), None)


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
    if final_split(run) is None:
        raise UserError("there is neither a test nor a validation split to evaluate on.")
    state, number = restored(run, workdir, step, note)
    results: dict[str, Figures] = {}
    variant = _variant(workdir, run.config.eval)
    for split in ("validation", "test"):
        if split in run.sources:
            results[split], outputs = evaluate(run.eval_feed(split), state)
            path = predictions.save(workdir, split, f"{number}{variant}", outputs)
            predictions.save_rows(workdir, split, run)
            note(f"step {number}, {split}: accuracy {describe(results[split])}; logits in {path}")
    if jax.process_index() == 0 and not variant:
        from jaxcls.report import of_run

        page = of_run.write(run, workdir, number, weights(state), warn=lambda text: note(f"warning: {text}"))
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


def _variant(workdir, used):
    """The suffix for another test-time augmentation than the run's; "" where the run has stored no config."""
    own = (files.read_json(Path(workdir) / "config.json") or {}).get("eval")
    if own is None:
        return ""
    return tta.suffix(used.tta, own.get("tta", ()), used.tta_mean, own.get("tta_mean", "logits"))
