"""Exact evaluation of a live state or of a checkpoint: every example once, with its predictions."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcls import files, parallel
from jaxcls.checkpoints import folds
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.errors import UserError
from jaxcls.state import TrainState
from jaxcls.tasks import tta
from jaxcls.training import begin, build, importance, predictions, same_run, sharing
from jaxcls.training.collecting import collect
from jaxcls.training.run import Run
from jaxcls.types import Figures, Note, PathLike


class Measure:
    """Measures states of a run on one split: `measure(state)` -> (figures of the task, predictions as host arrays).

    What it compiles it keeps, for the next state. Process 0 alone takes the predictions from the devices and computes
    the figures, which all get; the others have no predictions. With a `folder` large ones lie on disk (`collect`).
    `between` is called after each batch; what it raises ends the evaluation.
    """

    def __init__(
        self,
        run: Run,
        split: str,
        folder: PathLike | None = None,
        between: Callable[[], None] = lambda: None,
    ):
        self.task, self.folder, self.between = run.task, folder, between
        self.feed, self.others = run.eval_feed(split), {name: run.eval_feed(name) for name in run.task.needs}

    def __call__(self, state: TrainState) -> tuple[Figures, dict[str, np.ndarray]]:
        """See the class."""
        outputs = self._predictions(self.feed, state)
        others = {name: self._predictions(feed, state) for name, feed in self.others.items()}
        figures = sharing.from_main(lambda: self.task.figures(outputs, others))
        return figures, {name: values for name, values in outputs.items() if name not in self.task.scratch}

    def _predictions(self, feed, state):
        """Those of a feed on process 0, nothing on the others."""
        if jax.process_index() == 0:
            return collect(self._watched(feed.batches(state)), feed.n, self.folder, gaps=feed.gaps)
        for out in feed.batches(state):
            jax.block_until_ready(out)  # else they would run ahead, with all their pictures on the devices
        return {}

    def _watched(self, batches):
        for out in batches:
            self.between()
            yield out


def run(
    config: Mapping[str, Any],
    workdir: PathLike,
    *,
    step: int | None = None,
    name: str = "",
    allow_changed: bool = False,
    note: Note = print,
) -> dict[str, Figures]:
    """`jaxcls eval`: evaluates a checkpoint on the run's splits but train, prints and stores the figures, writes the
    report.

    The splits are those that the run has stored. With another config.eval.tta than the run's own the predictions get a
    name of their own, and the report stays; so with a name, and where pictures of a split are gone or changed.

    Args:
      config: the run's config.
      workdir: folder of the run.
      step: the checkpoint; None for the best one if there is a best, else the newest.
      name: what the predictions are called beside the run's own; with one the pictures may be prepared in another way.
      allow_changed: whether what is left of changed splits is evaluated, under the name "remaining".
      note: where lines go.

    Returns:
      dict split -> figures.

    Raises:
      UserError: where there is no good checkpoint or one of each fold, no split to evaluate on, or the config or the
        pictures are not the run's.
    """
    folds.refuse(workdir)
    run = build.build(config, workdir=workdir)
    if run.data.result_split is None:
        more = " (config.monitor.data names labelled pictures)" if config["ssl"]["method"] else ""
        raise UserError(f"there is neither a test nor a validation split to evaluate on{more}.")
    from jaxcls.report.markup import in_words

    splits = [split for split in ("validation", "test") if split in run.data.sources]
    same_run.check_evaluation(run.stored, workdir, named=bool(name))
    changed = same_run.check_evaluated(run.data, splits, workdir, allow_changed, note)
    prefix = name or ("remaining" if changed else "")
    state, number = restored(run, workdir, step, note)
    results: dict[str, Figures] = {}
    variant = _variant(workdir, run.task)
    for split in splits:
        results[split], outputs = Measure(run, split, Path(workdir) / "eval")(state)
        first = "".join(f"{in_words(figure.name)} " for figure in run.task.criteria[:1])
        note(f"step {number}, {split}: {first}{run.task.describe(results[split])}")  # before a disk may refuse
        owed = importance.of_run(run, state, split)
        if owed:
            note(f"step {number}, {split}: {importance.line(owed)}")
        title = f"{prefix}_{split}" if prefix else split
        path = predictions.save(workdir, title, f"{number}{variant}", outputs, {**results[split], **owed})
        predictions.save_rows(workdir, title, run.data.sources[split], run.data.metadata, run.data.group_by)
        note(f"{'logits' if 'logits' in outputs else 'predictions'} of {split}: {path}")
    reports = not variant and not prefix
    network = run.network(state) if reports and (jax.process_index() == 0 or run.parallel.rules) else None
    if network is not None and jax.process_index() == 0:
        _write_report(run, network, workdir, number, note)
    return results


def _write_report(run, network, workdir, step, note):
    from jaxcls.report import of_run

    begin.store_tree(run, workdir)
    page = of_run.write(run.data, network, workdir, step, warn=lambda text: note(f"warning: {text}"))
    if page:
        note(f"report: {page}")


def restored(run: Run, workdir: PathLike, step: int | None, note: Note) -> tuple[TrainState, int]:
    """(state on the devices, its step) of a run's checkpoint: of the step, or, for None, the best or the newest.

    Raises:
      UserError: where there is no good checkpoint, or it was trained on other pictures.
    """
    checkpoints = Checkpoints(workdir, transient=run.task.transient, read_only=True)
    step = parallel.agree(checkpoints.best) if step is None else step
    checkpoint = checkpoints.restore(run.blank_state(), note, step=step, places=run.parallel.places)
    if checkpoint is None:
        raise UserError(f"{workdir} holds no finished checkpoint; train first (jaxcls train).")
    state, meta = checkpoint
    same_run.check_fingerprint(run.data, meta, workdir)
    return run.parallel.place(state), int(state.step)


def _variant(workdir, task):
    """The suffix for another test-time augmentation than the run's; "" where the run has stored no config."""
    own = (files.read_json(Path(workdir) / "config.json") or {}).get("eval")
    if own is None:
        return ""
    return tta.suffix(task.views, own.get("tta", ()), task.mean, own.get("tta_mean", "logits"))
