"""Durations, and schedules against PyTorch's (fixtures/schedules.npz: base rate 0.1, torch 2.13)."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls.errors import UserError
from jaxcls.optim import schedules

REFERENCE = np.load(Path(__file__).parents[1] / "fixtures" / "schedules.npz")


def values(schedule, n):
    """The schedule at steps 0 to n - 1, traced as inside the optimiser."""
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.arange(n)))


@pytest.mark.parametrize(
    "duration, expected",
    [
        ("500 steps", 500), ("1 step", 1), ("3 epochs", 30), ("1 epoch", 10), ("2.5 epochs", 25), ("5%", 10),
        ("0.5 %", 1), ("100%", 200), (".5 epochs", 5), (17, 17), ("17", 17), (" 4 steps ", 4),
        ("", 0), (None, 0), (0, 0), ("0 epochs", 0), ("0.25 epochs", 3), ("0.24 epochs", 2),
    ],
)  # fmt: skip
def test_durations(duration, expected):
    assert schedules.steps(duration, steps_per_epoch=10, total=200) == expected


@given(n=st.integers(1, 10**5), epoch=st.integers(1, 10**4))  # at most 1e9 steps: 2^31 is the bound of a run
def test_steps_are_themselves_and_epochs_are_whole_multiples(n, epoch):
    assert schedules.steps(f"{n} steps", steps_per_epoch=epoch) == n
    assert schedules.steps(f"{n} epochs", steps_per_epoch=epoch) == n * epoch


@given(share=st.floats(0.01, 100), total=st.integers(1, 10**6))
def test_a_share_is_rounded_to_the_nearest_step(share, total):
    exact = float(f"{share:.3f}") / 100 * total
    if exact < 0.499:
        with pytest.raises(UserError, match="less than one step"):
            schedules.steps(f"{share:.3f}%", steps_per_epoch=7, total=total)
    elif exact > 0.501:
        assert abs(schedules.steps(f"{share:.3f}%", steps_per_epoch=7, total=total) - exact) <= 0.5 + 1e-6


@pytest.mark.parametrize("garbage", ["soon", "10 weeks", "-5 steps", "5e3", "nan", "1,000 steps", "10 epochs 3", True])
def test_a_duration_that_cannot_be_read_is_named(garbage):
    with pytest.raises(UserError, match="config.x is .*; write it as '500 steps', '10 epochs' or '5%'"):
        schedules.steps(garbage, steps_per_epoch=10, total=200, what="config.x")


def test_less_than_a_step_and_a_share_of_nothing_are_errors():
    with pytest.raises(UserError, match=r"config.x is '0.04 epochs', which is less than one step \(an epoch has 10\)"):
        schedules.steps("0.04 epochs", steps_per_epoch=10, what="config.x")
    with pytest.raises(UserError, match="a share of the run makes no sense here"):
        schedules.steps("5%", steps_per_epoch=10)


S = schedules  # for the tables


@pytest.mark.parametrize(
    "name, schedule",
    [
        # PyTorch's cosine climbs again after T_max; ours stays at its end, since a run ends there
        ("cosine_T50", S.cosine(0.1, 50)),
        ("cosine_T50_min1e-4_200steps", S.cosine(0.1, 50, final=1e-4)),
        ("warm_restarts_T10", S.sgdr(0.1, 10, final=1e-5)),
        ("warm_restarts_T10_mult2", S.sgdr(0.1, 10, mult=2, final=1e-5)),
        ("step_30_0.1", S.step(0.1, 30)),
        ("multistep_30_60_80_0.2", S.multi_step(0.1, [30, 60, 80], factor=0.2)),
        ("exponential_0.95", S.exponential(0.1, 1, factor=0.95)),
        ("polynomial_100_p2", S.polynomial(0.1, 100)),
        ("linear_warmup10_from0.1", S.linear(0.01, 0.1, 10)),
        ("linear_warmup10_from0.1", S.with_warmup(S.constant(0.1), 0.1, 10, start=0.01, inclusive=True)),
        ("warmup5_then_cosine45", S.with_warmup(S.cosine(0.1, 45), 0.1, 5, start=0.001, inclusive=True)),
        (
            "timm_cosine_w5",
            S.with_warmup(S.cosine(0.1, 50, final=1e-5), 0.1, 5, start=1e-6, inclusive=True, delay=False),
        ),
        ("timm_cosine_w5_prefix", S.with_warmup(S.cosine(0.1, 50, final=1e-5), 0.1, 5, start=1e-6, inclusive=True)),
        ("timm_step", S.with_warmup(S.step(0.1, 30), 0.1, 3, start=1e-4, inclusive=True)),
        ("timm_poly", S.polynomial(0.1, 50, power=0.5)),
    ],
)
def test_schedules_equal_pytorch_and_timm(name, schedule):
    expected = REFERENCE[name][: 51 if name.startswith("cosine") else None]
    np.testing.assert_allclose(values(schedule, len(expected)), expected, rtol=2e-5, atol=2e-8)


@pytest.mark.parametrize(
    "name, options, factors",
    [
        ("onecycle_100", {}, {}),
        ("onecycle_100_linear", {"anneal": "linear"}, {}),
        ("onecycle_100_threephase", {"three_phase": True}, {}),
        ("onecycle_100_div10_final100", {"pct_start": 0.2}, {"div_factor": 10, "final_div_factor": 100}),
    ],
)
def test_one_cycle_equals_pytorch(name, options, factors):
    rate = values(schedules.one_cycle(0.1, 100, **options, **factors), 100)
    np.testing.assert_allclose(rate, REFERENCE[name], rtol=1e-4, atol=1e-8)
    momentum = values(schedules.one_cycle_momentum(0.85, 0.95, 100, **options), 100)
    np.testing.assert_allclose(momentum, REFERENCE[f"{name}.momentum"], rtol=1e-5)


def test_the_end_of_a_schedule_is_where_it_stays():
    for schedule in (
        S.cosine(0.1, 50, final=1e-4), S.linear(0.1, 1e-4, 50), S.polynomial(0.1, 50, final=1e-4),
        S.trapezoid(0.1, 50, 20, final=1e-4),
    ):  # fmt: skip
        assert values(schedule, 80)[50:] == pytest.approx(1e-4)


def test_a_trapezoid_climbs_holds_and_falls():
    out = values(S.with_warmup(S.trapezoid(0.1, 16, 10), 0.1, 4), 21)
    np.testing.assert_allclose(out[:4], [0.025, 0.05, 0.075, 0.1], rtol=1e-6)
    np.testing.assert_allclose(out[4:11], 0.1, rtol=1e-6)
    np.testing.assert_allclose(out[10:21], np.linspace(0.1, 0, 11), atol=1e-8)


def test_warm_up_climbs_to_the_peak_in_its_last_step():
    """Ours differs from PyTorch's LinearLR on purpose: update t < 5 has (t + 1) / 5 of the peak, none of them zero."""
    out = values(schedules.with_warmup(schedules.cosine(0.1, 45), 0.1, 5), 51)
    np.testing.assert_allclose(out[:5], [0.02, 0.04, 0.06, 0.08, 0.1], rtol=1e-6)
    np.testing.assert_allclose(out[5:], REFERENCE["warmup5_then_cosine45"][5:], atol=1e-7)
    from_start = values(schedules.with_warmup(schedules.constant(0.1), 0.1, 4, start=0.02), 6)
    np.testing.assert_allclose(from_start, [0.04, 0.06, 0.08, 0.1, 0.1, 0.1], rtol=1e-6)


