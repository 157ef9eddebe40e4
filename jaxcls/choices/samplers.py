"""Samplers of choices, one index per decision: asked for one, told its score (higher is better).

All draws come from one seed, so a sampler that is told the same asks the same. A constraint is a function that says
whether a choice may be asked for, such as one whose net has at most so many multiply-adds.
"""

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol

import numpy as np

from jaxcls.errors import UserError

Choice = tuple[int, ...]
Allowed = Callable[[Choice], bool]
TRIES = 1000  # draws before a space is looked through
ENUMERATED = 100_000  # choices of a space that can be
POPULATION, TOURNAMENT = 10, 3  # for tens of evaluations; Real et al. have 100 and 25 for 20,000
RATE, MOMENTUM = 0.1, 0.95  # of REINFORCE's logits and of its baseline


class Sampler(Protocol):
    """What a search asks."""

    def ask(self) -> Choice | None:
        """The next choice to be evaluated; None where nothing is left."""

    def tell(self, choice: Choice, score: float) -> None:
        """The score of a choice."""


def anything(choice: Choice) -> bool:
    """The constraint that none is."""
    return True


def count(sizes: Sequence[int]) -> int:
    """How many choices a space has.

    Raises:
      UserError: for one without decisions, or with a decision that has no options.
    """
    if not sizes or min(sizes) < 1:
        raise UserError(f"the space {tuple(sizes)} is empty; each decision needs at least one option.")
    return math.prod(sizes)


def every(sizes: Sequence[int], allowed: Allowed = anything) -> Iterator[Choice]:
    """The allowed choices, the last decision fastest."""
    count(sizes)
    return filter(allowed, itertools.product(*map(range, sizes)))


def draw(
    sizes: Sequence[int], rng: np.random.Generator, allowed: Allowed = anything, seen: Collection[Choice] = ()
) -> Choice | None:
    """One of the allowed choices that are not `seen`, each as probable; None where none is (found)."""
    total = count(sizes)
    for _ in range(TRIES if len(seen) < total else 0):
        choice = tuple(int(rng.integers(size)) for size in sizes)
        if choice not in seen and allowed(choice):
            return choice
    left = [choice for choice in every(sizes, allowed) if choice not in seen] if total <= ENUMERATED else []
    return left[int(rng.integers(len(left)))] if left else None


def mutated(choice: Choice, sizes: Sequence[int], rng: np.random.Generator) -> Choice:
    """A choice with another option of one decision, each as probable; of a space of one choice the same."""
    free = [i for i, size in enumerate(sizes) if size > 1]
    if not free:
        return choice
    place = free[int(rng.integers(len(free)))]
    step = 1 + int(rng.integers(sizes[place] - 1))
    return (*choice[:place], (choice[place] + step) % sizes[place], *choice[place + 1 :])


def evolve(
    sizes: Sequence[int],
    told: Sequence[tuple[Choice, float]],
    rng: np.random.Generator,
    *,
    allowed: Allowed = anything,
    seen: Collection[Choice] = (),
    population: int = POPULATION,
    tournament: int = TOURNAMENT,
) -> Choice | None:
    """The next choice of regularised evolution (Real et al. 2019, algorithm 1); it depends on what was told, no more.

    The population is what was told last: the oldest one dies, however good. Of `tournament` of it, drawn with
    replacement, the best one is mutated. Other than there a mutation always changes something, and goes on from where
    it came to until the choice is allowed and not `seen`: to train a net twice would waste an evaluation of few.

    Args:
      sizes: options of each decision.
      told: (choice, score), the oldest first.
      rng: of the draws.
      allowed: the constraint.
      seen: choices that are not drawn again.
      population: fewer were told: the choice is drawn at random.
      tournament: how many compete.
    """
    if len(told) < population:
        return draw(sizes, rng, allowed, seen)
    living = told[-population:]
    competing = [living[int(i)] for i in rng.integers(len(living), size=tournament)]
    child = max(competing, key=lambda one: one[1])[0]
    for _ in range(TRIES):
        child = mutated(child, sizes, rng)
        if child not in seen and allowed(child):
            return child
    return draw(sizes, rng, allowed, seen)


class Exhaustive:
    """All allowed choices, in order."""

    def __init__(self, sizes: Sequence[int], seed: int = 0, allowed: Allowed = anything):
        self._left = every(sizes, allowed)

    def ask(self) -> Choice | None:
        """The next one; None after the last."""
        return next(self._left, None)

    def tell(self, choice: Choice, score: float) -> None:
        """Changes nothing."""


