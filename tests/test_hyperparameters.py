"""Numbers of a recipe: they reckon as floats do, are arguments of what is compiled, one program for all values."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental.compilation_cache import compilation_cache

from jaxcls import optim
from jaxcls.defaults import default_config
from jaxcls.hyperparameters import ROOM, Hoisted, Section, key, number
from jaxcls.optim import schedules
from jaxcls.training import build, loop

OPERATIONS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]
FLOATS = st.floats(0.01, 3) | st.integers(1, 5)


@given(st.lists(st.tuples(st.sampled_from(OPERATIONS), FLOATS, st.booleans()), max_size=4), FLOATS)
@settings(max_examples=50)
def test_it_reckons_as_the_float_that_it_is(steps, start):
    plain, wrapped = float(start), number(start, "start")  # whole numbers of 18 digits are no floats
    for operate, other, swapped in steps:
        pair = (lambda x: (other, x)) if swapped else (lambda x: (x, other))  # noqa: B023
        try:
            plain = operate(*pair(plain))
        except (OverflowError, ZeroDivisionError):
            return
        if isinstance(plain, complex) or not 1e-30 < abs(plain) < 1e30:
            return
        wrapped = operate(*pair(wrapped))
    assert float(wrapped) == plain and (wrapped == plain) is True and (wrapped > plain) is False
    assert f"{wrapped:.3g}" == f"{plain:.3g}" and bool(-wrapped) == bool(-plain)


def test_what_is_reckoned_on_the_host_has_64_bits_there():
    """1 - float32(0.999) is another number than float32(1 - 0.999)."""
    decay = number(0.999, "decay")
    assert np.float32(1) - np.float32(0.999) != np.float32(1 - 0.999)
    assert Hoisted(jax.jit, lambda x: (1 - decay) * x)(jnp.float32(1)) == np.float32(1 - 0.999)


@pytest.mark.parametrize("value", [0, 0.0, float("inf"), float("nan"), True, "text", None, (1.0,)])
def test_what_stays_as_it_is(value):
    assert number(value, "x") is value


def test_a_section_makes_numbers_of_its_floats():
    section = Section(default_config().optim, "optim")
    assert section.momentum.name == "optim.momentum" and section.weight_decay == 0.0
    assert isinstance(section.weight_decay, float) and section.nesterov is False and section.name == "sgd"


@pytest.mark.parametrize("outer", [jax.jit, lambda f: jax.pmap(f, "i", in_axes=(None, 0), out_axes=None)])
def test_a_number_is_an_argument_and_is_found_in_loops_gradients_and_jitted_parts(outer):
    a, b, n, table = number(0.3, "a"), number(0.3, "b"), number(7, "n"), number([3.0, 5.0], "table")

    def fn(x):
        x = x.reshape(2)
        inner = jax.jit(lambda y, c: y * c)(x, a)
        looped = jax.lax.fori_loop(0, 3, lambda i, y: y + b, inner)
        gradient = jax.grad(lambda y: jnp.sum(n * y**2 / 2 + a * y))(x)
        return looped + gradient + jnp.asarray(table) + jax.random.key_data(key(5))

    x = jnp.array([[1.0, 2.0]]) if outer is not jax.jit else jnp.array([1.0, 2.0])
    hoisted = Hoisted(outer, fn)
    for _ in range(2):
        np.testing.assert_allclose(
            hoisted(x), 0.3 * x.ravel() + 0.9 + 7 * x.ravel() + 0.3 + np.array([3, 5]) + np.array([0, 5]), rtol=1e-6
        )
    text = str(hoisted.lower(x).as_text())
    assert "0.3" not in text and "dense<7>" not in text and "[3.0" not in text


def test_it_is_traced_once_and_later_numbers_are_constants():
    calls = []

    def fn(x):
        calls.append(x.shape)
        return x * number(0.5, "half") if x.size == 1 else x * number(0.5, "half") * number(0.25, "quarter")

    hoisted = Hoisted(jax.jit, fn)
    assert hoisted(jnp.ones(1)) == 0.5 and hoisted(jnp.ones(1)) == 0.5 and calls == [(1,)]
    np.testing.assert_array_equal(hoisted(jnp.ones(2)), [0.125, 0.125])


def test_what_finds_no_room_is_a_constant():
    large = np.arange(ROOM["float32"] + 1, dtype=np.float32)
    hoisted = Hoisted(jax.jit, lambda x: jnp.sum(jnp.asarray(number(large, "large"))) * x * number(2.0, "two"))
    assert hoisted(jnp.float32(1)) == 2 * jnp.sum(large)


RULES = {
    "sgd": lambda w: optim.sgd(_rate(w), momentum=w(0.9), nesterov=True, weight_decay=w(1e-3), clip_norm=w(0.5)),
    "adam": lambda w: optim.adam(_rate(w), b1=w(0.9), b2=w(0.99), eps=w(1e-7), weight_decay=w(1e-3)),
    "adamw": lambda w: optim.adamw(_rate(w), b1=w(0.9), weight_decay=w(0.1), clip_adaptive_ratio=w(0.02)),
    "rmsprop_tf": lambda w: optim.rmsprop_tf(_rate(w), momentum=w(0.8), eps=w(1e-3), weight_decay=w(1e-3)),
    "lars": lambda w: optim.lars(_rate(w), momentum=w(0.8), trust=w(1e-2), weight_decay=w(1e-3)),
    "lamb": lambda w: optim.lamb(_rate(w), b1=w(0.8), b2=w(0.99), weight_decay=w(1e-2)),
    "lion": lambda w: optim.lion(_rate(w), b1=w(0.8), b2=w(0.95), weight_decay=w(1e-2)),
    "muon": lambda w: optim.muon(_rate(w), momentum=w(0.9), b1=w(0.8), weight_decay=w(1e-2), adam_rate=w(0.3)),
    "lookahead": lambda w: optim.lookahead(optim.sgd(_rate(w)), k=w(3), alpha=schedules.cubic(w(0.4), w(0.8), w(9))),
    "sam": lambda w: optim.sam(optim.sgd(_rate(w), momentum=w(0.9)), rho=w(0.1)),
    "factors": lambda w: optim.sgd(
        _rate(w), factors=(optim.by_name([("bias", 3.0)]), optim.layerwise(["fc/kernel", "fc/bias"], w(0.7)))
    ),
}


def _rate(w):
    return schedules.with_warmup(schedules.cosine(w(0.1), w(9) - w(2), final=w(0.01)), w(0.1), w(2), start=w(0.02))


@pytest.mark.parametrize("rule", RULES)
def test_an_optimiser_goes_where_it_goes_with_floats_to_the_bit(rule):
    """Factors apart: XLA makes one of several constants."""
    params = {"fc": {"kernel": jnp.linspace(-1, 1, 12).reshape(3, 4), "bias": jnp.ones(4) / 3}}

    def go(wrap, compile):
        tx = optax.with_extra_args_support(RULES[rule](wrap))

        def step(params, state):
            gradient = lambda w, _=0: jax.tree.map(lambda x: jnp.sin(3 * x) + x, w)  # noqa: E731
            updates, state = tx.update(gradient(params), state, params, grad_fn=gradient, lr_scale=jnp.float32(1))
            return optax.apply_updates(params, updates), state

        step, now, state = compile(step), params, tx.init(params)
        for _ in range(6):
            now, state = step(now, state)
        return now, state

    names = iter(range(1000))
    plain = go(lambda x: x, jax.jit)
    given = go(lambda x: number(x, f"number {next(names)}"), lambda fn: Hoisted(jax.jit, fn))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(given), strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-7 if rule == "factors" else 0)


BASE = {
    "data.name": "digits",
    "data.augment": ("resize(28)", "mixup(0.2)", "cutmix(1.0, p=0.5)"),
    "data.eval_transform": ("resize(28)",),
    "batch_size": 64,
    "duration": "30 steps",
    "schedule.warmup": "5 steps",
    "optim.weight_decay": 1e-4,
    "optim.clip_norm": 1.0,
    "loss.label_smoothing": 0.1,
    "ema_decay": 0.99,
}
OTHERS = {
    "schedule.peak": 0.03, "schedule.warmup": "7 steps", "schedule.final": 0.0, "optim.momentum": 0.8,
    "optim.weight_decay": 3e-4, "optim.clip_norm": 0.3, "loss.label_smoothing": 0.2, "ema_decay": 0.9, "seed": 7,
    "duration": "50 steps", "data.augment": ("resize(28)", "mixup(0.4)", "cutmix(0.7, p=0.3)"),
}  # fmt: skip
KINDS = {
    "cosine": {},
    "adamw, one cycle": {
        "optim.name": "adamw", "optim.b2": 0.95, "optim.momentum": 0.9, "schedule.name": "one_cycle",
        "schedule.warmup": "", "schedule.final": 0.0, "schedule.cycle_momentum": False,
    },
    "focal, step, class weights": {
        "loss.name": "focal", "loss.class_weight": "effective(0.9)", "schedule.name": "step",
        "schedule.every": "9 steps",
    },
    "bce, sgdr, lookahead": {
        "loss.name": "binary_cross_entropy", "schedule.name": "sgdr", "schedule.every": "4 steps", "schedule.mult": 2,
        "optim.lookahead": 5, "optim.lookahead_end": 0.8, "optim.layer_decay": 0.8,
    },
    "poly1, multi step, distilled": {
        "loss.name": "poly1", "schedule.name": "multi_step", "schedule.milestones": ("10 steps", "20 steps"),
        "distill.teacher": "init", "distill.model": "lenet5", "optim.sam": 0.05,
    },
    "trapezoid, unfreezing": {
        "schedule.name": "trapezoid", "schedule.cooldown": "20%", "optim.unfreeze": ("30%: stem",),
    },
}  # fmt: skip
MORE = {
    "adamw, one cycle": {"optim.b1": 0.8, "optim.b2": 0.99, "schedule.pct_start": 0.4, "schedule.div_factor": 10.0},
    "focal, step, class weights": {"loss.gamma": 1.5, "schedule.every": "8 steps", "schedule.factor": 0.3,
                                   "loss.class_weight": "effective(0.99)"},
    "bce, sgdr, lookahead": {"schedule.every": "6 steps", "optim.lookahead": 3, "optim.lookahead_alpha": 0.4,
                             "optim.layer_decay": 0.6},
    "poly1, multi step, distilled": {"loss.epsilon": 0.5, "schedule.milestones": ("3 steps", "20 steps"),
                                     "distill.alpha": 0.3, "distill.temperature": 2.0, "optim.sam": 0.1},
    "trapezoid, unfreezing": {"schedule.cooldown": "50%"},
}  # fmt: skip


def config_of(*settings):
    config = default_config()
    for changes in settings:
        config.update_from_flattened_dict(changes)
    return config


def lowered(config):
    run = build.build(config)
    feed = run.train_feed()
    return feed.compiled.lower(run.state_shapes, feed.data, feed._put(0)).as_text()


@pytest.mark.parametrize("kind", KINDS)
def test_the_lowered_step_is_one_whatever_the_numbers(kind):
    base = {**BASE, **KINDS[kind]}
    if "distill.teacher" in base:
        base["data.augment"] = BASE["data.augment"][:1]
    others = {k: v for k, v in OTHERS.items() if k not in KINDS[kind] and (k != "data.augment" or base[k] == BASE[k])}
    other = {**base, **others, **MORE.get(kind, {})}
    assert lowered(config_of(base)) == lowered(config_of(other))
    if kind == "cosine":  # what is absent is another program
        assert lowered(config_of(base)) != lowered(config_of(base, {"optim.clip_norm": 0.0}))


@pytest.fixture
def compiled(tmp_path):
    """The names of the functions that are compiled anew, with an empty cache."""
    names, missed = [], []

    def event(name, **_):
        missed.extend([name] * name.endswith("cache_misses"))

    def duration(name, _, fun_name="", **__):
        if name.endswith("backend_compile_duration") and missed:
            names.append(fun_name)
            missed.clear()

    before = {key: getattr(jax.config, key) for key in (CACHE, "jax_persistent_cache_min_compile_time_secs")}
    jax.config.update(CACHE, str(tmp_path / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    compilation_cache.reset_cache()
    jax.monitoring.register_event_listener(event)
    jax.monitoring.register_event_duration_secs_listener(duration)
    yield names
    jax.monitoring.unregister_event_listener(event)
    jax.monitoring.unregister_event_duration_listener(duration)
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


CACHE = "jax_compilation_cache_dir"


def test_runs_compile_the_step_once_and_once_a_batch_size(compiled, tmp_path):
    trials = [{}, {"schedule.peak": 0.03, "optim.weight_decay": 3e-4, "loss.label_smoothing": 0.2, "seed": 3}]
    trials += [{"seed": 7, "duration": "24 steps", "ema_decay": 0.9}]
    for i, trial in enumerate(trials):
        loop.run(config_of(BASE, {"duration": "20 steps"}, trial), tmp_path / f"trial-{i}")
        assert compiled.count("jit(one)") == 1, trial
        if not i:
            assert "jit(_create)" in compiled
            compiled[:] = ["jit(one)"]
        assert "jit(_create)" not in compiled and "jit(<lambda>)" not in compiled  # the first state, the evaluation
    loop.run(config_of(BASE, {"duration": "20 steps", "batch_size": 32}), tmp_path / "another")
    assert compiled.count("jit(one)") == 2