def test_no_warm_up_is_the_schedule_itself():
    schedule = schedules.constant(0.3)
    assert schedules.with_warmup(schedule, 0.3, 0) is schedule
    assert values(schedule, 3) == pytest.approx(0.3)


def test_the_rate_grows_with_the_batch():
    assert schedules.scaled_rate(0.1, 1024) == pytest.approx(0.4)
    assert schedules.scaled_rate(0.04, 8192, per=32_768, rule="sqrt") == pytest.approx(0.02)
    assert schedules.scaled_rate(5e-4, 64, per=512) == pytest.approx(5e-4 / 8)


@settings(max_examples=20)
@given(
    total=st.integers(200, 10**4), peak=st.floats(1e-5, 10), share=st.floats(0.1, 0.45), warmup=st.floats(0.1, 0.5),
    anneal=st.sampled_from(["cosine", "linear"]), three_phase=st.booleans(),
)  # fmt: skip
def test_schedules_never_jump_nor_leave_their_range(total, peak, share, warmup, anneal, three_phase):
    """1/1000 of a step on either side of a joint, values differ no more than by a slope of peak / 2 a step."""
    first, cooldown = round(warmup * total), round(share * total)
    made = {
        "one_cycle": S.one_cycle(peak, total, pct_start=share, anneal=anneal, three_phase=three_phase),
        "trapezoid": S.trapezoid(peak, total, cooldown),
        "cosine": S.with_warmup(S.cosine(peak, total - first, final=peak / 100), peak, first, inclusive=True),
    }
    joints = [share * total - 1, 2 * share * total - 2, total - cooldown, first, total - 1, total]
    t = np.concatenate([np.linspace(0, total, 50), np.add.outer(joints, [-1e-3, 1e-3]).ravel()])
    for name, schedule in made.items():
        out = np.asarray(schedule(jnp.asarray(t, jnp.float32)))
        assert np.all(out >= 0) and np.all(out <= peak * (1 + 1e-5)), name
        assert np.abs(np.diff(out[50:].reshape(-1, 2))).max() <= 1e-3 * peak, name


