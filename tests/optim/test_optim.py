"""Optimisers against PyTorch's and timm's trajectories in float64 (fixtures/optim.npz) and closed forms; wrappers,
multipliers, freezing; and what the loop may set."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixtures.toys import Linear, make_batch

from jaxcls import models, optim, pytree
from jaxcls import state as train_state
from jaxcls.checkpoints.meta import Meta
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.errors import UserError
from jaxcls.models.layers import convolve
from jaxcls.models.published import PUBLISHED
from jaxcls.optim import schedules
from jaxcls.tasks.supervised import Supervised
from jaxcls.training.step import make_train_step

REFERENCE = np.load(Path(__file__).parents[1] / "fixtures" / "optim.npz")
NAMES = "Wbs"
EVERYTHING = (".",)


def gradients(t):
    return {k: jnp.asarray(REFERENCE[f"g{k}"][t]) for k in NAMES}


def start():
    return {k: jnp.asarray(REFERENCE[f"{k}0"]) for k in NAMES}


def trajectory(tx, steps=20, **controls):
    """Parameters after each of the fixture's gradients, in float64: name -> [steps, ...]."""
    with jax.enable_x64(True):
        params = start()
        state = tx.init(params)
        update = jax.jit(optax.with_extra_args_support(tx).update)
        seen = []
        for t in range(steps):
            updates, state = update(gradients(t), state, params, **controls)
            params = optax.apply_updates(params, updates)
            seen.append(params)
        return jax.tree.map(lambda *x: np.stack(x), *seen)


def exactly(rate, steps=0):
    """A rate in float64, with half a cosine over so many steps."""
    return lambda t: rate * 0.5 * (1 + jnp.cos(jnp.pi * t / steps)) if steps else rate


def one_update(tx, grads, params, **extra):
    """The updates of one step."""
    tx = optax.with_extra_args_support(tx)
    return tx.update(grads, tx.init(params), params, **extra)[0]


# Trajectories

CASES = {
    "sgd": (optim.sgd, 0.1, {"momentum": 0.0}),
    "sgd_mom0.9": (optim.sgd, 0.1, {}),
    "sgd_mom0.9_wd5e-4": (optim.sgd, 0.1, {"weight_decay": 5e-4}),
    "sgd_mom0.9_wd0.1": (optim.sgd, 0.1, {"weight_decay": 0.1}),
    "sgd_mom0.9_wd0.1_nesterov": (optim.sgd, 0.1, {"weight_decay": 0.1, "nesterov": True}),
    "adam": (optim.adam, 0.01, {}),
    "adam_l2_0.1": (optim.adam, 0.01, {"weight_decay": 0.1}),
    "adamw_wd0.1": (optim.adamw, 0.01, {"weight_decay": 0.1}),
    "adamw_wd0.05_b2_0.95_eps1e-6": (optim.adamw, 0.01, {"weight_decay": 0.05, "b2": 0.95, "eps": 1e-6}),
    "timm_rmsproptf_mom0.9": (optim.rmsprop_tf, 0.01, {"momentum": 0.9, "eps": 1e-3}),
    "timm_lamb_wd0.01": (optim.lamb, 0.01, {"weight_decay": 0.01, "clip_norm": 1.0}),
    "timm_lion_wd0.1": (optim.lion, 0.001, {"weight_decay": 0.1}),
}


@pytest.mark.parametrize("case", [*CASES, *(f"{c}+coslr" for c in CASES if f"{c}+coslr:W" in REFERENCE)])
def test_optimisers_follow_pytorch_and_timm(case):
    make, rate, options = CASES[case.removesuffix("+coslr")]
    out = trajectory(make(exactly(rate, 20 * case.endswith("+coslr")), decay_mask=EVERYTHING, **options))
    for name in NAMES:
        np.testing.assert_allclose(out[name], REFERENCE[f"{case}:{name}"], rtol=1e-12, atol=1e-12)


def test_an_optimiser_of_a_run_is_in_float32_throughout():
    params = jax.tree.map(lambda x: x.astype(jnp.float32), start())
    for make, _, options in CASES.values():
        tx = make(schedules.cosine(0.1, 20), decay_mask=EVERYTHING, **options)
        updates = jax.eval_shape(lambda p, tx=tx: one_update(tx, p, p), params)
        assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("make", [optim.sgd, optim.rmsprop_tf, optim.lars])
