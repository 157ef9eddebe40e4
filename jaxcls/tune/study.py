"""A search's plan, and its study: Optuna keeps the trials, in a journal in the search's folder or in a database.

A trial that is stopped at a rung is told as pruned; where it is promoted later, a new trial of Optuna with the same
parameters goes on with it (`continues`). `records` folds them into one.
"""

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.settings.reader import choose
from jaxcls.tune import rungs, sampling
from jaxcls.tune.sampling import CONTINUES, FrozenTrial, optuna
from jaxcls.tune.space import Params, Space, draw
from jaxcls.types import PathLike

PLAN, JOURNAL, LOCK = "plan.json", "study.journal", "ask"
SLACK = 0.25  # epochs (at most a quarter of the rung) by which an evaluation may lie before a rung: whole steps
optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # we speak ourselves
Study = optuna.Study
States = optuna.trial.TrialState
STATES = {"complete": States.COMPLETE, "pruned": States.PRUNED, "failed": States.FAIL, "running": States.RUNNING}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a search is; two searches are the same where their plans are equal.

    Attributes:
      name: of the study in its storage.
      config: the whole config that trials change, as JSON has it.
      space: what is varied.
      objectives: figures and costs; the first one decides "best".
      directions: "max" or "min" for each.
      sampler: one of sampling.SAMPLERS.
      pruner: one of sampling.PRUNERS; none with several objectives.
      seed: of all draws.
      grid_points: of each continuous dimension of a grid.
      epochs: of a whole trial, for rungs.
      first_rung: epochs.
      eta: the best 1/eta of a rung go on.
    """

    name: str
    config: Mapping[str, Any]
    space: Space
    objectives: tuple[str, ...] = ("accuracy",)
    directions: tuple[str, ...] = ("max",)
    sampler: str = "tpe"
    pruner: str = "none"
    seed: int = 0
    grid_points: int = 0
    epochs: float = 0.0
    first_rung: float = 1.0
    eta: int = 3

    def to_json(self) -> dict[str, Any]:
        """As plan.json has it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        lists = {key: list(fields[key]) for key in ("objectives", "directions")}
        return {**fields, **lists, "space": self.space.to_json()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Plan":
        """The plan of `to_json`."""
        known = {field.name: stored[field.name] for field in dataclasses.fields(cls) if field.name in stored}
        tuples = {key: tuple(known[key]) for key in ("objectives", "directions")}
        return cls(**{**known, **tuples, "space": Space.from_json(known["space"])})

    @property
    def rungs(self) -> tuple[float, ...]:
        """Epochs of the rungs below a whole trial; () without halving."""
        return rungs.rungs(self.first_rung, self.eta, self.epochs) if self.pruner in sampling.RUNGS else ()


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
      index: counted from 0 in the order in which trials began.
    """

    number: int
    latest: int
    state: str
    params: Params
    values: tuple[float, ...]
    attrs: Mapping[str, Any]
    index: int


def create(search: PathLike, plan: Plan, storage: str = "") -> Study:
    """The study of a search: a new one, or the one that is there.

    Args:
      search: folder of the search.
      plan: what it is.
      storage: a database's URL; "": the journal in the folder. One that is there stays where it is.

    Raises:
      UserError: another plan is there (what differs is named), the plan cannot be, the folder can't be written, the
        storage can't be reached.
    """


def opened(search: PathLike) -> tuple[Study, Plan]:
    """The study and the plan that a folder has.

    Raises:
      UserError: it has none, or its storage can't be reached.
    """


def ask(study: Study, plan: Plan, search: PathLike, most: int | None = None) -> tuple[int, Params] | None:
    """(number, parameters) of a new trial, which runs from now on; None where there shall be none.

    Only one worker at a time asks, so there are never more trials than `most`, and each point of a grid has one.

    Args:
      study: the study.
      plan: its plan.
      search: its folder, shared by the workers.
      most: trials in all, those that go on with a stopped one not counted; None: as many as are asked for.
    """


def params(study: Study, plan: Plan, number: int) -> Params:
    """The parameters of a trial; where its worker died while it drew them, they are drawn to the end, as they were."""


def promote(study: Study, plan: Plan, search: PathLike) -> tuple[int, int] | None:
    """(number of the trial that goes on, number of the first: its folder) of a stopped trial that is now among the best
    1/eta of its rung; None for none, or without halving. It runs from now on, and has the first one's parameters."""


def judge(study: Study, plan: Plan, number: int, evaluation: int, epochs: float, value: float) -> str:
    """Reports an evaluation; why the trial shall stop here, "" for going on. Several objectives: it goes on.

    Args:
      study: the study.
      plan: its plan.
      number: of the running trial.
      evaluation: counted from 1: where trials are compared, whatever their batch size.
      epochs: trained until now.
      value: of the first objective, the best until now.
    """


def note(study: Study, number: int, **attrs: Any) -> None:
    """Notes what is to be known about a trial, JSON values (`Record.attrs`): epochs, seconds, why, host ..."""


def tell(study: Study, number: int, state: str, values: Sequence[float] = (), why: str = "") -> None:
    """Ends a trial: "complete" with the values of all objectives; "pruned" or "failed" with the reason.

    A second end of a trial is ignored: the first counts.
    """


def records(study: Study, plan: Plan) -> list[Record]:
    """The trials of a study, each with what went on with it, in order."""


def rung_of(plan: Plan, index: int, values: Mapping[int, float]) -> int | None:
    """The next rung where the trial of an index stops, from what it reached; None: it runs to its end."""