# What follows a figure

PLATEAU = REFERENCE["plateau.metric"]
PLATEAU_CASES = {
    "default_p2": {"factor": 0.5, "patience": 2},
    "cooldown": {"factor": 0.1, "patience": 1, "cooldown": 3, "min_scale": 1e-3},
    "abs_thr": {"factor": 0.5, "patience": 2, "threshold": 0.01, "relative": False},
    "max_mode": {"factor": 0.5, "patience": 2, "mode": "max"},
}


@pytest.mark.parametrize("name", PLATEAU_CASES)
def test_plateau_equals_pytorch(name):
    memory, scales, bad = {}, [], []
    for figure in PLATEAU if name != "max_mode" else -PLATEAU:
        memory = schedules.plateau(memory, float(figure), **PLATEAU_CASES[name])
        scales.append(memory["scale"])
        bad.append(memory["bad"])
    np.testing.assert_allclose(0.1 * np.array(scales), REFERENCE[f"plateau.{name}"], rtol=1e-9)
    np.testing.assert_array_equal(bad, REFERENCE[f"plateau.{name}.bad_epochs"])


@given(
    figures=st.lists(st.floats(-2, 2) | st.just(float("nan")) | st.just(float("inf")), max_size=30),
    cut=st.integers(0, 30), mode=st.sampled_from(["min", "max"]), patience=st.integers(0, 4),
    cooldown=st.integers(0, 3),
)  # fmt: skip
def test_a_run_that_was_stopped_follows_its_figures_as_if_it_had_not_been(figures, cut, mode, patience, cooldown):
    options = {"mode": mode, "patience": patience}
    whole, parts = [{}, {}], [{}, {}]
    for i, figure in enumerate(figures):
        if i == cut:
            parts = json.loads(json.dumps(parts, allow_nan=False))
        for memories in (whole, parts):
            lowered = schedules.plateau(memories[0], figure, cooldown=cooldown, min_scale=1e-3, **options)
            assert 1e-3 <= lowered["scale"] <= memories[0].get("scale", 1.0)
            stopped = schedules.early_stopping(memories[1], figure, **options)
            assert stopped["stop"] >= memories[1].get("stop", False)
            memories[:] = [lowered, stopped]
    assert whole == parts


def test_early_stopping_waits_for_its_patience():
    figures = [3.0, 2.0, 2.5, float("nan"), 1.9, 1.9, 2.0, 1.95]
    memory, stops = {}, []
    for figure in figures:
        memory = schedules.early_stopping(memory, figure, patience=2)
        stops.append(memory["stop"])
    assert stops == [False] * 7 + [True]
    assert memory["best"] == 1.9
    memory = schedules.early_stopping(schedules.early_stopping({}, 0.5, mode="max", patience=0), 0.6, mode="max")
    assert memory == {"best": 0.6, "bad": 0, "stop": False}


def test_a_figure_that_is_not_finite_is_never_the_best():
    memory = schedules.plateau({}, float("nan"), patience=1)
    assert memory == {"best": None, "bad": 1, "cooldown": 0, "scale": 1.0}
    memory = schedules.plateau(memory, 5.0, patience=1)
    assert memory["best"] == 5.0 and memory["bad"] == 0
    assert schedules.plateau(memory, float("-inf"), patience=1)["best"] == 5.0


@settings(max_examples=30)
@given(total=st.integers(1, 500), pct=st.floats(0, 1))
def test_one_cycle_never_leaves_its_range(total, pct):
    at = np.unique(np.linspace(0, total - 1, 7).astype(int))
    rate = np.array([schedules.one_cycle(0.1, total, pct_start=pct)(t) for t in at])
    assert np.all(rate >= 0.1 / 25 / 1e4 * 0.999 - 1e-8) and np.all(rate <= 0.1 * 1.0001)


def test_cosine_7_16_is_that_of_fixmatch():
    """0.03 * cos(7 pi k / (16 K)), in float64."""
    expected = 0.03 * np.cos(7 * np.pi * np.arange(101) / (16 * 100))
    np.testing.assert_allclose(values(schedules.cosine_7_16(0.03, 100), 101), expected, rtol=1e-5)
