"""What a run ends with: the final evaluation, its files, and what people are told."""

import shlex
from pathlib import Path

import jax

from jaxcls import files, parallel
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.errors import UserError
from jaxcls.logs.logger import Logger
from jaxcls.state import TrainState
from jaxcls.tasks.base import FEATURES
from jaxcls.tasks.networks import Network
from jaxcls.training import importance, predictions
from jaxcls.training.evaluate import Measure
from jaxcls.training.run import Run
from jaxcls.types import Figures, PathLike


def measure(
    run: Run, workdir: PathLike, checkpoints: Checkpoints, state: TrainState, log: Logger
) -> tuple[dict[str, Figures], TrainState]:
    """The final evaluation: of the best checkpoint where a validation split chose one, else of the last state.

    Returns (split -> figures, that state).
    The test split is looked at here and nowhere before.
    """
    split = run.data.result_split
    if split is None:
        return {}, state
    best = parallel.agree(checkpoints.best) if run.selects else None
    if best is not None and best != int(state.step):
        restored = checkpoints.restore(state, note=log.warn, step=best, places=run.parallel.places)
        assert restored is not None  # a step that was asked for is there, or a UserError
        state = run.parallel.place(restored[0])
    step = int(state.step)
    with log.waiting(f"evaluating step {step} on {split}"):
        figures, outputs = Measure(run, split, Path(workdir) / "eval")(state)
        owed = importance.of_run(run, state, split)
    predictions.save(workdir, split, step, outputs, {**figures, **owed})
    predictions.save_rows(workdir, split, run.data.sources[split], run.data.metadata, run.data.group_by)
    log.scalars(run.training.total_steps, figures, split=split)
    results = {split: {**figures, "step": step}}
    if interval := run.task.interval(figures):
        results[split]["interval"] = interval
    if jax.process_index() == 0:
        files.write_json(Path(workdir) / "results.json", results, predictions.INTACT)
    return results, state


def summarise(
    run: Run, workdir: PathLike, results: dict[str, Figures], network: Network, step: int, log: Logger
) -> None:
    """What was found of a network of a step, where it lies, what to type next."""
    from jaxcls.report import of_run
    from jaxcls.report.curves import write_curves
    from jaxcls.report.markup import in_words

    rows = [] if results else [("result", "nothing was measured: there is no test or validation split")]
    for split, figures in results.items():
        chosen = " (it chose the checkpoint, so this is optimistic)" if split == "validation" else ""
        first = "".join(f" {in_words(figure.name)}" for figure in run.task.criteria[:1])
        rows.append((f"{split}{first}", run.task.describe(figures) + chosen))
        rows.append(("of step", f"{figures['step']} of {run.training.total_steps}"))
    if skipped := run.data.skipped and run.data.skipped.lines:
        path = Path(workdir) / "skipped.txt"
        with files.replacing(path, predictions.INTACT) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in skipped), errors="surrogateescape")
        rows.append(("skipped", f"{len(skipped):,} pictures that can't be read: {path}"))
    rows.append(("checkpoints", f"{workdir}/checkpoints"))
    measured = f"{workdir}/results.json, {workdir}/eval/, " if results else ""
    rows.append(("figures", f"{measured}{workdir}/metrics.jsonl"))
    try:
        rows.append(("curves", str(write_curves(workdir, run.task.criteria)[0])))
    except UserError as error:
        rows.append(("curves", f"none: {error}"))
    with log.waiting("writing the report"):
        page = of_run.write(run.data, network, workdir, step if results else None, warn=log.warn)
    rows.append(("report", str(page or "none")))
    log.summary(f"{run.model.name} on {run.data.name}", rows, next_steps(run, workdir, bool(results)))


def next_steps(run: Run, workdir: PathLike, measured: bool) -> list[tuple[str, str]]:
    """(what for, command) of what can be done with a run; `measured`: there is a split to evaluate on."""
    place = shlex.quote(str(workdir))
    labelled = "" if run.data.classes else " --data LABELLED_FOLDER"
    what = "TABLE" if run.data.columns else "PICTURE_OR_FOLDER"
    use = ("predict pictures", f"jaxcls predict {place} {what}")
    if "nodes" in getattr(run.model.module, "inputs", ()):  # a file has no graph
        use = ("evaluate it on other graphs", f"jaxcls eval {place} --data graphs/FOLDER")
    if run.task.output == FEATURES:
        use = ("try the features", f"jaxcls probe {place}{labelled}")
    return [
        ("look into the checkpoint", f"jaxcls inspect {place}"),
        *([("evaluate it again", f"jaxcls eval {place}")] if measured else []),
        use,
        ("watch the curves", f"tensorboard --logdir={place}/events"),
    ]
