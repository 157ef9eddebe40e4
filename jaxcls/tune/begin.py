"""How a search begins: everything is checked, on the config itself, before a trial runs or a file is written."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcls.criteria import Figure
from jaxcls.errors import Problems, UserError
from jaxcls.settings.reader import resolve
from jaxcls.training.lock import in_use
from jaxcls.tune import budget as budgets
from jaxcls.tune import objectives, running, space
from jaxcls.tune.budget import Budget
from jaxcls.tune.plan import RUNGS, Plan
from jaxcls.tune.space import Space
from jaxcls.types import PathLike

TRIALS, SEEDS = 20, 3  # where nothing is said
QUICK = 100_000  # training pictures up to which each end and choice of a space is built; opening more takes a while


def plan(
    config: ConfigDict, varied: Space, folder: PathLike, names: Sequence[str] = (), **given: Any
) -> tuple[Plan, tuple[Figure, ...]]:
    """(plan, objectives) of a search. Takes seconds: the run of the config is built and checked as it is.

    Args:
      config: that the trials change.
      varied: the space.
      folder: of the search.
      names: of the objectives; none: what chooses a run's best checkpoint.
      **given: fields of `Plan`, where they are not the defaults.

    Raises:
      UserError: for whatever cannot work.
    """
    from jaxcls.training import build, preflight

    space.check(varied, config)
    config = resolve(config)
    tried = config.copy_and_resolve_references()
    tried.parallel.devices = 0  # this process has no accelerator
    run = build.build(tried)
    if len(run.data.sources["train"]) <= QUICK:
        _try_extremes(varied, tried)
    wanted = list(names) or [run.training.best.name if run.training.best else ""]
    figures = objectives.choose(wanted, run)
    preflight.check(run, Path(folder) / "trial", note=lambda line: None)
    training = run.training
    each, first = (n / training.steps_per_epoch for n in (training.total_steps, training.eval_every))
    made = Plan(
        name=Path(folder).resolve().name,
        config=json.loads(json.dumps(running.ranked_by(config, wanted[0]).to_dict())),
        space=varied,
        objectives=tuple(wanted),
        directions=tuple(figure.best for figure in figures),
        epochs=each,
        **{"first_rung": max(1.0, first), **given},
    )
    _check_pruner(made, first)
    return made, figures


def _try_extremes(varied, config):
    """Builds a run of each end and choice, so that what can't be is told before trials fail by it."""
    from jaxcls.training import build

    problems = Problems()
    for dimension, params in space.extremes(varied):
        with problems.noted():
            try:
                build.build(space.apply(varied, params, config))
            except UserError as error:
                lines = str(error).splitlines()
                raise UserError(f"the space has {dimension}, but with {params[dimension.key]}: {lines[0]}") from error
    problems.refuse()


def _check_pruner(made, first):
    """`first`: epochs until the first evaluation."""
    if made.pruner == "none":
        return
    if len(made.objectives) > 1:
        raise UserError(f"--pruner={made.pruner} goes with one objective; leave it off, or name one objective.")
    if first >= made.epochs:
        raise UserError(f"--pruner={made.pruner}: trials are evaluated at their end alone; set config.eval.every.")
    if made.pruner not in RUNGS:
        return
    if made.eta < 2:
        raise UserError(f"--eta={made.eta}: the best 1/eta of a rung go on, so it is at least 2.")
    if not made.first_rung + 1e-9 >= first or not made.first_rung < made.epochs:
        raise UserError(
            f"--first-rung={made.first_rung:g} must lie between the first evaluation ({first:g} epochs) and the end of "
            f"a trial ({made.epochs:g}); set it, or config.eval.every."
        )


def budget(
    made: Plan,
    figures: tuple[Figure, ...],
    config: str,
    trials: int | None,
    epochs: float | None,
    repeat: int = 0,
    seeds: int = SEEDS,
) -> Budget:
    """What a plan may spend: so many trials, or epochs; with neither all points of a grid, or 20 trials.

    Raises:
      UserError: where that is less than a trial.
    """
    if made.sampler == "grid" and epochs is None:
        points = len(space.grid(made.space, made.grid_points))
        trials = min(points, trials or points)
    if epochs is None:
        trials = trials or TRIALS
    elif epochs + budgets.ROUNDING < made.epochs:
        raise UserError(f"--budget={epochs:g} epochs is below one trial, which has {made.epochs:g}; give more.")
    return Budget(trials, epochs, figures, config, repeat, seeds)


def change_budget(
    folder: PathLike,
    trials: int | None = None,
    text: str | None = None,
    add: int | None = None,
    repeat: int | None = None,
    seeds: int | None = None,
) -> None:
    """Changes what a search may spend, as far as anything is given; `add` trials come on top.

    Raises:
      UserError: for two budgets, or less than a trial.
    """
    from jaxcls.tune import study

    if sum(x is not None for x in (trials, text, add)) > 1:
        raise UserError("--trials, --budget and --add are several budgets; give one of them.")
    old, changes = budgets.read(folder), dict[str, Any](repeat=repeat, seeds=seeds)
    made = study.opened(folder)[1]
    if trials or text:
        parsed = budgets.parse(text) if text else (trials, None)
        new = budget(made, old.objectives, old.config, *parsed)
        changes |= {"trials": new.trials, "epochs": new.epochs}
        old = dataclasses.replace(old, trials=None, epochs=None)
    elif add and old.epochs is not None:
        changes["epochs"] = old.epochs + add * made.epochs
    elif add:
        changes["trials"] = (old.trials or 0) + add
    changed = dataclasses.replace(old, **{key: value for key, value in changes.items() if value is not None})
    if changed != old:
        budgets.write(folder, changed)


def refuse_living(folder: PathLike) -> None:
    """Raises UserError where a search is under way in a folder."""
    if in_use(folder):
        raise UserError(
            f"a search is under way in {folder}; wait until it ends, or add workers to it: jaxcls tune {folder} --join"
        )


def described(made: Plan, asked: Budget) -> str:
    """The search, for people."""
    names = ", ".join(f"{figure.name.replace('_', ' ')} ({figure.best})" for figure in asked.objectives)
    how = [made.sampler] + ([f"pruner {made.pruner}"] if made.pruner != "none" else [])
    if made.rungs:
        how.append(f"rungs at {', '.join(f'{rung:g}' for rung in made.rungs)} epochs")
    size = f"{asked} of {made.epochs:g} epochs" if asked.epochs is None else f"{asked} in trials of {made.epochs:g}"
    lines = [f"{made.name}: {size}, {', '.join(how)}, for {names} on validation"]
    return "\n".join([*lines, *(f"    {dimension}" for dimension in made.space.dimensions)])
