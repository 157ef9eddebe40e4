"""Exact evaluation: every example once, from stored logits."""

import contextlib
import json
from pathlib import Path

import jax
import numpy as np

from jaxcls import build, metrics, parallel
from jaxcls.checkpoint import Checkpoints
from jaxcls.errors import UserError


def evaluate(feed, state):
    """Figures of a split (metrics.of_logits) and its predictions, as (dict, dict of arrays).

    Of a task that predicts no logits (self-supervised ones) there is only the count.
    """
    predictions = feed(state)
    if "logits" not in predictions:
        return {"count": len(predictions["index"])}, predictions
    return metrics.of_logits(predictions["logits"], predictions["label"]), predictions


def save_predictions(workdir, split, step, predictions):
    """Writes `eval/<split>-<step>.npz` (logits, label, index), of which every figure can be computed again."""
    path = Path(workdir) / "eval" / f"{split}-{step}.npz"
    if jax.process_index() == 0:
        with _replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **predictions)
    return path


def describe(figures):
    """One line for people: accuracy with its 95 % Wilson interval, and the number of examples counted."""
    if "accuracy" not in figures:
        return f"not measured ({figures['count']} examples)"
    low, high = metrics.wilson_interval(figures["correct"], figures["count"])
    text = f"{figures['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}), {figures['count']} examples"
    if "top5" in figures:
        text += f", top-5 {figures['top5']:.2%}"
    return f"{text}, loss {figures['loss']:.4g}"


def final_split(run):
    """The split that the result is reported on: test, else validation, else None."""
    return next((split for split in ("test", "validation") if split in run.sources), None)


def run(config, workdir, *, step=None, note=print):
    """`--mode=eval`: evaluates a checkpoint on all splits but train, prints and stores the figures.

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
    job = build.build(config)
    if final_split(job) is None:
        raise UserError("there is neither a test nor a validation split to evaluate on.")
    checkpoints = Checkpoints(workdir, transient=job.task.transient, read_only=True)
    step = parallel.agree(checkpoints.best) if step is None else step
    found = checkpoints.restore(job.init_state(), note, step=step)
    if found is None:
        raise UserError(f"{workdir} holds no finished checkpoint; train first with --mode=train.")
    state, _ = found
    number = int(state.step)
    state = job.parallel.replicate(state)
    results = {}
    for split in ("validation", "test"):
        if split in job.sources:
            results[split], predictions = evaluate(job.eval_feed(split), state)
            path = save_predictions(workdir, split, number, predictions)
            note(f"step {number}, {split}: accuracy {describe(results[split])}; logits in {path}")
    return results


def write_json(path, value):
    """Writes a JSON file atomically. Raises UserError where it can't be written."""
    with _replacing(Path(path)) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


@contextlib.contextmanager
def _replacing(path):
    """A path to write to, which takes the place of `path` at the end: readers see the old file or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(
            f"{path} can't be written: {error.strerror or error}; free some space, or mend what is wrong there. "
            "Checkpoints are intact, and the same command goes on from the newest."
        ) from error
