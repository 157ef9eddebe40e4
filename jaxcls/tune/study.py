"""A search's plan, and its study: Optuna keeps the trials, in a journal in the search's folder or in a database.

A trial that is stopped at a rung is told as pruned; where it is promoted later, a new trial of Optuna with the same
parameters goes on with it (`continues`). `records` folds them into one.
"""

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcls.tune import rungs, storage
from jaxcls.tune.plan import Plan
from jaxcls.tune.sampling import CONTINUES, optuna
from jaxcls.tune.space import Params, draw, grid
from jaxcls.tune.storage import Study, create, opened
from jaxcls.types import PathLike

__all__ = [
    "Plan",
    "Record",
    "Study",
    "ask",
    "create",
    "judge",
    "note",
    "opened",
    "params",
    "promote",
    "records",
    "tell",
]

SLACK = 0.25  # epochs (at most a quarter of the rung) by which an evaluation may lie before a rung: steps are whole
STOPS = "rungs"  # attribute of a trial: {"values": {rung: value}, "stop": the rung where it is stopped, or null}
States = optuna.trial.TrialState
STATES = {"complete": States.COMPLETE, "pruned": States.PRUNED, "failed": States.FAIL, "running": States.RUNNING}
NAMES = {state: name for name, state in STATES.items()}


@dataclasses.dataclass(frozen=True)
class Record:
    """A trial with all that went on with it.

    Attributes:
      number: of the first; its folder is trial-NUMBER.
      latest: number of the one that went on last; the same where none did.
      state: complete, pruned, failed or running: of the latest.
      params: key -> value.
      values: of the objectives; () where none are told.
      attrs: what was noted about it (`note`), the latest counts.
      history: evaluation -> value of the first objective, as reported.
      index: counted from 0 in the order in which trials began.
    """

    number: int
    latest: int
    state: str
    params: Params
    values: tuple[float, ...]
    attrs: Mapping[str, Any]
    history: Mapping[int, float]
    index: int


def ask(study: Study, plan: Plan, search: PathLike, most: int | None = None) -> tuple[int, Params] | None:
    """(number, parameters) of a new trial, which runs from now on; None where there shall be none.

    Only one worker at a time asks, so there are never more trials than `most`, and each point of a grid has one.

    Args:
      study: the study.
      plan: its plan.
      search: its folder, shared by the workers.
      most: trials in all, those that go on with a stopped one not counted; None: as many as are asked for.
    """
    if plan.sampler == "grid":
        points = len(grid(plan.space, plan.grid_points))
        most = points if most is None else min(most, points)
    with storage.alone(search):
        if most is not None and sum(CONTINUES not in t.user_attrs for t in _trials(study)) >= most:
            return None
        number = study.ask().number
        return number, params(study, plan, number)


def params(study: Study, plan: Plan, number: int) -> Params:
    """The parameters of a trial; where its worker died while it drew them, they are drawn to the end, as they were."""
    return draw(plan.space, _live(study, number))


def promote(study: Study, plan: Plan, search: PathLike) -> tuple[int, int] | None:
    """(number of the trial that goes on, number of the first: its folder) of a stopped trial that is now among the best
    1/eta of its rung; None for none, or without halving. It runs from now on, and has the first one's parameters."""
    if not plan.rungs or len(plan.objectives) > 1:
        return None
    with storage.alone(search):
        known = {record.number: record for record in records(study, plan)}
        for bracket in _brackets(plan):
            standings = {n: _standing(r) for n, r in known.items() if _bracket(plan, r.index) == bracket}
            found = rungs.promotable(standings, len(plan.rungs), plan.eta, plan.directions[0])
            if found:
                return _continue(study, known[found[0]]), found[0]
    return None


