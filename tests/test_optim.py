"""SGD against PyTorch's trajectories (fixtures/optim.npz), and what the loop may set."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcls import optim, schedules
from jaxcls.errors import UserError

REFERENCE = np.load(Path(__file__).parent / "fixtures" / "optim.npz")
NAMES = "Wbs"


def gradients(t):
    return {k: jnp.asarray(REFERENCE[f"g{k}"][t], jnp.float32) for k in NAMES}


def trajectory(tx, steps=20, **controls):
    """Parameters after each of the fixture's gradients: name -> [steps, ...]."""
    params = {k: jnp.asarray(REFERENCE[f"{k}0"], jnp.float32) for k in NAMES}
    state = tx.init(params)
    update = jax.jit(optax.with_extra_args_support(tx).update)
    seen = []
    for t in range(steps):
        updates, state = update(gradients(t), state, params, **controls)
        params = optax.apply_updates(params, updates)
        seen.append(params)
    return jax.tree.map(lambda *x: np.stack(x), *seen)


@pytest.mark.parametrize(
    "case, options",
    [
        ("sgd", {"momentum": 0.0}),
        ("sgd_mom0.9", {}),
        ("sgd_mom0.9+coslr", {}),
        ("sgd_mom0.9_wd0.1", {"weight_decay": 0.1}),
        ("sgd_mom0.9_wd0.1+coslr", {"weight_decay": 0.1}),
        ("sgd_mom0.9_wd0.1_nesterov", {"weight_decay": 0.1, "nesterov": True}),
        ("sgd_mom0.9_wd0.1_nesterov+coslr", {"weight_decay": 0.1, "nesterov": True}),
    ],
)
def test_sgd_equals_pytorch(case, options):
    rate = schedules.cosine(0.1, 20) if case.endswith("+coslr") else schedules.constant(0.1)
    out = trajectory(optim.sgd(rate, decay_mask=(".",), **options))
    for name in NAMES:
        np.testing.assert_allclose(out[name], REFERENCE[f"{case}:{name}"], rtol=2e-5, atol=2e-5)


def test_a_momentum_schedule_is_read_at_the_step_of_the_update():
    """Closed form: v_t = m(t) v_(t-1) + g_t, with m the one-cycle momentum, as PyTorch's OneCycleLR sets it."""
    momentum = schedules.one_cycle_momentum(0.85, 0.95, 20)
    out = trajectory(optim.sgd(schedules.constant(0.1), momentum=momentum))
    params, velocity = REFERENCE["W0"], 0.0
    for t in range(20):
        velocity = float(momentum(t)) * velocity + REFERENCE["gW"][t]
        params = params - 0.1 * velocity
        np.testing.assert_allclose(out["W"][t], params, rtol=1e-5, atol=1e-5)


def test_decay_touches_only_what_the_patterns_name():
    params = {"fc": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}, "bn": {"scale": jnp.ones(2)}}
    tx = optim.sgd(schedules.constant(1.0), momentum=0.0, weight_decay=0.5)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    assert updates["fc"]["kernel"].tolist() == [-0.5, -0.5]
    assert not np.any(updates["fc"]["bias"]) and not np.any(updates["bn"]["scale"])


def test_a_decay_pattern_that_matches_nothing_is_an_error():
    tx = optim.sgd(schedules.constant(0.1), weight_decay=0.1, decay_mask=("kernal$",))
    with pytest.raises(UserError, match="config.optim.decay_mask 'kernal\\$' matches no name; .* fc/kernel"):
        tx.init({"fc": {"kernel": jnp.ones(2)}})


@pytest.mark.parametrize("limit", [0.5, 100])
def test_clipping_equals_pytorch(limit):
    g = {k: v for k, v in gradients(0).items() if k != "s"}
    params = jax.tree.map(jnp.zeros_like, g)
    tx = optim.sgd(schedules.constant(1.0), momentum=0.0, clip_norm=limit)
    updates, _ = tx.update(g, tx.init(params), params)
    for name in g:
        # PyTorch divides by norm + 1e-6
        np.testing.assert_allclose(-updates[name], REFERENCE[f"clipnorm{limit}:{name}"], rtol=2e-6, atol=1e-7)


def test_the_gradient_is_clipped_before_decay_is_added():
    params = {"kernel": jnp.array([10.0])}
    tx = optim.sgd(schedules.constant(1.0), momentum=0.0, weight_decay=1.0, clip_norm=1.0)
    updates, _ = tx.update({"kernel": jnp.array([5.0])}, tx.init(params), params)
    assert updates["kernel"].tolist() == [-11.0]


def test_the_loop_can_scale_the_rate():
    tx = optim.sgd(schedules.constant(0.1))
    plain, same = trajectory(tx, 3), trajectory(tx, 3, lr_scale=jnp.float32(1))
    half = trajectory(tx, 3, lr_scale=jnp.float32(0.5), value=jnp.float32(7))
    np.testing.assert_array_equal(plain["W"], same["W"])
    np.testing.assert_allclose(half["W"] - REFERENCE["W0"], (plain["W"] - REFERENCE["W0"]) / 2, atol=1e-6)