def test_a_momentum_schedule_is_read_at_the_step_of_the_update(make):
    """Closed form: v_t = m(t) v_(t-1) + u_t, with m the one-cycle momentum, as PyTorch's OneCycleLR sets it."""
    momentum = schedules.one_cycle_momentum(0.85, 0.95, 20)
    options = {"decay_mask": EVERYTHING} if make is optim.lars else {}
    plain = trajectory(make(exactly(0.1), momentum=0.0, **options), 1)["W"][0] - REFERENCE["W0"]
    out = trajectory(make(exactly(0.1), momentum=momentum, **options))["W"]
    np.testing.assert_allclose(out[0] - REFERENCE["W0"], plain, rtol=1e-9)
    if make is optim.sgd:
        velocity = 0.0
        for t in range(20):
            velocity = float(momentum(t)) * velocity + REFERENCE["gW"][t]
            moved = out[t] - (out[t - 1] if t else REFERENCE["W0"])
            np.testing.assert_allclose(moved, -0.1 * velocity, rtol=1e-5, atol=1e-6)
    else:
        fixed = trajectory(make(exactly(0.1), momentum=0.9, **options))["W"]
        assert np.abs(out[-1] - fixed[-1]).max() > 1e-6


def test_the_first_moment_of_adam_may_be_scheduled():
    steady = trajectory(optim.adamw(exactly(0.01), b1=lambda t: 0.9))
    np.testing.assert_allclose(steady["W"], REFERENCE["adam:W"], rtol=1e-5)  # its hyper-parameter is float32
    cycled = trajectory(optim.adamw(exactly(0.01), b1=schedules.one_cycle_momentum(0.85, 0.95, 20)))
    assert np.abs(cycled["W"][-1] - steady["W"][-1]).max() > 1e-4


def local_rate(form, w, g, rate):
    """trust 0.02, decay 0.1; as the papers and libraries write it, not as ours does."""
    length, full = np.linalg.norm(w), g + 0.1 * w
    if form in ("simclr", "moco_v3"):
        return 0.02 * length / np.linalg.norm(full)
    local = 0.02 * length / (np.linalg.norm(g) + 0.1 * length + (1e-9 if form == "paper" else 1e-8))
    return min(local / rate, 1) if form == "solo_learn" else local


