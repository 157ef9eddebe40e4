"""What a start costs: how often it traces, and what it leaves out."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from jaxcls import parallel
from jaxcls.defaults import default_config
from jaxcls.models.layers import init
from jaxcls.training import build, run

RULES = {
    "kaiming": init.kaiming_normal,
    "torch": init.torch_kernel,
    "truncated": nn.initializers.truncated_normal(0.02),
}


def make_run():
    config = default_config()
    config.data.name, config.model.name, config.batch_size = "synthetic/32x28x1x3", "lenet5", 8
    config.duration = "2 steps"
    return build.build(config)


def test_parameters_made_in_haste_have_the_same_bits():
    def draw(key):
        return {name: rule(jax.random.fold_in(key, i), (33, 17)) for i, (name, rule) in enumerate(RULES.items())}

    level = lambda n: jax.jit(draw, compiler_options={"xla_backend_optimization_level": n})  # noqa: E731
    plain, quick = (jax.device_get(level(n)(jax.random.PRNGKey(7))) for n in (3, 1))
    for name, values in plain.items():
        assert values.tobytes() == quick[name].tobytes(), name


def test_options_of_what_runs_once(monkeypatch):
    assert parallel.once() == {}  # of this suite, which leaves out more
    monkeypatch.setattr(jax.config, "read", {"jax_disable_most_optimizations": False}.__getitem__)
    assert parallel.once() == {"xla_backend_optimization_level": 1}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert parallel.once() == {}


def test_shapes_and_values_of_the_first_state_come_of_one_trace(monkeypatch):
    calls, plain = [], run.Run._create
    monkeypatch.setattr(run.Run, "_create", lambda *args: calls.append(1) or plain(*args))
    made = make_run()
    shapes, state = made.state_shapes, made.init_state()
    assert len(calls) == 1
    assert jax.tree.map(lambda x: (x.shape, x.dtype), shapes) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


def test_a_run_that_goes_on_initialises_nothing(monkeypatch):
    made = make_run()
    state = made.init_state()
    monkeypatch.setattr(run.Run, "init_state", lambda *_: pytest.fail("something was computed"))
    blank = made.blank_state()
    assert jax.tree.structure(blank) == jax.tree.structure(state)
    same = jax.tree.map(
        lambda a, b: isinstance(a, np.ndarray) and (a.shape, a.dtype) == (b.shape, b.dtype), blank, state
    )
    assert all(jax.tree.leaves(same))
