"""Samplers and pruners by name. A draw depends on the seed, the trial's index and what was told before, no more.

So a search with one worker draws the same again, also after a kill: nothing of a sampler lives in a process. An index
counts trials in the order in which they began; those that go on with a stopped one (`continues`) are not counted.
"""

import functools
import hashlib
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.choices import samplers
from jaxcls.choices.samplers import Choice
from jaxcls.errors import UserError
from jaxcls.settings.reader import choose
from jaxcls.tune.dimension import CONTINUOUS
from jaxcls.tune.plan import RUNGS
from jaxcls.tune.space import Params, Space, grid

try:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    from optuna.trial import FrozenTrial
except ImportError:
    raise UserError('searches need Optuna: pip install "jaxcls[tune]"') from None
__all__ = ["JournalFileBackend", "JournalFileOpenLock", "optuna"]  # beside what is here

if TYPE_CHECKING:
    from optuna.study import Study

SAMPLERS = ("random", "grid", "qmc", "tpe", "evolution")
PRUNERS = ("none", "median", "patient", "wilcoxon", *RUNGS)
CONTINUES = "continues"  # user attribute of a trial that goes on with a stopped one: the number of the first of them
STARTUP = 10  # trials before TPE's model is asked; half of them before the median of the others counts
WARMUP = 1  # evaluations before a trial can be pruned
PATIENCE = 2  # evaluations without a better figure


def sampler(name: str, space: Space, seed: int, points: int = 0) -> BaseSampler:
    """The sampler of a name; each process of a search has its own.

    Args:
      name: random, grid (each point once), qmc (scrambled Sobol points, Owen 1998), or tpe (multivariate, Bergstra et
        al. 2011, Falkner et al. 2018; running trials count as bad ones, so that workers spread out). The first STARTUP
        points of tpe are those of qmc, where Optuna draws at random. Or evolution (`choices.samplers.evolve`: a
        population of the last 10 trials), of choices and whole numbers, which draws no setting again before all were.
      space: what is drawn.
      seed: of all draws.
      points: of a grid, for each continuous dimension.

    Raises:
      UserError: for another name, a grid without points, or evolution of fractions.
    """
    choose("the sampler", name, SAMPLERS)
    if name == "tpe":
        return _Tpe(space, seed)
    if name == "evolution":
        return _Evolution(space, seed)
    if name == "grid":
        return _Grid(space, grid(space, points))
    return _Shares(space, seed, random_shares if name == "random" else sobol_shares)


