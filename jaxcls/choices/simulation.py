"""What samplers find, simulated on a table in which every choice was evaluated already."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcls.choices.samplers import SAMPLERS, Choice, Sampler
from jaxcls.errors import UserError

BUDGETS = (20, 40, 80)
REPEATS = 200
AGAIN = 200  # asks for what is known, in a row, after which a search ends


@dataclasses.dataclass(frozen=True)
class Table:
    """The choices of a space with what they reach; those that are not there cannot be chosen.

    Attributes:
      scores: choice -> what a search may see of it, a fraction for each seed.
      truth: choice -> what it is judged by, a fraction; {}: the means of `scores`.

    Raises:
      UserError: for a table without rows, or a row without a score.
    """

    scores: Mapping[Choice, Sequence[float]]
    truth: Mapping[Choice, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not self.scores or not all(len(seeds) for seeds in self.scores.values()):
            raise UserError(
                "the table has no rows, or a row without scores; a simulation needs a score of each choice."
            )
        if not self.truth:
            object.__setattr__(self, "truth", {c: float(np.mean(seeds)) for c, seeds in self.scores.items()})

    @property
    def sizes(self) -> tuple[int, ...]:
        """Options of each decision, as far as rows have them."""
        return tuple(max(options) + 1 for options in zip(*self.scores, strict=True))

    @property
    def lacking(self) -> int:
        """How many choices of the space it does not have."""
        return math.prod(self.sizes) - len(self.scores)

    def seen(self, repeat: int) -> dict[Choice, float]:
        """What the `repeat`-th search sees: of each choice the score of one seed, drawn once."""
        rng = np.random.default_rng(repeat)
        return {choice: seeds[int(rng.integers(len(seeds)))] for choice, seeds in sorted(self.scores.items())}


def search(sampler: Sampler, scores: Mapping[Choice, float], most: int) -> list[Choice]:
    """The choice with the best score after each evaluation, up to `most` of them or until the sampler has no more.

    To ask for a choice again costs nothing: its score is known, and is told again.
    """
    known: dict[Choice, float] = {}
    best: list[Choice] = []
    again = 0
    while len(best) < most and again < AGAIN and (choice := sampler.ask()) is not None:
        again = again + 1 if choice in known else 0
        if choice not in known:
            known[choice] = scores[choice]
            best.append(choice if not best or known[choice] > known[best[-1]] else best[-1])
        sampler.tell(choice, scores[choice])
    return best


def simulate(
    table: Table,
    samplers: Mapping[str, Callable[..., Sampler]] = SAMPLERS,
    budgets: Sequence[int] = BUDGETS,
    repeats: int = REPEATS,
    against: str = "random",
) -> list[dict[str, Any]]:
    """A row for each budget and sampler: how far what it found lies below the best of the table.

    The n-th search of each sampler sees the same scores, so differences are paired. A search that ends before its
    budget has found what it had found then.

    Args:
      table: the table.
      samplers: name -> what makes one of (sizes, seed, allowed).
      budgets: evaluations.
      repeats: searches of each sampler.
      against: the name of the sampler that the others are compared with.

    Returns:
      dicts of budget, sampler, regret (points, mean over the searches), interval (95 %, of the mean, Student's t),
      evaluations (mean number); but for `against` itself, difference, difference_interval, verdict (`verdict`).
    """
    top = max(table.truth.values())
    regrets: dict[tuple[int, str], list[float]] = {}
    lengths: dict[tuple[int, str], list[int]] = {}
    for name, make in samplers.items():
        for repeat in range(repeats):
            found = search(make(table.sizes, repeat, table.scores.__contains__), table.seen(repeat), max(budgets))
            for budget in budgets:
                end = min(budget, len(found))
                regrets.setdefault((budget, name), []).append(100 * (top - table.truth[found[end - 1]]))
                lengths.setdefault((budget, name), []).append(end)
    rows = []
    for budget in budgets:
        for name in samplers:
            mean, interval = mean_interval(regrets[budget, name])
            row = {"budget": budget, "sampler": name, "regret": mean, "interval": interval}
            row["evaluations"] = float(np.mean(lengths[budget, name]))
            if name != against and against in samplers:
                row |= _compared(regrets[budget, name], regrets[budget, against], against)
            rows.append(row)
    return rows


def _compared(regrets, others, against):
    mean, interval = mean_interval(np.subtract(regrets, others))
    return {"difference": mean, "difference_interval": interval, "verdict": verdict(interval, against)}


def verdict(interval: Sequence[float], against: str = "random") -> str:
    """In words, from the 95 % interval of a difference in regret: a claim only where 0 lies outside."""
    low, high = interval
    return f"better than {against}" if high < 0 else f"worse than {against}" if low > 0 else f"no better than {against}"


def mean_interval(values: Sequence[float] | np.ndarray) -> tuple[float, list[float]]:
    """(mean, its 95 % interval by Student's t); of one value the interval has no width."""
    from scipy.special import stdtrit

    n, mean = len(values), float(np.mean(values))
    half = float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else 0.0
    return mean, [mean - half, mean + half]