class Random:
    """Allowed choices at random, none twice."""

    def __init__(self, sizes: Sequence[int], seed: int = 0, allowed: Allowed = anything):
        self._sizes, self._allowed, self._seen = sizes, allowed, set[Choice]()
        self._rng = np.random.default_rng(seed)

    def ask(self) -> Choice | None:
        """One that was not asked for before; None where none is left."""
        choice = draw(self._sizes, self._rng, self._allowed, self._seen)
        self._seen |= {choice} if choice else set()
        return choice

    def tell(self, choice: Choice, score: float) -> None:
        """Changes nothing."""


class Evolution:
    """Regularised evolution (`evolve`), none twice.

    Args:
      sizes: options of each decision.
      seed: of the draws.
      allowed: the constraint.
      population: that lives.
      tournament: of it that compete for a child.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        seed: int = 0,
        allowed: Allowed = anything,
        population: int = POPULATION,
        tournament: int = TOURNAMENT,
    ):
        self._sizes, self._allowed, self._seen = sizes, allowed, set[Choice]()
        self._population, self._tournament = population, tournament
        self._rng, self.told = np.random.default_rng(seed), list[tuple[Choice, float]]()

    def ask(self) -> Choice | None:
        """One that was not asked for before; None where none is left."""
        choice = evolve(
            self._sizes,
            self.told,
            self._rng,
            allowed=self._allowed,
            seen=self._seen,
            population=self._population,
            tournament=self._tournament,
        )
        self._seen |= {choice} if choice else set()
        return choice

    def tell(self, choice: Choice, score: float) -> None:
        """Adds it to the population."""
        self.told.append((choice, score))


class Reinforce:
    """A policy of independent softmaxes, one a decision, moved along (score - baseline) * grad log p (Williams 1992).

    As TuNAS's controller (Bender et al. 2020): zero logits at first, a moving average of the scores as the baseline
    (the first score begins it), Adam with b1 = 0 and b2 = 0.999. The rate is far higher, for tens of evaluations in
    place of 10,000. It asks again for what it thinks good. With a constraint others are drawn again, and the
    gradient is of the policy without it.

    Args:
      sizes: options of each decision.
      seed: of the draws.
      allowed: the constraint.
      rate: of Adam.
      momentum: of the baseline.

    Attributes:
      logits: [options] of each decision.
      baseline: None until something is told.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        seed: int = 0,
        allowed: Allowed = anything,
        rate: float = RATE,
        momentum: float = MOMENTUM,
    ):
        count(sizes)
        self.logits = [np.zeros(size) for size in sizes]
        self.baseline: float | None = None
        self._squares, self._steps = [np.zeros(size) for size in sizes], 0
        self._rng, self._allowed = np.random.default_rng(seed), allowed
        self._rate, self._momentum = rate, momentum

    @property
    def probabilities(self) -> list[np.ndarray]:
        """[options] of each decision."""
        return [softmax(logits) for logits in self.logits]

    def ask(self) -> Choice | None:
        """A draw of the policy; None where TRIES of them were not allowed."""
        for _ in range(TRIES):
            choice = tuple(int(self._rng.choice(len(p), p=p)) for p in self.probabilities)
            if self._allowed(choice):
                return choice
        return None

    def tell(self, choice: Choice, score: float) -> None:
        """Moves the logits."""
        self.baseline = score if self.baseline is None else self.baseline
        self._steps += 1
        for place, slope in enumerate(gradient(self.logits, choice)):
            slope *= score - self.baseline
            self._squares[place] = 0.999 * self._squares[place] + 0.001 * slope**2
            size = np.sqrt(self._squares[place] / (1 - 0.999**self._steps))
            self.logits[place] = self.logits[place] + self._rate * slope / (size + 1e-8)
        self.baseline = self._momentum * self.baseline + (1 - self._momentum) * score


SAMPLERS = {"random": Random, "evolution": Evolution, "reinforce": Reinforce, "exhaustive": Exhaustive}


def softmax(logits: np.ndarray) -> np.ndarray:
    """[n] probabilities of [n] logits."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def gradient(logits: Sequence[np.ndarray], choice: Choice) -> list[np.ndarray]:
    """The gradient of log p(choice) for the logits of each decision: the choice as one-hot less the probabilities."""
    return [np.eye(len(one))[index] - softmax(one) for one, index in zip(logits, choice, strict=True)]
