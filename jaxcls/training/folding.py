"""A k-fold run: each fold an ordinary run in a folder of its own, with one of the folds held out, and what all say
together.

    workdir/folds.json              how many folds there are, and which are done
    workdir/fold-1 .. fold-k        the runs (config.data.fold)
    workdir/results.json, eval/, calibration/, report.html: of the predictions of all (predict.pooling), as step 0

Killed at any moment it goes on where it was: a fold that is done is not run again, the others go on from their newest
checkpoint. All folds have one seed, so they start from the same weights and share one compiled program where they have
as many pictures.
"""

import math
from pathlib import Path
from typing import Any

import jax

from jaxcls import files, parallel
from jaxcls.checkpoints import folds, view
from jaxcls.errors import UserError
from jaxcls.predict import pooling
from jaxcls.report import folds as report
from jaxcls.report import of_run
from jaxcls.settings.reader import resolve
from jaxcls.training import from_weights, loop, predictions, same_run
from jaxcls.types import Figures, PathLike


def wanted(count: int | None, workdir: PathLike) -> int:
    """How many folds a run has: what was asked for, or what is in its workdir already; 0 for an ordinary run.

    Raises:
      UserError: where these differ, or there are fewer than two.
    """
    there = folds.count(workdir)
    if count is None:
        return there
    if count < 2:
        raise UserError(f"--folds={count}: there must be two or more.")
    if there and there != count:
        raise UserError(f"--folds={count}: {workdir} has {there} folds; leave it out, or choose another --workdir.")
    if not there and (Path(workdir) / "config.json").exists():
        raise UserError(f"--folds={count}: {workdir} has a run without folds; choose another --workdir.")
    return count


def started(
    config: Any, workdir: PathLike, count: int, *, allow_changed: bool = False, deadline: float = math.inf
) -> dict[str, Figures]:
    """`run` of so many folds, or for 0 of them an ordinary run (`loop.run`); arguments as theirs."""
    if count:
        return run(config, workdir, count, allow_changed=allow_changed, deadline=deadline)
    return loop.run(config, workdir, allow_changed=allow_changed, deadline=deadline)


def run(
    config: Any,
    workdir: PathLike,
    count: int,
    *,
    allow_changed: bool = False,
    deadline: float = math.inf,
) -> dict[str, Figures]:
    """Trains all folds, or goes on with them, and puts together what they say.

    Args:
      config, workdir, allow_changed, deadline: as of `loop.run`.
      count: of folds (`wanted`).

    Returns:
      What lies in `results.json`: split -> figures of all folds together, and "folds": figures -> mean, sd, values.

    Raises:
      UserError, Stopped: as `loop.run`.
    """
    workdir, main = Path(workdir), jax.process_index() == 0
    say = print if main else lambda *_, **__: None
    config = from_weights.resolved(config, workdir)
    _check(config, workdir)
    path = workdir / folds.FILE
    known = (files.read_json(path) or {}).get("done")
    done: dict[str, Any] = dict(known) if isinstance(known, dict) else {}
    parallel.agree(lambda: None)  # nobody writes before all have read
    for number in range(1, count + 1):
        place, made = folds.workdir(workdir, number), resolve(config)
        made.data.fold = f"{number}/{count}"
        entry = done.get(str(number), {})
        if entry.get("duration") == config.duration and (place / "results.json").is_file():
            say(f"fold {number} of {count} is done", flush=True)
            continue
        say(f"fold {number} of {count}: {place}", flush=True)
        if number == 1:
            _begin(config, workdir, count, done)
        if not loop.run(made, place, allow_changed=allow_changed, deadline=deadline):
            raise UserError(f"{place} has no split that is evaluated, so its folds have no figures.")
        done[str(number)] = {"duration": config.duration}
        if main:
            files.write_json(path, {"folds": count, "done": done}, predictions.INTACT)
            _store(config, workdir)
    return _together(workdir, count) if main else {}


def _check(config, workdir):
    """The workdir can be used, and holds this run or none. Raises UserError."""
    view.check_name(workdir)
    if config.data.fold:
        raise UserError("config.data.fold is one fold, and --folds runs all of them; leave one of the two out.")
    if config.ssl.method:
        raise UserError("--folds deals pictures by labels, and config.ssl.method learns without; leave one out.")
    changed = same_run.differences(same_run.to_json(config), workdir)
    if changed.keys() - {"duration", "schedule.rest", "extended"}:
        told = same_run.shown(changed)
        raise UserError(f"{workdir} holds folds of another config: {told}. Choose another --workdir.")


def _begin(config, workdir, count, done):
    """Says that the workdir is one of folds, before the first of them begins."""
    if jax.process_index() or (workdir / folds.FILE).exists():
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir={workdir} can't be written: {error.strerror}; choose another.") from error
    _store(config, workdir)
    files.write_json(workdir / folds.FILE, {"folds": count, "done": done}, predictions.INTACT)


def _store(config, workdir):
    """Writes the config, without the rate of an extension: that is written to those of the folds."""
    stored = same_run.to_json(config)
    stored["schedule"]["rest"] = 0.0
    files.write_json(workdir / "config.json", stored, predictions.INTACT)


def _together(workdir, count) -> dict[str, Figures]:
    """Writes what all folds say together, and tells it."""
    places = [folds.workdir(workdir, i + 1) for i in range(count)]
    results = [files.read_json(place / "results.json", strict=True) for place in places]
    split = next(iter(results[0]))
    told = report.spread([each[split] for each in results])
    pooled = pooling.pool(workdir, places, [each[split]["step"] for each in results])
    found = {**pooled, report.KEY: {"split": split, **told}}
    files.write_json(workdir / "results.json", found, predictions.INTACT)
    first = next(iter(pooled), None)
    page = of_run.write_pooled(workdir, first, folds.STEP, print) if first else None
    print(f"\n{len(results)} folds in {workdir}, mean ± standard deviation on {split}")
    for line in report.lines(told):
        print(f"  {line}")
    for name, figures in pooled.items():
        value = next((f"{key} {figures[key]:.2%}" for key in ("accuracy", "mAP") if key in figures), "")
        print(f"  all folds together on {name}: {value}, {figures['count']} examples")
    print(f"  figures {workdir}/results.json, report {page or 'none'}")
    print(f"  predict pictures, by the mean of all folds: jaxcls predict {workdir} PICTURE_OR_FOLDER", flush=True)
    return found
