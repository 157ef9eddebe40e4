"""Searches of a table of runs, for tune.py: jaxcls's samplers and pruner on runs that were made before."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Key = tuple[float, int, int]  # rate, batch, seed
Table = dict[Key, list[float]]  # -> accuracy after each epoch
PRUNED = "median"
SEARCHES = ("grid", "random", "qmc", "tpe")
PAIRS = (("random", "tpe"), ("grid", "tpe"), ("random, pruned", "tpe, pruned"), ("tpe", "tpe, pruned"))


def read(path: Path) -> Table:
    """The table of `tune.py table`. A run without any evaluation has an empty list."""
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]
    return {(float(r[0]), int(r[1]), int(r[2])): [int(x) / int(r[3]) for x in r[4:] if x] for r in rows}


class Runs:
    """The runs of a table as a search meets them: a setting is that of the nearest rate, its seed is drawn."""

    def __init__(self, table: Table):
        self.table = table
        self.rates, self.batches, self.seeds = (sorted({key[i] for key in table}) for i in range(3))
        self.epochs = max(map(len, table.values()))
        self.means = {
            (rate, batch): float(np.mean([max(table[rate, batch, seed], default=0.0) for seed in self.seeds]))
            for rate in self.rates
            for batch in self.batches
        }
        self.best = max(self.means.values())

    def setting(self, params: Mapping[str, Any]) -> tuple[float, int]:
        """The setting of the table that is nearest to what was drawn."""
        rate = min(self.rates, key=lambda rate: abs(math.log(rate / params["schedule.peak"])))
        return rate, params["batch_size"]

    def curve(self, setting: tuple[float, int], repeat: int) -> list[float]:
        """Accuracies of a setting in a search: of one of its seeds, always the same in this search."""
        place = self.rates.index(setting[0]) * len(self.batches) + self.batches.index(setting[1])
        seed = np.random.default_rng((repeat, place)).integers(len(self.seeds))
        return self.table[*setting, self.seeds[seed]]


def simulate(table: Table, repeats: int, budgets: Sequence[int]) -> dict[str, Any]:
    """Regret in points of accuracy of each search at each budget, given in whole trials; and paired tests.

    Searches that are not pruned make so many trials; pruned ones go on until as many epochs are spent. The n-th search
    of every kind meets the same runs.
    """
    from jaxcls.measure.compare import holm

    runs = Runs(table)
    regrets: dict[tuple[int, str], list[float]] = {}
    trials: dict[tuple[int, str], list[int]] = {}
    for pruned in (False, True):
        for kind in SEARCHES:
            for repeat in range(repeats):
                for whole, regret, count in search(runs, kind, pruned, repeat, budgets):
                    name = f"{kind}, pruned" if pruned else kind
                    regrets.setdefault((whole, name), []).append(regret)
                    trials.setdefault((whole, name), []).append(count)
    rows = [
        {
            "whole": whole,
            "epochs": whole * runs.epochs,
            "name": name,
            "trials": float(np.mean(trials[whole, name])),
            "mean": float(np.mean(values)),
            "error": float(np.std(values, ddof=1) / math.sqrt(len(values))),
        }
        for (whole, name), values in sorted(regrets.items(), key=lambda entry: entry[0][0])
    ]
    tests = [
        {"whole": whole, "a": a, "b": b, **paired(regrets[whole, a], regrets[whole, b])}
        for whole in budgets
        for a, b in PAIRS
    ]
    for test, p in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_holm"] = p
    about = {"settings": len(runs.means), "best": runs.best, "median": float(np.median(list(runs.means.values())))}
    return {**about, "repeats": repeats, "rows": rows, "tests": tests}


def search(
    runs: Runs, kind: str, pruned: bool, repeat: int, budgets: Sequence[int]
) -> Iterator[tuple[int, float, int]]:
    """(budget, regret in points, trials) of one search at each budget. A grid is another one at each."""
    groups = [[whole] for whole in budgets] if kind == "grid" else [sorted(budgets)]
    for group in groups:
        left = list(group)
        spent, best, found, count = 0, -1.0, 0.0, 0
        for setting, value, epochs in _trials(runs, kind, pruned, repeat, group[-1]):
            while left and spent + epochs > left[0] * runs.epochs:
                yield left.pop(0), 100 * (runs.best - found), count
            if not left:
                break
            spent, count = spent + epochs, count + 1
            if value > best:
                best, found = value, runs.means[setting]
        for whole in left:
            yield whole, 100 * (runs.best - found), count


def _trials(runs, kind, pruned, repeat, whole):
    """(setting, best value, epochs) of each trial of a search; it ends when a grid does, else never by itself."""
    from jaxcls.tune import sampling
    from jaxcls.tune import space as spaces

    optuna = sampling.optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    low, high = runs.rates[0], runs.rates[-1]
    space = spaces.parse(f"schedule.peak=log({low},{high}); batch_size=pow2({runs.batches[0]},{runs.batches[-1]})")
    points = len(runs.rates) if pruned else max(1, whole // len(runs.batches))  # of a grid, finer where it is pruned
    sampler = sampling.sampler("tpe", space, repeat)  # asked by tpe alone; the others depend on the number only
    pruner = sampling.pruner(PRUNED if pruned else "none")
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    order = spaces.grid(space, points) if kind == "grid" else []
    if pruned:
        order = [order[i] for i in np.random.default_rng(repeat).permutation(len(order))]
    shares = {"random": sampling.random_shares, "qmc": sampling.sobol_shares}.get(kind)
    for number in range(len(order) if kind == "grid" else 10**6):
        trial = study.ask()
        if shares:
            drawn = shares(number, len(space.dimensions), repeat)
            params = {d.key: d.at(float(share)) for d, share in zip(space.dimensions, drawn, strict=True)}
        else:
            params = order[number] if kind == "grid" else spaces.draw(space, trial)
        setting = runs.setting(params)
        value, epochs = _run(runs.curve(setting, repeat), trial, pruned)
        state = optuna.trial.TrialState
        ended = state.FAIL if not epochs else state.COMPLETE if epochs == runs.epochs else state.PRUNED
        study.tell(trial, value if ended == state.COMPLETE else None, state=ended)
        yield setting, value, max(epochs, 1)


def _run(curve, trial, pruned):
    """(best value, epochs) of a trial that is asked after each evaluation whether it shall go on."""
    best = -1.0
    for epoch, value in enumerate(curve, 1):
        best = max(best, value)
        if pruned:
            trial.report(value, epoch)
            if epoch < len(curve) and trial.should_prune():
                return best, epoch
    return best, len(curve)


def paired(a: Sequence[float], b: Sequence[float]) -> dict[str, Any]:
    """Student's t-test that two kinds of search have the same regret, paired by search: b less a."""
    from scipy.special import stdtr, stdtrit

    differences = np.array(b) - np.array(a)
    n, mean = len(differences), float(differences.mean())
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return {"difference": mean, "interval": [mean, mean], "p": float(mean == 0)}
    half = float(stdtrit(n - 1, 0.975)) * error
    p = 2 * float(stdtr(n - 1, -abs(mean) / error))
    return {"difference": mean, "interval": [mean - half, mean + half], "p": p}
