"""Successive halving with promotion of stopped trials (ASHA), and Hyperband's brackets of it.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020, arXiv:1810.05934), algorithm 2; Li et
al., "Hyperband" (JMLR 2018, arXiv:1603.06560), algorithm 1. A trial stops at a rung, unless it is among the best 1/eta
there; a worker that is free first looks for one that is by now. Where we differ: the last rung is the whole run,
whatever its length; brackets get trials in turn, since how many there will be is not known. All in epochs.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Bracket(NamedTuple):
    """A competition of its own: index of the first rung where its trials stop, and how many trials a turn has."""

    first: int
    trials: int


class Standing(NamedTuple):
    """How a trial stands: rung -> its value there; `waits`: the rung where it is stopped, None for one that is not."""

    values: Mapping[int, float]
    waits: int | None = None


def rungs(first: float, eta: float, most: float) -> tuple[float, ...]:
    """The rungs first * eta^k below `most`, the length of a whole run."""
    found: list[float] = []
    while (rung := first * eta ** len(found)) < most * (1 - 1e-9):
        found.append(rung)
    return tuple(found)


def brackets(count: int, eta: float) -> tuple[Bracket, ...]:
    """Hyperband's, from the one that stops trials earliest to the one that stops none.

    Args:
      count: of rungs; s_max in the paper.
      eta: the share that goes on is 1/eta.
    """
    top = count + 1
    return tuple(Bracket(k, int(-(-(top * eta ** (count - k)) // (count - k + 1)))) for k in range(top))


def bracket_of(index: int, all_brackets: Sequence[Bracket]) -> Bracket:
    """The bracket of the trial with an index, counted from 0: each in turn gets as many as it has trials."""
    index %= sum(bracket.trials for bracket in all_brackets)
    for bracket in all_brackets:
        if index < bracket.trials:
            return bracket
        index -= bracket.trials
    raise AssertionError


def top(values: Mapping[int, float], eta: float, best: str) -> list[int]:
    """The best floor(n / eta) of n trials, the best first; of equal ones those that came earlier.

    Args:
      values: number of a trial -> value.
      eta: at least 2.
      best: "max" or "min".
    """
    sign = -1 if best == "max" else 1
    return sorted(values, key=lambda number: (sign * values[number], number))[: int(len(values) / eta)]


def promotable(standings: Mapping[int, Standing], count: int, eta: float, best: str) -> tuple[int, int] | None:
    """(trial, rung where it waits) of the trial that shall go on, from the highest rung that has one; None for none.

    Args:
      standings: number of a trial -> how it stands; of one bracket.
      count: of rungs.
      eta: the best 1/eta of a rung go on.
      best: "max" or "min".
    """
    for rung in reversed(range(count)):
        values = {number: s.values[rung] for number, s in standings.items() if rung in s.values}
        for number in top(values, eta, best):
            if standings[number].waits == rung:
                return number, rung
    return None