@pytest.mark.parametrize("form", ["paper", "simclr", "moco_v3", "lightly", "solo_learn"])
def test_lars_is_what_its_library_means(form):
    """A loop of each form for W, the rate on a cosine; b is not named, so it steps as with plain momentum."""
    rate = exactly(0.04 if form == "solo_learn" else 2.0, 20)
    tx = optim.lars(rate, momentum=0.9, trust=0.02, form=form, weight_decay=0.1, decay_mask=("W",))
    out = trajectory(tx)
    inside = form in ("paper", "simclr")
    w, b, v, u = REFERENCE["W0"], REFERENCE["b0"], 0, 0
    for t in range(20):
        gw, gb, now = REFERENCE["gW"][t], REFERENCE["gb"][t], float(rate(np.float64(t)))
        step = local_rate(form, w, gw, now) * (gw + 0.1 * w)
        v, u = (0.9 * m + (now if inside else 1) * g for m, g in ((v, step), (u, gb)))
        w, b = (x - (1 if inside else now) * m for x, m in ((w, v), (b, u)))
        np.testing.assert_allclose(out["W"][t], w, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(out["b"][t], b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("form, peak", [("lightly", 2.0), ("solo_learn", 0.04)])
def test_lars_is_that_of_lightly_and_solo_learn(form, peak):
    """lightly 1.6.0's `LARS` and solo-learn 1.0.2's `LARSWrapper(clip=True, exclude_bias_n_norm=True)` with PyTorch's
    SGD, in float64 on the fixture's gradients, the rate on a cosine; some steps of the second are clipped."""
    theirs = np.load(Path(__file__).parents[1] / "fixtures" / "lars.npz")
    out = trajectory(optim.lars(exactly(peak, 20), trust=0.02, form=form, weight_decay=0.1, decay_mask=("W",)))
    for name in "Wb":
        np.testing.assert_allclose(out[name], theirs[f"{form}:{name}"], rtol=1e-6, atol=1e-7)


def test_what_the_loop_makes_of_the_rate_counts_where_lars_clips():
    """Half a rate that clips is half a step; half one that does not is the step itself (its local rate is divided by
    the rate)."""
    step = lambda rate, **control: one_update(  # noqa: E731
        optim.lars(exactly(rate), trust=0.02, form="solo_learn", decay_mask=("W",)), gradients(0), start(), **control
    )["W"]
    np.testing.assert_allclose(step(1e-3, lr_scale=0.5), step(5e-4), rtol=1e-6)
    np.testing.assert_allclose(step(1.0, lr_scale=0.5), step(1.0), rtol=1e-6)
    with pytest.raises(UserError, match="lars_form is 'larc'; it can be paper, simclr"):
        optim.lars(exactly(0.1), form="larc")


def test_lamb_adapts_what_decays_alone():
    out = trajectory(optim.lamb(exactly(0.01), weight_decay=0.01, decay_mask=("W",), eps=1e-8), 3)
    adam = trajectory(optim.adam(exactly(0.01)), 3)
    np.testing.assert_allclose(out["b"], adam["b"], rtol=1e-10)
    np.testing.assert_allclose(
        np.linalg.norm(out["W"][0] - REFERENCE["W0"]), 0.01 * np.linalg.norm(REFERENCE["W0"]), rtol=1e-9
    )


# Muon

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonal(matrix):
    """What five Newton-Schulz steps make of a matrix, by its singular values."""
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s = s / np.linalg.norm(s)
    for _ in range(5):
        s = NEWTON_SCHULZ[0] * s + NEWTON_SCHULZ[1] * s**3 + NEWTON_SCHULZ[2] * s**5
    return u * s @ v * np.sqrt(max(1, matrix.shape[1] / matrix.shape[0]))


def test_muon_makes_the_momentum_of_matrices_and_kernels_orthogonal():
    rng = np.random.default_rng(0)
    shapes = {"conv": {"kernel": (2, 2, 3, 20)}, "fc": {"kernel": (20, 6), "bias": (6,)},
              "attention": {"in_proj_weight": (6, 4)}, "head": {"kernel": (6, 3)}, "s": ()}  # fmt: skip
    draw = lambda: jax.tree.map(lambda s: rng.normal(size=s), shapes, is_leaf=lambda x: isinstance(x, tuple))  # noqa: E731
    params, grads = draw(), [draw() for _ in range(3)]
    tx = optim.muon(exactly(0.1), nesterov=False, exclude=("^head/",), adam_rate=0.5, weight_decay=0.2)
    adam = optim.adamw(exactly(0.05), weight_decay=0.2)
    with jax.enable_x64(True):
        state, adam_state, p, q, momentum = tx.init(params), adam.init(params), params, params, None
        update, adam_update = jax.jit(tx.update), jax.jit(adam.update)
        for g in grads:
            momentum = g if momentum is None else jax.tree.map(lambda m, x: 0.95 * m + x, momentum, g)
            updates, state = update(g, state, p)
            for name, flat in (("conv", (12, 20)), ("fc", (20, 6))):
                expected = orthogonal(momentum[name]["kernel"].reshape(flat)) + 0.2 * p[name]["kernel"].reshape(flat)
                np.testing.assert_allclose(updates[name]["kernel"].reshape(flat), -0.1 * expected, rtol=1e-5)
            weight = momentum["attention"]["in_proj_weight"]
            expected = orthogonal(weight.T).T + 0.2 * p["attention"]["in_proj_weight"]
            np.testing.assert_allclose(updates["attention"]["in_proj_weight"], -0.1 * expected, rtol=1e-5)
            p = optax.apply_updates(p, updates)
            updates, adam_state = adam_update(g, adam_state, q)
            q = optax.apply_updates(q, updates)
            for a, b in ((p["head"], q["head"]), (p["fc"]["bias"], q["fc"]["bias"]), (p["s"], q["s"])):
                jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)


# Decay and clipping


def test_decay_touches_only_what_the_patterns_name():
    params = {"fc": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}, "bn": {"scale": jnp.ones(2)}}
    tx = optim.sgd(schedules.constant(1.0), momentum=0.0, weight_decay=0.5)
    updates = one_update(tx, jax.tree.map(jnp.zeros_like, params), params)
    assert updates["fc"]["kernel"].tolist() == [-0.5, -0.5]
    assert not np.any(updates["fc"]["bias"]) and not np.any(updates["bn"]["scale"])


