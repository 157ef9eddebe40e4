"""Durations, and schedules against PyTorch's (fixtures/schedules.npz: base rate 0.1, torch 2.13)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls import schedules
from jaxcls.errors import UserError

REFERENCE = np.load(Path(__file__).parent / "fixtures" / "schedules.npz")


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


@settings(deadline=None)
@given(n=st.integers(1, 10**6), epoch=st.integers(1, 10**4))
def test_steps_are_themselves_and_epochs_are_whole_multiples(n, epoch):
    assert schedules.steps(f"{n} steps", steps_per_epoch=epoch) == n
    assert schedules.steps(f"{n} epochs", steps_per_epoch=epoch) == n * epoch


@settings(deadline=None)
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


def test_cosine_equals_pytorch():
    np.testing.assert_allclose(values(schedules.cosine(0.1, 50), 51), REFERENCE["cosine_T50"], atol=1e-7)
    # PyTorch's climbs again after T_max; ours stays at its end, since a run ends there
    lowest = REFERENCE["cosine_T50_min1e-4_200steps"][:51]
    np.testing.assert_allclose(values(schedules.cosine(0.1, 50, final=1e-4), 51), lowest, atol=1e-7)
    assert values(schedules.cosine(0.1, 50, final=1e-4), 80)[50:] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    "name, options, momentum",
    [
        ("onecycle_100", {}, {}),
        (
            "onecycle_100_div10_final100",
            {"div_factor": 10, "final_div_factor": 100, "pct_start": 0.2},
            {"pct_start": 0.2},
        ),
    ],
)
def test_one_cycle_equals_pytorch(name, options, momentum):
    rate = values(schedules.one_cycle(0.1, 100, **options), 100)
    np.testing.assert_allclose(rate, REFERENCE[name], rtol=1e-4, atol=1e-8)
    momentum = values(schedules.one_cycle_momentum(0.85, 0.95, 100, **momentum), 100)
    np.testing.assert_allclose(momentum, REFERENCE[f"{name}.momentum"], rtol=1e-5)


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


@settings(deadline=None, max_examples=30)
@given(total=st.integers(1, 500), pct=st.floats(0, 1))
def test_one_cycle_never_leaves_its_range(total, pct):
    at = np.unique(np.linspace(0, total - 1, 7).astype(int))
    rate = np.array([schedules.one_cycle(0.1, total, pct_start=pct)(t) for t in at])
    assert np.all(rate >= 0.1 / 25 / 1e4 * 0.999 - 1e-8) and np.all(rate <= 0.1 * 1.0001)
