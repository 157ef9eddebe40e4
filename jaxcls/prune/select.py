"""From weights to what is kept of a network: at a ratio, or at the least ratio that meets a target."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxcls.errors import UserError
from jaxcls.prune import choose, counts, importance, kept
from jaxcls.prune.groups import Group, Groups

STEPS = 12  # of a search for a ratio: to 1/4096
LEAST = 1e-9  # a share above none: some of each group stay where a target is searched for


@dataclasses.dataclass(frozen=True)
class Settings:
    """How units are chosen; `choose.choose` and `importance.importance` say what each is.

    Of ratio, macs and params one is given; the last two are shares of what there was before, above 0 and below 1.
    """

    ratio: float = 0.0
    macs: float = 0.0
    params: float = 0.0
    importance: str = "l1"
    scope: str = "local"
    floor: float = 0.0
    multiple: int = 8
    keep: Sequence[str] = ()
    seed: int = 0


Arrays = Mapping[str, np.ndarray]
Cost = Callable[[dict[str, str]], float]


def select(
    groups: Groups,
    variables: Arrays,
    settings: Settings,
    *,
    before: Mapping[str, str],
    start: Mapping[str, str] | None = None,
    gradients: Arrays | None = None,
) -> dict[str, str]:
    """What is kept (`kept.to_config`) of a network.

    Args:
      groups: of the whole network.
      variables: name -> array, at its whole size.
      settings: how.
      before: what is kept already, of which more goes.
      start: what was kept before the first of several rounds, which the settings count from; None: `before`.
      gradients: for importance "taylor".

    Raises:
      UserError: as `choose`, `importance` and `to_target`.
    """
    start = before if start is None else start
    made = chooser(groups, variables, settings, before=before, start=start, gradients=gradients)
    for key in ("macs", "params"):
        if share := getattr(settings, key):
            field = {"macs": "multiply_adds", "params": "parameters"}[key]
            cost = lambda found: getattr(costs(groups, found), field)  # noqa: B023, E731  used before the next turn
            return to_target(made, cost, share * cost(dict(start)), field.replace("_", "-"))
    return made(settings.ratio, settings.floor)


def costs(groups: Groups, found: Mapping[str, str]) -> counts.Costs:
    """Of what is kept."""
    return counts.count(groups, kept.gone(groups, kept.cuts(groups, found)))


def chooser(
    groups: Groups,
    variables: Arrays,
    settings: Settings,
    *,
    before: Mapping[str, str],
    start: Mapping[str, str] | None = None,
    gradients: Arrays | None = None,
) -> Callable[[float, float], dict[str, str]]:
    """function(ratio, floor) -> what is kept; the rest of the settings holds, all as of `select`. Raises UserError."""
    here = kept.of_config(groups.groups, before)
    sizes = [int(stays.sum()) for stays in kept.of_config(groups.groups, before if start is None else start)]
    left = [_part(group, stays) for group, stays in zip(groups.groups, here, strict=True)]
    score = lambda group: importance.importance(  # noqa: E731
        group, settings.importance, variables, gradients=gradients, seed=settings.seed
    )
    scores = [np.zeros(group.units) if group.why else score(group) for group in left]
    scores = importance.relative(scores) if settings.scope == "global" else scores

    def make(ratio, floor):
        stay = choose.choose(
            left, scores, ratio, scope=settings.scope, floor=floor, multiple=settings.multiple, keep=settings.keep,
            sizes=sizes,
        )  # fmt: skip
        units = [np.flatnonzero(had)[some] for had, some in zip(here, stay, strict=True)]
        return kept.to_config(groups.groups, units)

    return make


def to_target(
    make: Callable[[float, float], dict[str, str]], cost: Cost, limit: float, what: str, steps: int = STEPS
) -> dict[str, str]:
    """What is kept at the least ratio whose cost is at most `limit`.

    Raises:
      UserError: where there is none.
    """
    low, high = 0.0, 1.0 - LEAST
    found = make(high, LEAST)
    if (least := cost(found)) > limit:
        raise UserError(
            f"{limit:,.4g} {what} can't be met: with the least of every group that may go there are {least:,.4g}; "
            "choose a larger target, a smaller multiple, or keep fewer layers"
        )
    for _ in range(steps):
        middle = (low + high) / 2
        tried = make(middle, LEAST)
        if cost(tried) <= limit:
            found, high = tried, middle
        else:
            low = middle
    return found


def _part(group: Group, stays: np.ndarray) -> Group:
    """A group without the units that are gone."""
    members = tuple(dataclasses.replace(member, places=member.places[stays]) for member in group.members)
    return dataclasses.replace(group, members=members, roots=group.roots[stays])