def pruner(name: str) -> optuna.pruners.BasePruner:
    """Optuna's pruner of a name. Those of rungs are ours, and Optuna prunes nothing there.

    Raises:
      UserError: for another name.
    """
    choose("the pruner", name, PRUNERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental
        # Evaluations are counted from 1; Optuna spares those below its number.
        median = optuna.pruners.MedianPruner(n_startup_trials=STARTUP // 2, n_warmup_steps=WARMUP + 1)
        if name == "median":
            return median
        if name == "patient":
            return optuna.pruners.PatientPruner(median, patience=PATIENCE)
        if name == "wilcoxon":
            return optuna.pruners.WilcoxonPruner()
    return optuna.pruners.NopPruner()


def index_of(study: "Study", number: int) -> int:
    """The index of a trial: how many others began before it, those that go on with a stopped one left out."""
    return sum(t.number < number and CONTINUES not in t.user_attrs for t in study.get_trials(deepcopy=False))


def random_shares(index: int, count: int, seed: int) -> np.ndarray:
    """[count] uniform shares in [0, 1) for the dimensions of a trial."""
    return np.random.default_rng(_seed(seed, index)).random(count)


def sobol_shares(index: int, count: int, seed: int) -> np.ndarray:
    """[count] shares in [0, 1): the point of that index of a scrambled Sobol sequence, the same for every worker."""
    return _sobol(max(64, 1 << index.bit_length()), count, seed)[index]


@functools.lru_cache(4)
def _sobol(points, count, seed):
    from scipy.stats import qmc

    engine = qmc.Sobol(count, scramble=True, rng=np.random.default_rng(_seed(seed, "sobol")))
    return engine.random_base2(int(math.log2(points)))


def _seed(*parts: Any) -> int:
    """A seed of 32 bits from what a draw depends on; `hash` would differ between processes."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")


class _Ours(BaseSampler):
    """A sampler that draws each parameter by itself, from a point of the trial's index."""

    def __init__(self, space):
        self.space, self.named = space, {dimension.name: dimension for dimension in space.dimensions}

    def infer_relative_search_space(self, study: "Study", trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: "Study", trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        return {}


class _Shares(_Ours):
    def __init__(self, space, seed, shares):
        super().__init__(space)
        self.seed, self.shares = seed, shares

    def sample_independent(self, study: "Study", trial: FrozenTrial, param_name: str, _: BaseDistribution) -> Any:
        shares = self.shares(index_of(study, trial.number), len(self.named), self.seed)
        dimension = self.named[param_name]
        return dimension.stored(dimension.at(float(shares[list(self.named).index(param_name)])))


class _Grid(_Ours):
    def __init__(self, space: Space, points: Sequence[Params]):
        super().__init__(space)
        self.points = points

    def sample_independent(self, study: "Study", trial: FrozenTrial, param_name: str, _: BaseDistribution) -> Any:
        dimension = self.named[param_name]
        return dimension.stored(self.points[index_of(study, trial.number)][dimension.key])


class _Evolution(_Ours):
    """Regularised evolution. A dimension that does not count has an option, too, drawn by the trial's number, which
    comes into play where a child turns on its condition."""

    def __init__(self, space, seed):
        super().__init__(space)
        if fractions := [dimension for dimension in space.dimensions if dimension.kind in CONTINUOUS]:
            raise UserError(
                f"evolution goes from choice to choice, and {fractions[0]} is none; take choice, int or pow2."
            )
        self.seed, self.values = seed, [dimension.values(0) for dimension in space.dimensions]
        self.drawn = (-1, {})  # (trial, its parameters): drawn in one piece, whatever is told meanwhile

    def sample_independent(self, study: "Study", trial: FrozenTrial, param_name: str, _: BaseDistribution) -> Any:
        if self.drawn[0] != trial.number:
            self.drawn = trial.number, self._child(study, trial.number)
        dimension = self.named[param_name]
        return dimension.stored(self.drawn[1][dimension.key])

    def _child(self, study, number):
        others = [t for t in folded(study.get_trials(deepcopy=False)) if t.number != number]
        known = [(self._choice(t), score) for t in others if (score := _score(study, t)) is not None]
        sizes = [len(values) for values in self.values]
        rng = np.random.default_rng(_seed(self.seed, "evolution", index_of(study, number)))
        seen = {self._counting(self._params(self._choice(t))) for t in others}
        new = lambda choice: self._counting(self._params(choice)) not in seen  # noqa: E731
        child = samplers.evolve(sizes, known, rng, allowed=new) or samplers.evolve(sizes, known, rng)
        return self._params(child)

    def _params(self, choice: Choice) -> Params:
        return {d.key: v[i] for d, v, i in zip(self.space.dimensions, self.values, choice, strict=True)}

    def _choice(self, trial: FrozenTrial) -> Choice:
        """The options of a trial, as far as it has drawn them."""
        rng = np.random.default_rng(_seed(self.seed, "silent", trial.number))
        silent = [int(rng.integers(len(values))) for values in self.values]
        drawn = self.space.values(trial.params)
        pairs = zip(self.space.dimensions, self.values, silent, strict=True)
        return tuple(v.index(drawn[d.key]) if d.key in drawn else i for d, v, i in pairs)

    def _counting(self, params: Params) -> tuple[Any, ...]:
        """The values of the dimensions that count, to be compared."""
        found: Params = {}
        for dimension in self.space.dimensions:
            if self.space.active(dimension, found):
                found[dimension.key] = params[dimension.key]
        return tuple(found.items())


def _score(study: "Study", trial: FrozenTrial) -> float | None:
    """What a trial has reached, higher is better; None for nothing. One that was pruned counts by its best value."""
    sign = -1 if study.directions[0] == optuna.study.StudyDirection.MINIMIZE else 1
    if trial.state == optuna.trial.TrialState.COMPLETE:
        return sign * trial.values[0]
    values = [sign * value for value in trial.intermediate_values.values() if math.isfinite(value)]
    return max(values, default=None) if trial.state == optuna.trial.TrialState.PRUNED else None


class _Tpe(BaseSampler):
    """Optuna's TPE, made anew for each trial and parameter, and without what a trial was before it was promoted."""

    def __init__(self, space, seed):
        self.first, self.seed = _Shares(space, seed, sobol_shares), seed

    def _of(self, trial, name=""):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `group` is experimental; it is what knows conditions
            return optuna.samplers.TPESampler(
                n_startup_trials=0, multivariate=True, group=True, seed=_seed(self.seed, trial.number, name)
            )

    def _starts(self, study):
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        return len(folded(study.get_trials(deepcopy=False, states=states))) < STARTUP

    def infer_relative_search_space(self, study: "Study", trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self.inner = self._of(trial)
        return {} if self._starts(study) else self.inner.infer_relative_search_space(_Folded(study), trial)

    def sample_relative(self, study: "Study", trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        return self.inner.sample_relative(_Folded(study), trial, search_space) if search_space else {}

    def sample_independent(self, study: "Study", trial: FrozenTrial, param_name: str, dist: BaseDistribution) -> Any:
        if self._starts(study):
            return self.first.sample_independent(study, trial, param_name, dist)
        return self._of(trial, param_name).sample_independent(_Folded(study), trial, param_name, dist)


def folded(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Trials without those that another one goes on with: each setting counts once, as far as it came."""
    latest = {t.user_attrs.get(CONTINUES, t.number): t for t in trials}
    return sorted(latest.values(), key=lambda t: t.number)


class _Folded:
    """A study as TPE sees it, whose trials are `folded`."""

    def __init__(self, study):
        self._study = study

    def __getattr__(self, name):
        return getattr(self._study, name)

    def _get_trials(self, deepcopy=True, states=None, use_cache=False):
        trials = folded(self._study._get_trials(deepcopy=deepcopy, use_cache=use_cache))
        return [t for t in trials if states is None or t.state in states]

    def get_trials(self, deepcopy=True, states=None):
        return self._get_trials(deepcopy, states)
