"""What a worker does next: a trial whose worker is gone, one to be promoted, a new one, a repetition."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ml_collections import ConfigDict

from jaxcls.training.lock import Lock, in_use
from jaxcls.tune import budget as budgets
from jaxcls.tune import claims, repeats, running, space, study
from jaxcls.tune.budget import Budget
from jaxcls.tune.plan import Plan
from jaxcls.tune.repeats import Repeat
from jaxcls.tune.study import Record, Study
from jaxcls.types import PathLike

Nothing = Literal["wait", "done"]
DEATHS = 3  # of its workers, without a checkpoint between them, after which a trial has failed


class Search(NamedTuple):
    """What a worker knows of a search: its folder, what is stored there, and the config that the trials change."""

    folder: Path
    study: Study
    plan: Plan
    budget: Budget
    config: ConfigDict

    @property
    def records(self) -> list[Record]:
        """The trials until now."""
        return study.records(self.study, self.plan)

    def trial_folder(self, number: int) -> Path:
        """Where a trial lies, by the number of its record."""
        return self.folder / f"trial-{number}"


def opened(folder: PathLike) -> Search:
    """The search of a folder.

    Raises:
      UserError: where there is none, or its storage can't be reached.
    """
    stored, plan = study.opened(folder)
    config = ConfigDict(plan.config, convert_dict=True)
    return Search(Path(folder), stored, plan, budgets.read(folder), config)


@dataclasses.dataclass
class Job:
    """Something to do, claimed.

    Attributes:
      claim: to be released when it is done.
      folder: workdir of the run.
      params: of the trial.
      number: of Optuna's trial; None for a repetition.
      root: number of the trial that people see.
      again: why it is not new: "its worker is gone", "promoted"; "" where it is.
      seconds: of its earlier attempts.
      repeat: the repetition; None for a trial.
    """

    claim: Lock
    folder: Path
    params: Mapping[str, Any]
    number: int | None
    root: int
    again: str = ""
    seconds: float = 0.0
    repeat: Repeat | None = None

    @property
    def name(self) -> str:
        """For people."""
        return f"trial {self.root}" + (f", seed {self.repeat.seed}" if self.repeat else "")

    def config(self, search: Search) -> ConfigDict:
        """Of the run. Raises UserError for values that the config cannot have."""
        config = space.apply(search.plan.space, self.params, search.config)
        if self.repeat:
            config.seed = self.repeat.seed
        return running.ranked_by(config, search.plan.objectives[0])


def next_job(search: Search) -> Job | Nothing:
    """The next job, claimed; "wait" where there is none now and others are at work, "done" where none is left.

    One worker at a time is within this: what is looked at is what the choice is made of.
    """
    with claims.alone(search.folder):
        found = search.records
        job = _lost(search, found) or _promoted(search, found) or _new(search, found)
        if job is not None:
            return job
        return "wait" if any(record.state == "running" for record in search.records) else "done"


def next_repeat(search: Search, record: Mapping[str, Any]) -> Job | Nothing:
    """As `next_job`, of the repetitions that are due once the trials have ended; `record` is search.json."""
    with claims.alone(search.folder):
        due = repeats.due(search.folder, record, search.budget, search.config.seed)
        for repeat in due:
            if (claim := claims.take(search.folder, repeat.name)) is not None:
                return Job(claim, repeat.folder, repeat.params, None, repeat.trial, repeat=repeat)
        return "wait" if due else "done"


def _lost(search, found):
    """A running trial that nobody works on."""
    for record in found:
        if record.state != "running" or (claim := claims.take(search.folder, str(record.latest))) is None:
            continue
        job = None
        try:
            job = _taken_over(search, record, claim)
        finally:
            if job is None:
                claim.release()
        if job is not None:
            return job
    return None


def _taken_over(search, record, claim):
    """The rest of a trial; None where its run lives elsewhere, or it was lost again and again and has failed."""
    folder, attrs, number = search.trial_folder(record.number), record.attrs, record.latest
    if in_use(folder):  # on another machine, whose last sign of life there was a little later
        return None
    if attrs.get("stopped"):
        study.note(search.study, number, stopped=False)
    else:
        here = running.newest(folder)
        deaths, before = attrs.get("deaths") or (0, here)
        deaths = deaths + 1 if here == before else 1
        study.note(search.study, number, deaths=[deaths, here])
        if deaths >= DEATHS:
            why = f"its worker was ended {deaths} times with nothing saved between (out of memory?)"
            study.note(search.study, number, lost=True)
            study.tell(search.study, number, "failed", why=why)
            return None
    again = "going on" if attrs.get("stopped") else "its worker is gone"
    params = study.params(search.study, search.plan, number)
    return Job(claim, folder, params, number, record.number, again, attrs.get("seconds", 0.0))


def _promoted(search, found):
    if not _room(search, found) or (numbers := study.promote(search.study, search.plan, search.folder)) is None:
        return None
    number, root = numbers
    record = next(record for record in found if record.number == root)
    seconds = record.attrs.get("seconds", 0.0)
    return Job(_claim(search, number), search.trial_folder(root), record.params, number, root, "promoted", seconds)


def _new(search, found):
    if not _room(search, found):
        return None
    asked = study.ask(search.study, search.plan, search.folder, search.budget.trials)
    if asked is None:
        return None
    number, params = asked
    return Job(_claim(search, number), search.trial_folder(number), params, number, number)


def _claim(search, number):
    claim = claims.take(search.folder, str(number))
    assert claim is not None  # nobody else chooses at this moment
    return claim


def _room(search, found):
    """Whether a whole trial fits in beside the others, those that run taken as whole."""
    whole = search.plan.epochs
    spent = (whole if record.state == "running" else record.attrs.get("epochs", 0.0) for record in found)
    return search.budget.allows(sum(spent), whole)
