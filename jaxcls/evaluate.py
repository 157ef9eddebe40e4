"""Exact evaluation: every example once, from stored logits; and the report that is made of them."""

import contextlib
import json
from pathlib import Path

import jax
import numpy as np

from jaxcls import build, metrics, parallel, tta
from jaxcls.checkpoint import Checkpoints
from jaxcls.data import groups, metadata
from jaxcls.errors import UserError
from jaxcls.tasks.distill import without_hints


def evaluate(feed, state):
    """Figures of a split (metrics.of_logits) and its predictions, as (dict, dict of arrays).

    Of a task that predicts no logits (self-supervised ones) there is only the count.
    """
    predictions = feed(state)
    if "logits" not in predictions:
        return {"count": len(predictions["index"])}, predictions
    return metrics.of_logits(predictions["logits"], predictions["label"]), predictions


def save_predictions(workdir, split, step, predictions):
    """Writes `eval/<split>-<step>.npz` (logits, label, index), of which every figure can be computed again.

    `step` may bear the suffix of another test-time augmentation than the run's own (tta.suffix).
    """
    path = Path(workdir) / "eval" / f"{split}-{step}.npz"
    if jax.process_index() == 0:
        with _replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **predictions)
    return path


def save_rows(workdir, split, job):
    """Writes `eval/<split>-rows.json`: what the rows of a split are called, and what else is known of them.

    {"id": [str], "columns": {name: [value]}, "fingerprint": that of the split}; see `data.metadata`. With
    config.data.group_by a column "group" says which pictures belong together. A file that was made of the same data
    stays as it is, unless the config names a table.
    """
    path, source, data = Path(workdir) / "eval" / f"{split}-rows.json", job.sources[split], job.config.data
    if jax.process_index() == 0 and (data.metadata or data.group_by or _fingerprint(path) != source.fingerprint):
        names, columns = metadata.rows(source)
        columns |= metadata.table(names, data.metadata, metadata.root(source))
        if data.group_by:
            with contextlib.suppress(UserError):  # a split that came with the set need not have groups
                columns[metadata.GROUP] = groups.names_of_ids(names, data.group_by, metadata.root(source))
        with _replacing(path) as temporary:
            content = {"id": names, "columns": columns, "fingerprint": source.fingerprint}
            temporary.write_text(json.dumps(content, default=str) + "\n")
    return path


def _fingerprint(path):
    try:
        return json.loads(path.read_bytes())["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def weights(state):
    """The collections of the model that answers, as host arrays: averages where there are any, no additions of a task.

    No other process takes part, while reading a checkpoint waits for all of them.
    """
    chosen = state.extra.get("ema", {"params": state.params, "model_state": state.model_state})
    return jax.device_get({"params": without_hints(chosen["params"]), **chosen["model_state"]})


def report(job, workdir, state, warn):
    """Calibrates a state on its validation logits and writes the report of the run; call it on the main process alone.

    Args:
      job: a run.Run.
      workdir: folder of the run, with the stored logits of the state's step, if there is a split to evaluate on.
      state: that was evaluated, replicated.
      warn: where a line goes if that fails: an evaluation is worth something without its report.

    Returns:
      The path of the page, or None.
    """
    from jaxcls.measure import decision
    from jaxcls.report import page, pictures

    try:
        step = int(state.step) if final_split(job) else None
        if step is not None:
            decision.fit_run(workdir, step)
        seen = pictures.Pictures(job, weights(state))
        return page.write_report(workdir, step, pictures=seen, note=warn)
    except Exception as error:  # memory that does not suffice for heat maps, a full disk, a mistake of ours
        warn(f"no report was written: {' '.join(f'{type(error).__name__}: {error}'.split())[:300]}")
        return None


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
    """`--mode=eval`: evaluates a checkpoint on all splits but train, prints and stores the figures, writes the report.

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
    job = build.build(config)
    if final_split(job) is None:
        raise UserError("there is neither a test nor a validation split to evaluate on.")
    state, number = restored(job, workdir, step, note)
    results, variant = {}, _variant(workdir, job.config.eval)
    for split in ("validation", "test"):
        if split in job.sources:
            results[split], predictions = evaluate(job.eval_feed(split), state)
            path = save_predictions(workdir, split, f"{number}{variant}", predictions)
            save_rows(workdir, split, job)
            note(f"step {number}, {split}: accuracy {describe(results[split])}; logits in {path}")
    if jax.process_index() == 0 and not variant:
        path = report(job, workdir, state, warn=lambda text: note(f"warning: {text}"))
        if path:
            note(f"report: {path}")
    return results


def restored(job, workdir, step, note):
    """(replicated state, its step) of a run's checkpoint: of the step, or, for None, the best or the newest.

    Raises:
      UserError: where there is no good checkpoint.
    """
    checkpoints = Checkpoints(workdir, transient=job.task.transient, read_only=True)
    step = parallel.agree(checkpoints.best) if step is None else step
    found = checkpoints.restore(job.init_state(), note, step=step)
    if found is None:
        raise UserError(f"{workdir} holds no finished checkpoint; train first with --mode=train.")
    return job.parallel.replicate(found[0]), int(found[0].step)


def _variant(workdir, used):
    """The suffix for another test-time augmentation than the run's; "" where the run has stored no config."""
    try:
        own = json.loads((Path(workdir) / "config.json").read_bytes())["eval"]
    except (OSError, ValueError, KeyError):
        return ""
    return tta.suffix(used.tta, own.get("tta", ()), used.tta_mean, own.get("tta_mean", "logits"))


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