@pytest.mark.parametrize("make", [optim.sgd, optim.adamw, optim.lamb, optim.lars])
def test_a_decay_pattern_that_matches_nothing_is_an_error(make):
    tx = make(schedules.constant(0.1), weight_decay=0.1, decay_mask=("kernal$",))
    with pytest.raises(UserError, match="config.optim.decay_mask 'kernal\\$' matches no name; .* fc/kernel"):
        tx.init({"fc": {"kernel": jnp.ones(2)}})


NO_MATRICES = {"layer_scale", "cls_token", "dist_token", "class_token", "pos_embed", "encoder.pos_embedding",
               "relative_position_bias_table", "logit_scale", "att_src", "att_dst"}  # fmt: skip
SOME = ("resnet18", "vit_b_16", "swin_t", "swin_v2_t", "convnext_tiny", "deit_tiny_distilled_patch16_224",
        "mixer_s32_224", "lenet5_1998", "mobilenet_v3_small")  # fmt: skip


@pytest.mark.parametrize("name", SOME)
def test_the_default_decays_the_matrices_of_a_model_and_nothing_else(name):
    params = pytree.flatten_names(abstract(name))
    decays = pytree.mask(params, optim.DECAYED)
    for path, leaf in params.items():
        is_matrix = leaf.ndim >= 2 and path.split("/")[-1] not in NO_MATRICES
        assert decays[path] == is_matrix, path


@pytest.mark.slow
def test_the_default_decays_the_matrices_of_every_model():
    for name in sorted(set(models.list_models()) - set(SOME)):
        test_the_default_decays_the_matrices_of_a_model_and_nothing_else(name)


def picture(name):
    shape = PUBLISHED[name].shape if PUBLISHED[name].frames else (224, 224, 3)
    return jax.ShapeDtypeStruct((1, *((32, 32, 1) if name.startswith("lenet") else shape)), jnp.float32)


def abstract(name):
    model = models.create(name, num_classes=10)
    with convolve.plain():  # one operation a convolution
        return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False)["params"], picture(name))


@pytest.mark.parametrize("limit", [0.5, 100])
def test_clipping_equals_pytorch(limit):
    g = {k: v for k, v in gradients(0).items() if k != "s"}
    params = jax.tree.map(jnp.zeros_like, g)
    updates = one_update(optim.sgd(schedules.constant(1.0), momentum=0.0, clip_norm=limit), g, params)
    for name in g:
        # PyTorch divides by norm + 1e-6
        np.testing.assert_allclose(-updates[name], REFERENCE[f"clipnorm{limit}:{name}"], rtol=2e-6, atol=1e-7)


def test_the_gradient_is_clipped_before_decay_is_added():
    params = {"kernel": jnp.array([10.0])}
    tx = optim.sgd(schedules.constant(1.0), momentum=0.0, weight_decay=1.0, clip_norm=1.0)
    assert one_update(tx, {"kernel": jnp.array([5.0])}, params)["kernel"].tolist() == [-11.0]


def test_adaptive_clipping_equals_timm():
    """timm's W is [out, in], as a `..._weight` of ours; transposed it is a kernel."""
    w, b, g = REFERENCE["W0"], REFERENCE["b0"], gradients(0)
    params = {"kernel": w.T, "in_weight": w, "bias": b}
    grads = {"kernel": g["W"].T, "in_weight": g["W"], "bias": g["b"]}
    out = one_update(optim.clip_adaptive(0.1), grads, jax.tree.map(jnp.asarray, params))
    np.testing.assert_allclose(out["kernel"].T, REFERENCE["agc0.1:W"], rtol=1e-5)
    np.testing.assert_allclose(out["in_weight"], REFERENCE["agc0.1:W"], rtol=1e-5)
    np.testing.assert_allclose(out["bias"], REFERENCE["agc0.1:b"], rtol=1e-5)


