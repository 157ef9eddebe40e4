"""Two steps of every method against PyTorch, written as the authors' code has it (fixtures/ssl_answers.py)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from ssl_nets import FEATURES, MOMENTUM, QUEUE, RATE, WIDTH, Encoder, N, batch_of, drawn

from jaxcls import state as train_state
from jaxcls.tasks.ssl import barlow_twins, byol, moco, moco_v3, simclr, simsiam, supcon, vicreg
from jaxcls.training.step import make_train_step

STORED = np.load(Path(__file__).parents[2] / "fixtures" / "ssl.npz")
SLOW = {"momentum": MOMENTUM}
KEYS = {"queue": QUEUE, **SLOW}
SMALL, LARGE = (16, WIDTH), (16, 16, WIDTH)

# name -> (class, heads, fields)
METHODS = {
    "simclr": (simclr.SimCLR, simclr.heads((0, WIDTH), {}), {"temperature": 0.5}),
    "simclr_v2": (simclr.SimCLR, simclr.heads((0, 0, WIDTH), {}), {"temperature": 0.1}),
    "supcon": (supcon.SupCon, supcon.heads((0, WIDTH), {}), {"temperature": 0.1}),
    "moco": (moco.MoCo, moco.heads((WIDTH,), {}), {"temperature": 0.07, **KEYS}),
    "moco_v2": (moco.MoCo, moco.heads((0, WIDTH), {}), {"temperature": 0.2, **KEYS}),
    "moco_symmetric": (moco.MoCo, moco.heads((WIDTH,), {}), {"temperature": 0.1, "symmetric": True, **KEYS}),
    "moco_v3": (moco_v3.MoCoV3, moco_v3.heads(SMALL, SMALL, {}), {"temperature": 1.0, **SLOW}),
    "moco_v3_vit": (moco_v3.MoCoV3, moco_v3.heads(LARGE, SMALL, {}, norm=True), {"temperature": 0.2, **SLOW}),
    "byol": (byol.BYOL, byol.heads(SMALL, SMALL, {}), SLOW),
    "simsiam": (simsiam.SimSiam, simsiam.heads((0, 0, WIDTH), (4, WIDTH), {}), {}),
    "barlow_twins": (barlow_twins.BarlowTwins, barlow_twins.heads(LARGE, {}), {}),
    "vicreg": (vicreg.VICReg, vicreg.heads(LARGE, {}), {}),
}
# What the authors' loss is times ours, and so its gradient: see the docstrings.
FACTOR = {"simclr": 2.0, "simclr_v2": 2.0, "supcon": 0.1 / 0.07}


def made(name):
    """(task, state at step 0) with the parameters of the references."""
    kind, heads, fields = METHODS[name]
    task = kind(Encoder(num_classes=0), heads, **fields)
    state = train_state.create(task, optax.sgd(RATE), jax.random.PRNGKey(0), batch_of(0))
    params = unflatten_dict(
        {path: jnp.asarray(drawn("/".join(path), x.shape)) for path, x in flatten_dict(state.params).items()}
    )
    extra = dict(state.extra)
    if "slow" in extra:
        extra["slow"] = {key: jax.tree.map(jnp.copy, value) for key, value in params.items() if key in extra["slow"]}
    if "queue" in extra:
        queue = drawn("queue", (QUEUE, WIDTH))
        extra["queue"] = jnp.asarray(queue / np.linalg.norm(queue, axis=1, keepdims=True))
    return task, state.replace(params=params, extra=extra)


def named(tree):
    """Name -> array, in the order of names."""
    return {name: np.asarray(x) for name, x in sorted(flatten_dict(tree, sep="/").items())}


def cut(vector, like):
    """What `like` is called, of a stored vector of all values in the order of names."""
    ends = np.cumsum([x.size for x in like.values()])
    assert ends[-1] == len(vector)
    parts = np.split(vector, ends[:-1])
    return {name: part.reshape(like[name].shape) for name, part in zip(like, parts, strict=True)}


def assert_near(found, vector, tolerance=1e-4):
    """Relative to the largest entry of each array; of biases before a BatchNorm, which are zero, to that of all."""
    expected = cut(vector, found)
    largest = np.abs(vector).max()
    for name, value in found.items():
        own = np.abs(expected[name]).max()
        scale = own if own > 1e-9 * largest else 0.1 * largest
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=tolerance * scale, err_msg=name)


def unbiased(stats, together, passes):
    """Our running statistics as PyTorch has them: variances of n values are n / (n - 1) times ours, from 1 on."""
    kept, out = 0.9**passes, {}
    for name, value in stats.items():
        n = together * N * (64 if name.startswith("bn") else 1)
        out[name] = (value - kept) * n / (n - 1) + kept if name.endswith("/var") else value
    return out


def two_steps(task, rate):
    """(state, batches) -> what two steps of plain SGD give, as one program: far cheaper than one operation a time."""

    def loss(params, state, batch):
        total, aux = task.loss(params, state, batch, jax.random.key(0))
        return total / aux.count, aux

    def run(state, first, second):
        (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(state.params, state, first)
        params = jax.tree.map(lambda p, g: p - rate * g, state.params, grads)
        new = state.replace(params=params, model_state=aux.model_state, extra={**state.extra, **aux.extra})
        new = task.after_update(new.replace(step=state.step + 1), aux)
        again, aux = loss(new.params, new, second)
        last = task.after_update(new.replace(step=new.step + 1), aux)
        return value, grads, new, again, last.extra

    return jax.jit(run)


QUICK = ("simclr", "moco_symmetric", "byol")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in METHODS])
def test_two_steps_are_those_of_the_authors_code(name):
    task, state = made(name)
    stored = lambda what: STORED[f"{name}/{what}"]  # noqa: E731
    factor = FACTOR.get(name, 1.0)  # and the rate times it, so that both go to the same place
    value, grads, new, again, extra = two_steps(task, RATE * factor)(state, batch_of(0), batch_of(1))
    assert float(value) * factor == pytest.approx(float(stored("loss")), rel=1e-5)
    assert_near(named(jax.tree.map(lambda g: factor * g, grads)), stored("grad"))
    assert float(again) * factor == pytest.approx(float(stored("second")), rel=1e-4)

    together = 2 if name in FACTOR else 1  # views in one batch
    passes = 1 if name in FACTOR or name in ("moco", "moco_v2") else 2
    assert_near(unbiased(named(new.model_state["batch_stats"]), together, passes), stored("stats"))
    if f"{name}/slow" in STORED:
        assert_near(named(new.extra["slow"]), stored("slow"))
        assert_near(unbiased(named(new.extra["slow_state"]["batch_stats"]), 1, passes), stored("slow_stats"))
    if f"{name}/queue" in STORED:
        # Of a symmetric batch theirs are all keys of one view and then the other's, ours both of each picture.
        rows = np.arange(QUEUE).reshape(2, 2, N).swapaxes(1, 2)[..., ::-1].ravel()
        expected = stored("queue")[rows] if name == "moco_symmetric" else stored("queue")
        np.testing.assert_allclose(extra["queue"], expected, atol=1e-4)


@pytest.mark.slow
def test_the_step_of_training_is_this_one():
    """Two steps of `make_train_step`, compiled: with its division by the count and its order of updates."""
    name = "moco_v2"
    task, state = made(name)
    step = jax.jit(make_train_step(task, optax.sgd(RATE)))
    state, first = step(state, batch_of(0))
    assert_near(named(state.extra["slow"]), STORED[f"{name}/slow"])
    state, second = step(state, batch_of(1))
    for metrics, what in ((first, "loss"), (second, "second")):
        assert float(metrics["loss"][0] / metrics["loss"][1]) == pytest.approx(
            float(STORED[f"{name}/{what}"]), rel=1e-4
        )
    np.testing.assert_allclose(state.extra["queue"], STORED[f"{name}/queue"], atol=1e-4)
    assert state.params["_projector"]["dense1"]["kernel"].shape == (FEATURES, WIDTH)
