"""What samplers draw, against the distributions that they are named after, and when pruners stop."""

import collections
import math

import numpy as np
import optuna
import pytest
from scipy import stats

from jaxcls.cli import tune
from jaxcls.errors import UserError
from jaxcls.tune import sampling, space
from jaxcls.tune.sampling import random_shares, sobol_shares
from jaxcls.tune.space import parse

SPACE = parse(
    "schedule.peak=log(1e-3,1); optim.momentum=linear(0.5,0.9); batch_size=pow2(32,512); model.fields.depth=int(1,9,2);"
    "optim.name=choice(sgd,lion,adam); optim.b1=linear(0.8,1) if optim.name=lion"
)


def study_of(name, found=SPACE, seed=0, points=0, **options):
    return optuna.create_study(sampler=sampling.sampler(name, found, seed, points), **options)


def drawn(name, count, found=SPACE, seed=0, value=None, **options):
    """The parameters of `count` trials, each told the value of a function of them."""
    study = study_of(name, found, seed, **options)
    params = []
    for _ in range(count):
        trial = study.ask()
        params.append(space.draw(found, trial))
        study.tell(trial, value(params[-1]) if value else 0.0)
    return params


def shares_of(points, count=2048):
    """As draws have them, for each dimension of SPACE: [count] values."""
    shares = [points(i, len(SPACE.dimensions), 3) for i in range(count)]
    return {d.key: [d.at(float(s[i])) for s in shares] for i, d in enumerate(SPACE.dimensions)}


@pytest.mark.parametrize("points", [random_shares, sobol_shares])
def test_draws_have_the_distribution_that_a_dimension_names(points):
    values = shares_of(points)
    peak = stats.kstest(np.log10(values["schedule.peak"]), stats.uniform(-3, 3).cdf)
    momentum = stats.kstest(values["optim.momentum"], stats.uniform(0.5, 0.4).cdf)
    assert min(peak.pvalue, momentum.pvalue) > 0.01
    wrong = stats.kstest(values["schedule.peak"], stats.uniform(0, 1).cdf)
    assert wrong.pvalue < 1e-6
    for key, options in [
        ("batch_size", [32, 64, 128, 256, 512]),
        ("model.fields.depth", [1, 3, 5, 7, 9]),
        ("optim.name", ["sgd", "lion", "adam"]),
    ]:
        counts = collections.Counter(values[key])
        assert set(counts) == set(options)
        assert stats.chisquare(list(counts.values())).pvalue > 0.01


def test_dimensions_are_independent():
    shares = np.array([random_shares(i, 3, 0) for i in range(2000)])
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert stats.spearmanr(shares[:, a], shares[:, b]).pvalue > 0.001
    assert stats.spearmanr(shares[:-1, 0], shares[1:, 0]).pvalue > 0.001  # one trial and the next


def test_sobol_points_are_scipy_s_and_lie_evenly():
    first = np.array([sobol_shares(i, 2, 5) for i in range(64)])
    for k in range(2):  # 64 points of a Sobol sequence: one in each 64th of every axis
        assert sorted((first[:, k] * 64).astype(int)) == list(range(64))
    random = np.array([random_shares(i, 2, 5) for i in range(64)])
    assert stats.qmc.discrepancy(first) < stats.qmc.discrepancy(random) / 4
    later = np.array([sobol_shares(i, 2, 5) for i in range(200)])  # more are needed: the first stay what they were
    assert (later[:64] == first).all()
    assert (first != [sobol_shares(i, 2, 6) for i in range(64)]).all()


@pytest.mark.parametrize("name", ["random", "qmc", "tpe"])
def test_the_same_seed_draws_the_same_and_another_another(name):
    count = 14
    value = None if name != "tpe" else lambda params: abs(math.log10(params["schedule.peak"]) + 1)
    one, again = (drawn(name, count, value=value) for _ in range(2))
    assert one == again
    other = drawn(name, count, seed=1, value=value)
    assert all(a["schedule.peak"] != b["schedule.peak"] for a, b in zip(one, other, strict=True))
    assert all(("optim.b1" in params) == (params["optim.name"] == "lion") for params in one)
    assert {params["optim.name"] for params in one} == {"sgd", "lion", "adam"}


def test_tpe_begins_with_sobol_points_and_then_comes_nearer():
    def value(params):
        return (math.log10(params["schedule.peak"]) + 1) ** 2 + (params["optim.momentum"] - 0.6) ** 2

    found = parse("schedule.peak=log(1e-3,1); optim.momentum=linear(0.5,0.9)")
    params = drawn("tpe", 30, found, value=value)
    assert params[: sampling.STARTUP] == drawn("qmc", sampling.STARTUP, found)
    assert np.median([value(p) for p in params[-10:]]) < np.median([value(p) for p in params[:10]]) / 3


def test_tpe_counts_a_promoted_trial_once():
    study = study_of("tpe")
    for n in range(4):
        study.tell(study.ask(), float(n))
    going_on = optuna.trial.create_trial(value=9.0, user_attrs={sampling.CONTINUES: 1})
    study.add_trial(going_on)
    assert [(t.number, t.value) for t in sampling.folded(study.trials)] == [(0, 0), (2, 2), (3, 3), (4, 9)]
    assert sampling.index_of(study, 5) == 4
    assert len(sampling._Folded(study).get_trials()) == 4


def test_a_grid_is_drawn_in_order():
    found = parse("schedule.peak=log(1e-3,1); optim.name=choice(sgd,lion); optim.b1=linear(0,0.5) if optim.name=lion")
    expected = space.grid(found, 3)
    assert drawn("grid", len(expected), found, points=3) == expected