def test_adaptive_clipping_of_convolutions_equals_optax_and_may_spare_the_classifier():
    rng = np.random.default_rng(0)
    draw = lambda: {k: {"kernel": jnp.asarray(rng.normal(size=(3, 3, 4, 8)))} for k in ("conv", "fc")}  # noqa: E731
    params, grads = draw(), draw()
    expected = one_update(optax.adaptive_grad_clip(0.5), grads, params)
    tx = optim.sgd(schedules.constant(1.0), momentum=0.0, clip_adaptive_ratio=0.5, clip_adaptive_exclude=("^fc/",))
    out = one_update(tx, grads, params)
    np.testing.assert_allclose(-out["conv"]["kernel"], expected["conv"]["kernel"], rtol=1e-5)
    np.testing.assert_array_equal(-out["fc"]["kernel"], grads["fc"]["kernel"])
    assert np.abs(expected["conv"]["kernel"] - grads["conv"]["kernel"]).max() > 0.1


# Wrappers


def test_lookahead_is_algorithm_1_of_the_paper():
    out = trajectory(optim.lookahead(optim.sgd(exactly(0.1)), k=3, alpha=0.8))["W"]
    slow = fast = REFERENCE["W0"]
    velocity = 0
    for t in range(20):
        velocity = 0.9 * velocity + REFERENCE["gW"][t]
        fast = fast - 0.1 * velocity
        if t % 3 == 2:
            slow = fast = slow + 0.8 * (fast - slow)
        np.testing.assert_allclose(out[t], fast, rtol=1e-10)


def test_the_step_of_the_slow_weights_may_follow_a_schedule():
    """Alpha is that of the number of updates done, the meeting one included."""
    alpha = schedules.cubic(1.0, 0.25, 20)
    assert [float(alpha(t)) for t in (0, 10, 20, 30)] == [1.0, 1 - 0.75 / 8, 0.25, 0.25]
    out = trajectory(optim.lookahead(optim.sgd(exactly(0.1)), k=5, alpha=alpha))["W"]
    slow = fast = REFERENCE["W0"]
    velocity = 0
    for t in range(20):
        velocity = 0.9 * velocity + REFERENCE["gW"][t]
        fast = fast - 0.1 * velocity
        if t % 5 == 4:
            slow = fast = slow + (1 - 0.75 * ((t + 1) / 20) ** 3) * (fast - slow)
        np.testing.assert_allclose(out[t], fast, rtol=1e-6)


def test_lookahead_follows_timm_after_its_first_synchronisation():
    """timm's slow weights start there, at the fast ones."""
    sgd = optim.sgd(exactly(0.1))
    tx = optim.lookahead(sgd, k=5, alpha=0.5)
    with jax.enable_x64(True):
        params = start()
        fast = sgd.init(params)
        state = None
        for t in range(20):
            if t == 5:
                state = tx.init(params)._replace(fast=fast)
            if state is None:
                updates, fast = sgd.update(gradients(t), fast, params)
            else:
                updates, state = tx.update(gradients(t), state, params)
            params = optax.apply_updates(params, updates)
            for name in NAMES:
                expected = REFERENCE[f"timm_lookahead_sgd_k5_a0.5:{name}"][t]
                np.testing.assert_allclose(params[name], expected, rtol=1e-11, atol=1e-11)


def test_sharpness_aware_minimisation_equals_optax_and_hands_the_controls_on():
    """On a quartic, whose gradient differs from place to place."""
    target = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
    grad_fn = lambda p, _: jax.tree.map(lambda x, t: (x - t) ** 3, p, target)  # noqa: E731
    theirs = optax.contrib.sam(
        optax.sgd(0.1, 0.9), optax.chain(optax.contrib.normalize(), optax.sgd(0.3)), opaque_mode=True
    )
    ours = optim.sam(optim.sgd(schedules.constant(0.1)), rho=0.3)
    p = q = jax.tree.map(jnp.zeros_like, target)
    state, other = ours.init(p), theirs.init(q)
    for _ in range(4):
        updates, state = ours.update(grad_fn(p, 0), state, p, grad_fn=grad_fn, value=1.0, lr_scale=jnp.float32(1))
        p = optax.apply_updates(p, updates)
        updates, other = theirs.update(grad_fn(q, 0), other, q, grad_fn=grad_fn)
        q = optax.apply_updates(q, updates)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), p, q)
    half, _ = ours.update(grad_fn(p, 0), state, p, grad_fn=grad_fn, lr_scale=jnp.float32(0.5))
    full, _ = ours.update(grad_fn(p, 0), state, p, grad_fn=grad_fn)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(2 * x, y, rtol=1e-6), half, full)
    at_rest = one_update(ours, jax.tree.map(jnp.zeros_like, p), target, grad_fn=grad_fn)
    assert not np.any(at_rest["a"])


