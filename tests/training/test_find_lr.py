"""The learning-rate range test: its rules on curves and quadratics with a known answer, the command from end to end."""

import csv
import math
from pathlib import Path

import jax
import numpy as np
import pytest
import runs
from hypothesis import given
from hypothesis import strategies as st

from jaxcls import optim
from jaxcls.cli import command
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.training import build, find_lr

ROOT = Path(__file__).resolve().parents[2]


def descent(curvatures, start=1.0):
    """step(rate) -> loss before the update, of gradient descent on half the sum of curvature * x^2."""
    curvatures = np.asarray(curvatures, float)
    x = np.full(len(curvatures), start)

    def step(rate):
        loss = 0.5 * float(np.sum(curvatures * x**2))
        x[:] = x - rate * curvatures * x
        return loss

    return step


# The rules


@given(
    st.floats(-3, 3), st.lists(st.floats(0, 1), max_size=5), st.integers(60, 200), st.floats(2, 4), st.floats(0.7, 3)
)
def test_the_suggestion_for_a_quadratic_is_stable(exponent, smaller, steps, below, above):
    """Gradient descent converges for rates below 2 / L, L the largest curvature; and the rate is of use: not tiny."""
    largest = 10**exponent
    curvatures = [largest, *(largest * 10 ** (-3 * share) for share in smaller)]
    rates = find_lr.geometric(10**-below / largest, 10**above * 2 / largest, steps)
    found = find_lr.sweep(descent(curvatures), rates)
    rate = find_lr.suggest(found).rate
    assert 1e-3 / largest < rate < 2 / largest


def test_a_sweep_ends_before_the_loss_is_four_times_the_lowest():
    rates = find_lr.geometric(1e-3, 100, 100)
    found = find_lr.sweep(descent([1.0]), rates)
    assert found.diverged and len(found.rates) < 100
    lowest = np.minimum.accumulate(found.smoothed)
    assert np.all(found.smoothed <= 4 * lowest)
    np.testing.assert_array_equal(found.rates, rates[: len(found.losses)])


def test_the_smoothed_loss_is_a_weighted_mean_of_the_losses_so_far():
    """Weights (1 - 1/5)^age for 100 steps, whose twentieth is 5."""
    losses = np.random.default_rng(0).uniform(1, 2, 100)
    told = iter(losses)
    found = find_lr.sweep(lambda _: next(told), find_lr.geometric(1e-5, 1, 100))
    for n in (1, 2, 37, 100):
        weights = 0.8 ** np.arange(n)[::-1]
        assert found.smoothed[n - 1] == pytest.approx(np.dot(weights, losses[:n]) / weights.sum())
    assert not found.diverged


def test_steps_that_float16_skips_are_in_no_average_and_infinite_losses_end_the_test():
    told = iter([math.nan, 2.0, math.nan, 2.0, math.inf])
    found = find_lr.sweep(lambda _: next(told), find_lr.geometric(1e-5, 1, 20))
    assert found.diverged and len(found.losses) == 4
    np.testing.assert_allclose(found.smoothed, [math.nan, 2.0, 2.0, 2.0])


@pytest.mark.parametrize("centre, width, rise", [(-2.0, 0.3, 0.5), (-3.0, 0.1, -1.0), (-2.5, 0.5, 0.2)])
def test_the_two_rules_find_the_points_of_a_known_curve(centre, width, rise):
    """A logistic fall in the logarithm of the rate is steepest at its centre; a wall makes the minimum."""
    decades = np.linspace(-5, 2, 701)
    fall = 2.3 - 2 / (1 + np.exp(-(decades - centre) / width))
    losses = fall + 10 * np.maximum(0, decades - rise)
    chosen = find_lr.suggest(find_lr.Sweep(10**decades, losses, losses, True))
    assert math.log10(chosen.steepest) == pytest.approx(centre, abs=0.011)
    assert math.log10(chosen.lowest) == pytest.approx(rise, abs=0.1)
    assert chosen.rate == min(chosen.steepest, chosen.lowest / 10)