@pytest.mark.parametrize("direction, best", [("minimize", min), ("maximize", max)])
def test_the_median_rule(direction, best):
    """Closed form, Golovin et al. 2017: a trial stops where its best value until now is worse than the median of what
    the finished ones had at that step. Four trials of three steps; two must be finished, the first step is spared."""
    curves = [[5, 3, 1], [6, 4, 2], [7, 3.4, 3], [4, 3.6, 9]]
    sign = 1 if direction == "minimize" else -1
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1)
    ours = sampling.pruner("median")
    study = optuna.create_study(direction=direction, pruner=pruner)
    finished, stopped = [], {}
    for number, curve in enumerate(curves):
        trial = study.ask()
        for step, value in enumerate(curve):
            trial.report(sign * value, step)
            before = [sign * other[step] for other in finished]
            so_far = best(sign * v for v in curve[: step + 1])
            rule = len(before) >= 2 and step >= 1 and best(so_far, np.median(before)) != so_far
            assert trial.should_prune() == rule
            if rule:
                stopped[number] = step
                break
        else:
            finished.append(curve)
            study.tell(trial, sign * curve[-1])
            continue
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    assert stopped == {2: 2, 3: 1}
    assert type(ours) is type(pruner) and ours._n_startup_trials == 5 and ours._n_warmup_steps == sampling.WARMUP + 1


def test_pruners_and_samplers_have_names():
    kinds = {name: type(sampling.pruner(name)).__name__ for name in sampling.PRUNERS}
    assert kinds == {
        "none": "NopPruner",
        "median": "MedianPruner",
        "patient": "PatientPruner",
        "wilcoxon": "WilcoxonPruner",
        "halving": "NopPruner",
        "hyperband": "NopPruner",
    }
    with pytest.raises(UserError, match="did you mean 'median'"):
        sampling.pruner("medain")
    with pytest.raises(UserError, match="random, grid, qmc, tpe, evolution"):
        sampling.sampler("gp", SPACE, 0)
    with pytest.raises(UserError, match="--points"):
        sampling.sampler("grid", SPACE, 0)


BLOCKS = parse(
    "model.fields.blocks.0=choice((3,1,8,1),(7,6,8,1),skip); batch_size=pow2(16,64); model.fields.depth=int(1,5,2)"
)


def quality(params):
    """What each key adds by itself."""
    return ("7" in params["model.fields.blocks.0"]) + params["batch_size"] / 64 + params["model.fields.depth"] / 5


def test_evolution_draws_every_setting_once_and_then_again():
    params = drawn("evolution", 27 + 2, BLOCKS, value=quality, direction="maximize")
    assert len({tuple(p.items()) for p in params[:27]}) == 27
    assert {p["model.fields.blocks.0"] for p in params} == {"(3,1,8,1)", "(7,6,8,1)", "skip"}
    assert params == drawn("evolution", 29, BLOCKS, value=quality, direction="maximize")
    assert params[:9] != drawn("evolution", 9, BLOCKS, seed=1, value=quality, direction="maximize")


@pytest.mark.parametrize("direction, sign", [("maximize", 1), ("minimize", -1)])
def test_evolution_comes_nearer_than_random_draws(direction, sign):
    found = parse("; ".join(f"model.fields.blocks.{i}=choice(a,b,c,d)" for i in range(6)))
    good = lambda params: sum(v == "c" for v in params.values())  # noqa: E731
    for seed in range(2):
        options = {"seed": seed, "value": lambda params: sign * good(params), "direction": direction}
        evolved, random = (
            [good(p) for p in drawn(name, 60, found, **options)[30:]] for name in ("evolution", "random")
        )
        assert stats.mannwhitneyu(evolved, random, alternative="greater").pvalue < 1e-3


def test_evolution_changes_one_key_of_a_living_trial_and_knows_conditions():
    found = parse("optim.name=choice(sgd,lion); optim.nesterov=choice(true,false) if optim.name=sgd; seed=int(0,40)")
    params = drawn("evolution", 60, found, value=lambda p: p["optim.name"] == "sgd", direction="maximize")
    assert all(("optim.nesterov" in p) == (p["optim.name"] == "sgd") for p in params)
    assert len({tuple(p.items()) for p in params}) == 60
    last = [p for p in params[20:] if p["optim.name"] == "sgd"]
    assert stats.binomtest(len(last), 40, alternative="greater").pvalue < 0.01  # sgd at random: in half of them
    assert {p["optim.nesterov"] for p in last} == {True, False}


def test_evolution_takes_no_fractions():
    with pytest.raises(UserError, match="schedule.peak=log.* is none; take choice, int or pow2"):
        sampling.sampler("evolution", SPACE, 0)


def test_what_a_trial_is_worth_to_evolution():
    study = study_of("evolution", BLOCKS, direction="minimize")
    state = optuna.trial.TrialState
    for kind, values, steps in [
        (state.COMPLETE, [2.0], {}),
        (state.PRUNED, None, {1: 5.0, 2: 4.0}),
        (state.FAIL, None, {}),
        (state.PRUNED, None, {}),
    ]:
        made = optuna.trial.create_trial(state=kind, values=values, intermediate_values=steps)
        study.add_trial(made)
    assert [sampling._score(study, t) for t in study.trials] == [-2, -4, None, None]


def test_the_command_offers_what_there_is():
    assert tune.SAMPLERS == sampling.SAMPLERS and tune.PRUNERS == sampling.PRUNERS