def test_frozen_parameters_do_not_move_when_the_neighbourhood_is_searched():
    seen = {}

    def grad_fn(params, _):
        seen.update(params)
        return params

    params = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    one_update(optim.sam(optax.sgd(1.0), rho=0.5, frozen=("^b",)), params, params, grad_fn=grad_fn)
    assert seen["a"].tolist() == [3.5] and seen["b"].tolist() == [4.0]


# By name


def test_the_first_multiplier_that_matches_scales_rate_and_decay():
    params = {"layer1.0": {"kernel": jnp.ones(2)}, "layer2.0": {"kernel": jnp.ones(2)}, "fc": {"kernel": jnp.ones(2)}}
    factors = optim.by_name([(r"^layer1\.", 0.1), (r"^layer", 0.5)])
    tx = optim.adamw(schedules.constant(1.0), weight_decay=0.5, factors=[factors, optim.by_name([("fc", 2)])])
    updates = one_update(tx, jax.tree.map(jnp.zeros_like, params), params)
    np.testing.assert_allclose(updates["layer1.0"]["kernel"], -0.05)
    np.testing.assert_allclose(updates["layer2.0"]["kernel"], -0.25)
    np.testing.assert_allclose(updates["fc"]["kernel"], -1.0)


def test_patterns_of_multipliers_and_frozen_layers_must_match():
    params = {"fc": {"kernel": jnp.ones(2)}}
    tx = optim.sgd(schedules.constant(1.0), factors=[optim.by_name([("fd/", 0.1)])])
    with pytest.raises(UserError, match="config.optim.multipliers 'fd/' matches no name"):
        tx.init(params)
    for wrap in (lambda tx: optim.freeze(tx, ("^conv",)), lambda tx: optim.sam(tx, frozen=("^conv",))):
        with pytest.raises(UserError, match="config.optim.freeze '\\^conv' matches no name"):
            wrap(optax.sgd(1.0)).init(params)


def test_frozen_parameters_stay_have_no_state_and_count_in_no_norm():
    params = {"conv1": {"kernel": jnp.ones((2, 2))}, "fc": {"kernel": jnp.full((2, 2), 2.0)}}
    grads = {"conv1": {"kernel": jnp.full((2, 2), 1e6)}, "fc": {"kernel": jnp.full((2, 2), 2.0)}}
    tx = optim.freeze(optim.sgd(schedules.constant(1.0), clip_norm=1.0, weight_decay=0.1), ("^conv1/",))
    updates = one_update(tx, grads, params)
    assert not np.any(updates["conv1"]["kernel"])
    np.testing.assert_allclose(updates["fc"]["kernel"], -0.5 - 0.2, rtol=1e-6)
    sizes = [name for name, leaf in pytree.flatten_names(tx.init(params)).items() if leaf.ndim]
    assert len(sizes) == 1 and sizes[0].endswith("fc/kernel")