def judge(study: Study, plan: Plan, number: int, evaluation: int, epochs: float, value: float) -> str:
    """Reports an evaluation; why the trial shall stop here, "" for going on. Several objectives: it goes on.

    Args:
      study: the study.
      plan: its plan.
      number: of the running trial.
      evaluation: counted from 1: where trials are compared, whatever their batch size.
      epochs: trained until now.
      value: of the first objective at this evaluation. On a rung the best until there counts.
    """
    if len(plan.objectives) > 1:
        return ""
    trial = _live(study, number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a trial that was killed reports its last evaluation again
        trial.report(value, evaluation)
        if not plan.rungs:
            return f"by the {plan.pruner} rule" if trial.should_prune() else ""
    return _judge_rungs(study, plan, number, epochs)


def note(study: Study, number: int, **attrs: Any) -> None:
    """Notes what is to be known about a trial, JSON values (`Record.attrs`): epochs, seconds, why, host ..."""
    trial = _live(study, number)
    for key, value in attrs.items():
        trial.set_user_attr(key, value)


def tell(study: Study, number: int, state: str, values: Sequence[float] = (), why: str = "") -> None:
    """Ends a trial: "complete" with the values of all objectives; "pruned" or "failed" with the reason.

    One whose values are no numbers has failed. A second end of a trial is ignored: the first counts.
    """
    if _trials(study)[number].state.is_finished():
        return
    if state == "complete" and not (values and all(map(math.isfinite, values))):
        state, why = "failed", why or f"its objectives are {list(values)}, and must be finite"
    noted: dict[str, Any] = {"why": why} if why else {}
    if state != "complete" and values:
        noted["values"] = list(values)
    note(study, number, **noted)
    study.tell(number, list(values) if state == "complete" else None, STATES[state], skip_if_finished=True)


def records(study: Study, plan: Plan) -> list[Record]:
    """The trials of a study, each with what went on with it, in order."""
    chains: dict[int, list[Any]] = {}
    for trial in _trials(study):
        chains.setdefault(trial.user_attrs.get(CONTINUES, trial.number), []).append(trial)
    found = []
    for index, (number, chain) in enumerate(chains.items()):
        latest = chain[-1]
        attrs = {key: value for trial in chain for key, value in trial.user_attrs.items() if key != CONTINUES}
        attrs[STOPS] = {"values": {}, "stop": None, **latest.user_attrs.get(STOPS, {})}
        for trial in chain:
            attrs[STOPS]["values"] = {**attrs[STOPS]["values"], **trial.user_attrs.get(STOPS, {}).get("values", {})}
        values = latest.values if latest.state == States.COMPLETE else attrs.get("values")
        history = {step: value for trial in chain for step, value in sorted(trial.intermediate_values.items())}
        state, drawn = NAMES[latest.state], plan.space.values(latest.params)
        found.append(Record(number, latest.number, state, drawn, tuple(values or ()), attrs, history, index))
    return found


def _judge_rungs(study, plan, number, epochs):
    """Why a trial stops at the rung that it has reached; "" for going on. Told once, also to one that was killed."""
    record = next(r for r in records(study, plan) if r.latest == number)
    if record.attrs[STOPS]["stop"] is not None:
        return _reason(plan, record.attrs[STOPS]["stop"])
    best = max if plan.directions[0] == "max" else min
    values = {int(rung): value for rung, value in record.attrs[STOPS]["values"].items()}
    first = _bracket(plan, record.index).first
    for rung, at in enumerate(plan.rungs):
        if rung < first or rung in values or epochs + min(SLACK, at / 4) < at:
            continue
        values[rung] = best(record.history.values())
        note(study, number, **{STOPS: {"values": values, "stop": None}})
        bracket = [r for r in records(study, plan) if _bracket(plan, r.index).first == first]
        others = {r.number: s.values[rung] for r in bracket if rung in (s := _standing(r)).values}
        if record.number not in rungs.top(others, plan.eta, plan.directions[0]):
            note(study, number, **{STOPS: {"values": values, "stop": rung}})
            return _reason(plan, rung)
    return ""


def _reason(plan, rung):
    return f"stopped at {plan.rungs[rung]:g} epochs, not among the best 1/{plan.eta} there"


def _standing(record):
    stops = record.attrs[STOPS]
    values = {int(rung): value for rung, value in stops["values"].items()}
    return rungs.Standing(values, stops["stop"] if record.state == "pruned" else None)


def _brackets(plan):
    every = rungs.brackets(len(plan.rungs), plan.eta)
    return every if plan.pruner == "hyperband" else every[:1]


def _bracket(plan, index):
    return rungs.bracket_of(index, _brackets(plan))


def _continue(study, record):
    """The number of a new trial that goes on with a stopped one; written in one piece, so that it is never half."""
    last = _trials(study)[record.latest]
    study.add_trial(
        optuna.trial.create_trial(
            state=States.RUNNING,
            params=last.params,
            distributions=last.distributions,
            intermediate_values=last.intermediate_values,
            user_attrs={CONTINUES: record.number},
        )
    )
    return max(t.number for t in _trials(study) if t.user_attrs.get(CONTINUES) == record.number)


def _live(study, number):
    """Optuna's trial of a number, to report to and to draw from."""
    return optuna.trial.Trial(study, _trials(study)[number]._trial_id)


def _trials(study):
    return study.get_trials(deepcopy=False)