@pytest.mark.parametrize("slope, remedy", [(0.0, "raise --high"), (1.0, "lower --low")])
def test_a_loss_that_falls_nowhere_gives_no_suggestion(slope, remedy):
    rates = find_lr.geometric(1e-5, 1, 50)
    losses = 2.3 + slope * np.arange(50)
    with pytest.raises(UserError, match=remedy):
        find_lr.suggest(find_lr.Sweep(rates, losses, losses, slope > 0))


def test_a_peak_that_is_meant_for_another_batch_is_suggested_as_such():
    config = default_config()
    config.batch_size = 64
    assert find_lr.peak(config, 0.1) == 0.1
    config.schedule.per_batch = 256
    assert find_lr.peak(config, 0.1) == pytest.approx(0.4)
    config.schedule.batch_rule = "sqrt"
    assert find_lr.peak(config, 0.1) == pytest.approx(0.2)


# A run


def make_config():
    config = default_config()
    config.data.name, config.data.augment = "synthetic/64x8x1x4", ("crop(8, pad=1)", "flip")
    config.model.name, config.model.fields = "simple_cnn_16_32", {"channels": (3, 4), "hidden": 5}
    config.batch_size, config.duration, config.parallel.devices = 16, "4 steps", 1
    config.schedule.name, config.schedule.warmup, config.schedule.peak = "one_cycle", "", 0.05
    config.plateau.figure = "loss"
    config.optim.weight_decay = 1e-3
    return config


def test_the_losses_are_those_of_training_with_these_rates():
    """Of the config's own optimiser with the rates as its schedule; over the end of an epoch."""
    rates = find_lr.geometric(0.01, 0.5, 10)
    config, before = make_config(), make_config()
    found = find_lr.range_test(config, rates, note=lambda line: None)
    assert config == before
    run = build.build(config)
    table = jax.numpy.asarray(rates, jax.numpy.float32)
    tx = optim.sgd(lambda t: table[t], momentum=0.9, weight_decay=1e-3)
    run = runs.changed(run, tx=tx)
    feed, state, losses = run.train_feed(), run.parallel.replicate(run.init_state()), []
    for step in range(10):
        state, values, _ = feed(state, step, 10)
        losses.append(float(values["loss"][0] / values["loss"][1]))
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
    assert losses[-1] != pytest.approx(losses[0], rel=1e-3)


def test_the_command_writes_table_and_figure_and_begins_no_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [f"--config={ROOT}/configs/lenet5_digits.py", "--config.batch_size=32", "--config.parallel.devices=1"]
    assert command.main(["find-lr", *arguments, "--low", "1e-3", "--high", "2", "--steps", "40", "--out", "found"]) == 0
    output = capsys.readouterr().out
    suggested = float(output.rpartition("--config.schedule.peak=")[2])
    with open("found/find_lr.csv") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], np.geomspace(1e-3, 2, 40)[: len(rows)])
    assert rows[0]["loss"] == pytest.approx(math.log(10), rel=0.1)
    assert 1e-3 < suggested <= min(rows, key=lambda row: row["smoothed"])["learning_rate"] / 10 * 1.05
    assert Path("found/find_lr.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["find_lr.csv", "find_lr.png", "found"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--low", "1", "--high", "0.1"], "in this order"),
        (["--low", "nan"], "in this order"),
        (["--steps", "3"], "at least 10"),
        (["--config.optim.momentun=0.9"], "did you mean 'config.optim.momentum'"),
        (["--config.batch_size=100000"], "make it smaller"),
    ],
)
def test_mistakes_are_one_line_and_status_2(arguments, words, capsys):
    assert command.main(["find-lr", f"--config={ROOT}/configs/lenet5_digits.py", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and words in error


def test_a_missing_config_is_one_line(capsys):
    assert command.main(["find-lr", "--config=configs/lenet5_digit.py"]) == 2
    assert "lenet5_digit.py" in capsys.readouterr().err