LAYERS = {  # modules of the first layers, of the last one, and the number of layers
    "resnet18": ([["conv1", "bn1"], ["layer1.0"]], ["fc"], 10),
    "vit_b_32": (
        [["conv_proj", "class_token", "encoder.pos_embedding"], ["encoder.layers.encoder_layer_0"]],
        ["encoder.ln", "heads.head"],
        14,
    ),
    "swin_t": ([["features.0.0", "features.0.2"], ["features.1.0"], ["features.1.1"]], ["norm", "head"], 17),
    "convnext_tiny": (
        [["features.0.0", "features.0.1"], ["features.1.0"], ["features.1.1"], ["features.1.2"],
         ["features.2.0", "features.2.1", "features.3.0"]],
        ["classifier.0", "classifier.2"],
        20,
    ),
    "vgg11_bn": ([["features.0", "features.1"], ["features.4", "features.5"]], ["classifier.6"], 11),
    "lenet5": ([["conv1"], ["conv2"], ["fc1"], ["fc2"]], ["fc3"], 5),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_numbered_in_the_order_of_the_forward_pass(name):
    first, head, count = LAYERS[name]
    with convolve.plain():
        order = optim.call_order(models.create(name, num_classes=10), picture(name))
    layers = {}
    for path, number in optim.layer_numbers(order).items():
        layers.setdefault(number, {})[path.split("/")[0]] = None
    assert sorted(layers) == list(range(count))
    assert [list(layers[i]) for i in range(len(first))] == first
    assert list(layers[count - 1]) == head


def test_a_layer_learns_more_slowly_the_further_it_is_from_the_head():
    params = abstract("resnet18")
    order = optim.call_order(models.create("resnet18", num_classes=10), picture("resnet18"))
    assert sorted(order) == sorted(pytree.flatten_names(params))
    factors = pytree.flatten_names(optim.layerwise(order, 0.5)(params))
    assert factors["fc/kernel"] == 1 and factors["layer4.1/bn1/scale"] == 0.5
    assert factors["conv1/kernel"] == factors["bn1/bias"] == 0.5**9


def test_the_modules_of_a_backbone_are_numbered_as_if_they_stood_alone():
    plain = optim.call_order(models.create("resnet18", num_classes=0), picture("resnet18"))
    order = optim.call_order(models.create("resnet18", num_classes=10, neck="fpn"), picture("resnet18"))
    numbers = optim.layer_numbers(order)
    assert {numbers[f"backbone/{name}"] for name in plain} == set(range(9))
    assert all(numbers[f"backbone/{name}"] == number for name, number in optim.layer_numbers(plain).items())
    assert {number for name, number in numbers.items() if not name.startswith("backbone/")} == {9}


# In a step


def test_the_loop_can_scale_the_rate():
    tx = optim.sgd(exactly(0.1))
    plain, same = trajectory(tx, 3), trajectory(tx, 3, lr_scale=1.0)
    half = trajectory(tx, 3, lr_scale=0.5, value=7.0)
    np.testing.assert_array_equal(plain["W"], same["W"])
    np.testing.assert_allclose(half["W"] - REFERENCE["W0"], (plain["W"] - REFERENCE["W0"]) / 2, rtol=1e-10)


@pytest.mark.parametrize("make", [optim.adamw, optim.lamb, optim.lars, optim.lion, optim.muon, optim.rmsprop_tf])
def test_everything_together_serves_the_step(make):
    """With a donated state: nothing in it may stand twice. The scale halves the step of every optimiser."""
    rate = schedules.constant(0.01)
    model, batch = Linear(), make_batch(8)
    task = Supervised(model)
    order = optim.call_order(model, batch["image"])
    tx = make(rate, weight_decay=0.1, clip_norm=1.0, clip_adaptive_ratio=0.1, factors=[optim.layerwise(order, 0.5)])
    tx = optim.sam(optim.freeze(optim.lookahead(tx, k=2), ("bias$",)), frozen=("bias$",))
    step, moved = jax.jit(make_train_step(task, tx), donate_argnums=0), []
    for scale in (1.0, 0.5):
        rng = np.array([0, 5], np.uint32)
        state = train_state.create(task, tx, rng, batch, controls={"lr_scale": scale})
        before = jax.device_get(state.params)["fc"]
        for i in range(3):
            state, metrics = step(state, batch)
            after = jax.device_get(state.params)["fc"]
            if i == 0:
                moved.append(after["kernel"] - before["kernel"])
        assert np.isfinite(metrics["loss"][0])
        np.testing.assert_array_equal(after["bias"], before["bias"])
    assert np.any(moved[0])
    np.testing.assert_allclose(moved[1], moved[0] / 2, rtol=1e-3, atol=1e-7)


def test_the_state_of_wrapped_optimisers_comes_back_from_a_checkpoint(tmp_path):
    task, batch = Supervised(Linear()), make_batch(8)
    tx = optim.muon(schedules.constant(0.01), weight_decay=0.1, exclude=("^fc/kernel",))
    tx = optim.sam(optim.freeze(optim.lookahead(tx, k=2), ("bias$",)), frozen=("bias$",))
    state = jax.device_get(train_state.create(task, tx, np.array([0, 5], np.uint32), batch))
    filled = jax.tree.map(lambda x: x + np.ones((), x.dtype), state)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(filled, Meta(1, {}))
    checkpoints.close()
    back, _ = Checkpoints(tmp_path, read_only=True).restore(state, print)
    assert jax.tree.structure(back) == jax.tree.structure(filled)
    jax.tree.map(np.testing.assert_array_equal, back, filled)
