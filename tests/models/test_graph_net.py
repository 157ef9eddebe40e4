"""Graph nets against PyTorch Geometric (fixtures/graph_answers.py), closed forms, and what must not matter."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_graphs import FEATURES, HEADS, SIZES, WIDTH, batch, graphs, weights
from draws import draw
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import summary
from jaxcls.models.layers import graph
from jaxcls.models.layers.norm import batch_norm
from jaxcls.models.pretrained import from_state_dict, to_state_dict

STORED = np.load(Path(__file__).parents[1] / "fixtures" / "graph_layers.npz")
LAYERS = {"gcn": graph.GCNConv(WIDTH), "gin": graph.GINConv(WIDTH), "gat": graph.GATConv(WIDTH, HEADS)}
NAMES = ("gcn", "gin", "gat")
PICTURES = np.zeros((len(SIZES), 8, 8, 1), np.float32)


def small(name, **fields):
    return models.create(name, num_classes=3, width=8, depth=2, **{"heads": 2, **fields})


def drawn(model, inputs):
    return draw(jax.eval_shape(lambda: model.init(jax.random.key(0), PICTURES, train=False, **inputs)), seed=1)


def logits(model, variables, inputs):
    return np.asarray(jax.jit(lambda v, x: model.apply(v, PICTURES, train=False, **x)[0])(variables, inputs))


@pytest.mark.parametrize("name", NAMES)
def test_layers_equal_those_of_pytorch_geometric(name):
    inputs, layer = batch(graphs(), 9), LAYERS[name]
    edges = graph.real_edges(jnp.asarray(inputs["edges"]), jnp.asarray(inputs["node_mask"]), jnp.float32)
    edges = (edges != 0).astype(np.float32) if name == "gin" else edges
    shapes = jax.eval_shape(layer.init, jax.random.key(0), inputs["nodes"], edges)
    keys = to_state_dict({"params": jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes["params"])})
    state = {key: weights(name, key, value.shape).astype(np.float32) for key, value in keys.items()}
    with jax.default_matmul_precision("highest"):
        got = layer.apply(from_state_dict(state, shapes), inputs["nodes"], edges)
    got = np.concatenate([np.asarray(got[i, :n]) for i, n in enumerate(SIZES)])
    want = STORED[name]
    assert np.linalg.norm(got - want) <= 1e-6 * np.linalg.norm(want)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_neither_the_order_of_nodes_nor_padding_changes_a_logit(name, seed):
    ask, inputs = _asked(name), batch(graphs(), 7)
    want = ask(inputs)
    rng = np.random.default_rng(seed)
    mixed = [(x[p], a[p][:, p]) for x, a in graphs() for p in [rng.permutation(len(x))]]
    np.testing.assert_allclose(ask(batch(mixed, 7)), want, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(ask(batch(mixed, 11)), want, rtol=2e-5, atol=2e-5)
    fewer = {**inputs, "edges": inputs["edges"] * (rng.random(inputs["edges"].shape) < 0.3)}
    assert not np.allclose(ask(fewer), want, rtol=1e-2)  # edges do


@functools.cache
def _variables(name):
    return drawn(small(name), batch(graphs(), 7))


@functools.cache
def _asked(name):
    """Inputs -> logits, one program for all calls."""
    return jax.jit(lambda x: small(name).apply(_variables(name), PICTURES, train=False, **x)[0])


@pytest.mark.parametrize("axis_name", [None, 2])
def test_batch_norm_is_over_nodes_that_are_no_padding(axis_name):
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(4, 6, 5)).astype(np.float32), rng.random((4, 6)) < 0.5
    mask[:, 0] = True
    norm = batch_norm(train=True, dtype=jnp.float32, param_dtype=jnp.float32, axis_name=axis_name, momentum=0.0)()
    variables = norm.init(jax.random.key(0), x)
    got, stats = norm.apply(variables, x, mask=mask[..., None].astype(np.float32), mutable=["batch_stats"])
    halves = [slice(0, 4)] if axis_name is None else [slice(0, 2), slice(2, 4)]
    means = []
    for half in halves:
        real = x[half][mask[half]]
        means.append(real.mean(0))
        np.testing.assert_allclose(
            got[half], (x[half] - real.mean(0)) / np.sqrt(real.var(0) + 1e-5), rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(stats["batch_stats"]["mean"], np.mean(means, 0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name):
    inputs, model, variables = batch(graphs(), 7), small(name), _variables(name)

    def loss(params):
        out, _ = model.apply({**variables, "params": params}, PICTURES, train=True, mutable=["batch_stats"], **inputs)
        return -jax.nn.log_softmax(out[0])[jnp.arange(3), jnp.array([0, 1, 2])].sum()

    grads = to_state_dict({"params": jax.jit(jax.grad(loss))(variables["params"])})
    assert [key for key, grad in grads.items() if not (np.isfinite(grad).all() and np.abs(grad).max() > 0)] == []


def test_parameters_of_gin_by_hand():
    width, depth, classes, features = 110, 4, 10, 1 + 3
    mlp = 2 * (width**2 + width) + 2 * width  # two layers, BatchNorm between them
    want = (features + 1) * width + depth * (mlp + 1 + 2 * width) + (depth + 1) * width * classes + classes
    found = summary.summarize(models.create("gin", num_classes=10), (28, 28, 1))
    assert found.total.parameters == want
    sums = depth * 75 * 75 * width  # A x
    assert found.total.macs == 75 * features * width + sums + depth * 2 * 75 * width**2 + 550 * classes
    assert summary.kept_bytes(models.create("gin", num_classes=10), (28, 28, 1)) > 4 * 75 * width * 8 * depth


def test_fields_change_what_they_say():
    inputs = batch(graphs(), 7)
    plain = small("gin", jumping=False, batch_norm=False, residual=False, learn_eps=False)
    names = to_state_dict({"params": drawn(plain, inputs)["params"]})
    assert sorted(names) == sorted(
        f"{layer}.{leaf}"
        for layer in ("embedding", *(f"layers.{i}.conv.nn.{j}" for i in (0, 1) for j in (0, 3)), "classifier")
        for leaf in ("weight", "bias")
    )
    assert names["classifier.weight"].shape == (3, 8) and names["embedding.weight"].shape == (8, FEATURES)
    rows = [logits(small("gcn", readout=how), _variables("gcn"), inputs) for how in graph.READOUTS]
    np.testing.assert_allclose(rows[0][2], rows[1][2], rtol=1e-5)  # of one node all are the same
    np.testing.assert_allclose(rows[0][2], rows[2][2], rtol=1e-5)
    assert not np.allclose(rows[0][0], rows[1][0]) and not np.allclose(rows[1][0], rows[2][0])


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("gin", {"readout": "best"}, "readout must be one of sum, mean, max, not 'best'"),
        ("gat", {"heads": 3}, "the width, 152, must be a multiple of the heads, 3"),
        ("gcn", {"depth": 0}, "depth must be positive, not 0"),
        ("gin", {"neck": "cosine"}, "a neck is for nets of pictures alone, and 'gin' takes nodes; leave it out"),
    ],
)
def test_fields_that_cannot_be_are_one_line(name, fields, message):
    with pytest.raises(UserError, match=message):
        summary.summarize(models.create(name, num_classes=3, **fields), (8, 8, 1))
